"""Decides whether the wanted cells of a CSV row with too many or too few cells are in their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fashion_jax.data.sources.columns import RaggedRow


def misplaced(rows: Sequence[RaggedRow], levels: Sequence[str], whole: Iterable[tuple[str, ...]]) -> list[RaggedRow]:
    """Returns the rows in which a wanted cell may be in the wrong column.

    The surplus or missing cells can be anywhere: "Shirt, slim fit" without quotes is two cells. A row is accepted if
    its labels, read from the left, also occur in whole rows, no other shift gives labels that do, and no wanted cell
    comes after the labels. Surplus cells that are empty are no sign of a torn cell if all rows have them, or if the
    last column is a wanted one, which a torn row would leave empty.

    Args:
        rows: rows with more or fewer cells than the header.
        levels: columns of the labels, coarse to fine.
        whole: paths of labels of rows that have as many cells as the header.
    """
    paths = set(whole)
    has_whole = bool(paths)
    if not has_whole:  # every line may end in a delimiter that the header lacks
        paths = {_labels(row, levels) for row in rows if has_blank_end(row)}
    known = {(*path[:depth], *[""] * (len(path) - depth)) for path in paths for depth in range(1, len(path) + 1)}
    return [row for row in rows if not _is_in_place(row, levels, known, all_ragged=not has_whole)]


def has_blank_end(row: RaggedRow) -> bool:
    """Whether the row has more cells than the header, and all surplus ones are empty."""
    return len(row.cells) > row.width and not any(row.cells[row.width :])


def _is_in_place(row: RaggedRow, levels: Sequence[str], known: set[tuple[str, ...]], *, all_ragged: bool) -> bool:
    labels = _labels(row, levels)
    if labels not in known or any(other in known and other != labels for other in _other_labels(row, levels)):
        return False
    if has_blank_end(row) and (all_ragged or max(row.places.values()) == row.width - 1):
        return True
    last = max(row.places[level] for level in levels)
    is_torn = last == row.width - 1 < len(row.cells) - 1  # the finest label itself could be split into several cells
    return not is_torn and not any(last < place < len(row.cells) for place in row.places.values())


def _labels(row: RaggedRow, levels: Sequence[str], start: int = 0, shift: int = 0) -> tuple[str, ...]:
    """Returns the labels if the cells from header index `start` on are shifted by `shift`; "" if there is no cell."""
    places = [row.places[level] + (shift if row.places[level] >= start else 0) for level in levels]
    if len(set(places)) < len(set(levels)):  # a cell cannot belong to two columns
        return ("",) * len(levels)
    return tuple(row.cells[place] if 0 <= place < len(row.cells) else "" for place in places)


def _other_labels(row: RaggedRow, levels: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """For each level, shifts the cells from that level on, and yields the labels that result if none is missing."""
    difference = len(row.cells) - row.width
    shifts = range(1, difference + 1) if difference > 0 else range(difference, 0)
    for start in {row.places[level] for level in levels}:
        for shift in shifts:
            if all(labels := _labels(row, levels, start, shift)):
                yield labels
