"""Checks of what only a real device can show: repeats, donation, the pooled-first BatchNorm, augmentation, restores."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.accelerator.cases import Built, Case, build
from benchmarks.accelerator.outcome import Report, Skip
from benchmarks.accelerator.precision import relative_error
from fashion_jax.data.augmentation import PRESETS, prepare_train
from fashion_jax.devices.compiler import DETERMINISTIC, options
from fashion_jax.devices.mesh import fetch, in_turn
from fashion_jax.ops.normalization import normalize_pooled
from fashion_jax.ops.pooling import max_pool3x3

_SMALL_BYTES = 1 << 20  # what a step may leave behind: the outcome, and counters
_POOLED_BOUNDS = {"float32": 1e-4, "bfloat16": 2e-2}
_AUGMENTED_BOUND = 1e-2  # values next to a threshold of posterize or solarize may fall on its other side


def check_repeats(case: Case, report: Report) -> dict[str, Any]:
    """Does the same steps twice from the same state, compiled with deterministic=true; every bit must be the same."""
    built = build(case, "bfloat16")
    chosen = options(jax.devices()[0].platform, {DETERMINISTIC})
    lowered = built.program.train_step.lower(built.program.create_state(), built.batches[0])
    step = lowered.compile(compiler_options=chosen)
    same = _same_twice(built, step)
    report({"options": chosen, "repeats": same})
    plain = built.program.train_step.lower(built.program.create_state(), built.batches[0]).compile()
    return {"is_good": same, "repeats_without_the_options": _same_twice(built, plain)}


def _same_twice(built: Built, step: jax.stages.Compiled) -> bool:
    """Does all batches twice from a new state; returns whether both final states are equal to the last bit."""
    ends = []
    for _ in range(2):
        state = built.program.create_state()
        for batch in built.batches:
            state, _ = in_turn(step(state, batch), built.program.mesh)
        ends.append(fetch(state))
    return same_bits(*ends)


def same_bits(one: Any, other: Any) -> bool:
    """Returns whether two trees hold the same arrays to the last bit."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in pairs)


def check_donation(case: Case, report: Report) -> dict[str, Any]:
    """Checks that a step leaves no second copy of the state: its memory is aliased, and the old state is gone."""
    built = build(case, "bfloat16")
    state = jax.block_until_ready(built.program.create_state())
    state_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    compiled = built.program.train_step.lower(state, built.batches[0]).compile()
    aliased = compiled.memory_analysis().alias_size_in_bytes
    before, old = _bytes_in_use(), jax.tree.leaves(state)
    state, outcome = jax.block_until_ready(compiled(state, built.batches[0]))
    grown = None if before is None else _bytes_in_use() - before
    are_gone = all(x.is_deleted() for x in old)
    found = {"state_bytes": state_bytes, "aliased_bytes": aliased, "old_state_is_gone": are_gone, "bytes_more": grown}
    is_good = aliased >= state_bytes and are_gone and (grown is None or grown <= _SMALL_BYTES)
    return found | {"is_good": is_good, "loss": float(fetch(outcome.loss))}


def _bytes_in_use() -> int | None:
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("bytes_in_use")


