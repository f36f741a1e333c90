"""Shared by all commands: flags with overrides of config fields, and errors as one sentence and an exit status."""

from __future__ import annotations

import argparse
import atexit
import codecs
import contextlib
import difflib
import io
import logging
import os
import re
import select
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from fashion_jax.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Interrupted, RunError, UserError

PROGRAMS = ("fashion-jax", "python -m fashion_jax")  # both run all commands

# TensorFlow only loads images, so its messages about other things are silenced.
_QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}

Overrides = list[tuple[str, str]]  # pairs of a config field and its value as text


# Says what an unknown flag may mean, from its name, its value (None without one) and the flags that there are.
Suggest = Callable[[str, str | None, Iterable[str]], str]


def close_flag(name: str, flags: Iterable[str]) -> str:
    """Returns the end of a sentence that names the flag of which another one looks like a misspelling, or ""."""
    close = difflib.get_close_matches(name, list(flags), n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


def program(module: str) -> str:
    """Returns how the user has started a command, for its usage line: `fashion-jax train`, or `python -m MODULE`."""
    typed = sys.argv[0]  # replaced by __main__, which knows the name of the command
    return typed if typed.startswith(tuple(f"{name} " for name in PROGRAMS)) else f"python -m {module}"


_SPACE = "\0"  # stands for a space; no argument of a process holds it


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UserErrors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}: see --help.")

    def parse(self, arguments: Sequence[str], suggest: Suggest | None = None) -> tuple[argparse.Namespace, Overrides]:
        """Returns the flags, and the other arguments as overrides of config fields.

        Args:
            arguments: of the command.
            suggest: says what an unknown flag may mean; None looks for misspelled flags only.

        Raises:
            UserError: a flag is unknown or lacks its value.
        """
        flags, rest = self.parse_known_args([self._without_spaces(argument) for argument in arguments])
        rest = [argument.replace(_SPACE, " ") for argument in rest]
        self.check_paths(flags)
        known = list(self._option_string_actions)
        return flags, parse_overrides(
            rest, lambda name, value: suggest(name, value, known) if suggest else close_flag(name, known)
        )

    def _without_spaces(self, argument: str) -> str:
        """Replaces the spaces of an unknown flag, with which argparse would take it for a value of the flag before."""
        is_unknown = argument.startswith("--") and argument.partition("=")[0] not in self._option_string_actions
        return argument.replace(" ", _SPACE) if is_unknown else argument

    def check_paths(self, flags: argparse.Namespace) -> None:
        """Checks that no flag names a file of a remote store: `gs://bucket/run` would become a local folder gs:."""
        for action in self._actions:
            given = getattr(flags, action.dest, None)
            for value in given if isinstance(given, list) else [given]:
                if isinstance(value, Path | str) and (store := remote(str(value))):
                    name = action.option_strings[0] if action.option_strings else action.metavar
                    raise UserError(f"{name} is {str(value)!r}, {store}.")


def add_distributed(parser: argparse.ArgumentParser) -> None:
    """Adds the flags by which several processes run a command together; see check_distributed."""
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of the job, which JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID "
        "name, or else the variables of torchrun, Open MPI, Kubernetes, Slurm or a TPU",
    )
    parser.add_argument(
        "--initialization-timeout",
        metavar="SECONDS",
        type=int,
        default=120,
        help="how long --distributed waits for the other processes to start (default: 120)",
    )


def check_distributed(flags: argparse.Namespace) -> None:
    """Checks the flags of add_distributed.

    Raises:
        UserError: the timeout is too short.
    """
    if flags.initialization_timeout < 1:
        raise UserError(f"--initialization-timeout is {flags.initialization_timeout}, but must be at least 1 second.")


def remote(path: str) -> str:
    """Returns the end of a sentence about a path of a remote store, such as gs://bucket/run; "" for any other path."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", path)  # one slash is what a Path leaves of two
    if not scheme:
        return ""
    return (
        f"but files are read and written through the file system: mount the store (for {scheme[1]}:// by a tool such "
        "as gcsfuse, s3fs or rclone mount) and name the folder where it is mounted"
    )


def run_command(
    command: Callable[[list[str]], None],
    arguments: Sequence[str] | None,
    at_start: Callable[[], None] = lambda: None,
) -> int:
    """Runs a command with arguments and returns its exit status.

    Args:
        command: the function to run.
        arguments: ~ at the beginning of an argument or of a flag's value becomes the home directory. None means those
            of the process, which then belongs to the command: it starts anew in UTF-8 if its locale is ASCII, its
            standard streams are replaced by ones that drop what cannot be printed instead of failing, and it ends with
            the command.
        at_start: called first if the process belongs to the command.
    """
    is_program = arguments is None
    arguments = [_at_home(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    if is_program:
        _leave_ascii()
        _mend_streams()
        at_start()
    quiet_tensorflow()
    if is_program and "--verbose" not in arguments:
        _silence_libraries()
    status = _status(command, arguments)
    if is_program:
        _end(status)
    return status


def quiet_tensorflow() -> None:
    """Silences TensorFlow's messages; called before it is imported."""
    for name, value in _QUIET_TENSORFLOW.items():
        os.environ.setdefault(name, value)


