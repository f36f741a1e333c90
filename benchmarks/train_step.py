"""Time of the compiled training step, without the input: python -m benchmarks.train_step [--json FILE].

The step is the trainer's own, with augmentation, heads, metrics and donation, over all devices; the images are
noise that already lies on the devices, the labels are those of a made-up taxonomy.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from benchmarks.command import create_parser, origin, parse, write_json
from benchmarks.peak import peak_flops, peak_memory
from fashion_jax.class_balance import create_class_balance
from fashion_jax.command_line import Overrides, run_command
from fashion_jax.config import image_shape, load_config
from fashion_jax.data.pipeline import canvas_shape
from fashion_jax.errors import RunError
from fashion_jax.hierarchy import Taxonomy
from fashion_jax.models import create_model
from fashion_jax.ops.compiler import flops
from fashion_jax.optimizer import create_optimizer
from fashion_jax.sharding import check_batch_size, create_mesh, fetch, put_batch
from fashion_jax.train_state import TrainState, create_train_state
from fashion_jax.train_step import Batch, jit_train_step

_MAINS, _SUBS = 4, 21  # classes of the report's data
_STEPS_PER_EPOCH = 1000
_BATCHES = 4  # enough not to learn them by heart, which would let the gradients vanish


def main(arguments: list[str] | None = None) -> int:
    """Measures as the arguments say; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    flags, overrides = _parse(arguments)
    config = load_config(flags.config, overrides)
    if flags.twin:
        from benchmarks.twin import measure_with_twin  # which is made of this module's functions

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
    parser.add_argument("--steps", metavar="N", type=int, default=30, help="measured (default: %(default)s)")
    parser.add_argument("--warmup", metavar="N", type=int, default=3, help="done before them (default: %(default)s)")
    return parse(parser, arguments, steps=1, warmup=0)


def measure(config: ConfigDict, steps: int, warmup: int) -> dict[str, Any]:
    """Compiles the step of a checked config and times it over all devices; returns what --json writes.

    Every step is waited for, so its time has the dispatch in it. Times are in seconds, image_size is
    [height, width], images_per_second is that of the median step.

    Raises:
        UserError: batch_size does not go over the devices.
        RunError: the loss is not finite.
    """
    step = compile_step(config)
    seconds = _time_steps(step.function, step.state, step.batches, warmup + steps)[warmup:]
    return described(config, step, seconds)


def described(config: ConfigDict, step: CompiledStep, seconds: list[float]) -> dict[str, Any]:
    """What --json writes of measured steps."""
    speed = config.batch_size / float(np.median(seconds))
    peak, source = peak_flops(jax.devices(), config.dtype)
    return {
        "benchmark": "train_step",
        "config": config.to_dict(),
        "image_size": list(image_shape(config)),
        "batch_size": config.batch_size,
        "devices": jax.device_count(),
        **origin(),
        "compile_seconds": step.compile_seconds,
        "step_seconds": summary(seconds),
        "images_per_second": speed,
        "parameters": sum(x.size for x in jax.tree.leaves(step.state.params)),
        "flops_per_image": step.flops_per_image,
        "peak_flops": peak,
        "peak_is": source,
        "mfu": peak and step.flops_per_image * speed / peak,
        "peak_memory_bytes": peak_memory(jax.devices()),
    }


class CompiledStep(NamedTuple):
    """A step for all devices, and what it can be done with."""

    function: jax.stages.Compiled
    state: TrainState
    batches: list[Batch]
    compile_seconds: float
    flops_per_image: float


def compile_step(config: ConfigDict) -> CompiledStep:
    """The training step of a checked config over all devices, its first state, and batches.

    Raises:
        UserError: batch_size does not go over the devices.
    """
    if config.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    mesh = create_mesh()
    check_batch_size(config.batch_size, mesh.size)
    taxonomy, paths = synthetic_taxonomy(list(config.data.levels))
    model, tx = create_model(config, taxonomy, mesh), create_optimizer(config)
    balance = create_class_balance(config, {level: np.ones(taxonomy.num_classes(level)) for level in taxonomy.levels})
    state = create_train_state(config, model, tx, taxonomy, mesh)
    batches = random_batches(config, taxonomy, paths, mesh)
    began = time.perf_counter()
    step_fn = jit_train_step(config, model, tx, taxonomy, mesh, _STEPS_PER_EPOCH * config.batch_size, balance)
    traced = step_fn.trace(state, batches[0])
    compiled = traced.lower().compile()
    seconds = time.perf_counter() - began
    return CompiledStep(compiled, state, batches, seconds, flops(traced) / config.batch_size)


def synthetic_taxonomy(levels: list[str]) -> tuple[Taxonomy, list[list[str]]]:
    """A taxonomy with 4 classes at the first level and 21 at each further one, and the paths of the finest."""
    paths = [[f"class {i % _MAINS}"] + [f"class {i}"] * (len(levels) - 1) for i in range(_SUBS)]
    return Taxonomy.from_paths(levels, paths), paths


def table(result: dict[str, Any]) -> str:
    """The result in a few lines for people."""
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


def random_batches(config: ConfigDict, taxonomy: Taxonomy, paths: list[list[str]], mesh: Mesh) -> list[Batch]:
    """Noise with random labels, on the devices."""
    rng = np.random.default_rng(config.seed)
    shape = (config.batch_size, *canvas_shape(config, image_shape(config)), 3)
    batches = []
    for _ in range(_BATCHES):
        labels = taxonomy.label_ids([paths[i] for i in rng.integers(len(paths), size=config.batch_size)])
        batches.append(put_batch({"image": rng.integers(0, 256, shape, np.uint8), "labels": labels}, mesh))
    return jax.block_until_ready(batches)


def _time_steps(step_fn: jax.stages.Compiled, state: TrainState, batches: Iterable[Batch], steps: int) -> list[float]:
    """Seconds of each of so many steps in a row."""
    jax.block_until_ready(state)
    seconds = []
    for batch in itertools.islice(itertools.cycle(batches), steps):
        began = time.perf_counter()
        with jax.transfer_guard("disallow"):
            state, loss = jax.block_until_ready(step_fn(state, batch))
        seconds.append(time.perf_counter() - began)
    if not math.isfinite(value := float(fetch(loss))):
        raise RunError(f"The loss is {value} after {steps} steps, so their times mean nothing: lower learning_rate.")
    return seconds


def summary(seconds: list[float]) -> dict[str, float]:
    low, median, p90, high = np.percentile(seconds, [0, 50, 90, 100]).tolist()
    return {"min": low, "median": median, "p90": p90, "max": high}


if __name__ == "__main__":
    sys.exit(main())
