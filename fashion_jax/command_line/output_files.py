"""Checks and writes the files and folders that flags name, be they a link, a pipe or standard output."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fashion_jax.atomic import kind_of, try_folder, unwritable, write_text
from fashion_jax.errors import UserError


@contextlib.contextmanager
def output(path: Path) -> Iterator[Path]:
    """Yields the path to write a file that the user has named, such as predict's --output.

    For a link to a file this is the file it leads to, and the link stays. For a pipe, a terminal or this process's
    standard output it is a temporary file, whose content is sent there at the end.

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


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON to the file of --json; see `output`.

    Raises:
        UserError, RunError: the file cannot be written.
    """
    with output(path) as file:
        write_text(file, json.dumps(value, indent=1, ensure_ascii=False) + "\n", "name another --json")


def _is_stream(path: Path) -> bool:
    """Whether writing to a path sends bytes to a reader instead of into a file that stays."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    is_standard = _standard_stream(status) is not None
    return is_standard or stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode)


@contextlib.contextmanager
def _new_folders(path: Path) -> Iterator[None]:
    """Creates a folder and its parents; if the block fails, removes those of them that are empty.

    Raises:
        OSError: the folder cannot be created.
    """
    made: list[Path] = []
    try:
        for folder in reversed([path, *path.parents]):
            if folder.is_dir():
                continue
            if os.path.lexists(folder):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
            with contextlib.suppress(FileExistsError):  # another process of the run has just made it
                folder.mkdir()
                made.append(folder)
        yield
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def folder_of_flag(flag: str, folder: Path | None, named: Path | None = None) -> Iterator[None]:
    """Creates the folder of a flag, if given, so that an unwritable one is reported before any work.

    If the work fails, no new empty folder is left behind.

    Args:
        flag: name of the flag.
        folder: that is created.
        named: what the flag names, if the folder is only the one that it goes into.

    Raises:
        UserError: the folder cannot be created or written to.
    """
    with contextlib.ExitStack() as stack:
        if folder is not None:
            try:
                stack.enter_context(_new_folders(folder))
                try_folder(folder)
            except OSError as error:
                raise _unwritable_flag(flag, named or folder, os.strerror(error.errno or 0)) from error
        yield


def check_output(flag: str, path: Path | None) -> None:
    """Checks the file of a flag, if given, before any work.

    Raises:
        UserError: the file cannot be written.
    """
    if path is not None and (why := _why_not_writable(path)):
        raise _unwritable_flag(flag, path, why)


def _unwritable_flag(flag: str, path: Path, why: str) -> UserError:
    """Returns the error for a file or folder of a flag that cannot be written; `why` is the reason in words."""
    return UserError(f"{flag} is {str(path)!r}, which cannot be written ({why}): name another.")


def _why_not_writable(path: Path) -> str | None:
    """Says why a file that the user has named can certainly not be written; None if no reason is known."""
    if _is_stream(path):
        return None if os.access(path, os.W_OK) else os.strerror(errno.EACCES)
    target = Path(os.path.realpath(path))
    if (found := kind_of(target)) not in (None, "a file"):
        return f"it is {found}" if found != "a link" else os.strerror(errno.ELOOP)
    if not target.parent.is_dir():
        return f"{target.parent} is no folder"
    return None if os.access(target.parent, os.W_OK | os.X_OK) else f"nothing can be written to {target.parent}"


def _standard_stream(status: os.stat_result) -> int | None:
    """Returns the descriptor of standard output or standard error if the path with this status is one of them."""
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(status, os.fstat(number)):
                return number
    return None


def _opened_stream(path: Path) -> BinaryIO:
    """Opens a path for writing; standard output is duplicated, since reopening a file it goes to would truncate it."""
    number = _standard_stream(os.stat(path))
    if number is None:
        return path.open("wb")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return open(os.dup(number), "wb")
