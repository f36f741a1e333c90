"""Compares a step and an evaluation on the accelerator, in each precision, with float64 on the CPU.

All start from the same float32 state and images, without random numbers. The first training step gives the loss, the
gradient (as the optimizer's momentum, which then is gradient + weight decay) and BatchNorm's statistics; the evaluation
gives log-probabilities. Errors are relative norms, |got - wanted| / |wanted|, over all numbers of a kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.accelerator.cases import Built, Case, build
from benchmarks.accelerator.outcome import Report, Skip
from fashion_jax.devices.mesh import fetch, put_batch, replicated
from fashion_jax.models.batch_norm import DECAY
from fashion_jax.step.train_state import TrainState
from fashion_jax.step.train_step import Batch


class Precision(NamedTuple):
    """A way to compute, and the largest relative errors that are accepted.

    Attributes:
        dtype: the type of the computation.
        products: the precision of convolutions and matrix products; None means JAX's default, which is TF32 for float32
            on GPUs, and float32 on CPUs.
        bounds: kind of numbers -> largest relative norm of their error.
    """

    dtype: str
    products: str | None
    bounds: Mapping[str, float]


# Unit roundoffs: float32 6e-8, TF32 5e-4 (of what enters products), bfloat16 4e-3 (of all maps). A ReLU whose input
# changes its sign adds an error as large as the gradient that it lets through or holds back, so the gradient's error
# grows with the root of the others. ResNet-34 on a CPU, 16 images, in float32 and in bfloat16: loss 1e-7 and 7e-4,
# gradient 4e-6 and 0.31, statistics 5e-8 and 2e-4, log-probabilities 1e-6 and 5e-3. TF32 must lie between them.
PRECISIONS = {
    "float32": Precision(
        "float32", "highest", {"loss": 1e-5, "gradient": 1e-3, "batch_stats": 1e-5, "log_probs": 1e-4}
    ),
    "tf32": Precision("float32", None, {"loss": 2e-3, "gradient": 0.25, "batch_stats": 1e-3, "log_probs": 1e-2}),
    "bfloat16": Precision("bfloat16", None, {"loss": 1e-2, "gradient": 0.5, "batch_stats": 5e-3, "log_probs": 3e-2}),
}

Numbers = dict[str, Any]  # kind -> tree of numpy arrays


def bounds_on(platform: str) -> dict[str, dict[str, float]]:
    """Returns precision -> kind -> the largest error. TPUs have no TF32: their float32 products are of bfloat16."""
    named = {"tf32": "bfloat16"} if platform == "tpu" else {}
    return {name: dict(PRECISIONS[named.get(name, name)].bounds) for name in PRECISIONS}


def check(case: Case, report: Report) -> dict[str, Any]:
    """Returns the errors of each precision, and whether all are within their bounds."""
    try:
        cpu = jax.devices("cpu")[:1]
    except RuntimeError as error:
        raise Skip("There is no CPU device to compare with: leave JAX_PLATFORMS unset, or add cpu to it.") from error
    start = _calmed(fetch(build(case, devices=cpu, is_random=False).program.create_state()))
    with ThreadPoolExecutor() as threads:  # all are compiled at the same time
        reference = threads.submit(_reference, case, cpu, start)
        running = {name: threads.submit(_in_precision, case, x, start) for name, x in PRECISIONS.items()}
        found, wanted = {name: numbers.result() for name, numbers in running.items()}, reference.result()
    errors = {name: compare(numbers, wanted) for name, numbers in found.items()}
    bounds = bounds_on(jax.devices()[0].platform)
    report({"relative_errors": errors, "bounds": bounds})
    exceeded = [
        f"{kind} in {name} is off by {errors[name][kind]:.1e}, above {bound:.0e}"
        for name, allowed in bounds.items()
        for kind, bound in allowed.items()
        if kind in errors[name] and not errors[name][kind] <= bound  # true for NaN too
    ]
    return {"is_good": not exceeded, "exceeded": exceeded, "image_size": case.image_size, "images": case.batch_size}


def _in_precision(case: Case, precision: Precision, start: TrainState) -> Numbers:
    with jax.default_matmul_precision(precision.products):  # each thread has its own
        return _numbers(build(case, precision.dtype, jax.devices()[:1], is_random=False), start)


def _reference(case: Case, devices: list[jax.Device], start: TrainState) -> Numbers:
    with jax.enable_x64(True):
        return _numbers(build(case, "float64", devices, is_random=False), start)


def _numbers(built: Built, start: TrainState) -> Numbers:
    """Returns the results of a step and of an evaluation from the parameters of `start`."""
    state, batch = _started(built, start), _patches(built)
    state, outcome = built.program.train_step(state, batch)
    numbers = {"loss": outcome.loss, "gradient": state.opt_state, "batch_stats": state.model_state}
    numbers = fetch(numbers)
    # The statistics of this very batch, since with those of a new network deep layers would overflow in evaluation.
    stats = jax.tree.map(
        lambda new, old: ((new - DECAY * old.astype(new.dtype)) / (1 - DECAY)).astype(new.dtype),
        numbers["batch_stats"],
        start.model_state,
    )
    placed = _on_devices(built, (_as(start.params, state.params), stats))
    return numbers | {"log_probs": fetch(built.program.eval_step(*placed, batch))}


def _calmed(start: TrainState) -> TrainState:
    """Lets each residual block add a quarter of what it adds in a new network, as blocks of trained networks do.

    A new ResNet-34 enlarges any error by half in every block, so that little of a bfloat16 gradient's bits is left.
    """

    def calmed(path: tuple[Any, ...], x: np.ndarray) -> np.ndarray:
        names = [str(key.key) for key in path]
        return x / 4 if names[-2:] == ["bn2", "scale"] and names[0] == "trunk" else x

    return start.replace(params=jax.tree_util.tree_map_with_path(calmed, start.params))


def _patches(built: Built) -> Batch:
    """Returns a batch of images made of 4x4 patches of random colours.

    Images of noise are alike to a deep network: BatchNorm would enlarge their small differences, and the errors too.
    """
    batch = built.batches[0]
    count, height, width, channels = batch["image"].shape
    patches = np.random.default_rng(0).integers(0, 256, (count, 4, 4, channels), np.uint8)
    image = patches.repeat(height // 4, axis=1).repeat(width // 4, axis=2)
    return put_batch({"image": image, "labels": batch["labels"]}, built.program.mesh)


def _started(built: Built, start: TrainState) -> TrainState:
    """Returns `start` in the program's types, on its devices."""
    return _on_devices(built, _as(start, built.program.abstract_state))


def _as(values: Any, like: Any) -> Any:
    return jax.tree.map(lambda x, y: x.astype(y.dtype), values, like)


def _on_devices(built: Built, tree: Any) -> Any:
    return jax.device_put(tree, replicated(built.program.mesh))


def compare(got: Numbers, wanted: Numbers) -> dict[str, float]:
    """Returns the relative norm of the error of each kind."""
    return {kind: relative_error(got[kind], wanted[kind]) for kind in wanted if _arrays(wanted[kind])}


def relative_error(got: Any, wanted: Any) -> float:
    """Returns |got - wanted| / |wanted| of two trees, computed in float64."""
    pairs = [(np.asarray(x, float), np.asarray(y, float)) for x, y in zip(_arrays(got), _arrays(wanted), strict=True)]
    difference = np.sqrt(sum(np.square(x - y).sum() for x, y in pairs))
    return float(difference / max(np.sqrt(sum(np.square(y).sum() for _, y in pairs)), 1e-300))


def _arrays(tree: Any) -> list[np.ndarray]:
    """Returns the arrays of floating-point numbers of a tree."""
    return [x for x in jax.tree.leaves(tree) if np.issubdtype(x.dtype, np.floating)]
