"""Which split each image belongs to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.data.sources.stored_names import stored_path
from fashion_jax.data.sources.table import FOLDERS, LeftOut, Table
from fashion_jax.data.strings import Strings
from fashion_jax.errors import UserError
from fashion_jax.letters import all_composed, composed

Assigned = dict[str, np.ndarray]  # split -> int64 [n], its images' places in the table, in the table's order


def assign_splits(
    config: ConfigDict, table: Table, folder: Path, good: np.ndarray, also: str = ""
) -> tuple[Assigned, LeftOut]:
    """Split -> its images in the table; and the ids that are in none, by reason, of those that can be used.

    Splits are made of all images, so that one that goes bad, or is repaired, moves no other; but for classes that would
    be left without an image to train on, which go to training whole.

    Args:
        config: of the run.
        table: all images.
        folder: that files of ids are relative to.
        good: bool [images], which of them can be used; the others are in no split.
        also: a split besides train and validation, where they are values of a column.

    Raises:
        UserError: a file of ids is missing, an id or a group stands in two splits, or a split has no images.
    """
    splits, group_column = config.data.splits, config.data.group_column
    if FOLDERS in table.columns:  # of a prepared set, whose splits have whole groups
        group_column = ""
    if config.data.folds:
        names, of, unassigned = _from_folds(config, table, good)
    elif FOLDERS in table.columns:
        names, of, unassigned = _from_column(table, FOLDERS, set(table.columns[FOLDERS]), good)
    elif isinstance(splits, str):
        names, of, unassigned = _from_column(table, splits, {also} - {""}, good)
    elif all(isinstance(value, str) for value in splits.values()):
        names, of, unassigned = _from_files(table, splits, folder, good)
    else:
        names, of, unassigned = _from_fractions(table, splits, group_column, config.seed, good)
    if group_column:
        _check_groups(table, group_column, names, of)
    for i, split in enumerate(names):
        if not (of == i).any():
            groups = f" and data.group_column, {group_column!r}" if group_column else ""
            raise UserError(
                f"The split {split!r} has no images{_values(table, splits)}: check data.splits, {splits!r}{groups}."
            )
        if not good[of == i].any():
            raise UserError(f"The split {split!r} has no image that can be used: check data.path and data.image.")
    return {name: np.flatnonzero((of == i) & good) for i, name in enumerate(names)}, unassigned


def _values(table: Table, column: Any) -> str:
    """What a column of splits has, in words, where it is one."""
    if not isinstance(column, str):
        return ""
    some = sorted(set(table.columns[column]))[:5]
    return f" (the column has {', '.join(map(repr, some))})"


def _with_every_class(of: np.ndarray, train: int, table: Table, good: np.ndarray, group_of: np.ndarray) -> np.ndarray:
    """The split of each image (int [images]), where each class that has images which can be used has one to train."""
    codes = table.paths.codes
    lost = good & (of >= 0) & ~np.isin(codes, codes[good & (of == train)])
    return np.where(np.isin(group_of, group_of[lost]) & (of >= 0), train, of)


def _from_column(
    table: Table, column: str, also: Collection[str], good: np.ndarray
) -> tuple[list[str], np.ndarray, LeftOut]:
    """Splits, int [images] which of them each image is in (-1: none), and the good ones that are in none."""
    names = list(dict.fromkeys(["train", "validation", *sorted(also)]))
    values = table.columns[column]
    of = values.places(Strings(map(composed, names)))
    left_out: LeftOut = {}
    for i in np.flatnonzero((of < 0) & good):
        left_out.setdefault(f"{column} is {values[i]!r}", []).append(table.ids[i])
    return names, of, left_out


def _from_files(
    table: Table, splits: dict[str, str], folder: Path, good: np.ndarray
) -> tuple[list[str], np.ndarray, LeftOut]:
    """As _from_column."""
    listed = [Strings(_read_ids(stored_path(folder / name), split)) for split, name in splits.items()]
    names, everywhere = list(splits), Strings.join(listed)
    owner = np.repeat(np.arange(len(names)), [len(ids) for ids in listed])
    first = everywhere.places(everywhere)
    if len(twice := np.flatnonzero(owner[first] != owner)):
        one, other = names[owner[first[twice[0]]]], names[owner[twice[0]]]
        raise UserError(
            f"The id {everywhere[twice[0]]!r} stands in the splits {one!r} and {other!r}: "
            "take it out of one of the files in data.splits."
        )
    place = table.ids.places(everywhere)
    of = np.where(place < 0, -1, owner[place]) if len(owner) else np.full(len(table), -1)
    left_out: LeftOut = {}
    if len(unassigned := np.flatnonzero((of < 0) & good)):
        left_out["in no split"] = list(table.ids.select(unassigned))
    if len(absent := np.flatnonzero(everywhere.places(table.ids) < 0)):
        left_out["in a split, but not in the table"] = list(everywhere.select(absent))
    return names, of, left_out


def _read_ids(path: Path, split: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return list(dict.fromkeys(all_composed([image_id for line in lines if (image_id := line.strip())])))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"data.splits.{split} is {str(path)!r}, which cannot be read ({error}): name a file with an id per line."
        ) from error


def _from_fractions(
    table: Table, splits: dict[str, float], group_column: str, seed: int, good: np.ndarray
) -> tuple[list[str], np.ndarray, LeftOut]:
    """As _from_column. Stratified by class: each class's groups, shuffled, are dealt out by the fractions.

    A group is of the class of its first image. A class's share is rounded so that the totals stay right and training
    gets at least one of its groups.
    """
    names = list(splits)
    first, group_of = _groups(table, group_column)
    split_of_group = np.full(len(first), -1)
    owed = dict.fromkeys(splits, 0.0)  # what rounding has kept back from each split so far
    for groups in _shuffled_strata(table, first, seed):
        start = 0
        for split, count in _shares(len(groups), splits, owed).items():
            split_of_group[groups[start : start + count]] = names.index(split)
            start += count
    of = _with_every_class(split_of_group[group_of], names.index("train"), table, good, group_of)
    unassigned = np.flatnonzero((of < 0) & good)
    return names, of, {"in no split": list(table.ids.select(unassigned))} if len(unassigned) else {}


def _from_folds(config: ConfigDict, table: Table, good: np.ndarray) -> tuple[list[str], np.ndarray, LeftOut]:
    """As _from_column: the data.fold-th of data.folds parts is validation, all others are training.

    Stratified by class: each class's groups, shuffled, are dealt out in turns that go on from class to class. A class
    of one group is training's in every fold, so that the folds have the same classes.
    """
    if FOLDERS in table.columns:
        raise UserError(
            f"data.folds is {config.data.folds}, but the data is divided into splits already "
            f"({', '.join(sorted(set(table.columns[FOLDERS])))}): set it to 0."
        )
    first, group_of = _groups(table, config.data.group_column)
    fold_of_group, turn = np.full(len(first), -1), 0
    for groups in _shuffled_strata(table, first, config.seed):
        if len(groups) > 1:
            fold_of_group[groups] = np.arange(turn, turn + len(groups)) % config.data.folds
            turn += len(groups)
    of = (fold_of_group == config.data.fold).astype(int)[group_of]
    return ["train", "validation"], _with_every_class(of, 0, table, good, group_of), {}


def _shuffled_strata(table: Table, first: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Each class's groups, shuffled, the classes sorted; first [groups] is each group's first image."""
    strata = table.paths.codes[first]
    by_stratum = np.argsort(strata, kind="stable")  # within one, in the order of the groups' first images
    bounds = np.searchsorted(strata[by_stratum], np.arange(len(table.paths.distinct) + 1))
    generator = np.random.default_rng([seed, 0])
    for code in sorted(range(len(table.paths.distinct)), key=table.paths.distinct.__getitem__):
        if len(groups := by_stratum[bounds[code] : bounds[code + 1]]):
            yield groups[generator.permutation(len(groups))]


