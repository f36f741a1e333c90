"""Finds labels that cannot be right: of one product or file in two classes, missing, or one of a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fashion_jax.data.sources.table import Labels, Table
from fashion_jax.data.splits import ALL
from fashion_jax.data.strings import Files, Strings
from fashion_jax.errors import UserError
from fashion_jax.taxonomy import UNKNOWN, Taxonomy, class_name

_MOST = 0.9  # share of the classes with one product from which on the column of labels may be the wrong one


def check_classes_repeat(table: Table, levels: Mapping[str, str]) -> list[str]:
    """Checks that classes of the finest level have more than one row of the table each.

    Args:
        table: the images with their labels.
        levels: level -> column, coarse to fine.

    Returns:
        A warning if most classes have one row.

    Raises:
        UserError: all classes have one row, as if their column were the product's name or number.
    """
    codes = [i for i, path in enumerate(table.paths.distinct) if path[-1]]
    pairs = np.unique(np.stack([table.rows, table.paths.codes], 1), axis=0)
    counts = np.bincount(pairs[:, 1], minlength=len(table.paths.distinct))[codes]
    counts = counts[counts > 0]
    single, level = int((counts == 1).sum()), list(levels)[-1]
    way_out = "put the images of a class into one folder"
    if levels[level]:
        way_out = f"name a column in data.levels whose values products share, instead of {levels[level]!r}"
    if len(counts) > 1 and single == len(counts):
        raise UserError(
            f"Each of the {single:,} classes of the level {level!r} has one image, but needs several: {way_out}."
        )
    if single > _MOST * len(counts) and len(counts) > 1:
        return [f"{single:,} of {len(counts):,} classes of the level {level!r} have one image: {way_out}"]
    return []


def id_conflicts(table: Table) -> list[str]:
    """Warns of ids that the table has with two labels."""
    if not table.unit:
        return []
    has_id = table.ids.places(Strings([""])) < 0
    found = _differing(table, np.where(has_id, table.ids.codes(), -1 - np.arange(len(table))), _contradict)
    return _two_labels(table, found, "id", table.ids)


def divided_ids(table: Table, assigned: Mapping[str, np.ndarray]) -> list[str]:
    """Warns of ids, such as a product's in several rows, of which splits have different images.

    Args:
        table: the images.
        assigned: split -> its images (int [n]).
    """
    if not table.unit or not assigned:
        return []
    codes, blank = table.ids.codes(), table.ids.places(Strings([""])) >= 0
    groups = [codes[images[~blank[images]]] for images in assigned.values()]
    values, counts = np.unique(np.concatenate([np.unique(group) for group in groups]), return_counts=True)
    if not len(found := values[counts > 1]):
        return []
    stand = "1 id stands" if len(found) == 1 else f"{len(found):,} ids stand"
    name = table.ids[int(np.flatnonzero(codes == found[0])[0])]
    return [
        f"{stand} in two splits, such as {name!r}: set data.group_column to the column of the ids, so that all images "
        "of one are in one split"
    ]


def name_conflicts(table: Table) -> list[str]:
    """Warns of files that rows of a table with different ids name with two labels; the first row counts."""
    if not table.unit or not isinstance(table.files, Files):
        return []
    pairs = _differing(table, table.files.names.codes(), _contradict)
    found = [(one, other) for one, other in pairs if table.ids[one] != table.ids[other]]
    return _two_labels(table, found, "file", table.files.names)


def file_conflicts(table: Table, digests: np.ndarray) -> list[str]:
    """Warns of equal files with two labels; digests are uint64 [images], of the files' contents."""
    if not (found := _differing(table, digests, _contradict)):
        return []
    is_one = len(found) == 1
    images = "1 image occurs" if is_one else f"{len(found):,} images occur"
    labels = " and ".join(f"{_label(table, i)} as {table.named([i])[0]}" for i in found[0])
    return [f"{images} as identical files with two labels{':' if is_one else ', such as'} {labels}"]


