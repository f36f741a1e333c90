"""What the commands share: flags with overrides of config fields, and errors as one sentence and an exit status."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from fashion_jax.errors import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    Interrupted,
    RunError,
    UserError,
)
from fashion_jax.step_folders import has_step

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


def has_checkpoint(workdir: Path) -> bool:
    """Whether a run has saved something; quick, so that a command can ask before its heavy imports."""
    return has_step(workdir / "checkpoints")


def check_has_checkpoint(workdir: Path) -> None:
    """Checks that a run has saved something, as quickly.

    Raises:
        UserError: it has not.
    """
    if not has_checkpoint(workdir):
        raise UserError(f"--workdir is {str(workdir)!r}, which holds no checkpoint: train a run there first.")


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
