"""Times our step and the same model's step in PyTorch in turns, so that other load on the machine slows both alike."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.compiled_step import CompiledStep, compile_step, described, random_batches, summary, synthetic_taxonomy
from fashion_jax.config.combinations import head_names
from fashion_jax.config.loading import image_shape
from fashion_jax.devices.compiler import flops
from fashion_jax.devices.host import usable_processors
from fashion_jax.devices.mesh import create_mesh, fetch
from fashion_jax.errors import RunError, UserError
from fashion_jax.models import create_model
from fashion_jax.step.optimizer import create_optimizer
from fashion_jax.step.train_state import create_train_state
from fashion_jax.step.train_step import jit_eval_step

_EAGER = ["contiguous", "channels_last"]  # PyTorch's memory formats
_PAUSE = 0.02  # seconds after a turn, in which threads stop spinning
_MODELS = ("resnet34", "vgg16")


def check_twin(config: ConfigDict) -> None:
    """Raises UserError if a checked config has no twin in PyTorch, or PyTorch is missing."""
    if importlib.util.find_spec("torch") is None:
        raise UserError("--twin torch needs PyTorch, which is not installed: pip install 'fashion_jax[benchmarks]'.")
    if config.model.name not in _MODELS:
        raise UserError(f"model.name is {config.model.name!r}, but the twins are {' and '.join(_MODELS)}: use these.")
    if config.model.condition_on_parent or config.model.frozen:
        raise UserError("--twin torch has neither model.condition_on_parent nor model.frozen: leave them out.")
    if config.dtype != "float32" or jax.devices()[0].platform != "cpu":
        raise UserError("--twin torch compares in float32 on the CPU: set dtype=float32 and JAX_PLATFORMS=cpu.")


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
    model, tx = create_model(config, taxonomy, mesh), create_optimizer(config)
    state = create_train_state(config, model, tx, taxonomy, mesh)
    batches = random_batches(config, taxonomy, paths, mesh)
    began = time.perf_counter()
    variables, step_fn = (state.params, state.model_state), jit_eval_step(config, model, taxonomy, mesh)
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
    variants = _EAGER + ["compiled"] * compiled
    with _worker(_case(config, variants, train)) as (version, ask):
        seconds: dict[str, list[float]] = {name: [] for name in ("jax", *variants)}
        for _ in range(rounds):
            for name in seconds:
                time.sleep(_PAUSE)
                seconds[name].append(step() if name == "jax" else ask(name))
    best = min(variants, key=lambda name: np.median(seconds[name]))
    ratio = float(np.median(np.divide(seconds[best], seconds["jax"])))
    return {"torch": version, "threads": usable_processors(), "best": best, "ratio": ratio, "seconds": seconds}


def _case(config: ConfigDict, variants: list[str], train: bool) -> dict[str, Any]:
    taxonomy, _ = synthetic_taxonomy(list(config.data.levels))
    return {
        "model": config.model.name,
        "heads": {level: (head, taxonomy.num_classes(level)) for level, head in head_names(config).items()},
        "image_size": image_shape(config),
        "batch_size": config.batch_size,
        "optimizer": {"lr": config.learning_rate, "momentum": config.momentum, "weight_decay": config.weight_decay},
        "threads": usable_processors(),
        "variants": variants,
        "train": train,
    }


@contextlib.contextmanager
def _worker(case: dict[str, Any]) -> Iterator[tuple[str, Callable[[str], float]]]:
    """Yields PyTorch's version, and a function that runs a variant's step in the other process and times it."""
    command = [sys.executable, "-m", "benchmarks.torch_worker", json.dumps(case)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
    )

    def answer() -> Any:
        line = process.stdout.readline()
        if not line:
            raise RunError(f"PyTorch's process ended with status {process.wait()}: what it wrote above says why.")
        return json.loads(line)

    def ask(variant: str) -> float:
        process.stdin.write(variant + "\n")
        process.stdin.flush()
        return answer()

    try:
        yield answer()["torch"], ask
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()
