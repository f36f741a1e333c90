"""The figures and tables of a report: curves, confusion matrices, a table of the classes.

matplotlib is imported where it is used (it is slow to import) and only through Figure, which draws PNGs with
Agg and touches no global state. Names come from users' data: they are drawn literally, never as mathematics.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import math
import os
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from matplotlib.text import Text

COLUMNS = ("class", "f1", "auroc", "precision", "recall", "support")

_TITLES = {"loss": "loss", "accuracy": "accuracy", "macro_f1": "macro-F1", "auroc": "AUROC"}
_TRAIN, _VALIDATION, _GREY, _EMPTY = "#e08a1e", "#1f5fa8", "#6b7280", "#eceef1"
_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1ab",
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "text.parse_math": False,
}
_MAX_LABEL = 28  # characters of a name in a figure
_MAX_TITLE = 60
_MAX_COUNTED = 30  # classes, up to which a confusion matrix prints its counts
_PATH_SEPARATOR = re.compile(r"(?<!\\)/")


def write_report(
    directory: Path,
    lines: Sequence[Mapping[str, Any]],
    level_data: Mapping[str, tuple[Sequence[str], np.ndarray, np.ndarray]],
) -> None:
    """Writes curves.png and, for each level, confusion_{level}.png and classes_{level}.csv.

    Args:
        directory: exists; `level` in the file names is file_stem(level).
        lines: of metrics.jsonl.
        level_data: level -> names of its C classes, and the validation's log-probabilities [images, C] and
            labels [images], UNKNOWN (-1) where not known.
    """
    write_curves(lines, directory / "curves.png")
    for level, (classes, log_probs, labels) in level_data.items():
        matrix = metrics.confusion_matrix(labels, np.argmax(log_probs, axis=1), len(classes))
        write_confusion(matrix, classes, f"Validation, {level}", directory / f"confusion_{file_stem(level)}.png")
        scores = metrics.per_class(log_probs, labels)
        rows = [{"class": name, **row} for name, row in zip(classes, scores, strict=True)]
        write_per_class(rows, directory / f"classes_{file_stem(level)}.csv")


def file_stem(level: str) -> str:
    """The name of a level as part of a file name: itself, or what is safe of it and a checksum."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", level)[:60]
    return safe if safe == level else f"{safe}-{zlib.crc32(level.encode('utf-8', 'surrogatepass')):08x}"


def write_per_class(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows with the keys COLUMNS as CSV, in full precision; NaN is an empty cell.

    Text that a spreadsheet would take for a formula gets a leading single quote.
    """
    with _replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_cell(row[column]) for column in COLUMNS] for row in rows)


def _cell(value: str | float) -> str | float:
    if isinstance(value, str):
        value = _encodable(value)
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return "" if math.isnan(value) else value


def write_curves(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws loss, accuracy, macro-F1 and AUROC of every level against the epoch, 1280 px wide.

    Args:
        lines: of metrics.jsonl; what is missing, None or not finite is a gap.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    levels = _levels(lines)
    with _drawing():
        figure = Figure(figsize=(12.8, 0.6 + 2.5 * max(len(levels), 1)), dpi=100, layout="constrained")
        axes = figure.subplots(len(levels), len(_TITLES), sharex=True, squeeze=False) if levels else []
        for i, level in enumerate(levels):
            for ax, metric in zip(axes[i], _TITLES, strict=True):
                _draw_curves(ax, lines, level, metric)
            axes[i][0].set_ylabel(_shown(level, 24), fontweight="bold", fontsize=10)
        for ax in axes[-1] if levels else ():
            ax.set_xlabel("epoch", color=_GREY)
        if levels:
            _draw_curves_legend(figure)
        _save(figure, path)


def _levels(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The levels that the lines hold metrics of, in the order of their first occurrence."""
    pattern = re.compile(f"(?:train|validation)/(.+)/(?:{'|'.join(_TITLES)})", re.DOTALL)
    matches = (pattern.fullmatch(key) for line in lines for key in line)
    return list(dict.fromkeys(match[1] for match in matches if match))


def _draw_curves(ax: Axes, lines: Sequence[Mapping[str, Any]], level: str, metric: str) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = np.array([line["epoch"] for line in lines], float)
    for split, color in (("train", _TRAIN), ("validation", _VALIDATION)):
        values = _values(lines, f"{split}/{level}/{metric}")
        ax.plot(epochs, values, color=color, linewidth=1.6, marker="o", markersize=3.5, markevery=_dots(values))
    title = _TITLES[metric]
    ax.set_title(title, loc="left", fontsize=10)
    if np.isfinite(values).any():
        best = np.nanargmin(values) if metric == "loss" else np.nanargmax(values)
        ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.4}
        ax.plot(epochs[best], values[best], color=_VALIDATION, **ring)
        text = f"best {values[best]:.3f} at epoch {epochs[best]:.0f}"
        ax.set_title(text, loc="right", fontsize=8, color=_VALIDATION)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    ax.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    ax.ticklabel_format(useOffset=False)


