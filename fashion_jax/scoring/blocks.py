"""Tables of images and classes a few rows at a time: in float64, and copied, they would take many times their size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from fashion_jax.devices.host import usable_processors

Result = TypeVar("Result")

SMALL = 2**17  # numbers in a block: 1 MiB of float64, which stays in a processor's cache
LARGE = 2**18  # where a block costs much, whatever its size
_MAX_THREADS = 4  # each has a block and what is made of it in memory


class LazyRows:
    """A float64 table [images, classes] whose rows are computed when they are asked for.

    Attributes:
        shape: of the table.
    """

    def __init__(self, shape: tuple[int, int], compute: Callable[[np.ndarray], np.ndarray]):
        """compute: int [rows] to the float64 [rows, classes] that stand there."""
        self.shape = shape
        self._compute = compute

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._compute(rows)


Table = np.ndarray | LazyRows  # [images, classes]


def row_blocks(rows: int | np.ndarray, columns: int, numbers: int = SMALL) -> Iterator[np.ndarray]:
    """The rows of a table in parts of so few that float64 copies of them are small; one empty part of no rows.

    Args:
        rows: their number, or their indices.
        columns: of the table.
        numbers: how many a part may hold; a row at least.
    """
    rows = np.arange(rows) if isinstance(rows, int) else rows
    size = max(numbers // max(columns, 1), 1)
    return (rows[start : start + size] for start in range(0, max(len(rows), 1), size))


def map_blocks(function: Callable[[np.ndarray], Result], blocks: Iterable[np.ndarray]) -> list[Result]:
    """What a function makes of each block, in order; several are computed at once."""
    blocks = list(blocks)
    if len(blocks) == 1:
        return [function(blocks[0])]
    with ThreadPoolExecutor(min(usable_processors(), _MAX_THREADS)) as pool:
        return list(pool.map(function, blocks))


def likeliest(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Each row's largest value, float64 [images], and the class that has it, the first of equals, int [images]."""
    classes, values = np.zeros(len(table), int), np.full(len(table), -np.inf)
    for rows in row_blocks(*table.shape):
        block = np.asarray(table[rows])
        classes[rows] = block.argmax(1)
        values[rows] = block.max(1)
    return values, classes


def picked(table: Table, classes: np.ndarray) -> np.ndarray:
    """float64 [images]: of each row the value of its class; NaN where the class is negative."""
    values = np.full(len(table), np.nan)
    for rows in row_blocks(np.flatnonzero(classes >= 0), table.shape[1]):
        values[rows] = table[rows][np.arange(len(rows)), classes[rows]]
    return values


def map_levels(function: Callable[[dict[str, np.ndarray]], Result], tables: Mapping[str, Table]) -> list[Result]:
    """What a function makes of some rows after the other of the tables of all levels, as map_blocks."""
    images, classes = len(next(iter(tables.values()))), sum(table.shape[1] for table in tables.values())
    return map_blocks(
        lambda rows: function({level: np.asarray(table[rows]) for level, table in tables.items()}),
        row_blocks(images, classes, LARGE),
    )


def stacked(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Level -> the arrays of all parts, one behind the other."""
    return {level: np.concatenate([part[level] for part in parts]) for level in parts[0]}


def probabilities(log_probs: Table) -> LazyRows:
    """The probabilities of logarithms."""
    return LazyRows(log_probs.shape, lambda rows: np.exp(np.asarray(log_probs[rows], np.float64)))


def chosen_rows(table: Table, rows: np.ndarray) -> LazyRows:
    """Some rows of a table, int [rows], in this order."""
    return LazyRows((len(rows), table.shape[1]), lambda places: np.asarray(table[rows[places]]))


def joined(tables: Sequence[Table]) -> LazyRows:
    """Tables of the same classes, one below the other."""
    ends = np.cumsum([len(table) for table in tables])
    starts = ends - [len(table) for table in tables]

    def compute(rows: np.ndarray) -> np.ndarray:
        block = np.empty((len(rows), tables[0].shape[1]))
        owners = np.searchsorted(ends, rows, side="right")
        for i in np.unique(owners):
            block[owners == i] = tables[i][rows[owners == i] - starts[i]]
        return block

    return LazyRows((int(ends[-1]), tables[0].shape[1]), compute)
