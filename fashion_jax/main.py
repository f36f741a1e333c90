"""The command line: python -m fashion_jax.main --config configs/mtl.py [--config.FIELD=VALUE ...]."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from pathlib import Path

from fashion_jax.config import load_config
from fashion_jax.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, RunError, UserError

EXIT_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Trains as the arguments say; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _train(arguments)
    except SystemExit as done:  # argparse's --help
        return done.code
    except KeyboardInterrupt:
        return _fail("Interrupted: run the same command again to go on from the last checkpoint.", EXIT_INTERRUPTED)
    except UserError as error:
        return _fail(str(error), EXIT_USAGE, arguments)
    except RunError as error:
        return _fail(str(error), EXIT_FAILURE, arguments)
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        text = f"{type(error).__name__}: {first_line} (run again with --verbose to see where)"
        return _fail(text, EXIT_FAILURE, arguments)
    return EXIT_OK


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise UserError(f"{message[:1].upper()}{message[1:]}: see --help.")


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """The flags, and the overrides of config fields as pairs of field and text.

    Raises:
        UserError: a flag is unknown or lacks its value.
    """
    parser = _Parser(
        prog="python -m fashion_jax.main",
        description="Trains a classifier of fashion images; run again on the same workdir, it resumes.",
        epilog="Any field of the config can be set: --config.FIELD=VALUE, e.g. --config.data.path=photos. "
        "configs/default.py explains them all.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE", help="a Python file with get_config(); it is executed"
    )
    parser.add_argument("--workdir", metavar="DIR", help="where the run is kept (default: runs/CONFIGNAME)")
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of the job: found by itself on Slurm, TPU and GKE, else from the variables "
        "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID",
    )
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    flags, rest = parser.parse_known_args(arguments)
    overrides = []
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("--config."):
            raise UserError(f"There is no flag {flag!r}: see --help.")
        if not equals:
            if not rest:
                raise UserError(f"{flag} has no value: write {flag}=VALUE.")
            value = rest.pop(0)
        overrides.append((flag.removeprefix("--config."), value))
    return flags, overrides


def _train(arguments: list[str]) -> None:
    flags, overrides = parse(arguments)
    config = load_config(flags.config, overrides)
    workdir = flags.workdir or Path("runs") / Path(flags.config).stem
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import jax  # late: a bad config is told without waiting for it

    if config.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if flags.distributed:
        _join()
    from fashion_jax.train import train_and_evaluate

    train_and_evaluate(config, workdir)


def _join() -> None:
    import jax

    count, index = (os.environ.get(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
    try:
        jax.distributed.initialize(
            num_processes=int(count) if count else None, process_id=int(index) if index else None
        )
    except (ValueError, RuntimeError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"--distributed found no job to join ({first_line}): see --help.") from error


def _fail(sentence: str, status: int, arguments: list[str] = ()) -> int:
    if "--verbose" in arguments:
        traceback.print_exc()
    print("".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
