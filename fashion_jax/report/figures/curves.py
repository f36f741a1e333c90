"""Draws the curves of losses and scores over epochs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.config.combinations import METRIC_TITLES
from fashion_jax.report.figures.style import GREY, create_figure, save_figure, shown, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_TRAIN, _VALIDATION = "#e08a1e", "#1f5fa8"

_RING: dict[str, Any] = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.4}


def write_curves(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws loss, accuracy, macro-F1 and AUROC of every level against the epoch, 1280 px wide.

    Args:
        lines: of metrics.jsonl; what is missing, None or not finite is a gap.
        path: of the PNG.
    """
    levels = _levels(lines)
    with style():
        figure = create_figure(figsize=(12.8, 0.6 + 2.5 * max(len(levels), 1)), dpi=100, layout="constrained")
        axes = figure.subplots(max(len(levels), 1), len(METRIC_TITLES), sharex=True, squeeze=False)
        for row, level in zip(axes, levels, strict=False):
            for ax, metric in zip(row, METRIC_TITLES, strict=True):
                _draw_curves(ax, lines, level, metric)
            row[0].set_ylabel(shown(level, 24), fontweight="bold", fontsize=10)
        for ax in axes[-1]:
            ax.set_xlabel("epoch", color=GREY)
        figure.align_ylabels(axes[:, 0])
        _draw_legend(figure)
        save_figure(figure, path)


def _levels(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the levels that the lines have metrics of, in the order of first occurrence."""
    pattern = re.compile(f"(?:train|validation)/(.+)/(?:{'|'.join(METRIC_TITLES)})", re.DOTALL)
    matches = (pattern.fullmatch(key) for line in lines for key in line)
    return list(dict.fromkeys(match[1] for match in matches if match))


def _draw_curves(ax: Axes, lines: Sequence[Mapping[str, Any]], level: str, metric: str) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = np.array([line["epoch"] for line in lines], float)
    for split, color in (("train", _TRAIN), ("validation", _VALIDATION)):
        values = series(lines, f"{split}/{level}/{metric}")
        ax.plot(epochs, values, color=color, linewidth=1.6, marker="o", markersize=3.5, markevery=_dots(values))
    ax.set_title(METRIC_TITLES[metric], loc="left", fontsize=10)
    if np.isfinite(values).any():
        best = np.nanargmin(values) if metric == "loss" else np.nanargmax(values)
        ax.plot(epochs[best], values[best], color=_VALIDATION, **_RING)
        text = f"best {values[best]:.3f} at epoch {epochs[best]:.0f}"
        ax.set_title(text, loc="right", fontsize=8, color=_VALIDATION)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    ax.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    ax.ticklabel_format(useOffset=False)


def series(lines: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Returns float64 [lines]; NaN for what is missing, None or infinite."""
    values = np.array([line.get(key) for line in lines], np.float64)  # None becomes NaN
    return np.where(np.isfinite(values), values, np.nan)


def _dots(values: np.ndarray) -> list[int]:
    """Returns the points that get a marker: all of a short run, otherwise those without a neighbour to join."""
    finite = np.concatenate([[False], np.isfinite(values), [False]])
    alone = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    return np.flatnonzero(alone if len(values) > 30 else finite[1:-1]).tolist()


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_TRAIN, linewidth=1.6, marker="o", markersize=3.5, label="train"),
        Line2D([], [], color=_VALIDATION, linewidth=1.6, marker="o", markersize=3.5, label="validation"),
        Line2D([], [], color=_VALIDATION, linestyle="none", label="best validation", **_RING),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False)
