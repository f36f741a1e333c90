"""Where a command writes what it was asked for: the files and folders of its flags, standard output among them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fashion_jax.atomic import kind_of, unwritable
from fashion_jax.errors import UserError


@contextlib.contextmanager
def output(path: Path) -> Iterator[Path]:
    """Yields where to write a file that the user has named, as predict's --output.

    Where path is a link to a file, that is the file it leads to, and the link stays. Where it leads to a pipe, a
    terminal or this process's standard output, that is a temporary file, whose content is sent there at the end.

    Raises:
        UserError, RunError: the content cannot be sent; see `unwritable`.
    """
    if not _is_stream(path):
        yield Path(os.path.realpath(path))
        return
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, path.name)
        yield temporary
        try:
            with temporary.open("rb") as source, _opened_stream(path) as stream:
                shutil.copyfileobj(source, stream)
        except OSError as error:
            raise unwritable(path, error) from error


def _is_stream(path: Path) -> bool:
    """Whether bytes that are written to a path go to someone who reads them, instead of into a file that stays."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    is_standard = _standard_stream(status) is not None
    return is_standard or stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode)


@contextlib.contextmanager
def new_folders(path: Path) -> Iterator[None]:
    """Makes a folder, and its parents; where the block fails, those of them that are empty go again.

    Raises:
        OSError: it cannot be made.
    """
    made: list[Path] = []
    try:
        for folder in reversed([path, *path.parents]):
            if folder.is_dir():
                continue
            if os.path.lexists(folder):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
            with contextlib.suppress(FileExistsError):  # another process of the run has made it meanwhile
                folder.mkdir()
                made.append(folder)
        yield
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def folder_of_flag(flag: str, folder: Path | None) -> Iterator[None]:
    """Makes the folder of a flag, where it is given, so that what cannot be written is told before any work.

    Where the work fails, no empty folder is left that was not there before.

    Raises:
        UserError: it cannot be made, or nothing written to it.
    """
    with contextlib.ExitStack() as stack:
        if folder is not None:
            try:
                stack.enter_context(new_folders(folder))
            except OSError as error:
                raise _unwritable_flag(flag, folder, os.strerror(error.errno)) from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise _unwritable_flag(flag, folder, "nothing can be written to it")
        yield


def check_output(flag: str, path: Path | None) -> None:
    """Checks the file of a flag, where it is given, before any work.

    Raises:
        UserError: it cannot be written.
    """
    if path is not None and (why := _why_not_writable(path)):
        raise _unwritable_flag(flag, path, why)


def _unwritable_flag(flag: str, path: Path, why: str) -> UserError:
    return UserError(f"{flag} is {str(path)!r}, which cannot be written ({why}): name another.")


def _why_not_writable(path: Path) -> str | None:
    """Why a file that the user has named can surely not be written, in words; None where nothing speaks against it."""
    if _is_stream(path):
        return None if os.access(path, os.W_OK) else os.strerror(errno.EACCES)
    target = Path(os.path.realpath(path))
    if (found := kind_of(target)) not in (None, "a file"):
        return f"it is {found}" if found != "a link" else os.strerror(errno.ELOOP)
    if not target.parent.is_dir():
        return f"{target.parent} is no folder"
    return None if os.access(target.parent, os.W_OK | os.X_OK) else f"nothing can be written to {target.parent}"


def _standard_stream(status: os.stat_result) -> int | None:
    """The descriptor of standard output or standard error, where this is what a path leads to."""
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(status, os.fstat(number)):
                return number
    return None


def _opened_stream(path: Path) -> BinaryIO:
    """Standard output goes on where it is: opened anew, a file that it is sent to would begin again."""
    number = _standard_stream(os.stat(path))
    if number is None:
        return path.open("wb")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return open(os.dup(number), "wb")
