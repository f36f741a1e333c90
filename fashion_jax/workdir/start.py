"""Writes the files at the top of a work directory, which record what a run was made of."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from fashion_jax.atomic import read_text, write_text
from fashion_jax.config.combinations import check_fewest_epochs
from fashion_jax.config.loading import config_to_json, flatten, is_read, read_config
from fashion_jax.data.dataset import Dataset
from fashion_jax.data.fingerprint import COMPARED, read_digest, write_images
from fashion_jax.errors import UserError
from fashion_jax.workdir.checkpoints.identity import FREE_FIELDS, Identity
from fashion_jax.workdir.environment import commit, environment
from fashion_jax.workdir.files import has_checkpoint, has_trained_nothing
from fashion_jax.workdir.paths import config_path, data_path, environment_path, images_path, taxonomy_path
from fashion_jax.workdir.position import Position
from fashion_jax.workdir.reading import reading
from fashion_jax.workdir.run_identity import read_environment
from fashion_jax.workdir.trained_on import images_to_list

PLANNED = ("image_size", "num_epochs", "batch_size", "learning_rate_decay")  # fields that time_limit chooses


def check_same_config(workdir: Path, config: ConfigDict) -> list[str]:
    """Compares the config with that of the run so far, if it has trained anything.

    Returns:
        In words, which fields have changed that may change.

    Raises:
        UserError: a field has changed that would make it another run, or num_epochs to too few.
    """
    path, now = config_path(workdir), flatten(config)
    if not os.path.lexists(path) or has_trained_nothing(workdir):
        return []
    before = _read_fields(path)
    anew = (*PLANNED, "time_limit") if config.time_limit and not has_checkpoint(workdir) else ()
    changed = [field for field, value in now.items() if _differs(field, value, before[field]) and field not in anew]
    changed = [field for field in changed if is_read(field, config.data.source)]  # runs of earlier versions name others
    for field in changed:
        if field not in FREE_FIELDS:
            raise UserError(
                f"{field} is {now[field]!r}, but the run in {path.parent} has {before[field]!r}: "
                "set it back, or use another --workdir."
            )
    if "num_epochs" in changed and not config.time_limit:
        schedule = config.schedule, config.schedule_per, config.warmup_epochs
        check_fewest_epochs(config.num_epochs, *schedule, way_out="raise num_epochs to at least")
    changes = [f"{field} is {now[field]!r} instead of {before[field]!r}" for field in changed]
    if config.batch_norm == "local" and not anew:
        changes += _changed_statistics(
            workdir, before["batch_size"] // config.accumulate, config.batch_size // config.accumulate
        )
    return changes


def _changed_statistics(workdir: Path, before: int, now: int) -> list[str]:
    """Tells in words whether batch_norm=local takes its statistics of more or fewer images than at the last start.

    Args:
        workdir: of the run.
        before: images that the devices normalised together at the last start.
        now: likewise, at this start.
    """
    starts = read_environment(workdir).get("starts", [])
    devices = starts[-1].get("devices") if starts else None
    if not devices or before // devices == (images := now // jax.device_count()):
        return []
    return [f"BatchNorm's statistics are of {images} images instead of {before // devices}"]


def _differs(field: str, now: Any, before: Any) -> bool:
    """Returns whether the values of a field differ; the order of learning_rate_factors counts, as the first decides."""
    return now != before or (field == "learning_rate_factors" and list(now) != list(before))


def planned_fields(workdir: Path, time_limit: str) -> dict[str, Any]:
    """Returns the fields that were chosen for the time_limit when the run began; none if there is no limit or no run.

    A run that has not saved anything is planned anew: its data may be others, or the machine another one.

    Raises:
        UserError: the run was not planned for this limit.
    """
    path = config_path(workdir)
    if not time_limit or not os.path.lexists(path) or not has_checkpoint(workdir):
        return {}
    before = _read_fields(path)
    if (planned := before["time_limit"]) != time_limit:
        raise UserError(
            f"time_limit is {time_limit!r}, but the run in {workdir} was planned {_for_limit(planned)}: "
            f"set it {'back' if planned else 'to nothing'}, or use another --workdir."
        )
    decays = before["schedule"] == "exponential"
    return {field: before[field] for field in PLANNED if decays or field != "learning_rate_decay"}


def _for_limit(time_limit: str) -> str:
    return f"for {time_limit!r}" if time_limit else "without one"


def check_is_whole(workdir: Path, time_limit: str) -> list[str]:
    """Checks that the files that identify a run with checkpoints exist; returns what else is missing, in words.

    Args:
        workdir: of the run.
        time_limit: the field; a run that is planned cannot be begun once more with the same plan.

    Raises:
        UserError: one of them is missing.
    """
    if has_trained_nothing(workdir):
        return []
    if not has_checkpoint(workdir):
        return [
            f"No checkpoint is left in {workdir}: training starts from the beginning, and the old metrics are dropped"
        ]
    for path in (config_path(workdir), taxonomy_path(workdir), data_path(workdir)):
        if not path.is_file():
            again = "" if time_limit else ", or from a start of the same command in another --workdir, which writes it"
            raise UserError(
                f"{path} is missing, by which the run with these checkpoints is known: restore it from a copy{again}."
            )
    is_known = bool(read_environment(workdir))
    lost = f"{environment_path(workdir)} is missing or damaged: the history of the run's starts begins anew"
    return [] if is_known else [lost]


def write_run_files(
    workdir: Path,
    config: ConfigDict,
    dataset: Dataset,
    position: Position,
    identity: Identity,
    changes: Sequence[str] = (),
) -> None:
    """Writes the files that describe the run; environment.json also records the history of its starts.

    Args:
        workdir: of the run.
        config: of this start.
        dataset: of this start.
        position: where it begins.
        identity: of the run.
        changes: differences from the previous start, in words.

    Raises:
        UserError, RunError: a file cannot be written.
    """
    if jax.process_index():
        return
    data = json.dumps(dataset.summary(config.batch_size), indent=1, ensure_ascii=False)
    write_text(config_path(workdir), config_to_json(config))
    write_text(taxonomy_path(workdir), dataset.taxonomy.to_json())
    if not has_checkpoint(workdir) or read_digest(images_path(workdir)) != identity.data:
        counts = [len(dataset.splits[name]) for name in COMPARED]
        write_images(images_path(workdir), images_to_list(workdir, dataset), identity.data, counts)
    write_text(data_path(workdir), data)
    start: dict[str, object] = {"time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    start |= {"devices": jax.device_count(), "processes": jax.process_count(), "commit": commit()}
    start |= position._asdict() | {"data": identity.data, "changes": list(changes)}
    run = {"id": identity.run, "since": identity.since}
    earlier = [] if has_trained_nothing(workdir) else read_environment(workdir).get("starts", [])
    history = {"run": run, "starts": [*earlier, start]}
    write_text(environment_path(workdir), json.dumps(environment() | history, indent=1))


def _read_fields(path: Path) -> dict[str, Any]:
    """Reads the fields of a run's config.json."""
    with reading(path):
        text = read_text(path)
    return flatten(read_config(text, str(path)))
