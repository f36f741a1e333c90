"""What the commands share: flags with overrides of config fields, and errors as one sentence and an exit status."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

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


def run_command(command: Callable[[list[str]], None], arguments: Sequence[str] | None) -> int:
    """Runs a command with arguments (by default those of the process); returns the exit status."""
    is_program, arguments = arguments is None, list(sys.argv[1:] if arguments is None else arguments)
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


def make_folder(flag: str, folder: Path) -> None:
    """Makes the folder of a flag, so that what cannot be written is told before any work.

    Raises:
        UserError: it cannot be made, or nothing written to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"{flag} is {str(folder)!r}, which cannot be written: name a folder.")