def _status(command: Callable[[list[str]], None], arguments: list[str]) -> int:
    """Runs a command, and turns what it raises into a sentence and an exit status."""
    try:
        command(arguments)
    except SystemExit as done:  # argparse's --help
        return int(done.code or 0)
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


def _at_home(argument: str) -> str:
    """Replaces ~ at the beginning of an argument or a flag's value; shells leave it alone after an equals sign."""
    flag, equals, value = argument.partition("=")
    if flag.startswith("--") and equals:
        return flag + equals + os.path.expanduser(value)
    return os.path.expanduser(argument)


def parse_overrides(rest: Sequence[str], suggest: Callable[[str, str | None], str] = lambda *_: "") -> Overrides:
    """Parses the arguments that a parser has left as overrides: --config.FIELD=VALUE or --config.FIELD VALUE.

    Args:
        rest: the arguments.
        suggest: says what an unknown flag and its value may mean, as the end of a sentence.

    Raises:
        UserError: an argument is no override, or lacks its value.
    """
    rest, overrides = list(rest), []
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("--config."):
            following = rest[0] if rest and not rest[0].startswith("-") else None
            hint = suggest(flag, value if equals else following)
            raise UserError(f"There is no flag {flag!r}{hint or ': see --help.'}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"{flag} has no value: write {flag}=VALUE.")
            value = rest.pop(0)
        overrides.append((flag.removeprefix("--config."), value))
    return overrides


class _Stream(io.FileIO):
    """A standard stream that drops output instead of failing when its reader has gone or its disk is full."""

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]  # nothing else is written
        with contextlib.suppress(OSError):
            while (written := super().write(data)) is None:  # a non-blocking stream with a slow reader
                select.select([], [self], [])
            return written
        return len(data)


def _leave_ascii() -> None:
    """Starts the program anew in Python's UTF-8 mode if names of files would be ASCII, as with LC_ALL=C.

    Python chooses that mode by itself for the locale C, unless PYTHONUTF8=0 forbids it. Without it, names of files with
    other letters could be neither printed nor written into a run's files.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii":
        os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _mend_streams() -> None:
    """Makes printing safe on streams that are closed, broken or full, and for names that they cannot encode."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # otherwise a file opened later gets this number, and with it what libraries print
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def _lasting(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed when the process started
        return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")
    try:
        raw = _Stream(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):  # not a file, for example in a notebook
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(raw),  # type: ignore[type-var]  # because of the narrower write
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=bool(stream.line_buffering),
        write_through=getattr(stream, "write_through", False),
    )


def _silence_libraries() -> None:
    sys.unraisablehook = _say_nothing
    for library in ("absl", "asyncio"):
        logging.getLogger(library).addFilter(_has_no_traceback)


def _end(status: int) -> NoReturn:
    """Ends the process as Python does, except that it does not wait for the threads of libraries.

    If a checkpoint cannot be saved, threads of orbax wait five minutes for parts of it that will never come.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _say_nothing(unraisable: object) -> None:
    """Replaces sys.unraisablehook to silence errors in threads of libraries, such as tensorstore's on a full disk.

    These failures also reach the command, which reports them in one sentence.
    """


def _has_no_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info


def _fail(sentence: str, status: int, arguments: Sequence[str] = ()) -> int:
    if "--verbose" in arguments:
        traceback.print_exc()
    print("".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence), file=sys.stderr)
    return status


def typed_command(name: str, *arguments: str) -> str:
    """Returns the line that runs another command of the project, in the way in which this one was started.

    It works in the shell that started this command: `python` alone would be another interpreter where the virtual
    environment of this one is not active.
    """
    script, own = PROGRAMS[0], sys.executable
    if sys.argv[0].startswith(f"{script} "):
        program, own, words = script, os.path.join(os.path.dirname(own), script), [name, *arguments]
    else:
        program, words = "python", ["-m", f"fashion_jax.{name}", *arguments]
    found = shutil.which(program)
    is_on_path = found is not None and os.path.dirname(os.path.abspath(found)) == os.path.dirname(own)
    if is_on_path or not sys.executable:
        return shlex.join([program, *words])
    near = os.path.relpath(own)
    return shlex.join([own if near.startswith(os.pardir) else near, *words])
