"""Trains a model: python -m fashion_jax.main --config configs/mtl.py [--config.FIELD=VALUE ...]."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fashion_jax.command_line import Overrides, Parser, add_distributed, check_distributed, program, run_command
from fashion_jax.config.files import config_names
from fashion_jax.errors import UserError
from fashion_jax.training import interruption

if TYPE_CHECKING:
    from socket import socket

    from ml_collections import ConfigDict

    from fashion_jax.devices.job import Job


def main(arguments: list[str] | None = None) -> int:
    """Trains as the arguments say; returns the exit status."""
    return run_command(_train, arguments, at_start=interruption.watch)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """Returns the flags, and the overrides of config fields as pairs of field and text.

    Raises:
        UserError: a flag is unknown or lacks its value.
    """
    parser = Parser(
        prog=program("fashion_jax.main"),
        usage="%(prog)s --config CONFIG [--workdir DIR] [--config.FIELD=VALUE ...] [--distributed "
        "[--initialization-timeout SECONDS]] [--verbose]",
        description="Trains a classifier of fashion images; run again on the same workdir, it resumes.",
        epilog="Any field of the config can be set: --config.FIELD=VALUE, e.g. --config.learning_rate=0.02. "
        "configs/default.py explains them all.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="CONFIG",
        help=f"one of {', '.join(config_names())}, a Python file with get_config(), which is executed, or a run's "
        "config.json",
    )
    parser.add_argument(
        "--workdir", metavar="DIR", help="where the run is kept (default: runs/CONFIGNAME, or the run of a config.json)"
    )
    add_distributed(parser)
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    flags, overrides = parser.parse(arguments, _suggest)
    if flags.config is None:
        raise UserError("--config is missing: name a config, e.g. --config mtl.")
    check_distributed(flags)
    return flags, overrides


def _suggest(name: str, value: str | None, flags: Iterable[str]) -> str:
    """Says what an unknown flag may mean; a config file may lack its --config."""
    from fashion_jax.config.suggestions import suggestion

    if Path(name).suffix in (".py", ".json") or name in config_names():
        return f"; did you mean --config {name}?"
    return suggestion(name, value, flags)


def _train(arguments: list[str]) -> None:
    began = time.monotonic()
    # Imported late, so that signals are watched for from the first tenth of a second on.
    from fashion_jax.devices.job import find_job
    from fashion_jax.devices.roll_call import call_roll_after
    from fashion_jax.training.launch import launch, set_compiler_flags

    flags, overrides = parse(arguments)
    if not flags.distributed:
        config, workdir = _checked(flags, overrides)
        set_compiler_flags(deterministic=config.deterministic)
        launch(config, workdir, began)
        return
    timeout = flags.initialization_timeout
    job = find_job(os.environ, timeout)
    (config, workdir), connections = call_roll_after(job, timeout, lambda: _checked(flags, overrides))
    set_compiler_flags(deterministic=config.deterministic)
    with _joined(job, timeout, connections, workdir):
        launch(config, workdir, began)


def _checked(flags: argparse.Namespace, overrides: Overrides) -> tuple[ConfigDict, Path]:
    """Returns the config and the work directory of the flags, checked as far as that needs no jax.

    Raises:
        UserError: a flag, a field or a path is wrong.
    """
    from fashion_jax.config.loading import load_config
    from fashion_jax.training.launch import check, default_workdir

    config = load_config(flags.config, overrides)
    workdir = default_workdir(flags.config) if flags.workdir is None else flags.workdir
    if not str(workdir):
        raise UserError("--workdir is empty: name a directory, or leave the flag out.")
    check(config, Path(workdir))
    return config, Path(workdir)


@contextlib.contextmanager
def _joined(job: Job, timeout: int, connections: Mapping[int, socket], workdir: Path) -> Iterator[None]:
    """Connects the processes of a job while the block runs; they fail and stop together."""
    from fashion_jax.devices.processes import failing_together, join
    from fashion_jax.training.watchdog import write_stacks

    join(job, timeout, connections)
    interruption.share_among_processes()
    with failing_together(functools.partial(write_stacks, workdir)):
        yield


if __name__ == "__main__":
    sys.exit(main())
