"""What a start does beside decoding the first images: TensorFlow's import, and the compilation of the step."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

_POOL = ThreadPoolExecutor(2, "start-up")  # its threads are waited for when the process ends


def start(function: Callable[[], Any]) -> None:
    """Runs a function beside what follows; its result and its errors are dropped."""
    _POOL.submit(function)


class Compiling:
    """A jitted function that compiles beside what follows, for given arguments; calling it waits for that."""

    def __init__(self, jitted: jax.stages.Wrapped, *arguments: Any):
        """Arguments may be jax.ShapeDtypeStruct with shardings. Traces here, as contexts of JAX hold for a thread."""
        self._compiled = _POOL.submit(jitted.lower(*arguments).compile)

    def __call__(self, *arguments: Any) -> Any:
        return self._compiled.result()(*arguments)
