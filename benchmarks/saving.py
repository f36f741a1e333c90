"""Measures the cost of saving: python -m benchmarks.saving [--config FILE] [--steps N] [--rounds N] [--json FILE].

The same steps run in turns with and without a checkpoint started before them. The difference is the cost of a save: the
time it blocks the loop, and the time by which the save in the background slows the steps.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.command import create_parser, origin, parse
from benchmarks.compiled_step import CompiledStep, compile_step
from fashion_jax.command_line import Overrides, run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.config.loading import load_config
from fashion_jax.devices.mesh import fetch
from fashion_jax.workdir.checkpoints.store import Checkpoints


def main(arguments: list[str] | None = None) -> int:
    """Measures as the arguments say; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    usage = "[--steps N] [--rounds N] [--every N]"
    parser = create_parser("saving", usage, "Measures what saving costs the training.")
    parser.add_argument("--steps", metavar="N", type=int, default=8, help="dispatches a turn (default: %(default)s)")
    parser.add_argument("--rounds", metavar="N", type=int, default=4, help="of both turns (default: %(default)s)")
    parser.add_argument("--every", metavar="N", type=int, default=100, help="steps per save (default: %(default)s)")
    flags, overrides = parse(parser, arguments, steps=1, rounds=1, every=1)
    result = measure(flags.config, overrides, flags.steps, flags.rounds, flags.every)
    print(table(result))
    if flags.json:
        write_json(flags.json, result)


def measure(config_file: str, overrides: Overrides, steps: int, rounds: int, every: int) -> dict[str, Any]:
    """Times dispatches of the step without a save and with one, in turns; returns what --json writes, in seconds.

    Args:
        config_file: name of the config.
        overrides: of its fields.
        steps: dispatches in each turn, of steps_per_dispatch steps each.
        rounds: turns of both.
        every: steps per save, for `share`.

    Raises:
        UserError: the config is wrong, or batch_size is not divisible by the number of devices.
    """
    config = load_config(config_file, overrides)
    compiled = compile_step(config)
    with tempfile.TemporaryDirectory() as folder:
        plain, saving, blocked = _times(compiled, steps, rounds, Path(folder))
    step = statistics.median(plain) / (steps * compiled.steps_per_call)
    cost = statistics.median(b - a for a, b in zip(plain, saving, strict=True))
    return {
        "benchmark": "saving",
        "config": config.to_dict(),
        "steps": steps * compiled.steps_per_call,
        "rounds": rounds,
        "every": every,
        **origin(),
        "step_seconds": step,
        "save_seconds": cost,
        "in_the_loop_seconds": statistics.median(blocked),
        "share": cost / (every * step),
    }


def table(result: dict[str, Any]) -> str:
    """Formats the result."""
    return (
        f"step {result['step_seconds']:.3f} s; a save costs {result['save_seconds']:.3f} s "
        f"({result['share']:.2%} of {result['every']} steps), {result['in_the_loop_seconds']:.3f} s of it in the loop; "
        f"rounds: {result['rounds']} of {result['steps']} steps"
    )


def _times(step: CompiledStep, calls: int, rounds: int, folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Returns the seconds of each round: without a save, with one, and until the call that starts the save returns."""
    step_fn, state, batches = step.function, step.state, step.batches
    checkpoints = Checkpoints(folder / "checkpoints", keep=1, say=print)
    times: tuple[list[float], list[float], list[float]] = ([], [], [])
    state, outcome = step_fn(state, batches[0])
    fetch(outcome)
    for number in range(1, rounds + 1):
        for saves in (False, True):
            began = time.perf_counter()
            if saves:
                checkpoints.save(number, state)
                times[2].append(time.perf_counter() - began)
            for i in range(calls):
                state, outcome = step_fn(state, batches[i % len(batches)])
                fetch(outcome)
            times[saves].append(time.perf_counter() - began)
        checkpoints.save_now(number, state)  # waits for the rest of the save, so that it does not slow the next turn
    checkpoints.close()
    return times


if __name__ == "__main__":
    sys.exit(main())
