"""Finds the usable images of a table, and leaves out rows that repeat a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fashion_jax.data.decoding.decode import NO_FILE
from fashion_jax.data.decoding.file_check import Checked
from fashion_jax.data.sources.table import LeftOut, Table
from fashion_jax.data.strings import Files
from fashion_jax.errors import UserError


def without_repeats(table: Table) -> tuple[Table, LeftOut]:
    """Leaves out rows that name the file of an earlier image, which could be in two splits or count twice."""
    assert isinstance(table.files, Files)
    codes = table.files.names.codes()  # a file that is new has one more than all before
    is_new = np.diff(np.maximum.accumulate(codes), prepend=-1) > 0
    if is_new.all():
        return table, {}
    return table.select(np.flatnonzero(is_new)), {"listed before": table.named(np.flatnonzero(~is_new))}


def usable(
    table: Table, max_bad_fraction: float, checked: Checked, advice: Callable[[], str] = str
) -> tuple[np.ndarray, LeftOut, np.ndarray]:
    """Finds the images that have a file that can be read and decoded.

    Args:
        table: the images.
        max_bad_fraction: share of the rows that may be without a usable image.
        checked: the result of the check of their files.
        advice: returns what to do if files are missing, as the end of a sentence; "" if nothing is known.

    Returns:
        bool [images], whether the image is good; reason -> names of the images that are not; uint64 [images], digests
        of the files' contents.

    Raises:
        UserError: more than `max_bad_fraction` of the rows have no usable image.
    """
    assert isinstance(table.files, Files)
    good = checked.digests != 0
    rows, first = np.unique(table.rows, return_index=True)
    bad = first[~np.isin(rows, table.rows[good])]
    if len(bad) > max_bad_fraction * len(rows):
        named = ", ".join(_with_reason(table, int(i), checked.reasons[int(i)]) for i in bad[:3])
        way_out = (
            "repair them or take them out of the data, check data.path and data.image, or raise "
            f"data.max_bad_fraction, {max_bad_fraction}"
        )
        if checked.reasons[int(bad[0])] == NO_FILE:
            way_out = advice() or way_out
        raise UserError(f"{len(bad)} of {len(rows)} images cannot be used, such as {named}: {way_out}.")
    places: dict[str, list[int]] = {}
    for i, words in sorted(checked.reasons.items()):
        places.setdefault(words, []).append(i)
    # A row may have several images, so that its id does not tell which one is bad.
    names = table.files.names if len(table) > len(rows) else table.ids
    return good, {words: table.named(images, names) for words, images in places.items()}, checked.digests


def _with_reason(table: Table, image: int, reason: str) -> str:
    place = table.place(image)
    return f"{table.files[image]} ({f'{place}: ' if place else ''}{reason})"
