"""Atomic writes of files and folders, and the messages for files that cannot be read or written.

Everything that the package writes goes through this module. A temporary file has an unpredictable name and is created
exclusively, so a link planted under its name is never followed. Whatever exists at the destination, also a link, is
replaced, not written through.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fashion_jax.errors import RunError, UserError, first_line

_MAX_STEM = 48  # characters of the destination's name kept in a temporary's name, which is limited to 255 bytes
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp", re.DOTALL)

_NO_ROOM = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room there, and run the same command again")
_NOT_ALLOWED = dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable, or name another place")
_WRONG_KIND = dict.fromkeys(
    (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY, errno.ENXIO, errno.EINVAL),
    "move it away, or name another place",
)
_WRONG_NAME = {errno.ENOENT: "make its folder first", errno.ENAMETOOLONG: "give it a shorter name"}
_BY_USER = _NOT_ALLOWED | _WRONG_KIND | _WRONG_NAME
_WAYS_OUT = _BY_USER | _NO_ROOM
_ELSE = "check the disk, and run the same command again"

_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def write_text(path: Path, text: str, way_out: str = "") -> None:
    """Replaces a file by one that holds text in UTF-8; see write_bytes."""
    write_bytes(path, text.encode("utf-8"), way_out)


def write_bytes(path: Path, content: bytes, way_out: str = "") -> None:
    """Replaces a file by one with this content, which is on disk when this returns.

    Raises:
        UserError, RunError: the file cannot be written; see `unwritable`.
    """
    with replacing(path, way_out) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path, way_out: str = "") -> Iterator[Path]:
    """Yields an empty file beside path, which replaces path if the block succeeds and is removed otherwise.

    Raises:
        UserError, RunError: the file cannot be written; see `unwritable`.
    """
    temporary = _beside(path)
    with _told(path, temporary, way_out):
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(
    path: Path, way_out: str = "", stays: Callable[[Path], bool] = lambda path: False
) -> Iterator[Path]:
    """Yields an empty folder beside path, which replaces path if the block succeeds and is removed otherwise.

    Args:
        path: the destination.
        way_out: what the error advises if the folder cannot be written.
        stays: whether to keep what another process has put at path in the meantime.

    Raises:
        UserError, RunError: the folder cannot be written; see `unwritable`.
    """
    temporary = _beside(path)
    with _told(path, temporary, way_out):
        temporary.mkdir()
        try:
            yield temporary
            if not stays(path):
                _exchange(temporary, path)
        except OSError:
            if not stays(path):
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def append_line(path: Path, line: str) -> None:
    """Appends a line to a file, creating it if it is missing, and waits until the line is on disk.

    Raises:
        UserError, RunError: the file cannot be written, or is a link; see `unwritable`.
    """
    with _told(path, path), open(open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
        file.write(line.encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def open_regular(path: Path, flags: int) -> int:
    """Opens a file by os.open and returns the descriptor; refuses links and files that are not regular.

    Raises:
        OSError: the file cannot be opened; a pipe without a reader fails instead of blocking.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    return _checked_regular(descriptor, path)


def read_text(path: Path) -> str:
    """Returns the UTF-8 content of a file; see read_bytes.

    Raises:
        OSError, UnicodeDecodeError: the file cannot be read; `unreadable` makes a message of it.
    """
    return read_bytes(path).decode("utf-8")


def read_bytes(path: Path) -> bytes:
    """Returns the content of a file; follows a link, and refuses a pipe instead of waiting for it.

    Raises:
        OSError: the file cannot be read; `unreadable` makes a message of it.
    """
    descriptor = _checked_regular(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), path)
    with open(descriptor, "rb") as file:
        return file.read()


def remove(path: Path) -> None:
    """Removes a file, link or folder if it exists; a folder is renamed first, so that it disappears at once."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    aside = _beside(path)
    path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def remove_temporaries(folder: Path, name: str = "", older_than: float = 0.0) -> None:
    """Removes temporary files that killed processes have left in a folder.

    Args:
        folder: the folder that was written to.
        name: name of the destination, whose temporary files alone are removed; "" means any.
        older_than: minimum age in seconds; younger files may be in use if no lock keeps other processes away.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            is_wanted = found and (not name or found[1] == name[:_MAX_STEM])
            if is_wanted and time.time() - entry.stat(follow_symlinks=False).st_mtime >= older_than:
                with contextlib.suppress(OSError):
                    remove(Path(entry.path))


def kind_of(path: Path) -> str | None:
    """Names the kind of a path in words; None if it does not exist. A link is a link, wherever it leads."""
    try:
        return _KINDS.get(stat.S_IFMT(os.lstat(path).st_mode), "a special file")
    except OSError:
        return None


def try_folder(folder: str | Path) -> None:
    """Writes a hidden byte into a folder that exists, and removes it: os.access knows no full disks and no servers.

    Raises:
        OSError: it cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder, prefix=".") as file:
        file.write(b"\0")
        file.flush()


def unwritable(path: Path, error: OSError, way_out: str = "") -> UserError | RunError:
    """Returns the error for a file that cannot be written: a UserError if the user has named the wrong place.

    Args:
        path: the destination, as the user knows it.
        error: the reason.
        way_out: what to do about it; by default the advice that fits the reason.
    """
    kind = UserError if error.errno in _BY_USER else RunError
    return kind(
        f"{path} cannot be written ({_reason(path, error)}): {way_out or _WAYS_OUT.get(error.errno or 0, _ELSE)}."
    )


def unreadable(path: Path, error: Exception, way_out: str) -> UserError:
    """Returns the error for a file that cannot be read, or that does not hold what it should."""
    return UserError(f"{path} cannot be read ({_reason(path, error)}): {way_out}.")


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _WRONG_KIND and kind_of(path) not in (None, "a file"):
        return f"it is {kind_of(path)}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return f"{type(error).__name__}: {first_line(error)}" if isinstance(error, LookupError) else first_line(error)


def _exchange(temporary: Path, path: Path) -> None:
    """Renames temporary to path, and then removes what path was before."""
    aside = _beside(path)
    is_replaced = os.path.lexists(path)
    if is_replaced:
        path.rename(aside)
    temporary.rename(path)
    if is_replaced:
        remove(aside)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:_MAX_STEM]}.{secrets.token_hex(8)}.tmp")


def _checked_regular(descriptor: int, path: Path) -> int:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, f"it is {_KINDS.get(stat.S_IFMT(mode), 'a special file')}", str(path))


@contextlib.contextmanager
def _told(path: Path, temporary: Path, way_out: str = "") -> Iterator[None]:
    """Turns an OSError about one of these paths into a message; lets errors about other files pass."""
    try:
        yield
    except OSError as error:
        # Of a copy the second name is that of the file that is written.
        about = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if name]
        if about and not any(x in (path, path.parent) or x.is_relative_to(temporary) for x in about):
            raise
        raise unwritable(path, error, way_out) from error