def _groups(table: Table, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The first image of each group, in order; and int [images], the group of each image.

    Images of a row are a group; so are rows with the same value of the column, where there is one.
    """
    keys = table.rows.astype(np.int64)
    if column:
        values = table.columns[column]
        none = values.places(Strings([""])) == 0  # a row of no group is one by itself
        keys = np.where(none, keys, values.codes() + (keys.max(initial=0) + 1))
    _, first, group_of = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[group_of]


def _check_groups(table: Table, column: str, names: Sequence[str], of: np.ndarray) -> None:
    """Raises UserError where a group has images in two splits."""
    first, group_of = _groups(table, column)
    assigned = np.flatnonzero(of >= 0)
    low, high = np.full(len(first), len(names)), np.full(len(first), -1)
    np.minimum.at(low, group_of[assigned], of[assigned])
    np.maximum.at(high, group_of[assigned], of[assigned])
    if len(torn := np.flatnonzero(low < high)):
        name, one, other = table.columns[column][first[torn[0]]], names[low[torn[0]]], names[high[torn[0]]]
        raise UserError(
            f"{len(torn)} of the groups of data.group_column, {column!r}, stand in two splits, such as {name!r} in "
            f"{one!r} and {other!r}: change data.splits, or leave data.group_column empty."
        )


def _shares(count: int, splits: dict[str, float], owed: dict[str, float]) -> dict[str, int]:
    """How many of a class's groups go to each split; updates what is owed."""
    shares: dict[str, int] = {"train": 0}
    free = count - 1  # one is training's
    for split in [name for name in splits if name != "train"]:
        wanted = count * splits[split] + owed[split]
        shares[split] = min(max(round(wanted), 0), free)
        owed[split] = min(wanted - shares[split], 1.0)
        free -= shares[split]
    whole = abs(sum(splits.values()) - 1) < 1e-9
    shares["train"] = 1 + (free if whole else min(free, max(round(count * splits["train"]) - 1, 0)))
    return shares
