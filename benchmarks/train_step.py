"""Times the compiled training step without its input: python -m benchmarks.train_step [--json FILE].

It is the trainer's own step, with augmentation, heads, metrics and donation, over all devices. The images are noise
that already lies on the devices, and the labels are those of a made-up taxonomy.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from typing import Any

import jax
from ml_collections import ConfigDict

from benchmarks.command import create_parser, parse
from benchmarks.compiled_step import CompiledStep, compile_step, described
from benchmarks.twin import measure_with_twin
from fashion_jax.command_line import Overrides, run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.config.loading import load_config
from fashion_jax.devices.mesh import fetch
from fashion_jax.errors import RunError, UserError


def main(arguments: list[str] | None = None) -> int:
    """Measures as the arguments say; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    flags, overrides = _parse(arguments)
    if flags.torch_compile and not flags.twin:
        raise UserError("--torch-compile compiles PyTorch's step, which is measured only with --twin torch: add that.")
    config = load_config(flags.config, overrides)
    if flags.twin:
        result = measure_with_twin(config, flags.steps, flags.warmup, compiled=flags.torch_compile)
    else:
        result = measure(config, flags.steps, flags.warmup)
    print(table(result))
    if flags.json:
        write_json(flags.json, result)


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    parser = create_parser(
        "train_step",
        "[--twin torch] [--torch-compile] [--steps N] [--warmup N]",
        "Measures the training step of a config on images that already lie on the devices.",
    )
    parser.add_argument("--twin", choices=["torch"], help="measure the same model in PyTorch too, in turns")
    parser.add_argument("--torch-compile", action="store_true", help="with --twin: try torch.compile too")
    parser.add_argument(
        "--steps", metavar="N", type=int, default=30, help="measured, with --twin turns (default: %(default)s)"
    )
    parser.add_argument("--warmup", metavar="N", type=int, default=3, help="done before them (default: %(default)s)")
    return parse(parser, arguments, steps=1, warmup=0)


def measure(config: ConfigDict, steps: int, warmup: int) -> dict[str, Any]:
    """Compiles the step of a checked config and times it over all devices; returns what --json writes.

    Every dispatch is waited for, so a step's time includes its share of that. Times are in seconds, image_size is
    [height, width], and images_per_second is computed from the median step.

    Raises:
        UserError: batch_size is not divisible by the number of devices.
        RunError: the loss is not finite.
    """
    step = compile_step(config)
    return described(config, step, _time_steps(step, warmup + steps)[warmup:])


def table(result: dict[str, Any]) -> str:
    """Formats the result in a few lines."""
    config, environment = result["config"], result["environment"]
    height, width = result["image_size"]
    kinds = ", ".join(sorted(set(environment["devices"])))
    mfu = "unknown share" if result["mfu"] is None else f"{result['mfu']:.1%}"
    step = "  ".join(f"{name} {1000 * value:.1f}" for name, value in result["step_seconds"].items())
    rows = {
        "step of": f"{config['model']['name']}, {result['parameters']:,} parameters, {config['dtype']}",
        "batch": f"{result['batch_size']} images of {height}×{width}, on {result['devices']} × {kinds}",
        "compilation": f"{result['compile_seconds']:.1f} s",
        "step (ms)": step,
        "images/s": f"{result['images_per_second']:.1f} (median step), {mfu} of the peak ({result['peak_is']})",
        "memory": f"{result['peak_memory_bytes'] / 1e9:.2f} GB at the most",
    }
    if twin := result.get("twin"):
        medians = (f"{name} {1000 * seconds['median']:.1f}" for name, seconds in twin["seconds"].items())
        rows["PyTorch (ms)"] = f"{'  '.join(medians)} (medians)"
        rows["ratio"] = f"{twin['ratio']:.2f} × PyTorch {twin['torch']}, {twin['best']} (median of the turns)"
    return "\n".join(f"{name:<12} {value}" for name, value in rows.items())


def _time_steps(step: CompiledStep, calls: int) -> list[float]:
    """Returns the seconds of a step in each of a number of consecutive calls."""
    state = jax.block_until_ready(step.state)
    seconds = []
    for batch in itertools.islice(itertools.cycle(step.batches), calls):
        began = time.perf_counter()
        with jax.transfer_guard("disallow"):
            state, outcome = jax.block_until_ready(step.function(state, batch))
        seconds.append((time.perf_counter() - began) / step.steps_per_call)
    if not math.isfinite(value := float(fetch(outcome.loss))):
        raise RunError(f"The loss is {value} after {calls} steps, so their times mean nothing: lower learning_rate.")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
