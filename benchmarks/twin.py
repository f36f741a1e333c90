"""Times our step and the same model's step in PyTorch in turns, so that other load on the machine slows both alike."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.compiled_step import CompiledStep, compile_step, described, random_batches, summary, synthetic_taxonomy
from benchmarks.torch_process import TorchProcess
from fashion_jax.config.combinations import head_names
from fashion_jax.config.loading import flatten, image_shape
from fashion_jax.devices.compiler import flops
from fashion_jax.devices.host import usable_processors
from fashion_jax.devices.mesh import create_mesh, fetch
from fashion_jax.errors import RunError, UserError, how_to_install
from fashion_jax.step.program import create_program

_EAGER = ["contiguous", "channels_last"]  # PyTorch's memory formats
_PAUSE = 0.02  # seconds after a turn, in which threads stop spinning
_STEPS = 3  # of a turn that are counted
_MODELS = ("resnet34", "vgg16")
# Fields that PyTorch's side does not implement, and their values without effect.
_PLAIN = {
    "model.condition_on_parent": False,
    "model.frozen": [],
    "optimizer": "sgd",
    "no_decay": False,
    "schedule_per": "epoch",
    "learning_rate_factors": {},
    "layer_decay": 1.0,
    "label_smoothing": {},
    "average": 0.0,
    "accumulate": 1,
    "steps_per_dispatch": 1,
    "early_stopping": {},
    "progressive.epochs": 0,
    "clip_gradient_norm": 0.0,
    "model.init_from": {},
    "model.init_heads_from": "",
    "model.normalization": {},
    "rare_classes.weights": {},
    "rare_classes.loss": {},
    "rare_classes.post_hoc": {},
    "batch_norm": "global",
    "dtype": "float32",
    "time_limit": "",
}


def check_twin(config: ConfigDict) -> None:
    """Raises UserError if a checked config has no twin in PyTorch, or PyTorch is missing."""
    if importlib.util.find_spec("torch") is None:
        raise UserError(f"--twin torch needs PyTorch, which is not installed: {how_to_install('benchmarks')}.")
    check_plain(config)
    if jax.devices()[0].platform != "cpu":
        raise UserError("--twin torch compares on the CPU: set JAX_PLATFORMS=cpu.")


def check_plain(config: ConfigDict) -> None:
    """Raises UserError if a config has a model or an option that PyTorch's side does not implement."""
    if config.model.name not in _MODELS:
        raise UserError(f"model.name is {config.model.name!r}, but the twins are {' and '.join(_MODELS)}: use these.")
    if "linear" in head_names(config).values():
        raise UserError("model.heads has a head 'linear', which PyTorch's side lacks: use main, sub or classifier.")
    fields = flatten(config)
    for field, value in _PLAIN.items():
        if fields[field] != value:
            raise UserError(f"{field} is {fields[field]!r}, which PyTorch's side lacks: set it to {value!r}.")


def measure_with_twin(
    config: ConfigDict, rounds: int, warmup: int, *, train: bool = True, compiled: bool = False
) -> dict[str, Any]:
    """Times the step of a checked config in turns with PyTorch's.

    Args:
        config: must have a twin.
        rounds: turns of each.
        warmup: our steps before them; PyTorch takes two.
        train: compares the trainer's step with forward, backward and SGD; otherwise the evaluation's step with the
            forward pass.
        compiled: includes torch.compile, which takes minutes.

    Returns:
        The result of train_step.measure and, under `twin`, PyTorch's version, its times by variant, the `best` variant
        and its `ratio`: the median over the rounds of its seconds / ours.

    Raises:
        UserError: the config has no twin, or PyTorch is missing.
        RunError: the loss is not finite, or PyTorch's process fails.
    """
    check_twin(config)
    timed, ours = _our_step(config) if train else _our_inference(config)
    for _ in range(max(warmup, 1)):
        timed()
    twin = compare(timed, config, rounds=rounds, train=train, compiled=compiled)
    result = described(config, ours, twin["seconds"].pop("jax"))
    twin["seconds"] = {name: summary(values) for name, values in twin["seconds"].items()}
    return {**result, "benchmark": "train_step" if train else "inference", "twin": twin}


