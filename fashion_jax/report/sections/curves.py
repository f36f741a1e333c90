"""Describes the page's section with the curves of losses and scores over epochs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from fashion_jax.config.combinations import METRIC_TITLES
from fashion_jax.report.contents import PageContents
from fashion_jax.report.figures import charts
from fashion_jax.report.figures.curves import series

_JUMP = 10  # times the loss of the next epoch
_MAX_JUMPS = 3  # explained per level
_FEW_STEPS = 200
_HEADS_WITH_BATCH_NORM = {"main", "sub"}


def curves(contents: PageContents) -> dict[str, Any] | None:
    """Describes a chart of every metric of every level over epochs; None before the first epoch has ended."""
    if not contents.lines:
        return None
    epochs = [line["epoch"] for line in contents.lines]
    best = epochs.index(contents.line["epoch"]) if contents.line else None
    rows = []
    for level in contents.taxonomy.levels:
        row = []
        for metric, title in METRIC_TITLES.items():
            values = {split: series(contents.lines, f"{split}/{level}/{metric}") for split in ("train", "validation")}
            value = None if best is None else values["validation"][best]
            row.append((title, value, charts.curves(epochs, values, best)))
        rows.append((level, row, _jumps(contents, level)))
    steadiness = [(level, contents.variability(level)) for level in contents.taxonomy.levels]
    return {"rows": rows, "epoch": None if best is None else epochs[best], "steadiness": steadiness}


def _jumps(contents: PageContents, level: str) -> list[str]:
    """Explains the epochs whose validation loss is at least _JUMP times that of the next epoch."""
    losses = series(contents.lines, f"validation/{level}/loss")
    with np.errstate(invalid="ignore"):
        found = np.flatnonzero((losses[:-1] >= _JUMP * losses[1:]) & (losses[:-1] > 0))
    return [_explained(contents, int(i), losses) for i in found[:_MAX_JUMPS]]


def _explained(contents: PageContents, i: int, losses: np.ndarray) -> str:
    epoch, step = contents.lines[i]["epoch"], contents.lines[i]["step"]
    times = f"{losses[i] / losses[i + 1]:,.0f} times that" if losses[i + 1] > 0 else "far above that"
    said = f"The validation loss of epoch {epoch} is {times} of the next epoch: "
    if epoch <= contents.config.progressive.epochs:
        return f"{said}it was trained on smaller images (progressive.image_size), and validation has larger ones."
    if has_batch_norm(contents.config.model.name, dict(contents.config.model.heads).values()) and (
        i == 0 or step <= _FEW_STEPS
    ):
        return (
            f"{said}few steps so far ({step:,}), so that BatchNorm's averages, with which validation is computed, lag "
            "behind the weights. That passes by itself."
        )
    return f"{said}its last updates were too large. If this happens often, a lower learning_rate helps."


def has_batch_norm(model: str, heads: Collection[str]) -> bool:
    """Says whether a model has BatchNorm in its trunk or one of its heads.

    Args:
        model: the config's model.name.
        heads: the names in the config's model.heads; without any, the model has the recipe's heads.
    """
    return model != "vgg16" or not heads or not _HEADS_WITH_BATCH_NORM.isdisjoint(heads)
