"""Finds out whether the processes of a run see the same files."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import jax

from fashion_jax.atomic import write_text
from fashion_jax.devices.processes import exchange

_SLOW = 10.0  # seconds until a file of another machine appears on a shared file system


@contextlib.contextmanager
def seen_by_this_process(path: Path) -> Iterator[bool]:
    """Yields whether this process sees a file that process 0 has written, which is removed after the block.

    All processes call this; in the block they exchange what they have found.

    Args:
        path: of the file, in a folder that exists for process 0.
    """
    is_first = jax.process_index() == 0
    token = uuid.uuid4().hex
    if is_first:
        write_text(path, token)
    token = exchange("token", token, lambda texts: texts[0])
    try:
        yield is_first or _holds(path, token)
    finally:
        if is_first:
            path.unlink(missing_ok=True)


def _holds(path: Path, token: str) -> bool:
    deadline = time.monotonic() + _SLOW
    while True:
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8") == token:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
