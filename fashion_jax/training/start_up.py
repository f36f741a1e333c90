"""Runs TensorFlow's import and the compilation of the step beside the decoding of the first images."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

_POOL = ThreadPoolExecutor(3, "start-up")  # the process waits for its threads when it ends


def start_beside(function: Callable[[], Any]) -> None:
    """Runs a function beside what follows; its result and its errors are dropped."""
    _POOL.submit(function)


class Compiling:
    """A jitted function that compiles in the background for given arguments; calling it waits for that."""

    def __init__(self, jitted: jax.stages.Wrapped, *arguments: Any):
        """Traces now, since JAX's contexts belong to a thread; arguments may be jax.ShapeDtypeStruct with shardings."""
        self._compiled = _POOL.submit(jitted.lower(*arguments).compile)

    def __call__(self, *arguments: Any) -> Any:
        return self._compiled.result()(*arguments)
