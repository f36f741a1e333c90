"""Measures the cost of augmentation per training step: python -m benchmarks.augmentation [--json FILE].

The trainer's own step is timed with every preset, in turns, so that other load on the machine slows all of them alike.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import jax
import numpy as np

from benchmarks.command import create_parser, origin, parse, write_json
from benchmarks.compiled_step import compile_step, summary
from fashion_jax.command_line import Overrides, run_command
from fashion_jax.config.loading import load_config
from fashion_jax.data.augmentation import PRESETS


def main(arguments: list[str] | None = None) -> int:
    """Measures the presets; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    description = "Measures the training step of a config with every augmentation, in turns."
    parser = create_parser("augmentation", "[--rounds N]", description, "configs/default.py")
    parser.add_argument("--rounds", metavar="N", type=int, default=10, help="steps of each (default: %(default)s)")
    flags, overrides = parse(parser, arguments, rounds=1)
    result = measure(flags.config, overrides, flags.rounds)
    print(table(result))
    if flags.json:
        write_json(flags.json, result)


def measure(config_file: str, overrides: Overrides, rounds: int) -> dict[str, Any]:
    """Times a step of each preset in every round, after one uncounted step; returns what --json writes.

    Times are in seconds. `cost` is the median over rounds of (step time / step time of `none` in the same round) - 1.

    Raises:
        UserError: the config is wrong, or batch_size is not divisible by the number of devices.
    """
    steps = {}
    for preset in PRESETS:
        config = load_config(config_file, [*overrides, ("augment", preset)])
        step_fn, state, batches, *_ = compile_step(config)
        steps[preset] = step_fn, jax.block_until_ready(state), batches
    seconds: dict[str, list[float]] = {preset: [] for preset in PRESETS}
    for turn in range(rounds + 1):
        for preset, (step_fn, state, batches) in steps.items():
            began = time.perf_counter()
            state, _ = jax.block_until_ready(step_fn(state, batches[turn % len(batches)]))
            seconds[preset].append(time.perf_counter() - began)
            steps[preset] = step_fn, state, batches
    counted = {preset: np.array(values[1:]) for preset, values in seconds.items()}
    return {
        "benchmark": "augmentation",
        "config": config.to_dict(),
        "devices": jax.device_count(),
        **origin(),
        "step_seconds": {preset: summary(values.tolist()) for preset, values in counted.items()},
        "cost": {preset: float(np.median(values / counted["none"]) - 1) for preset, values in counted.items()},
    }


def table(result: dict[str, Any]) -> str:
    """Formats the result, one line per preset."""
    config = result["config"]
    lines = [f"{config['model']['name']}, {config['batch_size']} images of {config['image_size']} pixels"]
    for preset, times in result["step_seconds"].items():
        lines.append(f"{preset:<8} median step {1000 * times['median']:7.1f} ms   cost {result['cost'][preset]:+.1%}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
