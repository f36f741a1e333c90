"""Draws confusion matrices of at most 150 classes, laid out in inches so that every name can be read."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.report.figures.style import GREY, INK, LINE, create_figure, save_figure, shown, style, text_width
from fashion_jax.taxonomy import class_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from scipy.sparse import csr_array


_EMPTY = "#eceef1"  # colour for rows of classes without images

_MAX_COUNTED = 30  # largest number of classes with printed counts

_MAX_TITLE = 60  # characters

MAX_CLASSES = 150  # more would not be readable


def write_confusion(matrix: np.ndarray | csr_array, names: Sequence[str], title: str, path: Path) -> None:
    """Draws a confusion matrix, coloured by the share of the true class, with the accuracy in the title.

    Classes show the last label of their path, grouped by what stands before it. Up to 30 classes, the cells
    show their counts; beyond, the figure is larger than a screen so that the names can be read. If there are more than
    MAX_CLASSES, it shows the `legible_classes` and says how many are left out.

    Args:
        matrix: int [C, C], rows true, columns predicted.
        names: of the C classes, as class_name() makes them.
        title: name of the level and the split.
        path: of the PNG.
    """
    from scipy.sparse import csr_array

    counts = csr_array(matrix)
    chosen = legible_classes(counts)
    shown_names, part, support = [names[k] for k in chosen], excerpt(counts, chosen), counts.sum(1)
    small = len(chosen) <= _MAX_COUNTED
    cell = min(0.9, max(0.36, 8.6 / len(chosen))) if small else max(0.085, 11 / len(chosen))
    with style():
        figure = create_figure(dpi=100 if small else 150)
        ax = figure.add_axes((0, 0, 1, 1))
        ax.grid(visible=False)
        colors = _draw_cells(ax, part, support[chosen], cell)
        margins = _draw_names(ax, shown_names, cell)
        accuracy = f"accuracy {100 * counts.trace() / support.sum():.1f} %" if support.any() else "no images"
        width = _draw_titles(figure, f"{shown(title, _MAX_TITLE)}: {accuracy}", _legend(support, chosen))
        _place(figure, ax, colors, cell * len(chosen), margins, width)
        save_figure(figure, path)


def legible_classes(counts: csr_array) -> np.ndarray:
    """Returns the ids of the classes that a matrix shows, ascending: all, or the MAX_CLASSES most informative.

    These are the classes of the largest confusions, filled up with the most frequent classes.
    """
    if counts.shape[0] <= MAX_CLASSES:
        return np.arange(counts.shape[0])
    cells = counts.tocoo()
    wrong = cells.row != cells.col
    rows, columns = cells.row[wrong], cells.col[wrong]
    largest = np.argsort(-cells.data[wrong], kind="stable")
    confused = np.stack([rows[largest], columns[largest]], axis=1).ravel()
    frequent = np.argsort(-counts.sum(1), kind="stable")
    return np.sort([*dict.fromkeys(np.concatenate([confused, frequent]).tolist())][:MAX_CLASSES])


def excerpt(counts: csr_array, chosen: np.ndarray) -> np.ndarray:
    """Returns the cells of some classes, int [chosen, chosen]."""
    return counts[chosen][:, chosen].toarray()


def _legend(support: np.ndarray, chosen: np.ndarray) -> str:
    legend = f"{int(support.sum()):,} images; colour: share of the true class (row)"
    if (support[chosen] == 0).any():
        legend += "; grey: no image of the class"
    if len(chosen) < len(support):
        legend = (
            f"{len(chosen)} of {len(support):,} classes, those most often confused, then the most frequent; "
            f"{len(support) - len(chosen):,} are left out\n{legend}"
        )
    return legend


def _draw_cells(ax: Axes, matrix: np.ndarray, support: np.ndarray, cell: float) -> QuadMesh:
    """Draws the cells, `cell` inches wide, by their share of the support [C]; returns the mesh for a colour bar."""
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    support = support[:, None]
    shares = np.ma.masked_array(matrix / np.maximum(support, 1), np.broadcast_to(support == 0, matrix.shape))
    counted = len(matrix) <= _MAX_COUNTED
    colors = ax.pcolormesh(
        shares,
        cmap=colormaps["Blues"].with_extremes(bad=_EMPTY),
        norm=PowerNorm(0.5, 0, 1),  # makes confusions of a few per cent visible
        edgecolors="white" if counted else "none",
        linewidth=1 if counted else 0,
    )
    ax.invert_yaxis()
    digits = len(str(matrix.max()))
    font_size = min(9, 72 * cell * 0.8 / (0.64 * digits))
    for i, j in np.argwhere(matrix) if counted else ():
        color = "white" if shares[i, j] > 0.35 else INK
        ax.text(j + 0.5, i + 0.5, matrix[i, j], ha="center", va="center", fontsize=font_size, color=color)
    return colors


def _draw_names(ax: Axes, names: Sequence[str], cell: float) -> np.ndarray:
    """Draws the classes' labels and groups; returns the margins, left and below, in inches."""
    paths = [class_labels(name) for name in names]
    labels = [shown(path[-1]) for path in paths]
    centres = np.arange(len(names)) + 0.5
    font_size = min(9, 72 * cell * 0.85)
    ax.set_yticks(centres, labels, fontsize=font_size)
    ax.set_xticks(centres, labels, fontsize=font_size, rotation=90)
    ax.tick_params(length=0, labelcolor=INK)
    depth = max(text_width(label) for label in ax.get_yticklabels()) + 0.12
    depths = np.array([depth, depth])  # taken on the left, and below
    parents = ["/".join(path[:-1]) for path in paths]
    if any(parents):
        depths += _draw_groups(ax, parents, depth, cell, max(font_size, 6))
    side = cell * len(names)
    ax.set_ylabel("true class", color=GREY)
    ax.set_xlabel("predicted class", color=GREY)
    ax.yaxis.set_label_coords(-(depths[0] + 0.1) / side, 0.5)
    ax.xaxis.set_label_coords(0.5, -(depths[1] + 0.1) / side)
    return depths + 0.4