def check_pooled_batch_norm(shape: Sequence[int], report: Report) -> dict[str, Any]:
    """Compares BatchNorm with pooling, as this platform computes it, with the plain formula in float64 on the CPU.

    Channels have scales of both signs. On GPUs and TPUs the pooling comes first.
    """
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=shape), rng.normal(size=(shape[0], shape[1] // 2, shape[2] // 2, shape[3]))
    scale, bias = rng.uniform(-2, 2, shape[3]), rng.normal(size=shape[3])
    errors = {}
    for dtype in _POOLED_BOUNDS:
        # every precision starts from the same numbers, which bfloat16 can hold
        maps = [np.asarray(jnp.asarray(value, dtype).astype("float32"), float) for value in (x, g)]
        with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
            wanted = jax.tree.map(np.asarray, jax.jit(_plain_pooled)(*maps, scale, bias))
        inputs = [jnp.asarray(value, dtype) for value in maps] + [jnp.asarray(v, "float32") for v in (scale, bias)]
        got = jax.tree.map(np.asarray, jax.jit(_pooled)(*inputs))
        names = ("y", "input_gradient", "scale_gradient", "bias_gradient")
        errors[dtype] = {
            name: relative_error(np.asarray(a, float), b) for name, a, b in zip(names, got, wanted, strict=True)
        }
        report({"relative_errors": errors})
    is_good = all(max(errors[dtype].values()) <= bound for dtype, bound in _POOLED_BOUNDS.items())
    return {"is_good": is_good, "bounds": _POOLED_BOUNDS}


def _pooled(x: Array, g: Array, scale: Array, bias: Array) -> tuple[Array, ...]:
    def normalized(x: Array, scale: Array, bias: Array) -> Array:
        return normalize_pooled(max_pool3x3, x[None], scale, bias, jnp.zeros_like(bias), 1e-5)[0][0]

    y, pullback = jax.vjp(normalized, x, scale, bias)
    return y, *pullback(g)


def _plain_pooled(x: Array, g: Array, scale: Array, bias: Array) -> tuple[Array, ...]:
    def normalized(x: Array, scale: Array, bias: Array) -> Array:
        y = (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5) * scale + bias
        window, padding = (1, 3, 3, 1), [(0, 0), (1, 1), (1, 1), (0, 0)]
        return jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, window, (1, 2, 2, 1), padding)

    y, pullback = jax.vjp(normalized, x, scale, bias)
    return y, *pullback(g)


def check_augmentation(case: Case, report: Report) -> dict[str, Any]:
    """Compares the images of every preset with the CPU's, from the same keys, and looks at their values."""
    canvas = round(case.image_size * 1.25)
    images = np.random.default_rng(0).integers(0, 256, (case.batch_size, canvas, canvas, 3), np.uint8)
    errors = {}
    for preset in PRESETS:
        prepare = partial(prepare_train, preset=preset, shape=(case.image_size,) * 2, dtype=jnp.dtype("float32"))
        got, wanted = (_augmented(prepare, images, jax.devices(kind)[0]) for kind in (None, "cpu"))
        errors[preset] = relative_error(got, wanted) if np.isfinite(got[0]).all() else float("nan")
        report({"relative_errors": errors})
    return {"is_good": all(error <= _AUGMENTED_BOUND for error in errors.values()), "bound": _AUGMENTED_BOUND}


def _augmented(prepare: Any, images: np.ndarray, device: jax.Device) -> list[np.ndarray]:
    with jax.default_device(device):
        return [np.asarray(x) for x in jax.jit(prepare)(jnp.asarray(images), jax.random.key(1))]


def check_checkpoint(case: Case, report: Report) -> dict[str, Any]:
    """Saves the state after a step and restores it, onto another number of devices too where there are several."""
    try:
        from fashion_jax.workdir.checkpoints.store import Checkpoints
    except ImportError as error:
        raise Skip("orbax-checkpoint is not installed here, so nothing can be saved.") from error
    built = build(case)
    state, _ = built.program.train_step(built.program.create_state(), built.batches[0])
    saved = fetch(state)
    counts = [jax.device_count()] + ([1] if jax.device_count() > 1 else [])
    restored = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep=1)
        checkpoints.save_now(1, state)
        for count in counts:
            other = build(case, devices=jax.devices()[:count])
            back = checkpoints.restore(1, other.program.abstract_state)
            restored[str(count)] = same_bits(saved, fetch(back))
            report({"is_the_same_on": restored})
            other.program.train_step(back, other.batches[0])
        checkpoints.close()
    told = {} if len(counts) > 1 else {"note": "There is one device, so no other number of them was tried."}
    return {"is_good": all(restored.values()), **told}
