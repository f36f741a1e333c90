"""Computes the geometry of the page's charts, which its templates draw as SVG."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

WIDTH, HEIGHT = 236, 150  # size of a chart, in its own units

LEFT, RIGHT, TOP, BOTTOM = 34, 228, 8, 128  # edges of its axes

_MAX_BANDS = 120  # largest number of epochs with a tooltip each

_MAX_DOTS = 30  # largest number of points that are drawn as dots

_MAX_POINTS = 300  # per curve; more than a chart has pixels

Points = tuple[np.ndarray, np.ndarray]  # x and y, [points] each; y is NaN for a gap

Ticks = list[tuple[float, str]]  # position, text


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart for a template to draw.

    Paths and dots are keyed by the name of their curve; bands are (x, width, tooltip), bars (x, y, width, height).
    """

    x_ticks: Ticks
    y_ticks: Ticks
    paths: dict[str, str]
    dots: dict[str, list[tuple[float, float]]]
    bands: list[tuple[float, float, str]] = dataclasses.field(default_factory=list)
    bars: list[tuple[float, float, float, float]] = dataclasses.field(default_factory=list)
    ring: tuple[float, float] | None = None


def curves(epochs: Sequence[int], values: Mapping[str, np.ndarray], best: int | None) -> Chart | None:
    """Returns the chart of one metric of a run over epochs, or None without a finite value.

    Args:
        epochs: ascending.
        values: split -> [epochs], NaN for a gap.
        best: index of the best epoch, which gets a ring on the curve of the split validation.
    """
    xs = np.array(epochs, float)
    chart = overlay({split: (xs, series) for split, series in values.items()})
    if chart is None:
        return None
    places = _horizontal(xs, epochs[0] - 0.5, epochs[-1] + 0.5)
    half = (RIGHT - LEFT) / (epochs[-1] - epochs[0] + 1) / 2
    bands = [
        (float(x) - half, 2 * half, _tooltip(epoch, {split: series[i] for split, series in values.items()}))
        for i, (x, epoch) in enumerate(zip(places, epochs, strict=True))
        if len(epochs) <= _MAX_BANDS
    ]
    if best is None or not np.isfinite(values["validation"][best]):
        return dataclasses.replace(chart, bands=bands)
    low, high = _enclosing(list(values.values()))[[0, -1]]
    ring = float(places[best]), float(_vertical(values["validation"][best], low, high))
    return dataclasses.replace(chart, bands=bands, ring=ring)


def overlay(series: Mapping[str, Points]) -> Chart | None:
    """Returns a chart of several curves over epochs, or None without a finite value.

    Args:
        series: name of a curve -> epochs and values.
    """
    if not any(np.isfinite(y).any() for _, y in series.values()):
        return None
    ticks = _enclosing([y for _, y in series.values()])
    first, last = min(x[0] for x, _ in series.values()), max(x[-1] for x, _ in series.values())
    epochs = sorted({float(x) for xs, _ in series.values() for x in xs})
    x_ticks = [x for x in _ticks(first, last, 5, True) if x in epochs]
    drawn = {
        name: _thinned(_horizontal(x, first - 0.5, last + 0.5), _vertical(y, ticks[0], ticks[-1]))
        for name, (x, y) in series.items()
    }
    return Chart(
        x_ticks=[(float(_horizontal(x, first - 0.5, last + 0.5)), f"{x:.0f}") for x in x_ticks],
        y_ticks=[(float(_vertical(y, ticks[0], ticks[-1])), f"{y + 0.0:g}") for y in ticks.tolist()],
        paths={name: _path(x, y) for name, (x, y) in drawn.items()},
        dots={name: _points(x, y) if len(x) <= _MAX_DOTS else [] for name, (x, y) in drawn.items()},
    )


def shares(series: Mapping[str, Points], low: float = 0.0, histogram: np.ndarray | None = None) -> Chart:
    """Returns a chart of curves of one share against another, both from 0 to 1 and shown in per cent.

    Args:
        series: name of a curve -> x and y.
        low: start of the y axis.
        histogram: shares of the images in equally wide bins of x, drawn as bars from the bottom.
    """
    drawn = {name: (_horizontal(x, 0, 1), _vertical(y, low, 1)) for name, (x, y) in series.items()}
    heights = np.zeros(0) if histogram is None else np.nan_to_num(histogram) * (BOTTOM - TOP)
    width = (RIGHT - LEFT) / max(len(heights), 1)
    return Chart(
        x_ticks=[(float(_horizontal(x, 0, 1)), f"{x:.0%}") for x in (0, 0.25, 0.5, 0.75, 1)],
        y_ticks=[(float(_vertical(y, low, 1)), f"{y:.0%}") for y in np.linspace(low, 1, 5)],
        paths={name: _path(x, y) for name, (x, y) in drawn.items()},
        dots={name: _points(x, y) if len(x) <= _MAX_DOTS else [] for name, (x, y) in drawn.items()},
        bars=[(LEFT + i * width, BOTTOM - h, width, h) for i, h in enumerate(heights.tolist()) if h > 0],
    )


def _enclosing(values: Sequence[np.ndarray]) -> np.ndarray:
    finite = np.concatenate([series[np.isfinite(series)] for series in values])
    return _ticks(float(finite.min()), float(finite.max()), 4)


def _ticks(low: float, high: float, count: int, integer: bool = False) -> np.ndarray:
    """Returns round numbers that enclose low and high."""
    from matplotlib.ticker import MaxNLocator

    if low == high and not integer:
        low, high = low - 0.05, high + 0.05
    locator = MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10], integer=integer, min_n_ticks=1)
    return np.asarray(locator.tick_values(low, high))


def _horizontal(x: Any, low: float, high: float) -> Any:
    return LEFT + (x - low) / (high - low) * (RIGHT - LEFT)


def _vertical(y: Any, low: float, high: float) -> Any:
    return BOTTOM + (y - low) / (high - low) * (TOP - BOTTOM)


def _path(xs: np.ndarray, ys: np.ndarray) -> str:
    """Returns the SVG path through the finite points; h0 makes a dot of a point without neighbours."""
    parts, joined = [], False
    for x, y in zip(xs, ys, strict=True):
        if np.isfinite(y):
            parts.append(f"L{x:.1f} {y:.1f}" if joined else f"M{x:.1f} {y:.1f}h0")
        joined = bool(np.isfinite(y))
    return "".join(parts)


def _thinned(xs: np.ndarray, ys: np.ndarray) -> Points:
    """Thins a curve to _MAX_POINTS, keeping the lowest and the highest point of each stretch."""
    if len(xs) <= _MAX_POINTS:
        return xs, ys
    kept: list[int] = []
    for stretch in np.array_split(np.arange(len(xs)), _MAX_POINTS // 2):
        finite = stretch[np.isfinite(ys[stretch])]
        ends = {finite[ys[finite].argmin()], finite[ys[finite].argmax()]} if len(finite) else {stretch[0]}
        kept += sorted(ends)
    return xs[kept], ys[kept]


def _points(xs: np.ndarray, ys: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True) if np.isfinite(y)]


def _tooltip(epoch: int, values: Mapping[str, float]) -> str:
    figures = (f"{split} {value:.4f}" for split, value in values.items() if np.isfinite(value))
    return f"epoch {epoch}: {', '.join(figures)}"
