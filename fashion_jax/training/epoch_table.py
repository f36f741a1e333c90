"""Formats an epoch's metrics as a row of a table whose columns stay under one another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fashion_jax.command_line.formats import UNDEFINED, duration, percent, rate

WIDTH = 100  # columns of a row

_LONGEST = range(14, 6, -1)  # characters of the name of a level: longer ones are cut in the middle, as far as needed
_AGAIN = 20  # rows after which the header is repeated


class _Column(NamedTuple):
    """A column: its two lines of header, and the width and key of its numbers."""

    group: str
    name: str
    key: str
    width: int


class EpochTable:
    """The table of a run's epochs.

    Attributes:
        unshown: the levels whose accuracy does not fit; they are the coarsest.
    """

    def __init__(self, levels: Sequence[str], num_epochs: int, columns: int = WIDTH):
        """Begins a table.

        Args:
            levels: names, coarse to fine; if not all fit, the finest are shown.
            num_epochs: of the run.
            columns: of the screen; no row is longer than WIDTH.
        """
        self._num_epochs, self._rows = num_epochs, 0
        self._columns, self.unshown = self._fitting(levels, min(columns, WIDTH))

    def _fitting(self, levels: Sequence[str], width: int) -> tuple[list[_Column], list[str]]:
        """Returns the columns, and the levels left out: names are shortened before a coarse level is left out."""
        for first in range(len(levels)):
            for longest in _LONGEST:
                columns = _columns(levels, first, longest)
                if self._width(columns) <= width:
                    return columns, list(levels[:first])
        return columns, list(levels[:first])

    def rows(self, line: Mapping[str, Any], is_best: bool) -> str:
        """Returns the row of an epoch's line of metrics.jsonl, below the header where one is due."""
        head = self._header() if self._rows % _AGAIN == 0 else []
        self._rows += 1
        values = {**line, **{f"timing/{name}": value for name, value in line["timing"].items()}}
        cells = [_cell(column.key, values.get(column.key)).rjust(column.width) for column in self._columns]
        row = "  ".join([self._label(line["epoch"]), *cells, *(["best"] if is_best else [])])
        return "\n".join([*head, row])

    def _label(self, epoch: int | str) -> str:
        return f"epoch {epoch:>{len(str(self._num_epochs))}}/{self._num_epochs}"

    def _width(self, columns: Sequence[_Column]) -> int:
        return len(self._label("")) + sum(column.width + 2 for column in columns) + len("  best")

    def _header(self) -> list[str]:
        """Returns the two lines above the columns: what is measured, once for adjacent ones, and of what."""
        groups, before = "", ""
        start = len(self._label(""))
        names = " " * start
        for column in self._columns:
            end = start + 2 + column.width
            if column.group != before:
                groups = groups.ljust(end - max(len(column.group), column.width)) + column.group
            names += column.name.rjust(column.width + 2)
            start, before = end, column.group
        return [groups.rstrip(), names.rstrip()]


def _columns(levels: Sequence[str], first: int, longest: int) -> list[_Column]:
    """Returns the columns with the levels from the first one on, whose names have at most so many characters."""
    found = [_Column("loss", "train", "train/loss", 7), _Column("loss", "valid.", "validation/loss", 7)]
    names = [_shortened(level, longest) for level in levels]
    for level, name in zip(levels[first:], names[first:], strict=True):
        found.append(_Column("accuracy", name, f"validation/{level}/accuracy", max(len(name), 6)))
    found.append(_Column("macro-F1", names[-1], f"validation/{levels[-1]}/macro_f1", max(len(names[-1]), 8)))
    found.append(_Column("", "images/s", "timing/images_per_second", 8))
    return [*found, _Column("", "time", "timing/train_seconds", 7)]


def _shortened(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    end = (longest - 1) // 2
    return f"{name[: longest - 1 - end]}…{name[-end:]}"


def _cell(key: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return UNDEFINED
    if key.startswith("timing/"):
        return rate(value) if key.endswith("per_second") else duration(value)
    if key.endswith("accuracy"):
        return percent(value, digits=2 if value < 1 else 1)  # as wide as the column
    return f"{value:.4f}" if value < 100 else f"{value:.1f}" if value < 10_000 else f"{value:.1e}"
