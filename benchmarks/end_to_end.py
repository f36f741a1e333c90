"""Measures training with and without its input: python -m benchmarks.end_to_end [--devices N ...] [--json FILE].

It uses the config's own data and measures the input alone, the step alone, both together, evaluation, and prediction.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from benchmarks.command import create_parser, origin, parse
from benchmarks.compiled_step import training_flops
from benchmarks.peak import peak_flops, peak_memory
from fashion_jax.command_line import Overrides, run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.config.loading import image_shape, load_config
from fashion_jax.data.batches.pipeline import Images, canvas_shape, eval_batches, open_images, train_batches
from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.devices.mesh import check_batch_size, create_mesh, eval_batch_size, fetch, in_turn, put_batch
from fashion_jax.errors import UserError
from fashion_jax.step.prediction import EvalFn, predict_split
from fashion_jax.step.program import create_program
from fashion_jax.step.train_state import TrainState, abstract_batch

if TYPE_CHECKING:
    from fashion_jax.data.dataset import Dataset, Split

_SPLITS = ("train", "validation")
_WARM = 2  # steps before the measured ones
_TOGETHER = 4  # measured steps that are dispatched before they are waited for
_MAX_PREDICTED = 1024  # files


def main(arguments: list[str] | None = None) -> int:
    """Measures as the arguments say; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    flags, overrides = _parse(arguments)
    result = measure(load_config(flags.config, overrides), flags.steps, flags.devices or [jax.device_count()])
    print(table(result))
    if flags.json:
        write_json(flags.json, result)


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    parser = create_parser(
        "end_to_end",
        "[--steps N] [--devices N ...]",
        "Measures the input alone, the training step alone, both together, evaluation and prediction.",
    )
    parser.add_argument("--steps", metavar="N", type=int, default=50, help="measured (default: %(default)s)")
    parser.add_argument("--devices", metavar="N", type=int, nargs="+", help="how many of them (default: all)")
    flags, overrides = parse(parser, arguments, steps=1)
    for count in flags.devices or ():
        if not 1 <= count <= jax.device_count():
            raise UserError(f"--devices is {count}, but must be at least 1 and at most {jax.device_count()}.")
    return flags, overrides


class Prepared(NamedTuple):
    """The compiled steps for some devices, and what they need."""

    mesh: Mesh
    state: TrainState
    step: Callable[..., Any]
    eval_fn: EvalFn
    compile_seconds: float
    flops_per_image: float


def measure(config: ConfigDict, steps: int, counts: list[int]) -> dict[str, Any]:
    """Measures on each number of devices; returns what --json writes. Speeds are in images/s."""
    from fashion_jax.data.dataset import load_dataset

    if config.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if config.steps_per_dispatch > 1 or config.progressive.epochs:
        raise UserError(
            "This benchmark dispatches single steps of images of one size: set steps_per_dispatch to 1 and "
            "progressive.epochs to 0."
        )
    for count in counts:
        check_batch_size(config.batch_size, count, config.accumulate, config.batch_norm)
    import_tensorflow()
    dataset = load_dataset(config)
    return {
        "benchmark": "end_to_end",
        "config": config.to_dict(),
        **origin(),
        "images": {name: len(dataset.splits[name]) for name in _SPLITS},
        "steps": steps,
        "rows": [_measure_on(config, dataset, steps, count) for count in counts],
    }


def _open(config: ConfigDict, dataset: Dataset, mesh: Mesh) -> tuple[dict[str, Images], float]:
    """Opens the images of a mesh as the trainer does; returns those of each split, and the seconds until all are there.

    Images that are kept are decoded when they are first read.
    """
    began = time.perf_counter()
    images = {name: open_images(dataset.splits[name], config, image_shape(config), mesh) for name in _SPLITS}
    if config.data.cache != "none":
        for name, split in images.items():
            collections.deque(eval_batches(dataset.splits[name], split, config.batch_size), maxlen=0)
    return images, time.perf_counter() - began


def _measure_on(config: ConfigDict, dataset: Dataset, steps: int, count: int) -> dict[str, Any]:
    devices = jax.devices()[:count]
    ready = _prepare(config, dataset, devices)
    images, opened = _open(config, dataset, ready.mesh)
    train, validation = dataset.splits["train"], dataset.splits["validation"]

    endless = config.copy_and_resolve_references()
    endless.num_epochs = _WARM + steps  # enough epochs, since each has at least one step

    def batches() -> Iterator[Any]:
        hosted = itertools.islice(train_batches(train, images["train"], endless), _WARM + steps)
        return (put_batch(batch, ready.mesh) for batch in hosted)

    size, eval_size = config.batch_size, eval_batch_size(config.batch_size, count, config.accumulate)
    data = _data_only(batches(), steps)
    state, step = time_steps(ready, batches(), steps)
    state, together, waited = time_loop(ready, state, batches(), steps)
    rates = {"data_only": size / data, "step_only": size / step, "end_to_end": size / together}
    eval_seconds = _evaluation_seconds(ready, state, validation, images["validation"], eval_size)
    files = validation.files[:_MAX_PREDICTED]
    predict_seconds = _seconds(lambda: _predict(config, ready, state, files))
    return {
        "devices": count,
        "open_images_seconds": opened,
        "compile_seconds": ready.compile_seconds,
        **rates,
        "data_wait_share": waited / together,
        "evaluation": len(validation) / eval_seconds,
        "prediction": len(files) / predict_seconds,
        **_utilization(ready.flops_per_image, rates, devices, config.dtype),
        "peak_memory_bytes": peak_memory(devices),
    }


