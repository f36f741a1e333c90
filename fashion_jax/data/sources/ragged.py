"""Rows of a CSV with more or fewer cells than the header: whether the wanted cells stand in their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fashion_jax.data.sources.columns import RaggedRow


def misplaced(rows: Sequence[RaggedRow], levels: Sequence[str], whole: Iterable[tuple[str, ...]]) -> list[RaggedRow]:
    """The rows of which a wanted cell may stand in another column than its own.

    What is too much, or missing, can stand anywhere: "Shirt, slim fit" without quotes is two cells. A row is taken if
    it has labels of whole rows when read from the left, has other ones in no other way, and has no wanted cell behind
    them.

    Args:
        rows: with more or fewer cells than the header.
        levels: columns of the labels, coarse to fine.
        whole: paths of labels that rows with as many cells as the header have.
    """
    paths = set(whole)
    if not paths:  # each line may end in a delimiter that the header lacks
        paths = {_labels(row, levels) for row in rows if has_blank_end(row)}
    known = {(*path[:depth], *[""] * (len(path) - depth)) for path in paths for depth in range(1, len(path) + 1)}
    return [row for row in rows if not _is_in_place(row, levels, known)]


def has_blank_end(row: RaggedRow) -> bool:
    """Whether there are more cells than in the header, and nothing in them."""
    return len(row.cells) > row.width and not any(row.cells[row.width :])


def _is_in_place(row: RaggedRow, levels: Sequence[str], known: set[tuple[str, ...]]) -> bool:
    labels = _labels(row, levels)
    if labels not in known or any(other in known and other != labels for other in _other_labels(row, levels)):
        return False
    if has_blank_end(row):
        return True
    last = max(row.places[level] for level in levels)
    is_torn = last == row.width - 1 < len(row.cells) - 1  # the finest label itself could be of several cells
    return not is_torn and not any(last < place < len(row.cells) for place in row.places.values())


def _labels(row: RaggedRow, levels: Sequence[str], start: int = 0, shift: int = 0) -> tuple[str, ...]:
    """The labels where the cells from a place of the header on have moved; "" where there is no cell."""
    places = [row.places[level] + (shift if row.places[level] >= start else 0) for level in levels]
    if len(set(places)) < len(set(levels)):  # no cell is of two columns
        return ("",) * len(levels)
    return tuple(row.cells[place] if 0 <= place < len(row.cells) else "" for place in places)


def _other_labels(row: RaggedRow, levels: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The labels, where none is missing, of every way in which cells could have moved before one of the levels."""
    difference = len(row.cells) - row.width
    shifts = range(1, difference + 1) if difference > 0 else range(difference, 0)
    for start in {row.places[level] for level in levels}:
        for shift in shifts:
            if all(labels := _labels(row, levels, start, shift)):
                yield labels
