"""Reads what a run has left in its work directory, in a form that tests compare."""

import json
from pathlib import Path


def without_timing(workdir: Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    lines = map(json.loads, path.read_text().splitlines() if path.exists() else [])
    return [{k: v for k, v in line.items() if k != "timing"} for line in lines]


def digests(workdir: Path, step: int) -> dict[str, str]:
    """Returns the digests of every array of a checkpoint, as the run saved them."""
    return json.loads((workdir / "checkpoints" / str(step) / "digests" / "metadata").read_text())["arrays"]
