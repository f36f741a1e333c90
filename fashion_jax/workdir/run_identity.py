"""Determines the identity of a run from its environment.json and its checkpoints."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from fashion_jax.atomic import read_text
from fashion_jax.config.loading import flatten
from fashion_jax.data.dataset import Dataset
from fashion_jax.data.fingerprint import combined
from fashion_jax.devices.processes import decided
from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.checkpoints.identity import Identity, inspect_steps, kept_fields, taxonomy_digest
from fashion_jax.workdir.checkpoints.step_folders import list_steps
from fashion_jax.workdir.paths import checkpoints_path, environment_path


def identify(workdir: Path, config: ConfigDict, dataset: Dataset) -> Identity:
    """Returns the identity of the run in a work directory; a run without an id, new or of an earlier version, gets one.

    Raises:
        UserError: environment.json is lost, and checkpoints are of several runs.
    """
    fields, data = flatten(config), combined(dataset.digests)

    def found() -> tuple[str, int, list[str]]:
        stored = read_identity(workdir, fields)
        run, since = (stored.run, stored.since) if stored.run else _adopted(checkpoints_path(workdir))
        return run, since, [*stored.known_data]

    run, since, earlier = decided("the run's identity", found)
    known = (*earlier, data) if earlier else ()  # without a history nothing can be compared
    return Identity(run, since, taxonomy_digest(dataset.taxonomy), kept_fields(fields), data, known)


def read_identity(workdir: Path, fields: Mapping[str, Any], taxonomy: Taxonomy | None = None) -> Identity:
    """Reads the identity of a run from its files; it has no id if environment.json has none.

    Args:
        workdir: of the run.
        fields: the config of the run, flattened.
        taxonomy: of the run; None compares no classes.
    """
    found = read_environment(workdir)
    try:
        run, since = uuid.UUID(found["run"]["id"]).hex, int(found["run"]["since"])
        data = [start["data"] for start in found["starts"] if "data" in start]
    except (ValueError, LookupError, TypeError, AttributeError):
        run, since, data = "", 0, []
    classes = taxonomy_digest(taxonomy) if taxonomy else ""
    return Identity(run, since, classes, kept_fields(fields), known_data=data)


def _adopted(directory: Path) -> tuple[str, int]:
    """Returns the id that the checkpoints carry, or a new one if they carry none, and the first step with it."""
    saved, _ = inspect_steps(directory, list_steps(directory))
    runs = sorted({found.label["run"] for found in saved.values() if found.label})
    if len(runs) > 1:
        raise UserError(
            f"{directory} has checkpoints of several runs ({', '.join(runs)}), and {directory.parent} has no "
            "environment.json that names one: restore it, or remove the others' steps."
        )
    since = max((step + 1 for step, found in saved.items() if not found.label), default=0)
    return (runs or [uuid.uuid4().hex])[0], since


def read_environment(workdir: Path) -> dict[str, Any]:
    """Reads environment.json, with a list of "starts"; returns an empty dict if it is missing or damaged."""
    try:
        found = parse_json(read_text(environment_path(workdir)))
        return found if isinstance(found["starts"], list) else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
