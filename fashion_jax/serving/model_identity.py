"""Tells one model from another: which checkpoint of which run it is, or which export."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fashion_jax.serving.exports.folder import INDEX, is_export
from fashion_jax.workdir.paths import checkpoints_path


def identify_model(directory: Path, step: int) -> dict[str, Any]:
    """Returns what identifies a loaded model, wherever its folder lies, as name in words -> value.

    Args:
        directory: that the model was loaded from: of a run or an export.
        step: of the checkpoint.
    """
    if is_export(directory):
        return {"export": hashlib.sha256((directory / INDEX).read_bytes()).hexdigest()}  # which has all files' digests
    from fashion_jax.workdir.checkpoints.digests import Unusable, read_saved

    try:
        saved = read_saved(checkpoints_path(directory) / str(step))
    except Unusable:  # a checkpoint of an early version
        return {"run": "", "step": step, "digest": ""}
    digest = hashlib.sha256(json.dumps(saved.arrays, sort_keys=True).encode()).hexdigest()
    return {"run": str(saved.label.get("run", "")), "step": step, "digest": digest}
