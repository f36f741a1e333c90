"""The geometry of the page's charts, for its templates to draw as SVG: curves and confusion matrices."""

from __future__ import annotations

import dataclasses
import itertools
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from fashion_jax.report.contents import ClassName
from fashion_jax.report.drawing import shown

WIDTH, HEIGHT = 236, 150  # of a chart of curves, in its own units
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 228, 8, 128  # of its axes
_MAX_BANDS = 120  # epochs, up to which each has a tooltip
_MAX_DOTS = 30  # epochs, up to which each is a dot

MAX_CELLS = 4000  # of a confusion matrix; the largest are drawn
_MAX_COUNTED = 30  # classes, up to which the counts are printed
_MAX_NAMED = 200  # classes, up to which the names fit
_SHADES = 12


@dataclasses.dataclass(frozen=True)
class Curves:
    """A chart of curves: ticks are (position, text), paths split -> SVG path, bands (x, width, tooltip)."""

    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    paths: dict[str, str]
    dots: dict[str, list[tuple[float, float]]]
    bands: list[tuple[float, float, str]]
    ring: tuple[float, float] | None


def curves(epochs: Sequence[int], values: dict[str, np.ndarray], best: int) -> Curves | None:
    """The chart of one metric, None where it has no finite value.

    Args:
        epochs: of the values, counting up.
        values: split -> [epochs], NaN for a gap.
        best: index of the epoch that gets a ring at the split validation.
    """
    finite = np.concatenate([series[np.isfinite(series)] for series in values.values()])
    if not len(finite):
        return None
    y_ticks = _ticks(float(finite.min()), float(finite.max()), 4)
    x_ticks = [x for x in _ticks(epochs[0], epochs[-1], 5, True) if epochs[0] <= x <= epochs[-1]]
    xs = _scale(np.array(epochs, float), epochs[0] - 0.5, epochs[-1] + 0.5, _LEFT, _RIGHT)
    ys = {split: _scale(series, y_ticks[0], y_ticks[-1], _BOTTOM, _TOP) for split, series in values.items()}
    half = (_RIGHT - _LEFT) / (epochs[-1] - epochs[0] + 1) / 2
    ring = (xs[best], ys["validation"][best])
    return Curves(
        x_ticks=[(float(xs[np.searchsorted(epochs, x)]), f"{x:.0f}") for x in x_ticks if x in epochs],
        y_ticks=[(_scale(v, y_ticks[0], y_ticks[-1], _BOTTOM, _TOP), f"{v + 0.0:g}") for v in y_ticks.tolist()],
        paths={split: _path(xs, y) for split, y in ys.items()},
        dots={split: _points(xs, y) if len(epochs) <= _MAX_DOTS else [] for split, y in ys.items()},
        bands=[
            (float(x) - half, 2 * half, _tooltip(epoch, {split: series[i] for split, series in values.items()}))
            for i, (x, epoch) in enumerate(zip(xs, epochs, strict=True))
            if len(epochs) <= _MAX_BANDS
        ],
        ring=(float(ring[0]), float(ring[1])) if np.isfinite(ring).all() else None,
    )


def _ticks(low: float, high: float, count: int, integer: bool = False) -> np.ndarray:
    """Round numbers that enclose low and high."""
    from matplotlib.ticker import MaxNLocator

    if low == high and not integer:
        low, high = low - 0.05, high + 0.05
    return MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10], integer=integer, min_n_ticks=1).tick_values(low, high)


def _scale(values: Any, low: float, high: float, start: float, end: float) -> Any:
    return start + (values - low) / (high - low) * (end - start)


def _path(xs: np.ndarray, ys: np.ndarray) -> str:
    """A line through the finite points; h0 makes a dot of a point without neighbours."""
    parts, joined = [], False
    for x, y in zip(xs, ys, strict=True):
        if np.isfinite(y):
            parts.append(f"L{x:.1f} {y:.1f}" if joined else f"M{x:.1f} {y:.1f}h0")
        joined = bool(np.isfinite(y))
    return "".join(parts)


def _points(xs: np.ndarray, ys: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True) if np.isfinite(y)]


def _tooltip(epoch: int, values: dict[str, float]) -> str:
    figures = (f"{split} {value:.4f}" for split, value in values.items() if np.isfinite(value))
    return f"epoch {epoch}: {', '.join(figures)}"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a confusion matrix that holds images; its shade is a number from 1 to 12."""

    row: int
    column: int
    count: int
    support: int
    shade: int


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A confusion matrix in pixels: side of a cell and of the whole, width of the names, what is drawn."""

    cell: int
    side: int
    margin: int
    names: list[str]
    cells: list[Cell]
    left_out: int  # cells
    separators: list[int]
    empty: list[int]  # rows without images
    counted: bool


def matrix(counts: np.ndarray, names: Sequence[ClassName]) -> Matrix:
    """Lays out a confusion matrix, int [C, C], rows true, of classes sorted by parent."""
    size = len(names)
    cell = 30 if size <= 12 else 25 if size <= _MAX_COUNTED else 14 if size <= 70 else 10 if size <= _MAX_NAMED else 4
    labels = [shown(name.label, 22) for name in names] if size <= _MAX_NAMED else []
    support = counts.sum(1)
    cells = [
        Cell(int(i), int(j), int(counts[i, j]), int(support[i]), _shade(counts[i, j] / support[i]))
        for i, j in np.argwhere(counts)
    ]
    largest = sorted(cells, key=lambda item: -item.count)[:MAX_CELLS]
    parents = [name.parent for name in names]
    return Matrix(
        cell=cell,
        side=cell * size,
        margin=round(max((_width(label) for label in labels), default=0) * (6.4 if cell > 10 else 5.2)) + 14,
        names=labels,
        cells=largest,
        left_out=len(cells) - len(largest),
        separators=[i * cell for i, (a, b) in enumerate(itertools.pairwise(parents), 1) if a != b],
        empty=np.flatnonzero(support == 0).tolist(),
        counted=size <= _MAX_COUNTED,
    )


def _shade(share: float) -> int:
    """By the square root, so that a confusion of a few per cent is visible."""
    return max(1, round(_SHADES * float(np.sqrt(share))))


def _width(text: str) -> int:
    """In narrow characters."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
