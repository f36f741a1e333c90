"""The files at the top of a work directory: what a run was made of."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from fashion_jax.atomic import write_text
from fashion_jax.config import config_to_json, flatten, read_config
from fashion_jax.data.dataset import Dataset
from fashion_jax.errors import UserError
from fashion_jax.hierarchy import Taxonomy
from fashion_jax.ids import digest_of_ids
from fashion_jax.position import Position

_PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-cpu", "tensorflow", "numpy"),
    *("simplejpeg", "opencv-python-headless", "pillow"),  # which make the pixels
)

# A run may go on with other values of these; any other field would make it another run.
_FREE_FIELDS = {
    "num_epochs",  # under cosine, the rest of the run follows the new schedule
    "batch_size",  # the running epoch goes on with the images that it has not seen
    "on_nonfinite",
    "nonfinite.max_in_a_row",
    "nonfinite.learning_rate_factor",
    "nonfinite.max_rollbacks",
    "deterministic",
    "log_every_steps",
    "checkpoint.every_steps",
    "checkpoint.keep",
    "data.path",
    "data.taxonomy",  # what it says is compared by taxonomy.json
    "data.cache",
    "data.cache_dir",
    "data.max_bad_fraction",
}


def check_same_config(workdir: Path, config: ConfigDict) -> list[str]:
    """Compares the config with that of the run so far, where there is one.

    Returns:
        What of the config is allowed to change and has changed, in words.

    Raises:
        UserError: a field has changed that makes it another run.
    """
    return _check_same_config(workdir / "config.json", config)


def check_same_data(workdir: Path, dataset: Dataset) -> list[str]:
    """Compares the data with that of the run so far, where there is one.

    Returns:
        Which splits have other images than before, in words.

    Raises:
        UserError: the classes are others.
    """
    path = workdir / "taxonomy.json"
    if path.exists():
        _check_same_classes(Taxonomy.from_json(_read(path), str(path)), dataset.taxonomy, workdir)
    try:
        before = json.loads((workdir / "data.json").read_text(encoding="utf-8"))["splits"]
        digests = {name: before[name]["ids_sha256"] for name in ("train", "validation")}
        count = before["train"]["images"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    changed = {name: digest_of_ids(dataset.splits[name].ids) != digest for name, digest in digests.items()}
    now = len(dataset.splits["train"])
    numbers = f"{now:,} images instead of {count:,}" if now != count else "other images"
    told = {
        "train": f"The training split has {numbers}, in another order",
        "validation": "The validation split has other images, which may have been trained on",
    }
    return [told[name] for name in told if changed[name]]


def write_run_files(
    workdir: Path, config: ConfigDict, dataset: Dataset, position: Position, changes: Sequence[str] = ()
) -> None:
    """Writes what the run is made of; environment.json also has the history of its starts.

    Args:
        workdir: of the run.
        config: of this start.
        dataset: of this start.
        position: where it begins.
        changes: what is another than before, in words.

    Raises:
        UserError, RunError: a file cannot be written.
    """
    if jax.process_index():
        return
    data = json.dumps(dataset.summary(config.batch_size), indent=1, ensure_ascii=False)
    write_text(workdir / "config.json", config_to_json(config))
    write_text(workdir / "taxonomy.json", dataset.taxonomy.to_json())
    write_text(workdir / "data.json", data)
    history = _history(workdir / "environment.json", position, changes)
    write_text(workdir / "environment.json", json.dumps(environment() | history, indent=1))


def environment() -> dict[str, Any]:
    """Versions, devices and the commit of the code."""
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: installed[name] for name in _PACKAGES if name in installed},
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "commit": _commit(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _history(path: Path, position: Position, changes: Sequence[str]) -> dict[str, Any]:
    """The starts of the run so far, and this one; from the beginning where the file is missing or damaged."""
    try:
        starts = list(json.loads(path.read_text(encoding="utf-8"))["starts"])
    except (OSError, ValueError, LookupError, TypeError):
        starts = []
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    start = {"time": now, "devices": jax.device_count(), "processes": jax.process_count(), "commit": _commit()}
    return {"starts": [*starts, start | position._asdict() | {"changes": list(changes)}]}


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _check_same_config(path: Path, config: ConfigDict) -> list[str]:
    if not os.path.lexists(path):
        return []
    before, now = flatten(read_config(_read(path), str(path))), flatten(config)
    changed = [field for field, value in now.items() if before[field] != value]
    for field in changed:
        if field not in _FREE_FIELDS:
            raise UserError(
                f"{field} is {now[field]!r}, but the run in {path.parent} has {before[field]!r}: "
                "set it back, or use another --workdir."
            )
    return [f"{field} is {now[field]!r} instead of {before[field]!r}" for field in changed]


def _check_same_classes(before: Taxonomy, now: Taxonomy, workdir: Path) -> None:
    if before == now:
        return
    way_out = "restore it, or use another --workdir."
    for level in now.levels:
        here, there = now.classes[level], before.classes.get(level, ())
        if other := sorted(set(here) ^ set(there)):
            sides = "the data, but not the run" if other[0] in here else "the run, but not the data"
            raise UserError(
                f"The data has other classes than the run in {workdir}: {len(here)} of {level} instead of "
                f"{len(there)}, and {other[0]!r} is in {sides}: {way_out}"
            )
    raise UserError(
        f"The data has other classes than the run in {workdir}: the levels {', '.join(now.levels)} instead of "
        f"{', '.join(before.levels)}, or another order or tree: {way_out}"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it, or use another --workdir.") from error
