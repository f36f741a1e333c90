"""Trains a model: python -m fashion_jax.main --config configs/mtl.py [--config.FIELD=VALUE ...]."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from fashion_jax.command_line import Overrides, Parser, program, run_command
from fashion_jax.config.files import config_names
from fashion_jax.errors import UserError
from fashion_jax.training import interruption

# Seconds after which the others consider a process dead, and for which they wait for a late one at the end.
_HEARTBEAT, _SHUTDOWN = 30, 20


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
        usage="%(prog)s --config CONFIG [--workdir DIR] [--config.FIELD=VALUE ...] [--distributed] [--verbose]",
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
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of the job: found by itself on Slurm, TPU and GKE, else from the variables "
        "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID",
    )
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    flags, overrides = parser.parse(arguments, _suggest)
    if flags.config is None:
        raise UserError("--config is missing: name a config, e.g. --config mtl.")
    return flags, overrides


def _suggest(name: str, value: str | None, flags: Iterable[str]) -> str:
    """Says what an unknown flag may mean; a config file may lack its --config."""
    from fashion_jax.config.suggestions import suggestion

    if Path(name).suffix in (".py", ".json") or name in config_names():
        return f"; did you mean --config {name}?"
    return suggestion(name, value, flags)


def _train(arguments: list[str]) -> None:
    # Imported late, so that signals are watched for from the first tenth of a second on.
    from fashion_jax.config.loading import load_config
    from fashion_jax.training.launch import check, launch

    flags, overrides = parse(arguments)
    config = load_config(flags.config, overrides)
    workdir = _default_workdir(flags.config) if flags.workdir is None else flags.workdir
    if not str(workdir):
        raise UserError("--workdir is empty: name a directory, or leave the flag out.")
    check(config, Path(workdir))
    if flags.distributed:
        _join()
        interruption.share_among_processes()
    launch(config, Path(workdir))


def _default_workdir(config: str) -> Path:
    """Returns runs/CONFIGNAME, or the run that a config.json belongs to."""
    path = Path(config)
    return path.parent if path.suffix == ".json" else Path("runs") / path.stem


def _join() -> None:
    import jax

    count, index = (os.environ.get(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
    try:
        jax.distributed.initialize(
            num_processes=int(count) if count else None,
            process_id=int(index) if index else None,
            heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_SHUTDOWN,
        )
    except (ValueError, RuntimeError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"--distributed found no job to join ({first_line}): see --help.") from error


if __name__ == "__main__":
    sys.exit(main())