def empty_labels(table: Table, levels: Mapping[str, str]) -> list[str]:
    """Warns of rows of a table without a label at a level; levels is level -> column."""
    if not table.unit:
        return []
    warnings = []
    _, first = np.unique(table.rows, return_index=True)
    paths, codes = table.paths.distinct, table.paths.codes[first]
    for i, (level, column) in enumerate(levels.items()):
        empty = first[np.array([not path[i] for path in paths], bool)[codes]]
        if len(empty):
            rows = "1 row has" if len(empty) == 1 else f"{len(empty):,} rows have"
            place = f"{'' if len(empty) == 1 else 'such as '}{table.place(int(empty[0]))}"
            lost = int(np.array([not path[i] and any(path[i + 1 :]) for path in paths], bool)[codes].sum())
            have = "1 of them has" if lost == 1 else f"{lost:,} of them have"
            finer = f"; {have} a label at a finer level, which does not count" if lost else ""
            warnings.append(f"{rows} no {column!r} ({place}), and so no label at the level {level!r}{finer}")
    return warnings


def unused_labels(table: Table) -> list[str]:
    """Warns of images that a later row names again with a label that their first row, which counts, does not have."""
    assert isinstance(table.files, Files)
    found = _differing(table, table.files.names.codes(), _lacks)
    if not found:
        return []
    images = "1 image is" if len(found) == 1 else f"{len(found):,} images are"
    one, again = found[0]
    return [
        f"{images} named again by a row with a label that the first row lacks, {'' if len(found) == 1 else 'such as '}"
        f"{table.named([one])[0]}, again {table.place(again)}: only the first row counts, so take it out"
    ]


def unknown_labels(
    table: Table, assigned: Mapping[str, np.ndarray], taxonomy: Taxonomy, *, is_trained: bool
) -> list[str]:
    """Warns of labels that are no class of a run: their images are trained without them, or are not scored.

    Args:
        table: the images with their labels.
        assigned: split, or ALL -> its images (int [n]).
        taxonomy: the classes of the run.
        is_trained: whether the run trains on the split train now; otherwise all are measured.
    """
    distinct, warnings = table.paths.distinct, []
    ids = taxonomy.label_ids(distinct)
    for i, level in enumerate(taxonomy.levels):
        above = ids[taxonomy.levels[i - 1]] != UNKNOWN if i else np.ones(len(distinct), bool)
        strange = np.array([bool(path[i]) for path in distinct], bool) & (ids[level] == UNKNOWN) & above
        for split, images in assigned.items():
            found = np.flatnonzero(strange[table.paths.codes[images]])
            if len(found):
                have = "image has a label that is" if len(found) == 1 else "images have labels that are"
                label = repr(class_name(table.paths[int(images[found[0]])][: i + 1]))
                of_split = "" if split == ALL else f"{split} "
                effect = "trained without it" if split == "train" and is_trained else "not scored"
                warnings.append(
                    f"{len(found):,} {of_split}{have} no class of the run, such as {label}: at the level {level!r} "
                    f"{'it is' if len(found) == 1 else 'they are'} {effect}"
                )
    return warnings


def _differing(table: Table, groups: np.ndarray, differ: Callable[[Labels, Labels], bool]) -> list[tuple[int, int]]:
    """Returns pairs of images of one group (int [images]): its first one, and the next whose labels differ from its."""
    codes, distinct = table.paths.codes, table.paths.distinct
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    found: dict[int, tuple[int, int]] = {}
    for i in np.flatnonzero(codes != codes[first[group_of]]).tolist():
        one = int(first[group_of[i]])
        if one not in found and differ(distinct[codes[one]], distinct[codes[i]]):
            found[one] = (one, i)
    return list(found.values())


def _two_labels(table: Table, found: Sequence[tuple[int, int]], kind: str, names: Sequence[str]) -> list[str]:
    """Returns a sentence on pairs of images that have one name, of an id or a file, and two labels."""
    if not found:
        return []
    have = f"1 {kind} has" if len(found) == 1 else f"{len(found):,} {kind}s have"
    labels = " and ".join(f"{_label(table, i)} ({table.place(i)})" for i in found[0])
    return [f"{have} two labels, such as {names[found[0][0]]!r}: {labels}"]


def _contradict(one: Labels, other: Labels) -> bool:
    """Whether two labels differ at a level where both are known."""
    return any(a and b and a != b for a, b in zip(one, other, strict=True))


def _lacks(one: Labels, other: Labels) -> bool:
    """Whether the first of two labels is unknown at a level where the other is known."""
    return any(b and not a for a, b in zip(one, other, strict=True))


def _label(table: Table, image: int) -> str:
    return repr(class_name([label for label in table.paths[image] if label]))
