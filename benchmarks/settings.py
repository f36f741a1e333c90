"""Measures the cost of settings per training step: python -m benchmarks.settings --settings FIELD=VALUE ...

The trainer's own step is timed with every setting and without, in turns, so that other load on the machine slows all of
them alike.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.command import create_parser, origin, parse
from benchmarks.compiled_step import CompiledStep, compile_step, summary
from benchmarks.twin import take_turns
from fashion_jax.command_line import Overrides, run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.config.loading import load_config
from fashion_jax.errors import UserError

_PLAIN = "plain"
_STEPS = 4  # of a turn, at least


def main(arguments: list[str] | None = None) -> int:
    """Measures the settings; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    description = "Measures the training step of a config with each of some settings and without, in turns."
    parser = create_parser("settings", "--settings FIELD=VALUE ... [--rounds N]", description, "configs/smoke.py")
    parser.add_argument("--settings", metavar="FIELD=VALUE", nargs="+", required=True, help="for example accumulate=2")
    parser.add_argument("--rounds", metavar="N", type=int, default=20, help="turns of each (default: %(default)s)")
    flags, overrides = parse(parser, arguments, rounds=1)
    result = measure(flags.config, overrides, flags.settings, flags.rounds)
    print(table(result))
    if flags.json:
        write_json(flags.json, result)


def measure(config_file: str, overrides: Overrides, settings: Sequence[str], rounds: int) -> dict[str, Any]:
    """Times the step with each setting and without as `in_turns` does; returns what --json writes.

    Raises:
        UserError: the config or a setting is wrong, or batch_size is not divisible by the number of devices.
    """
    for setting in settings:
        if "=" not in setting:
            raise UserError(f"--settings has {setting!r}, but must have FIELD=VALUE, such as accumulate=2.")
    fields = {setting: [tuple(setting.split("=", 1))] for setting in settings}
    configs = {name: load_config(config_file, [*overrides, *more]) for name, more in ({_PLAIN: []} | fields).items()}
    return {"benchmark": "settings"} | in_turns(configs, _PLAIN, rounds)


def in_turns(configs: Mapping[str, ConfigDict], plain: str, rounds: int) -> dict[str, Any]:
    """Times some steps of each checked config in every round, after a round that is not counted.

    Args:
        configs: name -> config.
        plain: the name of the config with which the others are compared.
        rounds: turns of each.

    Returns:
        The plain config and where the result comes from; for each name `compile_seconds`, `step_seconds`, which are
        those of a single step, and `cost`, the median over rounds of (step time / plain step time in the same round)
        - 1.

    Raises:
        UserError: batch_size is not divisible by the number of devices.
    """
    steps = {name: compile_step(config) for name, config in configs.items()}
    turns = {name: _turn(step) for name, step in steps.items()}
    seconds = {name: np.array(values[1:]) for name, values in take_turns(turns, rounds + 1, 0).items()}
    return {
        "config": configs[plain].to_dict(),
        "devices": jax.device_count(),
        "rounds": rounds,
        **origin(),
        "compile_seconds": {name: step.compile_seconds for name, step in steps.items()},
        "step_seconds": {name: summary(values.tolist()) for name, values in seconds.items()},
        "cost": {name: float(np.median(values / seconds[plain]) - 1) for name, values in seconds.items()},
    }


def _turn(step: CompiledStep) -> Callable[[], float]:
    """Returns a function that trains some steps and returns the seconds of each.

    The first one is not counted: it brings the memory of this setting back into the caches of the processor, where a
    training has it.
    """
    state, upcoming = jax.block_until_ready(step.state), itertools.cycle(step.batches)
    dispatches = math.ceil(_STEPS / step.steps_per_call)

    def turn() -> float:
        nonlocal state
        state, _ = jax.block_until_ready(step.function(state, next(upcoming)))
        began = time.perf_counter()
        for _ in range(dispatches):
            state, _ = step.function(state, next(upcoming))
        jax.block_until_ready(state)
        return (time.perf_counter() - began) / (dispatches * step.steps_per_call)

    return turn


def table(result: dict[str, Any]) -> str:
    """Formats the result, one line per setting."""
    config, width = result["config"], max(map(len, result["cost"]))
    lines = [f"{config['model']['name']}, {config['batch_size']} images of {config['image_size']} pixels"]
    for name, times in result["step_seconds"].items():
        lines.append(
            f"{name:<{width}}  median step {1000 * times['median']:7.1f} ms   cost {result['cost'][name]:+.1%}   "
            f"compilation {result['compile_seconds'][name]:.1f} s"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
