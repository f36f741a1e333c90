"""Times training steps and inference, beside PyTorch's in turns, and training from images in the devices' memory.

A turn is a number of steps dispatched one after the other, and one wait for the last. The first steps are not counted.
MFU is the share of the device's published peak that the FLOPs of the plain operations make (devices.compiler.flops).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import end_to_end
from benchmarks.accelerator.cases import Built, Case, Sizes, build
from benchmarks.accelerator.kernels import profile
from benchmarks.accelerator.outcome import Report, Skip, in_words
from benchmarks.compiled_step import summary
from benchmarks.peak import published_flops
from benchmarks.torch_process import TorchProcess
from benchmarks.twin import ratio_of, take_turns, torch_case
from fashion_jax.data.batches.image_stores import DeviceImages, IndexBatches
from fashion_jax.data.batches.pipeline import train_batches
from fashion_jax.devices.compiler import flops
from fashion_jax.devices.mesh import fetch, in_turn
from fashion_jax.errors import RunError
from fashion_jax.training.dispatch import next_batch

_WARM = 3  # steps before the measured ones
_MOST_STEPS = 100  # of a turn
_PAUSE = 0.02  # seconds between turns, in which threads stop spinning
_TOGETHER = 8  # steps of a dispatch, beside one
_TWINS = ("resnet34", "vgg16")
_SMALL_STAGES = {"resnet34": [1], "vgg16": [[16, 1], [64, 1]]}


@dataclasses.dataclass
class Compiled:
    """A compiled function that is run again and again: a training step, whose state is donated, or an evaluation.

    Attributes:
        run: takes the next batch.
        seconds: of tracing, lowering and compiling.
        flops: of one step.
        memory: bytes, as the compiler states them.
    """

    run: Callable[[], Any]
    seconds: float
    flops: float
    memory: dict[str, int]

    def turn(self, steps: int) -> float:
        """Runs steps and waits for the last; returns the seconds per step."""
        began = time.perf_counter()
        for _ in range(steps):
            result = self.run()
        jax.block_until_ready(result)
        return (time.perf_counter() - began) / steps

    def warmed(self, turn_seconds: float) -> int:
        """Runs the first steps, which are not counted; returns the number of steps that take about turn_seconds."""
        self.turn(_WARM)
        return min(max(round(turn_seconds / self.turn(_WARM)), 1), _MOST_STEPS)


def compile_step(built: Built) -> Compiled:
    """Compiles the training step of a program, and creates its state."""
    state, upcoming = built.program.create_state(), itertools.cycle(built.batches)
    compiled, seconds, count = _compiled(built.program.train_step, state, built.batches[0])

    def run() -> Any:
        nonlocal state
        state, outcome = in_turn(compiled(state, next(upcoming)), built.program.mesh)
        return outcome.loss

    return Compiled(run, seconds, count, _memory(compiled))


def compile_inference(built: Built) -> Compiled:
    """Compiles the evaluation of a program."""
    state, upcoming = built.program.create_state(), itertools.cycle(built.batches)
    variables = state.params, state.model_state
    compiled, seconds, count = _compiled(built.program.eval_step, *variables, built.batches[0])

    def run() -> Any:
        return in_turn(compiled(*variables, next(upcoming)), built.program.mesh)

    return Compiled(run, seconds, count, _memory(compiled))


def _compiled(function: jax.stages.Wrapped, *arguments: Any) -> tuple[jax.stages.Compiled, float, float]:
    """Returns the compiled function, the seconds that it took, and the FLOPs of a call."""
    began = time.perf_counter()
    traced = function.trace(*arguments)
    compiled = traced.lower().compile()
    return compiled, time.perf_counter() - began, flops(traced)


def _memory(compiled: jax.stages.Compiled) -> dict[str, int]:
    found = compiled.memory_analysis()
    names = ("argument", "output", "alias", "temp")
    sizes = {f"{name}_bytes": getattr(found, f"{name}_size_in_bytes") for name in names}
    return sizes | {"peak_bytes": getattr(found, "peak_memory_in_bytes", None)}


MODES = {"step": (compile_step, "train"), "inference": (compile_inference, "inference")}


def time_case(case: Case, dtype: str, sizes: Sizes, report: Report, *, profiled: bool) -> dict[str, Any]:
    """Times the step and the inference of a case, alone and in turns with PyTorch's eager mode in channels_last."""
    with _torch(case, dtype) as torch:
        built = build(case, dtype)
        report(_described(built))
        for mode in MODES:
            _time_mode(built, mode, torch, sizes, report, profiled=profiled and mode == "step")
    return {}


