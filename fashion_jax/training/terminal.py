"""Prints a run's progress to the terminal."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from fashion_jax.command_line import duration, printable


class Terminal:
    """A progress line that is redrawn on a terminal; plain lines, one per epoch, elsewhere."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._redraws = self._stream.isatty()
        self._start: tuple[float, int] | None = None

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        clear = "\r\x1b[K" if self._redraws else ""
        print(clear + printable(text), file=self._stream, flush=True)

    def progress(self, step: int, num_steps: int, epoch: str, images_per_second: float, loss: float) -> None:
        """Redraws the progress line; prints nothing if the output is no terminal."""
        now = time.monotonic()
        if self._start is None or step < self._start[1]:  # at first, and after a rollback
            self._start = (now, step)
        if not self._redraws or step == self._start[1]:
            return
        eta = (now - self._start[0]) / (step - self._start[1]) * (num_steps - step)
        text = (
            f"{epoch}  step {step}/{num_steps}  loss {loss:.4f}  {images_per_second:.0f} images/s  ETA {duration(eta)}"
        )
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{text[:width]}", end="", file=self._stream, flush=True)
