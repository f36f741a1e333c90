"""Runs a command in a process forked from one that has imported everything, which saves seconds per fault."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_lock = threading.Lock()  # multiprocessing looks after its processes from one thread


def start_server(environment: Mapping[str, str]) -> None:
    """Starts the process that others are forked from, unless it runs already."""
    _context.set_forkserver_preload(["tests.faults.preloaded"])
    with _replaced_environment(environment):
        forkserver.ensure_running()


@contextlib.contextmanager
def _replaced_environment(environment: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Forked:
    """A forked process with the interface of subprocess.Popen."""

    def __init__(self, module: str, arguments: Sequence[str], **options):
        with _lock:
            self._process = _context.Process(target=_run, args=(module, list(arguments)), kwargs=options)
            self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        with _lock:
            return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def wait(self, timeout: float) -> int:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("a forked command", timeout)
            time.sleep(0.01)
        return self.poll()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(
    module: str,
    arguments: list[str],
    *,
    before: str,
    variables: dict[str, str],
    limits: dict[int, int],
    out: Path,
    err: Path,
) -> None:
    """Runs the module and ends this process as the module would end its own."""
    for number, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.update(variables)
    for number, limit in limits.items():
        resource.setrlimit(number, (limit, limit))
    sys.argv = [module, *arguments]
    status = 0
    try:
        sys.modules.pop(module, None)  # as if it had not been imported
        exec(before, {"__name__": "before"})
        runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)
