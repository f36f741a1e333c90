"""The files at the top of a work directory: what a run was made of."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from fashion_jax.config import config_to_json, flatten, read_config
from fashion_jax.errors import UserError
from fashion_jax.hierarchy import Taxonomy
from fashion_jax.writers import write_atomically

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-cpu", "tensorflow", "numpy")

# A run may go on with other values of these; any other field would make it another run.
_FREE_FIELDS = {
    "num_epochs",
    "log_every_steps",
    "checkpoint.every_steps",
    "checkpoint.keep",
    "data.path",
    "data.taxonomy",  # what it says is compared by taxonomy.json
    "data.cache",
    "data.cache_dir",
    "data.max_bad_fraction",
}


def open_workdir(workdir: Path, config: ConfigDict) -> None:
    """Makes the directory, or checks that the run in it has the same config.

    Raises:
        UserError: the directory cannot be written, or holds a run of another config.
    """
    _check_same_config(workdir / "config.json", config)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise UserError(f"--workdir is {str(workdir)!r}, which cannot be written ({error}): name another.") from error


def write_run_files(workdir: Path, config: ConfigDict, taxonomy: Taxonomy, data: dict[str, Any]) -> None:
    """Writes what the run is made of.

    Raises:
        UserError: the directory cannot be written, or holds a run of other classes.
    """
    path = workdir / "taxonomy.json"
    if path.exists() and Taxonomy.from_json(_read(path), str(path)) != taxonomy:
        raise UserError(f"The data has other classes than the run in {workdir}: restore it, or use another --workdir.")
    if jax.process_index():
        return
    try:
        write_atomically(workdir / "config.json", config_to_json(config))
        write_atomically(path, taxonomy.to_json())
        write_atomically(workdir / "data.json", json.dumps(data, indent=1, ensure_ascii=False))
        write_atomically(workdir / "environment.json", json.dumps(environment(), indent=1))
    except OSError as error:
        raise UserError(f"--workdir is {str(workdir)!r}, which cannot be written ({error}): name another.") from error


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
    }


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _check_same_config(path: Path, config: ConfigDict) -> None:
    if not os.path.lexists(path):
        return
    before, now = flatten(read_config(_read(path), str(path))), flatten(config)
    for field, value in now.items():
        if field not in _FREE_FIELDS and before[field] != value:
            raise UserError(
                f"{field} is {value!r}, but the run in {path.parent} has {before[field]!r}: "
                "set it back, or use another --workdir."
            )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it, or use another --workdir.") from error
