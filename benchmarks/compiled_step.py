"""Compiles the training step of a config with made-up batches; several benchmarks measure it."""

from __future__ import annotations

import copy
import itertools
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from benchmarks.command import origin
from benchmarks.peak import peak_flops, peak_memory
from fashion_jax.config.loading import image_shape
from fashion_jax.data.batches.pipeline import canvas_shape
from fashion_jax.devices.compiler import flops
from fashion_jax.devices.mesh import check_batch_size, create_mesh, put_batch
from fashion_jax.step.program import Program, create_program
from fashion_jax.step.train_state import TrainState, abstract_batch
from fashion_jax.step.train_step import Batch
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.training.dispatch import next_batch

_MAINS, _SUBS = 4, 21  # classes of the recipe's data


_STEPS_PER_EPOCH = 1000


_BATCHES = 4  # enough that they are not memorized, which would let the gradients vanish


def described(config: ConfigDict, step: CompiledStep, seconds: list[float]) -> dict[str, Any]:
    """Returns what --json writes about measured steps."""
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
    """A step compiled for all devices, with its first state and batches; a call of the function does so many steps."""

    function: jax.stages.Compiled
    state: TrainState
    batches: list[Batch]
    compile_seconds: float
    flops_per_image: float
    steps_per_call: int = 1


def compile_step(config: ConfigDict) -> CompiledStep:
    """Compiles the training step of a checked config over all devices, and makes its first state and batches.

    With steps_per_dispatch above 1 it is the function of several steps, and a batch has their images.

    Raises:
        UserError: batch_size is not divisible by the number of devices.
    """
    program = _program(config)
    _, paths = synthetic_taxonomy(list(config.data.levels))
    state, batches = program.create_state(), random_batches(config, program.taxonomy, paths, program.mesh)
    steps, step_fn, given = config.steps_per_dispatch, program.train_step, batches
    if steps > 1:
        step_fn, given = program.train_steps, [next_batch(itertools.cycle(batches), steps)]
    began = time.perf_counter()
    compiled = step_fn.lower(state, given[0]).compile()
    seconds = time.perf_counter() - began
    return CompiledStep(compiled, state, given, seconds, training_flops(config), steps)


def training_flops(config: ConfigDict, mesh: Mesh | None = None, *, progressive: bool = False) -> float:
    """Returns the FLOPs of a training step of a checked config per image, by plain operations; compiles nothing.

    Args:
        config: of the step.
        mesh: the devices that it would run on; None for all.
        progressive: whether images have the progressive.image_size of the first epochs instead of image_size.
    """
    whole = copy.deepcopy(config)
    whole.accumulate = 1  # parts are trained in a loop, whose body would be counted once
    program = _program(whole, mesh).progressive if progressive else _program(whole, mesh)
    canvas = canvas_shape(config, image_shape(config))
    batch = abstract_batch(config.batch_size, program.taxonomy.levels, program.mesh, canvas)
    return flops(program.train_step.trace(program.abstract_state, batch)) / config.batch_size


def _program(config: ConfigDict, mesh: Mesh | None = None) -> Program:
    """Returns the program of a checked config over the devices of a mesh, or all, with made-up classes."""
    if config.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    mesh = mesh or create_mesh()
    check_batch_size(config.batch_size, mesh.size, config.accumulate, config.batch_norm)
    taxonomy, _ = synthetic_taxonomy(list(config.data.levels))
    counts = {level: np.ones(taxonomy.num_classes(level)) for level in taxonomy.levels}
    num_images = _STEPS_PER_EPOCH * config.batch_size
    return create_program(config, taxonomy, mesh, num_images=num_images, counts=counts)


def synthetic_taxonomy(levels: list[str]) -> tuple[Taxonomy, list[list[str]]]:
    """Returns a taxonomy with 4 classes at the first level and 21 at each further one, and the paths of the finest."""
    paths = [[f"class {i % _MAINS}"] + [f"class {i}"] * (len(levels) - 1) for i in range(_SUBS)]
    return Taxonomy.from_paths(levels, paths), paths


def random_batches(config: ConfigDict, taxonomy: Taxonomy, paths: list[list[str]], mesh: Mesh) -> list[Batch]:
    """Returns batches of noise with random labels, on the devices."""
    rng = np.random.default_rng(config.seed)
    shape = (config.batch_size, *canvas_shape(config, image_shape(config)), 3)
    batches = []
    for _ in range(_BATCHES):
        labels = taxonomy.label_ids([paths[i] for i in rng.integers(len(paths), size=config.batch_size)])
        batches.append(put_batch({"image": rng.integers(0, 256, shape, np.uint8), "labels": labels}, mesh))
    return jax.block_until_ready(batches)


def summary(seconds: list[float]) -> dict[str, float]:
    low, median, p90, high = np.percentile(seconds, [0, 50, 90, 100]).tolist()
    return {"min": low, "median": median, "p90": p90, "max": high}
