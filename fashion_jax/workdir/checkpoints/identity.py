"""Identifies the run of a checkpoint: a label is saved beside its arrays and compared before they are used."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fashion_jax.config.loading import is_read
from fashion_jax.errors import UserError
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.checkpoints.digests import Saved, Unusable, read_saved
from fashion_jax.workdir.checkpoints.step_folders import obstacle
from fashion_jax.workdir.paths import ENVIRONMENT, config_path, data_path, environment_path, taxonomy_path

# A run may resume with other values of these fields; a change of any other field makes it another run.
FREE_FIELDS = {
    "num_epochs",  # under cosine, the rest of the run follows the new schedule
    "time_limit",  # another one is refused by planned_fields; "" makes an ordinary run of a planned one
    "early_stopping",  # it does not affect the steps; a run that it ended goes on under another
    "batch_size",  # the running epoch continues with the images that it has not seen
    "on_nonfinite",
    "nonfinite.max_in_a_row",
    "nonfinite.max_rollbacks",
    "deterministic",
    "log_every_steps",
    "watchdog_minutes",
    "checkpoint.every_steps",
    "checkpoint.keep",
    "data.path",
    "data.taxonomy",  # its content is compared through taxonomy.json
    "data.cache",
    "data.cache_dir",
    "data.max_bad_fraction",
}


@dataclasses.dataclass(frozen=True)
class Identity:
    """The identity of a run, saved with its checkpoints and compared on restore; empty fields are not compared.

    Attributes:
        run: id of the run, drawn at its first start.
        since: first step whose checkpoint carries the id; earlier ones may be of a version that wrote none.
        taxonomy: digest of the classes (see taxonomy_digest).
        config: the fields that stay the same throughout a run, as JSON has them (see kept_fields).
        data: digest of the images that this start trains on.
        known_data: digests of the images of all starts.
    """

    run: str = ""
    since: int = 0
    taxonomy: str = ""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: str = ""
    known_data: Sequence[str] = ()

    def label(self, step: int) -> dict[str, Any]:
        """Returns the label for the checkpoint of a step; empty if the run has no id."""
        if not self.run:
            return {}
        fields = {"taxonomy": self.taxonomy, "config": dict(self.config), "data": self.data}
        return {"run": self.run, "step": step} | fields

    def check_folders(self, saved: Mapping[int, Saved], directory: Path) -> None:
        """Checks that the folders of steps hold the steps that they are named by, saved by this run.

        Args:
            saved: the step in a folder's name -> the metadata that read_step has found there.
            directory: of the folders.

        Raises:
            UserError: names the folders that hold something else.
        """
        if wrong := sorted(step for step, found in saved.items() if not found.holds(step)):
            candidates = {step: [saved[step].label.get("step", -1), *saved] for step in wrong}
            held = {step: next(filter(saved[step].holds, candidates[step]), "another") for step in wrong}
            told = ", ".join(f"the folder {step} holds step {held[step]}" for step in wrong)
            raise UserError(
                f"Checkpoints in {directory} are not in the folders of their steps ({told}): remove these folders, or "
                "give each the name of the step that it holds, and run the same command again."
            )
        if foreign := sorted(step for step, found in saved.items() if not self._saved(found.label, step)):
            raise UserError(
                f"The checkpoints of the steps {', '.join(map(str, foreign))} in {directory} are of another run than "
                f"{environment_path(directory.parent)} names ({self.run}): remove their folders or bring back this "
                "run's own, and run the same command again."
            )

    def _saved(self, label: Mapping[str, Any], step: int) -> bool:
        """Returns whether a label can belong to a checkpoint of this run."""
        if not self.run:
            return True
        return label.get("run") == self.run if label else step < self.since

    def check(self, saved: Saved, step: int, directory: Path) -> None:
        """Checks that a checkpoint was saved for these classes, this config and this data.

        Raises:
            UserError: names what differs.
        """
        self.check_folders({step: saved}, directory)
        workdir, label = directory.parent, saved.label
        checkpoint, way_out = f"the checkpoint of step {step}", "restore it from a copy, or use another --workdir."
        if self.taxonomy and label.get("taxonomy", self.taxonomy) != self.taxonomy:
            raise UserError(
                f"{taxonomy_path(workdir)} has other classes than {checkpoint} was trained on, or another order or "
                f"tree of them: {way_out}"
            )
        for field, value in label.get("config", {}).items():
            if self.config.get(field, value) != value and is_read(field, self.config["data.source"]):
                raise UserError(
                    f"{field} is {self.config[field]!r} in {config_path(workdir)}, but {checkpoint} was trained "
                    f"with {value!r}: {way_out}"
                )
        if self.known_data and label.get("data", self.data) not in self.known_data:
            raise UserError(
                f"{data_path(workdir)} and {ENVIRONMENT} tell of other images or labels than {checkpoint} was "
                f"trained on: restore the data and these files from a copy, or use another --workdir."
            )


def inspect_steps(directory: Path, steps: Iterable[int]) -> tuple[dict[int, Saved], dict[int, str]]:
    """Reads the metadata of checkpoints, without their arrays.

    Returns:
        Step -> metadata; and step -> the reason, in words, why there is none.
    """
    saved, broken = {}, {}
    for step in steps:
        try:
            saved[step] = read_step(directory, step)
        except Unusable as error:
            broken[step] = str(error)
    return saved, broken


def read_step(directory: Path, step: int) -> Saved:
    """Reads the metadata of the checkpoint in the folder of a step.

    Raises:
        Unusable: there is no folder, or nothing in it that can be read.
    """
    folder = directory / str(step)
    if reason := obstacle(folder):
        raise Unusable(reason)
    return read_saved(folder)


def kept_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a flattened config that stay the same throughout a run, with values as JSON has them."""
    return json.loads(json.dumps({name: x for name, x in fields.items() if name not in FREE_FIELDS}))


def taxonomy_digest(taxonomy: Taxonomy) -> str:
    """Returns a digest of the levels, the classes in their order, and their parents."""
    levels = [[level, taxonomy.classes[level], taxonomy.parents[level]] for level in taxonomy.levels]
    return hashlib.sha256(json.dumps(levels).encode()).hexdigest()
