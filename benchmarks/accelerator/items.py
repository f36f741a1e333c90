"""The items of the two parts, in order of importance: what is not reached in a part's time is skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.accelerator import checks, precision, speed
from benchmarks.accelerator.cases import FULL, Sizes
from benchmarks.accelerator.gpu_tests import run_gpu_tests
from benchmarks.accelerator.outcome import Report


class Item(NamedTuple):
    """One thing that is checked or measured.

    Attributes:
        name: names the item in the results.
        seconds: when it is stopped.
        run: does it, and returns its results; a check's have `is_good`.
    """

    name: str
    seconds: float
    run: Callable[[Sizes, Report], dict[str, Any]]


CHECK = (
    Item("precision_resnet34", 100, lambda sizes, report: precision.check(sizes.checked[0], report)),
    Item("donation", 45, lambda sizes, report: checks.check_donation(sizes.checked[0], report)),
    Item("deterministic", 60, lambda sizes, report: checks.check_repeats(sizes.checked[0], report)),
    Item("batch_norm_pooled_first", 30, lambda sizes, report: checks.check_pooled_batch_norm(sizes.pooled, report)),
    Item("precision_vgg16", 100, lambda sizes, report: precision.check(sizes.checked[1], report)),
    Item("checkpoint", 45, lambda sizes, report: checks.check_checkpoint(sizes.checked[0], report)),
    Item("augmentation", 60, lambda sizes, report: checks.check_augmentation(sizes.checked[0], report)),
    Item("gpu_tests", 90, lambda sizes, report: run_gpu_tests(report)),
)


def _rows(dtype: str) -> tuple[Item, ...]:
    """Returns the items that time each network in a type, beside PyTorch's eager mode."""

    def row(place: int, name: str) -> Item:
        profiled = dtype == "bfloat16"
        return Item(
            f"{name}_{dtype}",
            100,
            lambda sizes, report: speed.time_case(sizes.timed[place], dtype, sizes, report, profiled=profiled),
        )

    return tuple(row(place, case.name) for place, case in enumerate(FULL.timed))


def _compiled_rows(dtype: str) -> tuple[Item, ...]:
    """Returns the items that time the networks that PyTorch has too beside torch.compile."""

    def row(place: int, name: str) -> Item:
        return Item(
            f"torch_compile_{name}_{dtype}",
            120,
            lambda sizes, report: speed.time_against_compiled_torch(sizes.timed[place], dtype, sizes, report),
        )

    return tuple(row(place, case.name) for place, case in enumerate(FULL.timed) if not case.name.startswith("hybrid"))


SPEED = (
    *_rows("bfloat16"),
    Item("steps_per_dispatch", 60, speed.time_dispatches),
    Item("device_cache", 60, speed.time_device_cache),
    *_compiled_rows("bfloat16"),
    *_rows("float32"),
    *_compiled_rows("float32"),
)
PARTS = {"check": CHECK, "speed": SPEED}


def find(name: str) -> Item:
    """Returns the item of a name."""
    return next(item for items in PARTS.values() for item in items if item.name == name)
