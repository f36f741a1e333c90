"""Which images of a table are there, each once."""

from __future__ import annotations

import os

import numpy as np

from fashion_jax.data.image_names import listed_names
from fashion_jax.data.splits import LeftOut
from fashion_jax.data.strings import Strings
from fashion_jax.data.table import Table
from fashion_jax.errors import UserError


def without_repeats(table: Table) -> tuple[Table, LeftOut]:
    """Leaves out what names the file of an image before, which could stand in two splits or count twice."""
    codes = table.files.names.codes()  # of a file that is new: one more than all before
    is_new = np.diff(np.maximum.accumulate(codes), prepend=-1) > 0
    if is_new.all():
        return table, {}
    return table.select(np.flatnonzero(is_new)), {"listed before": _names(table, ~is_new)}


def present(table: Table, max_bad_fraction: float) -> tuple[Table, LeftOut]:
    """Leaves out the images whose file is missing.

    Raises:
        UserError: more than a fraction of the rows has no image at all.
    """
    there = [_listed(table.files.folder, folder) for folder in table.files.names.parents()]
    found = table.files.names.places(Strings.join(there)) >= 0
    if found.all():
        return table, {}
    rows, first = np.unique(table.rows, return_index=True)
    has_image = np.isin(rows, table.rows[found])
    missing = first[~has_image]
    if len(missing) > max_bad_fraction * len(rows):
        named = ", ".join(table.files[i] for i in missing[:3])
        raise UserError(
            f"{len(missing)} of {len(rows)} images are missing, such as {named}: check data.path and data.image, "
            f"or raise data.max_bad_fraction, {max_bad_fraction}."
        )
    return table.select(np.flatnonzero(found)), {"no such file": _names(table, ~found)}


def _listed(root: str, folder: str) -> Strings:
    """The names of a table that lie in a folder, by what is there."""
    place = os.path.join(root, folder)
    return Strings(f"{folder}/{name}" if folder else name for name in listed_names(place))


def _names(table: Table, chosen: np.ndarray) -> list[str]:
    """What to call the chosen images (bool [images]): by their ids, or by their files where a row may have several."""
    several = len(table) > len(np.unique(table.rows))
    return list((table.files.names if several else table.ids).select(np.flatnonzero(chosen)))
