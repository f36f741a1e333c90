"""Tells one model from another: which checkpoint of which run it is, or which export."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fashion_jax.serving.engine import Engine, RunEngine
from fashion_jax.serving.loading import EXPORT
from fashion_jax.workdir.checkpoints.digests import Unusable, read_saved
from fashion_jax.workdir.paths import checkpoints_path


def identify_model(directory: Path, engine: Engine) -> dict[str, Any]:
    """Returns what identifies a loaded model, wherever its folder lies, as name in words -> value.

    Args:
        directory: that the engine was loaded from.
        engine: the loaded model.
    """
    if not isinstance(engine, RunEngine):
        return {"export": hashlib.sha256((directory / EXPORT).read_bytes()).hexdigest()}  # which has all files' digests
    step = engine.trained.step
    try:
        saved = read_saved(checkpoints_path(directory) / str(step))
    except Unusable:  # a checkpoint of an early version
        return {"run": "", "step": step, "digest": ""}
    digest = hashlib.sha256(json.dumps(saved.arrays, sort_keys=True).encode()).hexdigest()
    return {"run": str(saved.label.get("run", "")), "step": step, "digest": digest}
