"""What the commands share: flags with overrides of config fields, and errors as one sentence and an exit status."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import logging
import os
import select
import shutil
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

from fashion_jax.atomic import kind_of, unwritable
from fashion_jax.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Interrupted, RunError, UserError

# TensorFlow brings the images, and is not to talk about anything else.
_QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}

Overrides = list[tuple[str, str]]  # pairs of a config field and its value as text


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UserErrors."""

    def error(self, message: str) -> None:
        raise UserError(f"{message[:1].upper()}{message[1:]}: see --help.")


def run_command(
    command: Callable[[list[str]], None],
    arguments: Sequence[str] | None,
    at_start: Callable[[], None] = lambda: None,
) -> int:
    """Runs a command with arguments and returns its exit status.

    Args:
        command: what to run.
        arguments: None takes those of the process, which is then the command's own: its standard streams are made
            such that what cannot be printed is lost and nothing else.
        at_start: called first in a process of the command's own.
    """
    is_program, arguments = arguments is None, list(sys.argv[1:] if arguments is None else arguments)
    if is_program:
        _mend_streams()
        at_start()
    for name, value in _QUIET_TENSORFLOW.items():
        os.environ.setdefault(name, value)
    if is_program and "--verbose" not in arguments:
        sys.unraisablehook = _say_nothing
        for library in ("absl", "asyncio"):
            logging.getLogger(library).addFilter(_has_no_traceback)
    try:
        command(arguments)
    except SystemExit as done:  # argparse's --help
        return done.code
    except KeyboardInterrupt:
        return _fail("Interrupted: run the same command again.", EXIT_INTERRUPTED)
    except Interrupted as stopped:
        return _fail(str(stopped), stopped.status)
    except UserError as error:
        return _fail(str(error), EXIT_USAGE, arguments)
    except RunError as error:
        return _fail(str(error), EXIT_FAILURE, arguments)
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        text = f"{type(error).__name__}: {first_line} (run again with --verbose to see where)"
        return _fail(text, EXIT_FAILURE, arguments)
    return EXIT_OK


def parse_overrides(rest: Sequence[str]) -> Overrides:
    """The overrides among the arguments that a parser has left: --config.FIELD=VALUE or --config.FIELD VALUE.

    Raises:
        UserError: one is no override, or lacks its value.
    """
    rest, overrides = list(rest), []
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("--config."):
            raise UserError(f"There is no flag {flag!r}: see --help.")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"{flag} has no value: write {flag}=VALUE.")
            value = rest.pop(0)
        overrides.append((flag.removeprefix("--config."), value))
    return overrides


class _Stream(io.FileIO):
    """A standard stream whose reader may end, or whose disk may be full: then what is written to it is lost."""

    def write(self, data: bytes | memoryview) -> int:
        with contextlib.suppress(OSError):
            while (written := super().write(data)) is None:  # it does not block, and its reader is slow
                select.select([], [self], [])
            return written
        return len(data)


def _mend_streams() -> None:
    """Makes printing harmless: to a stream that is closed, broken or full, and of names that it cannot encode."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # a file that is opened later would get this number, and what libraries print there
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def _lasting(stream: TextIO | None) -> TextIO:
    if stream is None:  # it was closed when the process began
        return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")
    try:
        raw = _Stream(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):  # it is no file, as in a notebook
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _say_nothing(unraisable: object) -> None:
    """In place of sys.unraisablehook: what gets there comes from libraries' threads, as tensorstore's on a full disk.

    Their failures reach the command too, which tells them in a sentence.
    """


def _has_no_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info


def _fail(sentence: str, status: int, arguments: Sequence[str] = ()) -> int:
    if "--verbose" in arguments:
        traceback.print_exc()
    print("".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence), file=sys.stderr)
    return status


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


def rate(per_second: float) -> str:
    """A rate in whole numbers, or below ten with two digits."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


def duration(seconds: float) -> str:
    """For people: 1:05 or 2:03:10."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def printable(text: str) -> str:
    """Without the codes by which a file or class name could steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
