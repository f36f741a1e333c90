"""Describes the page's section with the curves of losses and scores over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fashion_jax.report.contents import PageContents
from fashion_jax.report.figures import charts
from fashion_jax.scoring.scores import variability


def curves(contents: PageContents) -> dict[str, Any] | None:
    """Describes a chart of every metric of every level over epochs; None before the first epoch has ended."""
    if not contents.lines:
        return None
    epochs = [line["epoch"] for line in contents.lines]
    best = epochs.index(contents.line["epoch"]) if contents.line else None
    rows = []
    for level in contents.taxonomy.levels:
        row = []
        for metric, title in charts.METRIC_TITLES.items():
            values = {split: series(contents.lines, f"{split}/{level}/{metric}") for split in ("train", "validation")}
            value = None if best is None else values["validation"][best]
            row.append((title, value, charts.curves(epochs, values, best)))
        rows.append((level, row))
    steadiness = [(level, variability(contents.lines, level)) for level in contents.taxonomy.levels]
    return {"rows": rows, "epoch": None if best is None else epochs[best], "steadiness": steadiness}


def series(lines: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Returns float64 [lines]; NaN for what is missing, None or infinite."""
    values = np.array([line.get(key) for line in lines], np.float64)
    return np.where(np.isfinite(values), values, np.nan)