def _time_mode(built: Built, mode: str, torch: _Torch, sizes: Sizes, report: Report, *, profiled: bool) -> None:
    compiling, torch_mode = MODES[mode]
    before = _peak_memory()
    ours = compiling(built)
    steps = ours.warmed(sizes.turn_seconds)
    alone = [ours.turn(steps) for _ in range(sizes.rounds)]
    report({mode: _timed(built, ours, alone) | {"memory": ours.memory | _device_memory(before)}})
    if profiled:
        report({"profile": _attempted(lambda: profile(lambda: ours.turn(1)))})
    report({f"torch_{mode}": _attempted(lambda: torch.beside(ours, steps, "channels_last", torch_mode, sizes))})


def time_against_compiled_torch(case: Case, dtype: str, sizes: Sizes, report: Report) -> dict[str, Any]:
    """Times the step and the inference of a case in turns with torch.compile."""
    with _torch(case, dtype) as torch:
        torch.check()
        built = build(case, dtype)
        report(_described(built))
        for mode, (compiling, torch_mode) in MODES.items():
            ours = compiling(built)
            steps = ours.warmed(sizes.turn_seconds)
            report({f"torch_{mode}": torch.beside(ours, steps, "compiled", torch_mode, sizes)})
    return {}


def _attempted(function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the results of a part of an item, or the sentence why there are none."""
    try:
        return function()
    except Skip as reason:
        return {"skipped": str(reason)}
    except Exception as error:
        return {"skipped": in_words(error)}


def _described(built: Built) -> dict[str, Any]:
    peak, source = published_flops(jax.devices(), built.program.config.dtype)
    return {
        "model": built.program.config.model.name,
        "image_size": built.program.config.image_size,
        "batch_size": built.program.config.batch_size,
        "dtype": built.program.config.dtype,
        "devices": [device.device_kind for device in jax.devices()],
        "peak_flops": peak,
        "peak_is": source,
    }


def _timed(built: Built, ours: Compiled, seconds: Sequence[float]) -> dict[str, Any]:
    """Returns what is known of a compiled function and its measured turns."""
    per_second, (peak, _) = 1 / float(np.median(seconds)), published_flops(jax.devices(), built.program.config.dtype)
    return {
        "step_seconds": summary(list(seconds)),
        "images_per_second": built.program.config.batch_size * per_second,
        "flops_per_image": ours.flops / built.program.config.batch_size,
        "mfu": peak and ours.flops * per_second / peak,
        "compile_seconds": ours.seconds,
    }


def _peak_memory() -> int | None:
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def _device_memory(before: int | None) -> dict[str, Any]:
    """Returns the device's peak, and whether it was reached since `before` and not by an earlier item."""
    peak = _peak_memory()
    return {"device_peak_bytes": peak, "is_this_items_peak": None if peak is None else peak > (before or 0)}


class _Torch:
    """PyTorch's side of a case, or the reason why there is none."""

    def __init__(self, process: TorchProcess | None, why: str = ""):
        self._process, self._why = process, why

    def check(self) -> None:
        if self._process is None:
            raise Skip(self._why)

    def beside(self, ours: Compiled, steps: int, variant: str, mode: str, sizes: Sizes) -> dict[str, Any]:
        """Takes turns with a variant of PyTorch's.

        Returns:
            PyTorch's version, the seconds of both, and the `ratio`: the median over the rounds of theirs / ours.
        """
        self.check()
        try:
            version = self._process.version()
            prepared = self._process.prepare(f"{variant} {mode}")
        except RunError as error:
            raise Skip(str(error)) from error
        turns = {"jax": lambda: ours.turn(steps), variant: lambda: self._process.run(f"{variant} {mode}", steps)}
        seconds = take_turns(turns, sizes.rounds + 1, _PAUSE)
        counted = {name: values[1:] for name, values in seconds.items()}
        return {
            "torch": version,
            "variant": variant,
            "prepare_seconds": prepared,
            "seconds": {name: summary(values) for name, values in counted.items()},
            "ratio": ratio_of(counted[variant], counted["jax"]),
        }


@contextlib.contextmanager
def _torch(case: Case, dtype: str) -> Iterator[_Torch]:
    """Starts PyTorch's process for a case, which imports PyTorch while our step is compiled."""
    config = case.create_config(dtype)
    if importlib.util.find_spec("torch") is None:
        yield _Torch(None, "PyTorch is not installed here.")
    elif config.model.name not in _TWINS:
        yield _Torch(None, f"There is no twin of {config.model.name} in PyTorch.")
    elif jax.device_count() > 1:
        yield _Torch(None, f"PyTorch is timed beside one device, and there are {jax.device_count()}.")
    elif jax.devices()[0].platform not in ("gpu", "cpu"):
        yield _Torch(None, "PyTorch is timed beside GPUs and CPUs only.")
    else:
        device = "cuda" if jax.devices()[0].platform == "gpu" else "cpu"
        stages = {"stages": _SMALL_STAGES[config.model.name]} if case.is_small else {}
        process = TorchProcess(torch_case(config) | {"device": device, "dtype": dtype} | stages)
        try:
            yield _Torch(process)
        finally:
            process.close()


def time_dispatches(sizes: Sizes, report: Report) -> dict[str, Any]:
    """Times the step in bfloat16 with steps_per_dispatch 1 and 8, in turns, on batches that lie on the devices."""
    built = build(sizes.dispatched, "bfloat16")
    report(_described(built))
    one = compile_step(built)
    several = _compile_steps(built)
    steps = math.ceil(one.warmed(sizes.turn_seconds) / _TOGETHER) * _TOGETHER
    several.turn(1)
    turns = {"1": lambda: one.turn(steps), str(_TOGETHER): lambda: several.turn(steps // _TOGETHER) / _TOGETHER}
    seconds = take_turns(turns, sizes.rounds, _PAUSE)
    return {
        "step_seconds": {name: summary(values) for name, values in seconds.items()},
        "compile_seconds": {"1": one.seconds, str(_TOGETHER): several.seconds},
        "ratio": ratio_of(seconds["1"], seconds[str(_TOGETHER)]),
    }


def _compile_steps(built: Built) -> Compiled:
    """Compiles the function that does several steps in one dispatch."""
    state, batches = built.program.create_state(), next_batch(itertools.cycle(built.batches), _TOGETHER)
    compiled, seconds, count = _compiled(built.program.train_steps, state, batches)

    def run() -> Any:
        nonlocal state
        state, outcome = compiled(state, batches)
        return outcome.loss

    return Compiled(run, seconds, count, _memory(compiled))


@dataclasses.dataclass(frozen=True)
class _Images:
    """Made-up images in the place of a split and of its decoded images."""

    pixels: np.ndarray
    labels: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, indices: IndexBatches) -> Iterator[np.ndarray]:
        return (self.pixels[batch] for batch in indices())


def time_device_cache(sizes: Sizes, report: Report) -> dict[str, Any]:
    """Trains in bfloat16 from made-up images in the devices' memory, as data.cache=device does.

    Times are those of the loop with its input, of the input's part in them (when the host waits for a batch), and of
    the step alone.
    """
    case, count = sizes.cached, sizes.cached_images
    built = build(case, "bfloat16", overrides=[("num_epochs", "1000")])
    report(_described(built) | {"images": count})
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, case.image_size, case.image_size, 3), np.uint8)
    labels = {level: np.resize(np.asarray(fetch(x)), count) for level, x in built.batches[0]["labels"].items()}
    images = _Images(pixels, labels)
    stored = DeviceImages(images, count, pixels.shape[1:3], built.program.mesh)
    batches = train_batches(images, stored, built.program.config)
    began = time.perf_counter()
    jax.block_until_ready(next(batches))
    report({"first_batch_seconds": time.perf_counter() - began, "image_bytes": pixels.nbytes})
    state = built.program.create_state()
    compiled, seconds, _ = _compiled(built.program.train_step, state, built.batches[0])
    ready = end_to_end.Prepared(built.program.mesh, state, compiled, built.program.eval_step, seconds, 0.0)
    steps = sizes.rounds * 5
    state, alone = end_to_end.time_steps(ready, iter(built.batches), steps)
    _, together, waited = end_to_end.time_loop(ready, state, batches, steps)
    return {
        "steps": steps,
        "step_only": built.program.config.batch_size / alone,
        "end_to_end": built.program.config.batch_size / together,
        "data_wait_share": waited / together,
    }
