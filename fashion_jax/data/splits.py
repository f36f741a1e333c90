"""Which split each row of a table belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.data.table import Table
from fashion_jax.errors import UserError

LeftOut = dict[str, list[str]]  # reason -> ids


def assign_splits(config: ConfigDict, table: Table, folder: Path) -> tuple[dict[str, list[int]], LeftOut]:
    """Split -> its rows of the table, in the table's order; and the ids that are in none, by reason.

    Raises:
        UserError: a file of ids is missing, an id stands in two splits, or a split has no rows.
    """
    splits = config.data.splits
    if isinstance(splits, str):
        rows, left_out = _from_column(table, splits)
    elif all(isinstance(value, str) for value in splits.values()):
        rows, left_out = _from_files(table, splits, folder)
    else:
        rows, left_out = _from_fractions(table, splits, config.data.group_column, config.seed)
    for split, chosen in rows.items():
        if not chosen:
            groups = f" and data.group_column, {config.data.group_column!r}" if config.data.group_column else ""
            raise UserError(f"The split {split!r} has no images: check data.splits, {splits!r}{groups}.")
    return rows, left_out


def _from_column(table: Table, column: str) -> tuple[dict[str, list[int]], LeftOut]:
    rows: dict[str, list[int]] = {"train": [], "validation": []}
    left_out: LeftOut = {}
    for row, value in enumerate(table.columns[column]):
        if value in rows:
            rows[value].append(row)
        else:
            left_out.setdefault(f"{column} is {value!r}", []).append(table.ids[row])
    return rows, left_out


def _from_files(table: Table, splits: dict[str, str], folder: Path) -> tuple[dict[str, list[int]], LeftOut]:
    split_of: dict[str, str] = {}
    for split, name in splits.items():
        for image_id in _read_ids(folder / name, split):
            if split_of.setdefault(image_id, split) != split:
                raise UserError(
                    f"The id {image_id!r} stands in the splits {split_of[image_id]!r} and {split!r}: "
                    "take it out of one of the files in data.splits."
                )
    rows: dict[str, list[int]] = {split: [] for split in splits}
    left_out: LeftOut = {}
    for row, image_id in enumerate(table.ids):
        if image_id in split_of:
            rows[split_of[image_id]].append(row)
        else:
            left_out.setdefault("in no split", []).append(image_id)
    known = set(table.ids)
    if absent := [image_id for image_id in split_of if image_id not in known]:
        left_out["in a split, but not in the table"] = absent
    return rows, left_out


def _read_ids(path: Path, split: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"data.splits.{split} is {str(path)!r}, which cannot be read ({error}): name a file with an id per line."
        ) from error


def _from_fractions(
    table: Table, splits: dict[str, float], group_column: str, seed: int
) -> tuple[dict[str, list[int]], LeftOut]:
    """Stratified by class: each class's groups of rows, shuffled, are dealt out by the fractions.

    A class's share is rounded so that the totals stay right and training gets at least one of its groups.
    """
    groups = table.columns[group_column] if group_column else [""] * len(table.ids)
    members: dict[str | int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group or row].append(row)  # a row of no group is one by itself
    strata: dict[tuple[str, ...], list[str | int]] = defaultdict(list)
    for group, rows in members.items():
        strata[table.paths[rows[0]]].append(group)

    generator = np.random.default_rng([seed, 0])
    owed = dict.fromkeys(splits, 0.0)  # what rounding has kept back from each split so far
    chosen: dict[str, list[int]] = {split: [] for split in splits}
    left_out: LeftOut = {}
    for path in sorted(strata):
        names = [strata[path][i] for i in generator.permutation(len(strata[path]))]
        start = 0
        for split, count in _shares(len(names), splits, owed).items():
            chosen[split] += [row for group in names[start : start + count] for row in members[group]]
            start += count
        for group in names[start:]:
            left_out.setdefault("in no split", []).extend(table.ids[row] for row in members[group])
    return {split: sorted(rows) for split, rows in chosen.items()}, left_out


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


def training_counts(paths: Sequence[tuple[str, ...]], rows: Sequence[int], depth: int) -> dict[tuple[str, ...], int]:
    """Class (a path of `depth` labels) -> its number of rows, of those whose label is known."""
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    for row in rows:
        if all(paths[row][:depth]):
            counts[paths[row][:depth]] += 1
    return counts