def _values(lines: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """float64 [lines], NaN for what is missing, None or infinite."""
    values = np.array([line.get(key) for line in lines], np.float64)  # None becomes NaN
    return np.where(np.isfinite(values), values, np.nan)


def _dots(values: np.ndarray) -> list[int]:
    """The points that get a marker: all of a short run, otherwise those without a neighbour to join."""
    finite = np.concatenate([[False], np.isfinite(values), [False]])
    alone = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    return np.flatnonzero(alone if len(values) > 30 else finite[1:-1]).tolist()


def _draw_curves_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    ring = {"linestyle": "none", "marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.4}
    handles = [
        Line2D([], [], color=_TRAIN, linewidth=1.6, marker="o", markersize=3.5, label="train"),
        Line2D([], [], color=_VALIDATION, linewidth=1.6, marker="o", markersize=3.5, label="validation"),
        Line2D([], [], color=_VALIDATION, label="best validation", **ring),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False)


def write_confusion(matrix: np.ndarray, names: Sequence[str], title: str, path: Path) -> None:
    """Draws a confusion matrix, coloured by the share of the true class, with the accuracy in the title.

    Classes show the last label of their path, grouped by what stands before it. Up to 30 classes, the cells
    show their counts; beyond, the figure is larger than a screen so that the names can be read.

    Args:
        matrix: int [C, C], rows true, columns predicted.
        names: of the C classes, paths whose labels are joined by "/" ("\\/" inside a label).
        title: what is shown.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    matrix = np.asarray(matrix)
    small = len(names) <= _MAX_COUNTED
    cell = min(0.9, max(0.36, 8.6 / len(names))) if small else max(0.085, 11 / len(names))
    with _drawing({"axes.grid": False}):
        figure = Figure(dpi=110 if small else 150)
        ax = figure.add_axes((0, 0, 1, 1))
        colors = _draw_cells(ax, matrix, cell)
        margin = _draw_names(ax, names, cell)
        width = _draw_titles(figure, matrix, title)
        _place(figure, ax, colors, cell * len(names), margin, width)
        _save(figure, path)


def _draw_cells(ax: Axes, matrix: np.ndarray, cell: float) -> QuadMesh:
    """Draws the cells, `cell` inches wide, and returns what a colour bar needs."""
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    support = matrix.sum(1, keepdims=True)
    shares = np.ma.masked_array(matrix / np.maximum(support, 1), np.broadcast_to(support == 0, matrix.shape))
    counted = len(matrix) <= _MAX_COUNTED
    colors = ax.pcolormesh(
        shares,
        cmap=colormaps["Blues"].with_extremes(bad=_EMPTY),
        norm=PowerNorm(0.5, 0, 1),  # a confusion of a few per cent is visible
        edgecolors="white" if counted else "none",
        linewidth=1 if counted else 0,
    )
    ax.invert_yaxis()
    digits = len(str(matrix.max()))
    font_size = min(9, 72 * cell * 0.8 / (0.64 * digits))
    for i, j in np.argwhere(matrix) if counted else ():
        color = "white" if shares[i, j] > 0.35 else "#1f2937"
        ax.text(j + 0.5, i + 0.5, matrix[i, j], ha="center", va="center", fontsize=font_size, color=color)
    return colors


def _draw_names(ax: Axes, names: Sequence[str], cell: float) -> float:
    """Draws the labels of the classes and the brackets of their groups; returns their depth in inches."""
    paths = [_PATH_SEPARATOR.split(name) for name in names]
    labels = [_shown(path[-1].replace("\\/", "/")) for path in paths]
    centres = np.arange(len(names)) + 0.5
    font_size = min(9, 72 * cell * 0.85)
    ax.set_yticks(centres, labels, fontsize=font_size)
    ax.set_xticks(centres, labels, fontsize=font_size, rotation=90)
    ax.tick_params(length=0, labelcolor="#1f2937")
    depth = max(_width(label) for label in ax.get_yticklabels()) + 0.12
    parents = ["/".join(path[:-1]).replace("\\/", "/") for path in paths]
    if any(parents):
        depth += _draw_groups(ax, parents, depth / (cell * len(names)), max(font_size, 7))
    ax.set_ylabel("true class", color=_GREY)
    ax.set_xlabel("predicted class", color=_GREY)
    ax.yaxis.set_label_coords(-(depth + 0.1) / (cell * len(names)), 0.5)
    ax.xaxis.set_label_coords(0.5, -(depth + 0.1) / (cell * len(names)))
    return depth + 0.4


def _draw_groups(ax: Axes, parents: Sequence[str], offset: float, font_size: float) -> float:
    """Draws a bracket per run of equal parents, `offset` (a fraction of the axes) outside; returns their depth."""
    ends = np.cumsum([len(list(run)) for _, run in itertools.groupby(parents)])
    depth = 0.0
    line = {"color": "#9aa1ab", "linewidth": 1, "clip_on": False}
    for start, end in itertools.pairwise([0, *ends.tolist()]):
        if end < len(parents):
            ax.axhline(end, color="#9aa1ab", linewidth=0.6)
            ax.axvline(end, color="#9aa1ab", linewidth=0.6)
        span, middle, name = [start + 0.15, end - 0.15], (start + end) / 2, _shown(parents[start])
        ax.plot([-offset, -offset], span, transform=ax.get_yaxis_transform(), **line)
        ax.plot(span, [-offset, -offset], transform=ax.get_xaxis_transform(), **line)
        text = {"textcoords": "offset points", "fontsize": font_size, "color": _GREY, "annotation_clip": False}
        label = ax.annotate(
            name, (-offset, middle), (-4, 0), xycoords=ax.get_yaxis_transform(), ha="right", va="center", **text
        )
        ax.annotate(
            name,
            (middle, -offset),
            (0, -4),
            xycoords=ax.get_xaxis_transform(),
            ha="center",
            va="top",
            rotation=90,
            **text,
        )
        depth = max(depth, _width(label))
    return depth + 0.12


def _draw_titles(figure: Figure, matrix: np.ndarray, title: str) -> float:
    """Draws what the matrix is and how to read it; returns the width in inches."""
    count = int(matrix.sum())
    accuracy = f"accuracy {100 * np.trace(matrix) / count:.1f} %" if count else "no images"
    legend = f"{count:,} images; colour and rows: share of the true class"
    if (matrix.sum(1) == 0).any():
        legend += "; grey: no image of the class"
    heading = figure.text(0, 0, f"{_shown(title, _MAX_TITLE)}: {accuracy}", fontsize=12, fontweight="bold", va="top")
    note = figure.text(0, 0, legend, fontsize=8.5, color=_GREY, va="top")
    return max(_width(heading), _width(note))


def _place(figure: Figure, ax: Axes, colors: QuadMesh, side: float, margin: float, title_width: float) -> None:
    """Sizes the figure around a matrix whose side is `side` inches and places everything."""
    top, right = 0.8, 0.9
    width, height = max(margin + side + right, title_width + 0.3), margin + side + top
    figure.set_size_inches(width, height)
    ax.set_position((margin / width, margin / height, side / width, side / height))
    for i, text in enumerate(figure.texts):
        text.set_position((0.15 / width, 1 - (0.12 + 0.27 * i) / height))
    bar_height = min(side, 2.5)
    left, bottom = margin + side + 0.18, margin + side - bar_height
    bar_ax = figure.add_axes((left / width, bottom / height, 0.14 / width, bar_height / height))
    bar = figure.colorbar(colors, cax=bar_ax, ticks=[0, 0.05, 0.25, 0.5, 1], format="{x:.0%}")
    bar.outline.set_visible(False)
    bar_ax.tick_params(length=0, labelsize=8)


def _width(text: Text) -> float:
    """In inches."""
    return text.get_window_extent().width / text.get_figure(root=True).dpi


def _shown(name: str, max_characters: int = _MAX_LABEL) -> str:
    """A name as one line of printable text, the middle left out where it is too long."""
    name = "".join(c if c.isprintable() else " " for c in _encodable(name))
    if len(name) <= max_characters:
        return name
    tail = max_characters // 3
    return f"{name[: max_characters - tail - 1].rstrip()}…{name[-tail:].lstrip()}"


def _encodable(text: str) -> str:
    """Text without the lone surrogates that stand for invalid UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@contextlib.contextmanager
def _drawing(style: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """The style of the figures; a character that the font lacks is drawn as a box, without a warning."""
    import matplotlib

    with matplotlib.rc_context({**_STYLE, **style}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _save(figure: Figure, path: Path) -> None:
    with _replacing(path) as temporary:
        figure.savefig(temporary, format="png")


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that becomes path when the block ends well, so that path is never half written."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