def _our_step(config: ConfigDict) -> tuple[Callable[[], float], CompiledStep]:
    """Returns a function that runs a training step and returns its seconds, and the compiled step."""
    ours = compile_step(config)
    state, upcoming = ours.state, itertools.cycle(ours.batches)

    def step() -> float:
        nonlocal state
        batch, began = next(upcoming), time.perf_counter()
        state, outcome = jax.block_until_ready(ours.function(state, batch))
        seconds = time.perf_counter() - began
        if not math.isfinite(value := float(fetch(outcome.loss))):
            raise RunError(f"The loss is {value}, so the times mean nothing: lower learning_rate.")
        return seconds

    return step, ours


def _our_inference(config: ConfigDict) -> tuple[Callable[[], float], CompiledStep]:
    """Returns a function that runs a step of the evaluation and returns its seconds, and the compiled step."""
    mesh = create_mesh()
    taxonomy, paths = synthetic_taxonomy(list(config.data.levels))
    program = create_program(config, taxonomy, mesh)
    state = program.create_state()
    batches = random_batches(config, taxonomy, paths, mesh)
    began = time.perf_counter()
    variables, step_fn = (state.params, state.model_state), program.eval_step
    traced = step_fn.trace(*variables, batches[0])
    compiled = traced.lower().compile()
    seconds = time.perf_counter() - began
    per_image = flops(traced) / config.batch_size
    upcoming = itertools.cycle(batches)

    def step() -> float:
        batch, began = next(upcoming), time.perf_counter()
        jax.block_until_ready(compiled(*variables, batch))
        return time.perf_counter() - began

    return step, CompiledStep(compiled, state, batches, seconds, per_image)


def compare(
    step: Callable[[], float], config: ConfigDict, *, rounds: int, train: bool, compiled: bool
) -> dict[str, Any]:
    """Takes turns between our step, which returns its seconds, and each variant of the twin's.

    Returns:
        `twin` of `measure_with_twin`, and the `seconds` of all turns, ours under "jax".
    """
    mode = "train" if train else "inference"
    variants = _EAGER + ["compiled"] * compiled
    with _worker(torch_case(config)) as (version, prepare, run):
        for name in variants:
            prepare(f"{name} {mode}")
        steps = {"jax": step} | {name: partial(run, f"{name} {mode}") for name in variants}
        seconds = take_turns({name: partial(_turn, step) for name, step in steps.items()}, rounds, _PAUSE)
    best = min(variants, key=lambda name: np.median(seconds[name]))
    ratio = ratio_of(seconds[best], seconds["jax"])
    return {"torch": version, "threads": usable_processors(), "best": best, "ratio": ratio, "seconds": seconds}


def _turn(step: Callable[[], float]) -> float:
    """Runs some steps, which return their seconds; returns the mean of all but the first.

    The first one brings the memory of this contender back into the caches of the processor, where a training has it.
    """
    step()
    return sum(step() for _ in range(_STEPS)) / _STEPS


def take_turns(contenders: Mapping[str, Callable[[], float]], rounds: int, pause: float) -> dict[str, list[float]]:
    """Lets each contender, a function that returns the seconds of a step, take its turn in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, turn in contenders.items():
            time.sleep(pause)
            seconds[name].append(turn())
    return seconds


def ratio_of(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Returns the median over the rounds of their seconds / ours: how many times as fast ours is."""
    return float(np.median(np.divide(theirs, ours)))


def torch_case(config: ConfigDict) -> dict[str, Any]:
    """Returns the case of a config that has a twin, as torch_worker takes it."""
    taxonomy, _ = synthetic_taxonomy(list(config.data.levels))
    return {
        "model": config.model.name,
        "heads": {level: (head, taxonomy.num_classes(level)) for level, head in head_names(config).items()},
        "image_size": image_shape(config),
        "batch_size": config.batch_size,
        "optimizer": {"lr": config.learning_rate, "momentum": config.momentum, "weight_decay": config.weight_decay},
        "threads": usable_processors(),
    }


@contextlib.contextmanager
def _worker(case: dict[str, Any]) -> Iterator[tuple[str, Callable[[str], float], Callable[[str], float]]]:
    """Yields PyTorch's version, and the functions that prepare a variant in the other process and run its step."""
    process = TorchProcess(case)
    try:
        yield process.version(), process.prepare, process.run
    finally:
        process.close()