def _draw_groups(ax: Axes, parents: Sequence[str], depth: float, cell: float, font_size: float) -> np.ndarray:
    """Draws a bracket per run of equal parents, `depth` outside the axes, and the lines between the runs.

    Returns:
        The widths taken on the left and below, in inches, as all lengths here.
    """
    ends = np.cumsum([len(list(run)) for _, run in itertools.groupby(parents)]).tolist()
    groups = [(start, end) for start, end in itertools.pairwise([0, *ends]) if parents[start]]
    for end in ends[:-1]:
        ax.axhline(end, color=LINE, linewidth=0.6)
        ax.axvline(end, color=LINE, linewidth=0.6)
    outside = -depth / (cell * len(parents))
    left, below = ax.get_yaxis_transform(), ax.get_xaxis_transform()
    options: dict[str, Any] = {
        "textcoords": "offset points",
        "fontsize": font_size,
        "color": GREY,
        "annotation_clip": False,
    }
    widths = []
    for start, end in groups:
        name, at = shown(parents[start]), (outside, (start + end) / 2)
        label = ax.annotate(name, at, (-4, 0), xycoords=left, ha="right", va="center", **options)
        widths.append(text_width(label))
    fits = all(width < (end - start) * cell for width, (start, end) in zip(widths, groups, strict=True))
    options |= {"rotation": 0 if fits else 90, "ha": "center", "va": "top"}
    for start, end in groups:
        ax.annotate(shown(parents[start]), ((start + end) / 2, outside), (0, -4), xycoords=below, **options)
        along, across = [start + 0.15, end - 0.15], [outside, outside]
        ax.plot(along, across, transform=below, linewidth=1, color=LINE, clip_on=False)
        ax.plot(across, along, transform=left, linewidth=1, color=LINE, clip_on=False)
    return np.array([max(widths), font_size / 72 if fits else max(widths)]) + 0.12


def _draw_titles(figure: Figure, title: str, legend: str) -> float:
    """Draws the title and, below it, how to read the matrix; returns the width in inches."""
    lines = [figure.text(0, 0, title, fontsize=12, fontweight="bold", va="top")]
    lines += [figure.text(0, 0, line, fontsize=8.5, color=GREY, va="top") for line in legend.split("\n")]
    return max(map(text_width, lines))


def _place(figure: Figure, ax: Axes, colors: QuadMesh, side: float, margins: np.ndarray, title_width: float) -> None:
    """Sets the size of the figure for a matrix with sides of `side` inches, and places its parts."""
    left, bottom = margins
    top, right = 0.26 + 0.27 * len(figure.texts), 0.9
    size = np.array([max(left + side + right, title_width + 0.3), bottom + side + top])
    figure.set_size_inches(*size)
    ax.set_position((*(margins / size), *(side / size)))
    for i, text in enumerate(figure.texts):
        text.set_position((0.15 / size[0], 1 - (0.12 + 0.27 * i) / size[1]))
    bar_height = min(side, 2.5)
    corner = np.array([left + side + 0.18, bottom + side - bar_height])
    bar_ax = figure.add_axes((*(corner / size), 0.14 / size[0], bar_height / size[1]))
    bar = figure.colorbar(colors, cax=bar_ax, ticks=[0, 0.05, 0.25, 0.5, 1], format="{x:.0%}")
    bar.outline.set_visible(False)
    bar_ax.tick_params(length=0, labelsize=8)
