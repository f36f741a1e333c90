"""Assigns each image to a split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.config.fields import COLUMN, split_column
from fashion_jax.data.fields import DataFields
from fashion_jax.data.sources.split_names import by_usual_split, usual_split
from fashion_jax.data.sources.table import FOLDERS, LeftOut, Table
from fashion_jax.data.stored_names import stored_path
from fashion_jax.data.strings import Strings
from fashion_jax.errors import UserError
from fashion_jax.letters import all_composed, composed

Assigned = dict[str, np.ndarray]  # split -> int64 [n], its images' places in the table, in the table's order

# As the name of a split, `all` means every row of the table or image of the folder. If the source has splits of its own
# (TFDS, folders of splits), it means the images of those in data.splits.
ALL = "all"

_MAX_NAMES = 5  # of splits that a message lists


def assign_splits(
    data: DataFields, table: Table, folder: Path, good: np.ndarray, only: str = ""
) -> tuple[Assigned, LeftOut]:
    """Returns split -> its usable images, and reason -> ids of the usable images that are in no split.

    Splits are made of all images, usable or not, so that an image that breaks or is repaired moves no other. One
    exception: a class that would have no usable training image goes to training as a whole.

    Args:
        data: its splits, folds, group_column and seed are used.
        table: all images.
        folder: the folder that files of ids are relative to.
        good: bool [images], which images can be used; the others are in no split.
        only: the one split that is wanted; "" for all. A column of splits may have any, not just the usual ones.

    Raises:
        UserError: a file of ids is missing, an id or a group is in two splits, or a split has no images. Only the one
            that `only` names needs some.
    """
    names, split_of, unassigned = _divided(data, table, folder, good, only)
    for i, split in enumerate(names):
        if only in ("", split) and not good[split_of == i].any():
            raise UserError(f"The split {split!r} has no image that can be used: check data.path and data.image.")
    return {name: np.flatnonzero((split_of == i) & good) for i, name in enumerate(names)}, unassigned


def check_splits(data: DataFields, table: Table, folder: Path, only: str = "") -> list[str]:
    """Raises what `assign_splits` would whichever images can be used; returns the names of the splits with images."""
    names, split_of, _ = _divided(data, table, folder, np.zeros(len(table), bool), only)
    return [name for i, name in enumerate(names) if (split_of == i).any()]


def _divided(
    data: DataFields, table: Table, folder: Path, good: np.ndarray, only: str
) -> tuple[list[str], np.ndarray, LeftOut]:
    """Divides the images as the fields of the config say; returns what _from_column returns."""
    splits, group_column = data.splits, data.group_column
    if FOLDERS in table.columns:  # in a prepared dataset groups are whole already
        group_column = ""
    if data.folds:
        names, split_of, unassigned = _from_folds(data, table, good, only)
    elif FOLDERS in table.columns:
        names, split_of, unassigned = _from_column(
            table, FOLDERS, {name: name for name in set(table.columns[FOLDERS])}, good
        )
    elif isinstance(splits, str) or split_column(splits):
        names, split_of, unassigned = _from_column(
            table, split_column(splits), _splits_of_values(table, splits, only), good
        )
    elif all(isinstance(value, str) for value in splits.values()):
        names, split_of, unassigned = _from_files(table, splits, folder, good)
    else:
        names, split_of, unassigned = _from_fractions(table, splits, group_column, data.seed, good)
    if group_column:
        _check_groups(table, group_column, names, split_of)
    if empty := [split for i, split in enumerate(names) if only in ("", split) and not (split_of == i).any()]:
        groups = f" and data.group_column, {group_column!r}" if group_column else ""
        fields = f"data.folds, {data.folds}" if data.folds else f"data.splits, {splits!r}"
        raise UserError(f"The split {empty[0]!r} has no images: check {fields}{groups}.")
    return names, split_of, unassigned


def _with_every_class(
    split_of: np.ndarray, train: int, table: Table, good: np.ndarray, group_of: np.ndarray
) -> np.ndarray:
    """Returns the split of each image (int [images]), moving classes without a usable training image to training."""
    codes = table.paths.codes
    lost = good & (split_of >= 0) & ~np.isin(codes, codes[good & (split_of == train)])
    return np.where(np.isin(group_of, group_of[lost]) & (split_of >= 0), train, split_of)


def _from_column(
    table: Table, column: str, split_of_value: Mapping[str, str], good: np.ndarray
) -> tuple[list[str], np.ndarray, LeftOut]:
    """Reads the splits from a column, in which each value of split_of_value stands for a split.

    Returns:
        The names of the splits, int [images] which of them each image is in (-1: none), and reason -> names of the good
        images that are in none.
    """
    names = list(dict.fromkeys(["train", "validation", *sorted(split_of_value.values())]))
    codes, values = _distinct(table.columns[column])
    split_of = np.array(
        [names.index(split_of_value[value]) if value in split_of_value else -1 for value in values], np.int64
    )[codes]
    left_out: LeftOut = {}
    for code in np.unique(codes[(split_of < 0) & good]).tolist():
        chosen = np.flatnonzero((codes == code) & good)
        left_out[f"{column} is {values[code]!r}" if values[code] else f"{column} is empty"] = table.named(chosen)
    return names, split_of, left_out


def _splits_of_values(table: Table, splits: str | Mapping[str, Any], only: str) -> dict[str, str]:
    """Returns value of the column of splits -> its split, for the values that stand for one.

    Values that data.splits names stand for their splits, and so does `only`; for other splits the usual names do. Upper
    and lower case are the same.

    Raises:
        UserError: `only` has no value, or without it training or validation; or one has several that could be meant.
    """
    column = split_column(splits)
    _, values = _distinct(table.columns[column])
    chosen = {} if isinstance(splits, str) else {split: str(x) for split, x in splits.items() if split != COLUMN}
    named = {**({only: only} if only and not usual_split(only) else {}), **{x: split for split, x in chosen.items()}}
    folded = {composed(value).casefold(): split for value, split in named.items()}
    usual = by_usual_split(dict.fromkeys(value.casefold() for value in values if value.casefold() not in folded))
    for split, alike in usual.items():
        if split in chosen:
            continue
        name = split if split in alike else alike[0]
        if len(alike) > 1 and name != split:
            raise UserError(
                f"{' and '.join(map(repr, alike))} in the column {column!r} could all be the split {split!r}: name "
                f"its value in data.splits, such as { ({COLUMN: column, **chosen, split: name})!r}."
            )
        folded[name] = split
    found = {value: folded[value.casefold()] for value in values if value.casefold() in folded}
    if only and only not in found.values():
        there = dict.fromkeys(found.get(value, value) for value in sorted(filter(None, values)))
        raise no_split(only, [*there], f" in the column {column!r}")
    if missing := [split for split in ("train", "validation") if not only and split not in found.values()]:
        raise _no_value(missing, {COLUMN: column, **chosen}, found, values)
    return found


def no_split(name: str, there: Sequence[str], place: str = "") -> UserError:
    """Returns the error for a split without images that --split names, with those that it may name."""
    more = f" or one of {len(there) - _MAX_NAMES:,} more" if len(there) > _MAX_NAMES else ""
    choice = f"{', '.join(there[:_MAX_NAMES])}{more} or {ALL}" if there else ALL
    return UserError(f"There is no split {name!r}{place}: use --split {choice}.")


def _no_value(
    missing: Sequence[str], chosen: Mapping[str, str], found: Mapping[str, str], values: Sequence[str]
) -> UserError:
    """Returns the error for splits that no value of the column stands for, with values of data.splits to suggest."""
    free = [value for value in values if value and found.get(value) not in ("train", "validation")]
    free.sort(key=lambda value: len(missing) == 1 and usual_split(value) != "test")
    advice = {**chosen, **dict(zip(missing, free, strict=False))}
    way_out = f"name its value in data.splits, such as {advice!r}" if free else "fill it"
    some = ", ".join(map(repr, sorted(values)[:5])) + (f" and {len(values) - 5:,} more" if len(values) > 5 else "")
    return UserError(
        f"No row is in the split {missing[0]!r} by the column {chosen[COLUMN]!r}, which has {some}: {way_out}, or set "
        "data.splits to {'train': 0.8, 'validation': 0.2}."
    )


def _distinct(texts: Strings) -> tuple[np.ndarray, list[str]]:
    """Returns the code of each text (int [texts]), and the text of each code."""
    codes = texts.codes()
    _, first = np.unique(codes, return_index=True)
    return codes, list(texts.select(first))


def _from_files(
    table: Table, splits: Mapping[str, str], folder: Path, good: np.ndarray
) -> tuple[list[str], np.ndarray, LeftOut]:
    """Reads the splits from files of ids; returns what _from_column returns."""
    listed = [
        Strings(_read_ids(stored_path(folder / os.path.expanduser(name)), split)) for split, name in splits.items()
    ]
    names, everywhere = list(splits), Strings.join(listed)
    owner = np.repeat(np.arange(len(names)), [len(ids) for ids in listed])
    first = everywhere.places(everywhere)
    if len(twice := np.flatnonzero(owner[first] != owner)):
        one, other = names[owner[first[twice[0]]]], names[owner[twice[0]]]
        raise UserError(
            f"The id {everywhere[twice[0]]!r} stands in the splits {one!r} and {other!r}: "
            "take it out of one of the files in data.splits."
        )
    is_there = everywhere.places(table.ids) >= 0
    for i, split in enumerate(names):
        if (ids := listed[i]) and not is_there[owner == i].any():
            some = f", whose ids are such as {table.ids[0]!r}" if len(table) else ""
            raise UserError(
                f"No id of data.splits.{split}, {splits[split]!r}, such as {ids[0]!r}, is in the table{some}: list "
                "values of the column 'id', or the names of images if there is none."
            )
    place = table.ids.places(everywhere)
    split_of = np.where(place < 0, -1, owner[place]) if len(owner) else np.full(len(table), -1)
    left_out: LeftOut = {}
    if len(unassigned := np.flatnonzero((split_of < 0) & good)):
        left_out["in no split"] = list(table.ids.select(unassigned))
    if len(absent := np.flatnonzero(~is_there)):
        left_out["in a split, but not in the table"] = list(everywhere.select(absent))
    return names, split_of, left_out


def _read_ids(path: Path, split: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return list(dict.fromkeys(all_composed([image_id for line in lines if (image_id := line.strip())])))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"data.splits.{split} is {str(path)!r}, which cannot be read ({error}): name a file with an id per line."
        ) from error


def _from_fractions(
    table: Table, splits: Mapping[str, float], group_column: str, seed: int, good: np.ndarray
) -> tuple[list[str], np.ndarray, LeftOut]:
    """Divides the images into random splits, stratified by class; returns what _from_column returns.

    The groups of each class are shuffled and divided by the fractions. A group has the class of its first image. The
    share of a class is rounded so that the totals stay right and training gets at least one of its groups.
    """
    names = list(splits)
    first, group_of = _groups(table, group_column)
    split_of_group = np.full(len(first), -1)
    owed = dict.fromkeys(splits, 0.0)  # groups that rounding has withheld from each split so far
    for groups in _shuffled_strata(table, first, seed):
        start = 0
        for split, count in _shares(len(groups), splits, owed).items():
            split_of_group[groups[start : start + count]] = names.index(split)
            start += count
    split_of = _with_every_class(split_of_group[group_of], names.index("train"), table, good, group_of)
    unassigned = np.flatnonzero((split_of < 0) & good)
    return names, split_of, {"in no split": list(table.ids.select(unassigned))} if len(unassigned) else {}


def _from_folds(data: DataFields, table: Table, good: np.ndarray, only: str) -> tuple[list[str], np.ndarray, LeftOut]:
    """Takes part data.fold of data.folds as validation and the others as training; returns what _from_column returns.

    The groups of each class are shuffled and dealt to the folds in turn, continuing from class to class. A class with a
    single group is in training in every fold, so that all folds have the same classes. There may be fewer groups than
    folds only if just one split is wanted, `only`.
    """
    if FOLDERS in table.columns:
        raise UserError(
            f"data.folds is {data.folds}, but the data is divided into splits already "
            f"({', '.join(sorted(set(table.columns[FOLDERS])))}): set it to 0."
        )
    first, group_of = _groups(table, data.group_column)
    fold_of_group, turn = np.full(len(first), -1), 0
    for groups in _shuffled_strata(table, first, data.seed):
        if len(groups) > 1:
            fold_of_group[groups] = np.arange(turn, turn + len(groups)) % data.folds
            turn += len(groups)
    if not only and turn < data.folds:
        what = f"groups of {data.group_column!r}" if data.group_column else "images"
        raise UserError(
            f"data.folds is {data.folds}, but only {turn} {what} can be divided, as the only one of a class stays in "
            "training: lower it."
        )
    split_of = (fold_of_group == data.fold).astype(int)[group_of]
    return ["train", "validation"], _with_every_class(split_of, 0, table, good, group_of), {}


def _shuffled_strata(table: Table, first: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yields the shuffled groups of each class, the classes sorted; first [groups] is the first image of each group."""
    strata = table.paths.codes[first]
    by_stratum = np.argsort(strata, kind="stable")  # within one, in the order of the groups' first images
    bounds = np.searchsorted(strata[by_stratum], np.arange(len(table.paths.distinct) + 1))
    generator = np.random.default_rng([seed, 0])
    for code in sorted(range(len(table.paths.distinct)), key=table.paths.distinct.__getitem__):
        if len(groups := by_stratum[bounds[code] : bounds[code + 1]]):
            yield groups[generator.permutation(len(groups))]


