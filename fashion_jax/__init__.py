"""fashion_jax: hierarchical classification of fashion images in JAX.

The names below are imported when they are first used, so that importing the package takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fashion_jax.config.loading import get_config
    from fashion_jax.serving.answers import Answer
    from fashion_jax.serving.classifier import Classifier
    from fashion_jax.serving.loading import load
    from fashion_jax.training.launch import TrainedRun, train

__version__ = "0.1.0"

__all__ = ["Answer", "Classifier", "TrainedRun", "__version__", "get_config", "load", "train"]

# name -> the module that defines it
_HOMES = {
    "Answer": "fashion_jax.serving.answers",
    "Classifier": "fashion_jax.serving.classifier",
    "TrainedRun": "fashion_jax.training.launch",
    "get_config": "fashion_jax.config.loading",
    "load": "fashion_jax.serving.loading",
    "train": "fashion_jax.training.launch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
