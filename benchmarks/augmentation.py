"""Measures the cost of augmentation per training step: python -m benchmarks.augmentation [--json FILE].

The trainer's own step is timed with every preset, in turns, so that other load on the machine slows all of them alike.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks import settings
from benchmarks.command import create_parser, parse
from fashion_jax.command_line import Overrides, run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.config.loading import load_config
from fashion_jax.data.augmentation import PRESETS


def main(arguments: list[str] | None = None) -> int:
    """Measures the presets; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    description = "Measures the training step of a config with every augmentation, in turns."
    parser = create_parser("augmentation", "[--rounds N]", description, "configs/default.py")
    parser.add_argument("--rounds", metavar="N", type=int, default=10, help="turns of each (default: %(default)s)")
    flags, overrides = parse(parser, arguments, rounds=1)
    result = measure(flags.config, overrides, flags.rounds)
    print(settings.table(result))
    if flags.json:
        write_json(flags.json, result)


def measure(config_file: str, overrides: Overrides, rounds: int) -> dict[str, Any]:
    """Times the step with each preset as `settings.in_turns` does; returns what --json writes.

    Raises:
        UserError: the config is wrong, or batch_size is not divisible by the number of devices.
    """
    configs = {preset: load_config(config_file, [*overrides, ("augment", preset)]) for preset in PRESETS}
    return {"benchmark": "augmentation"} | settings.in_turns(configs, "none", rounds)


if __name__ == "__main__":
    sys.exit(main())