def _groups(table: Table, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first image of each group, in order, and the group of each image, int [images].

    The images of a row are a group; so are rows with the same value in the column, if one is given.
    """
    keys = table.rows.astype(np.int64)
    if column:
        values = table.columns[column]
        none = values.places(Strings([""])) == 0  # a row without a value is a group of its own
        keys = np.where(none, keys, values.codes() + (keys.max(initial=0) + 1))
    _, first, group_of = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[group_of]


def _check_groups(table: Table, column: str, names: Sequence[str], split_of: np.ndarray) -> None:
    """Raises a UserError if a group has images in two splits."""
    first, group_of = _groups(table, column)
    assigned = np.flatnonzero(split_of >= 0)
    low, high = np.full(len(first), len(names)), np.full(len(first), -1)
    np.minimum.at(low, group_of[assigned], split_of[assigned])
    np.maximum.at(high, group_of[assigned], split_of[assigned])
    if len(torn := np.flatnonzero(low < high)):
        name, one, other = table.columns[column][first[torn[0]]], names[low[torn[0]]], names[high[torn[0]]]
        raise UserError(
            f"{len(torn)} of the groups of data.group_column, {column!r}, stand in two splits, such as {name!r} in "
            f"{one!r} and {other!r}: change data.splits, or leave data.group_column empty."
        )


def _shares(count: int, splits: Mapping[str, float], owed: dict[str, float]) -> dict[str, int]:
    """Returns how many of the `count` groups of a class go to each split; updates `owed`."""
    shares: dict[str, int] = {"train": 0}
    free = count - 1  # one group is reserved for training
    for split in [name for name in splits if name != "train"]:
        wanted = count * splits[split] + owed[split]
        shares[split] = min(max(round(wanted), 0), free)
        owed[split] = min(wanted - shares[split], 1.0)
        free -= shares[split]
    whole = abs(sum(splits.values()) - 1) < 1e-9
    shares["train"] = 1 + (free if whole else min(free, max(round(count * splits["train"]) - 1, 0)))
    return shares
