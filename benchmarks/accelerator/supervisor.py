"""Runs the items of a part in another process, which is ended when an item takes too long, and started anew."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accelerator.items import Item

PART_SECONDS = 300  # the time of a part, which the items' limits are made for
_START_SECONDS = 90  # for importing the libraries and opening the devices
_LEAST_SECONDS = 3  # with less time left, no further item is begun
_ROOT = Path(__file__).parents[2]
_QUICKER = {"tiny": {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}}  # tiny sizes try the command and measure nothing


class Stopped(Exception):
    """Says in a sentence that the process has ended, or was ended, before it answered."""


class Worker:
    """The process that does the items."""

    def __init__(self, sizes: str, folder: str):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.accelerator.worker", sizes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env=_environment(sizes, folder),
            start_new_session=True,  # so that the processes that it starts can be ended with it
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def ask(self, name: str, seconds: float, on_partial: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Lets the process do an item; returns its last answer.

        Raises:
            Stopped: it did not answer in time, or the process ended.
        """
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(name + "\n")
            self._process.stdin.flush()
        return self.answer(seconds, on_partial)

    def answer(self, seconds: float, on_partial: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Waits for the last answer of what the process is doing; see `ask`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                raise Stopped(f"It was stopped after {seconds:.0f} s, its limit or what was left.") from None
            if not line:
                raise Stopped(f"Its process ended with status {self._process.wait()}: stderr says why.")
            message = json.loads(line)
            if "partial" not in message:
                return message
            on_partial(message["partial"])

    def close(self, seconds: float = 5) -> None:
        """Ends the process and all that it has started."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()


def _environment(sizes: str, folder: str) -> dict[str, str]:
    """Returns the environment of a worker that keeps compiled programs in a folder, for the next items and workers."""
    cache = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
    # JAX takes the memory of a GPU as it needs it, and leaves PyTorch its share.
    return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ, **cache, **_QUICKER.get(sizes, {})}


class Crew:
    """The one worker at a time that does the items.

    Attributes:
        described: the commit and the environment of the worker; empty if none could start.
    """

    def __init__(self, sizes: str, folder: str):
        self.described: dict[str, Any] = {}
        self._sizes, self._folder = sizes, folder
        self._worker: Worker | None = None

    def worker(self, seconds: float, on_partial: Callable[[dict[str, Any]], None]) -> Worker:
        """Returns the worker, which is started if there is none.

        Raises:
            Stopped: it did not start in so many seconds.
        """
        if self._worker is None:
            self._worker = Worker(self._sizes, self._folder)
            self.described = self._worker.answer(seconds, on_partial)["result"]
        return self._worker

    def dismiss(self) -> None:
        """Ends the worker, if there is one, whatever it is doing."""
        if self._worker is not None:
            self._worker.close(0)
        self._worker = None


def run_items(
    items: Sequence[Item], sizes: str, seconds: float, entries: dict[str, Any], changed: Callable[[], None]
) -> dict[str, Any]:
    """Does the items one after the other; fills in `entries` by name and calls `changed` whenever there is news.

    Args:
        items: in order of importance, since the time may be up before all are done.
        sizes: a name of SIZES.
        seconds: the time for all of them; with more than PART_SECONDS each item has more time too.
        entries: item -> its results so far, with its `status` and, where something is missing, `why`.
        changed: called after each change.

    Returns:
        The commit and the environment of the process; empty if it could not start.
    """
    deadline, scale = time.monotonic() + seconds, max(seconds / PART_SECONDS, 1)
    with contextlib.ExitStack() as stack:
        crew = Crew(sizes, stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        stack.callback(crew.dismiss)
        for item in items:
            entry, began = entries[item.name], time.monotonic()
            left = deadline - began
            if left < _LEAST_SECONDS:
                entry["why"] = f"No time was left of the {seconds:.0f} s of this part."
                changed()
                continue
            entry["why"] = "It has begun and not ended."

            def add(partial: dict[str, Any], entry: dict[str, Any] = entry) -> None:
                entry.update(partial)
                changed()

            try:
                worker = crew.worker(min(left, scale * _START_SECONDS), add)
                message = worker.ask(item.name, min(scale * item.seconds, deadline - time.monotonic()), add)
            except Stopped as stopped:
                message = {"skipped": str(stopped)}
                crew.dismiss()
            _finish(entry, message, time.monotonic() - began)
            changed()
        return crew.described


def _finish(entry: dict[str, Any], message: dict[str, Any], seconds: float) -> None:
    """Enters the last answer about an item."""
    entry.pop("why", None)
    result = message.get("result", {})
    entry.update(result)
    entry["seconds"] = seconds
    if "error" in message:
        entry.update(status="failed", why=message["error"])
    elif "skipped" in message:
        entry.update(status="skipped", why=message["skipped"])
    elif "is_good" in result:
        entry["status"] = "passed" if result["is_good"] else "failed"
    else:
        entry["status"] = "done"
