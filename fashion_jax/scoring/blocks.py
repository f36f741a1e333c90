"""Reads tables [images, classes] a few rows at a time, because float64 copies of whole tables take too much memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from fashion_jax.devices.host import usable_processors

Result = TypeVar("Result")

SMALL = 2**17  # cells per block: 1 MiB of float64, which fits a processor's cache
LARGE = 2**18  # cells per block where each block has a high fixed cost
_MAX_THREADS = 4  # each holds a block and its results in memory


class LazyRows:
    """A float64 table [images, classes] whose rows are computed when they are read.

    Attributes:
        shape: (images, classes).
    """

    def __init__(self, shape: tuple[int, int], compute: Callable[[np.ndarray], np.ndarray]):
        """Takes `compute`, which maps row indices, int [rows], to these rows, float64 [rows, classes]."""
        self.shape = shape
        self._compute = compute

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._compute(rows)


Table = np.ndarray | LazyRows  # [images, classes]


def row_blocks(rows: int | np.ndarray, columns: int, numbers: int = SMALL) -> Iterator[np.ndarray]:
    """Splits the rows of a table into blocks small enough to copy as float64; a table without rows has one empty block.

    Args:
        rows: the number of rows, or their indices.
        columns: the number of columns.
        numbers: the largest number of cells in a block; a block has at least one row.
    """
    rows = np.arange(rows) if isinstance(rows, int) else rows
    size = max(numbers // max(columns, 1), 1)
    return (rows[start : start + size] for start in range(0, max(len(rows), 1), size))


def map_blocks(function: Callable[[np.ndarray], Result], blocks: Iterable[np.ndarray]) -> list[Result]:
    """Applies a function to each block, several at once in threads, and returns the results in order."""
    blocks = list(blocks)
    if len(blocks) == 1:
        return [function(blocks[0])]
    with ThreadPoolExecutor(min(usable_processors(), _MAX_THREADS)) as pool:
        return list(pool.map(function, blocks))


def likeliest(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Returns each row's largest value, float64 [images], and its class, int [images]; the first class wins a tie."""
    classes, values = np.zeros(len(table), int), np.full(len(table), -np.inf)
    for rows in row_blocks(*table.shape):
        block = np.asarray(table[rows])
        classes[rows] = block.argmax(1)
        values[rows] = block.max(1)
    return values, classes


def picked(table: Table, classes: np.ndarray) -> np.ndarray:
    """Returns the value of each row at its class, float64 [images]; NaN where the class is negative."""
    values = np.full(len(table), np.nan)
    for rows in row_blocks(np.flatnonzero(classes >= 0), table.shape[1]):
        values[rows] = table[rows][np.arange(len(rows)), classes[rows]]
    return values


def map_levels(function: Callable[[dict[str, np.ndarray]], Result], tables: Mapping[str, Table]) -> list[Result]:
    """Applies a function to blocks of rows of all levels' tables, several at once, and returns the results in order."""
    images, classes = len(next(iter(tables.values()))), sum(table.shape[1] for table in tables.values())
    return map_blocks(
        lambda rows: function({level: np.asarray(table[rows]) for level, table in tables.items()}),
        row_blocks(images, classes, LARGE),
    )


def stacked(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenates the arrays of all parts, level by level."""
    return {level: np.concatenate([part[level] for part in parts]) for level in parts[0]}


def probabilities(log_probs: Table) -> LazyRows:
    """Returns the exponentials of a table of log-probabilities."""
    return LazyRows(log_probs.shape, lambda rows: np.exp(np.asarray(log_probs[rows], np.float64)))


def chosen_rows(table: Table, rows: np.ndarray) -> LazyRows:
    """Returns some rows of a table, int [rows], in the given order."""
    return LazyRows((len(rows), table.shape[1]), lambda places: np.asarray(table[rows[places]]))


def joined(tables: Sequence[Table]) -> LazyRows:
    """Concatenates tables of the same classes along the rows."""
    ends = np.cumsum([len(table) for table in tables])
    starts = ends - [len(table) for table in tables]

    def compute(rows: np.ndarray) -> np.ndarray:
        block = np.empty((len(rows), tables[0].shape[1]))
        owners = np.searchsorted(ends, rows, side="right")
        for i in np.unique(owners):
            block[owners == i] = tables[i][rows[owners == i] - starts[i]]
        return block

    return LazyRows((int(ends[-1]), tables[0].shape[1]), compute)