def _prepare(config: ConfigDict, dataset: Dataset, devices: list[jax.Device]) -> Prepared:
    """Compiles the trainer's steps and creates a new state."""
    mesh, taxonomy = create_mesh(devices), dataset.taxonomy
    program = create_program(config, taxonomy, mesh, num_images=len(dataset.splits["train"]))
    state = program.create_state()
    batch = abstract_batch(config.batch_size, taxonomy.levels, mesh, canvas_shape(config, image_shape(config)))
    began = time.perf_counter()
    step = program.train_step.lower(state, batch).compile()
    seconds = time.perf_counter() - began
    size = eval_batch_size(config.batch_size, mesh.size, config.accumulate)
    evaluated = abstract_batch(size, taxonomy.levels, mesh, canvas_shape(config, image_shape(config)))
    evaluate = program.eval_step.lower(state.params, state.model_state, {"image": evaluated["image"]}).compile()
    return Prepared(mesh, state, step, evaluate, seconds, training_flops(config, mesh))


def _data_only(batches: Iterator[Any], steps: int) -> float:
    """Returns the seconds per batch of the input alone, from images on disk or in memory to the devices."""
    for batch in itertools.islice(batches, _WARM):
        jax.block_until_ready(batch)
    return _seconds(lambda: [jax.block_until_ready(batch) for batch in batches]) / steps


def time_steps(ready: Prepared, batches: Iterator[Any], steps: int) -> tuple[TrainState, float]:
    """Returns the state after the steps, and the median of their seconds, on batches already on the devices.

    Some steps at a time are dispatched before they are waited for, as the trainer does.
    """
    placed = itertools.cycle(list(itertools.islice(batches, _TOGETHER)))
    state, seconds = ready.state, []
    for _ in range(_WARM):
        state, outcome = jax.block_until_ready(ready.step(state, next(placed)))
    for _ in range(-(-steps // _TOGETHER)):
        began = time.perf_counter()
        for _ in range(_TOGETHER):
            state, outcome = in_turn(ready.step(state, next(placed)), ready.mesh)
        fetch(outcome)
        seconds.append((time.perf_counter() - began) / _TOGETHER)
    return state, float(np.median(seconds))


def time_loop(
    ready: Prepared, state: TrainState, batches: Iterator[Any], steps: int
) -> tuple[TrainState, float, float]:
    """Trains as the trainer does and fetches the loss at the end.

    Returns:
        The state, the seconds per step, and the seconds of it spent on the input.
    """
    for batch in itertools.islice(batches, _WARM):
        state, outcome = jax.block_until_ready(ready.step(state, batch))
    began, waited = time.perf_counter(), 0.0
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        state, outcome = in_turn(ready.step(state, batch), ready.mesh)
    fetch(outcome)
    return state, (time.perf_counter() - began) / steps, waited / steps


def _evaluation_seconds(ready: Prepared, state: TrainState, split: Split, images: Images, size: int) -> float:
    """Returns the seconds of predicting a split in batches of `size`, its input included."""
    return _seconds(
        lambda: predict_split(state, eval_batches(split, images, size), len(split), ready.eval_fn, ready.mesh)
    )


def _utilization(flops: float, rates: dict[str, float], devices: list[jax.Device], dtype: str) -> dict[str, Any]:
    """Returns the FLOPs per image, the peak of the devices and its source, and the MFU of two of the rates (images/s).

    If the peak is not known, it and the MFUs are None.
    """
    peak, source = peak_flops(devices, dtype)
    return {
        "flops_per_image": flops,
        "peak_flops": peak,
        "peak_is": source,
        "step_mfu": peak and flops * rates["step_only"] / peak,
        "end_to_end_mfu": peak and flops * rates["end_to_end"] / peak,
    }


def _predict(config: ConfigDict, ready: Prepared, state: TrainState, files: list[str]) -> None:
    """Predicts log-probabilities of files, including reading and decoding them."""
    from fashion_jax.data.batches.chosen_images import decode_files  # here, as benchmarks.accelerator has no Pillow

    canvas = canvas_shape(config, image_shape(config))
    decoded = decode_files(
        files, canvas, config.data.resize, eval_batch_size(config.batch_size, ready.mesh.size, config.accumulate)
    )
    batches = ({"image": pixels} for indices, pixels in decoded if len(indices))
    predict_split(state, batches, len(files), ready.eval_fn, ready.mesh)


def _seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def table(result: dict[str, Any]) -> str:
    """Formats the result in a few lines."""
    config, environment = result["config"], result["environment"]
    lines = [
        f"{config['model']['name']}, {config['dtype']}, batches of {config['batch_size']} at {config['image_size']} px "
        f"on {', '.join(sorted(set(environment['devices'])))}; images/s:"
    ]
    names = ("data_only", "step_only", "end_to_end", "evaluation", "prediction")
    lines.append("devices  " + "  ".join(f"{name:>11}" for name in (*names, "data wait", "MFU", "memory GB")))
    for row in result["rows"]:
        cells = [_three_digits(row[name]) for name in names] + [f"{row['data_wait_share']:.1%}"]
        cells += ["-" if row["step_mfu"] is None else f"{row['step_mfu']:.1%}"]
        cells += [f"{row['peak_memory_bytes'] / 1e9:.2f}"]
        lines.append(f"{row['devices']:>7}  " + "  ".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


if __name__ == "__main__":
    sys.exit(main())
