"""Ends a run that hangs, which else would hold its machines for days, and writes down where it hangs."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from fashion_jax.atomic import open_regular
from fashion_jax.devices import processes
from fashion_jax.errors import EXIT_PREEMPTED
from fashion_jax.workdir.paths import stacks_path

_LEAST = 600.0  # seconds that are granted at least while programs are compiled, and later if the config does not say
_STEPS = 20  # times the seconds of a step that are granted
_LOOK = 1.0  # seconds from one look at the clock to the next
_STOOD_STILL = 30.0  # seconds on the clock between two looks, from which on the process was suspended


class Watchdog:
    """Watches the loop of a run, which feeds it at every step, at every batch of an evaluation, and while images
    are decoded into the memory of devices."""

    def __init__(
        self,
        minutes: float,
        step_seconds: Callable[[], float],
        end: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """Prepares to watch.

        Args:
            minutes: without food after which the run ends, at least 10 while a program may be compiled; 0: as many as
                20 steps take, at least 10.
            step_seconds: returns the seconds of a dispatch of steps, NaN if they are not known yet.
            end: ends the run, given a sentence.
            clock: for tests.
        """
        self._minutes, self._step_seconds, self._end, self._clock = minutes, step_seconds, end, clock
        self._fed, self._step, self._is_paused, self._may_compile = clock(), 0, False, True

    def feed(self, step: int | None = None) -> None:
        """Notes that the loop has reached a step or, without one, has gone on with what it does after the last one."""
        self._fed = self._clock()
        if step is not None:
            self._step, self._may_compile = step, False
        processes.reached(self._step)

    @property
    def limit(self) -> float:
        """Returns the seconds without food after which the run ends."""
        if self._minutes:
            return max(60 * self._minutes, _LEAST if self._may_compile else 0)
        measured = self._step_seconds()
        return _LEAST if math.isnan(measured) else max(_LEAST, _STEPS * measured)

    def expect_compilation(self) -> None:
        """Grants at least 10 minutes until the next step, as its program may be compiled first."""
        self._may_compile = True

    def check(self) -> None:
        """Ends the run if the limit is exceeded."""
        if not self._is_paused and self._clock() - self._fed > self.limit:
            self._end(
                f"The run has made no step for {self.limit / 60:.3g} minutes after step {self._step}"
                f"{processes.stragglers()}"
            )

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Waits while the block runs, which computes on the host and may take long."""
        self._is_paused = True
        try:
            yield
        finally:
            self.feed(self._step)
            self._is_paused = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watches while the block runs, from a thread of its own."""
        is_over = threading.Event()
        self._fed = self._clock()

        def watch() -> None:
            before = self._clock()
            while not is_over.wait(_LOOK):
                now = self._clock()
                if now - before > _STOOD_STILL:  # the whole process, as after Ctrl-Z, and not its loop alone
                    self._fed = min(self._fed + now - before, now)
                before = now
                self.check()

        threading.Thread(target=watch, daemon=True, name="watchdog").start()
        try:
            yield
        finally:
            is_over.set()


def end_stalled(workdir: Path, words: str) -> None:
    """Ends all processes of a run that hangs, with the exit status that asks to start it again."""
    write_stacks(workdir)
    folder = stacks_path(workdir)
    processes.end_all(
        f"{words}: {folder} shows where each process hangs. Run the same command again to resume from the last "
        "checkpoint.",
        EXIT_PREEMPTED,
    )


def write_stacks(workdir: Path) -> None:
    """Writes where each thread of this process is: stacks/PROCESS.txt in the directory of the run."""
    folder = stacks_path(workdir)
    with contextlib.suppress(OSError):  # its file system may be what hangs
        folder.mkdir(exist_ok=True)
        path = folder / f"{jax.process_index()}.txt"
        with open(open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as file:
            faulthandler.dump_traceback(file, all_threads=True)
