"""One writer: a lock on a directory that names its holder."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from fashion_jax.errors import UserError


@contextlib.contextmanager
def locked(
    workdir: Path, say: Callable[[str], None], flag: str = "--workdir", activity: str = "is training"
) -> Iterator[None]:
    """Holds the lock of a directory, which ends with the process at the latest, however that ends.

    It is the kernel's (flock) on a file that names the holder. NFS passes it on from version 4 on, and from 3 unless
    mounted with nolock; where a file system has no locks, this is told, and the run goes on.

    Args:
        workdir: the directory.
        say: is told where there are no locks.
        flag: by which the user has named it.
        activity: what a process does that holds it.

    Raises:
        UserError: another process has it.
    """
    with (workdir / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{flag} is {str(workdir)!r}, where {_holder(file)} {activity}: wait for it, or name another."
            ) from error
        except OSError as error:
            say(f"{workdir} cannot be locked ({error.strerror}): see to it that nothing else writes there.")
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": started}) + "\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(file: TextIO) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"process {holder['pid']} on {holder['host']}, started {holder['started']},"
    except (ValueError, LookupError, TypeError):
        return "another process"
