"""What saving costs the training: python -m benchmarks.saving [--config FILE] [--steps N] [--rounds N].

In turns, the same steps with a checkpoint started before them and without; the difference is what a save costs, in
the loop and by what it takes from the steps while it goes on in the background.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.train_step import compile_step
from fashion_jax.checkpoint import Checkpoints
from fashion_jax.command_line import Parser, parse_overrides, run_command
from fashion_jax.config import load_config
from fashion_jax.sharding import fetch


def main(arguments: list[str] | None = None) -> int:
    """Measures as the arguments say; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    parser = Parser(prog="python -m benchmarks.saving", description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", default="configs/mtl.py", help="default: %(default)s")
    parser.add_argument("--steps", metavar="N", type=int, default=8, help="in each turn (default: %(default)s)")
    parser.add_argument("--rounds", metavar="N", type=int, default=4, help="of both turns (default: %(default)s)")
    parser.add_argument("--every", metavar="N", type=int, default=100, help="steps per save (default: %(default)s)")
    flags, rest = parser.parse_known_args(arguments)
    config = load_config(flags.config, parse_overrides(rest))
    with tempfile.TemporaryDirectory() as folder:
        plain, saving, blocked = _times(config, flags, Path(folder))
    step = statistics.median(plain) / flags.steps
    cost = statistics.median(b - a for a, b in zip(plain, saving, strict=True))
    print(
        f"step {step:.3f} s; a save costs {cost:.3f} s ({cost / (flags.every * step):.2%} of {flags.every} steps), "
        f"{statistics.median(blocked):.3f} s of it in the loop; rounds: {flags.rounds} of {flags.steps} steps"
    )


def _times(config, flags: argparse.Namespace, folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each round: without a save, with one, and until the call that starts it returns."""
    step_fn, state, batches, _ = compile_step(config)
    checkpoints = Checkpoints(folder / "checkpoints", keep=1, say=print)
    times: tuple[list[float], list[float], list[float]] = ([], [], [])
    state, loss = step_fn(state, batches[0])
    fetch(loss)
    for number in range(1, flags.rounds + 1):
        for saves in (False, True):
            began = time.perf_counter()
            if saves:
                checkpoints.save(number, state)
                times[2].append(time.perf_counter() - began)
            for i in range(flags.steps):
                state, loss = step_fn(state, batches[i % len(batches)])
                fetch(loss)
            times[saves].append(time.perf_counter() - began)
        checkpoints.save_now(number, state)  # waits for the rest of it, which the next turn must not pay for
    checkpoints.close()
    return times


if __name__ == "__main__":
    sys.exit(main())
