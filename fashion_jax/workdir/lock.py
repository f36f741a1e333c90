"""Locks a directory for one writer, and names the lock's holder."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from fashion_jax.atomic import open_regular, unwritable
from fashion_jax.errors import RunError, UserError
from fashion_jax.json_text import parse_json
from fashion_jax.workdir.paths import LOCK

_ATTEMPTS = 10

_MAX_BYTES = 4096


@contextlib.contextmanager
def locked(
    workdir: Path, say: Callable[[str], None], flag: str = "--workdir", activity: str = "is training", name: str = LOCK
) -> Iterator[None]:
    """Holds the lock of a directory; the lock ends with the process at the latest, however that ends.

    It is the kernel's lock (flock) on a file that names the holder. NFS passes it on from version 4 on, and from 3
    unless mounted with nolock. If a file system has no locks, this is reported, and the run goes on.

    Args:
        workdir: the directory.
        say: reports that there are no locks.
        flag: by which the user has named it.
        activity: what a process that holds it does.
        name: of the file; several locks of one directory have different names.

    Raises:
        UserError: another process holds it, or the file of the lock is a link or no file.
    """
    path = workdir / name
    is_new = not os.path.lexists(path)

    def refused(holder: str) -> UserError:
        return UserError(f"{flag} is {str(workdir)!r}, where {holder} {activity}: wait for it, or name another.")

    descriptor = _locked(path, say, refused)
    try:
        _write_holder(descriptor)
        yield
    except BaseException:
        if is_new and _is_at(descriptor, path):  # a start that fails leaves no file
            path.unlink()
        raise
    finally:
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def _locked(path: Path, say: Callable[[str], None], refused: Callable[[str], UserError]) -> int:
    """Opens the file of the lock and locks it; returns the descriptor."""
    for _ in range(_ATTEMPTS):
        try:
            descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise refused(holder) from error
        except OSError as error:
            say(f"{path.parent} cannot be locked ({error.strerror}): make sure that nothing else writes there.")
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # another process has removed the file meanwhile, so this lock would exclude nobody
    raise RunError(f"{path} is removed again and again by other processes: find them, or name another folder.")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def _write_holder(descriptor: int) -> None:
    """Writes this process's name to the lock; on a full disk the lock holds without it."""
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": started}) + "\n"
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        holder = parse_json(os.pread(descriptor, _MAX_BYTES, 0))
        return f"process {holder['pid']} on {holder['host']}, started {holder['started']},"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
