"""The folder source: images in folders named by their classes, MAIN/SUB/*.jpg or CLASS/*.jpg."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.data.fields import DataFields
from fashion_jax.data.sources.columns import SUFFIXES
from fashion_jax.data.sources.split_names import by_usual_split
from fashion_jax.data.sources.table import FOLDERS, LabelPaths, Labels, LeftOut, Table, check_folder
from fashion_jax.data.sources.taxonomy_file import paths_by_name
from fashion_jax.data.sources.walk import PASSED_OVER, is_hidden, is_image, printable_name, walk
from fashion_jax.data.stored_names import StoredNames
from fashion_jax.data.strings import Files, Strings
from fashion_jax.errors import UserError
from fashion_jax.letters import all_composed, composed
from fashion_jax.taxonomy import Taxonomy, class_name

_LEVELS = {1: ["class"], 2: ["main", "sub"], 3: ["main", "sub", "type"]}  # number of levels -> names to suggest

_FOR_MORE_LEVELS = (
    "or name a file in data.taxonomy that says what stands under what, and put each class into one folder"
)

_NO_IMAGE = "not an image by its name"

_NO_SPLIT = "in the folder of no split"

_HARMLESS = (_NO_IMAGE, _NO_SPLIT, *PASSED_OVER)


def read_folder(data: DataFields, folder: Path, taxonomy: Taxonomy | None) -> tuple[Table, LeftOut]:
    """Lists the images below a folder, labelled by the names of their folders.

    Args:
        data: its levels, splits and max_bad_fraction are used.
        folder: an image lies as many folders below it as there are levels, or, if a taxonomy is given, in one
            folder named by its finest class. If the splits have folders, these come first.
        taxonomy: gives classes their parents.

    Returns:
        The table of the images, by path, with the column FOLDERS if the splits have folders; and what was left out.

    Raises:
        UserError: there is no such folder, or too many of its images cannot be used.
    """
    check_folder(folder)
    places = _Places(list(data.levels), split_folders(data.splits, folder), taxonomy)
    names, codes = [], []
    left_out: LeftOut = {}
    for path, error in walk(str(folder), places.splits):
        parent, _, name = path.rpartition(os.sep)
        reason, code = (error, -1) if error else places.of(parent) if is_image(name) else (_NO_IMAGE, -1)
        if reason:
            left_out.setdefault(reason, []).append(printable_name(path or "."))
        else:
            names.append(path)
            codes.append(code)
    _check_enough(data, folder, len(names), left_out)
    labels = LabelPaths([labels for _, labels in places.distinct], np.array(codes, np.int32))
    columns = {}
    if places.splits:
        columns[FOLDERS] = Strings(split for split, _ in places.distinct).select(codes)
    ids = Strings(all_composed(list(map(printable_name, names))))
    return Table(ids, Files(str(folder), Strings(names)), labels, np.arange(len(ids)), columns), left_out


def table_advice(left_out: LeftOut) -> str:
    """Says how to take the classes from a table at the top of the folder, as "if …; otherwise "; "" if there is none.

    Args:
        left_out: as `read_folder` returns it.
    """
    for name in left_out.get(_NO_IMAGE, ()):
        if os.sep not in name and name.lower().endswith(SUFFIXES):
            return (
                f"if {name!r} names the classes, set --config.data.source=csv --config.data.csv={shlex.quote(name)} "
                "and its columns in --config.data.levels; otherwise "
            )
    return ""


def split_folders(splits: Any, folder: Path) -> dict[str, str]:
    """Returns top folder -> split, if data.splits names folders, or names no files and the usual folders exist.

    The usual folders are train and validation, or other words for them, in upper or lower case.
    """
    if isinstance(splits, dict) and all(isinstance(name, str) for name in splits.values()):
        return _named_folders(splits, folder)
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))
    usual = by_usual_split(names)
    if not usual.keys() >= {"train", "validation"}:
        _check_no_splits(folder, usual, len(names))
        return {}
    for split, alike in usual.items():
        if len(alike) > 1:
            raise UserError(
                f"{' and '.join(map(repr, alike))} below {str(folder)!r} could all be the split {split!r}: name the "
                f"folder of each split in data.splits, such as {_advice(usual)}."
            )
    return {alike[0]: split for split, alike in usual.items()}


def _named_folders(splits: dict[str, str], folder: Path) -> dict[str, str]:
    """Returns folder -> split for the folders named in data.splits; empty if they are not all folders."""
    stored = StoredNames(str(folder))
    names = {os.path.normpath(stored.find(name)): split for split, name in splits.items()}
    if not all(os.path.isdir(folder / name) for name in names):
        return {}
    if deep := [name for name in names if os.sep in name or name in (os.curdir, os.pardir)]:
        raise UserError(
            f"data.splits has the folder {deep[0]!r}, which is not one directly below {str(folder)!r}: name a folder "
            "directly below it, or set data.path to the one that holds the splits."
        )
    return names


def _check_no_splits(folder: Path, usual: dict[str, list[str]], num_folders: int) -> None:
    """Raises a UserError if folders that would be read as classes are named like splits.

    A single such folder beside others may be a class, such as toy trains.
    """
    alike = [name for names in usual.values() for name in names]
    if len(alike) > 1:
        raise UserError(
            f"{' and '.join(map(repr, sorted(alike)))} below {str(folder)!r} look like splits, not classes: name them "
            f"in data.splits, such as {_advice(usual)}."
        )
    if alike and num_folders == 1:
        raise UserError(
            f"{alike[0]!r}, the only folder in {str(folder)!r}, looks like a split, not a class: set data.path to "
            f"{str(folder / alike[0])!r}, or put the folder of another split beside it."
        )


def _advice(usual: dict[str, list[str]]) -> dict[str, str]:
    """Returns a value for data.splits to suggest; without a validation folder, the test images serve."""
    names = {split: alike[0] for split, alike in usual.items()}
    validation = names.get("validation") or names.get("test", "FOLDER")
    return {"train": names.get("train", "FOLDER"), "validation": validation}


class _Places:
    """Reads the split and the labels of images off their folders.

    Attributes:
        distinct: pairs of a split ("" if splits have no folders) and labels -> index, in the order they are found.
    """

    def __init__(self, levels: Sequence[str], splits: dict[str, str], taxonomy: Taxonomy | None):
        self.splits = splits
        self.distinct: dict[tuple[str, Labels], int] = {}
        self._levels = levels
        self._paths = paths_by_name(taxonomy) if taxonomy else {}
        self._memo: dict[str, tuple[str, int]] = {}

    def of(self, parent: str) -> tuple[str, int]:
        """Returns why the images in a folder (relative) are left out, or "", and their index in `distinct`."""
        if parent not in self._memo:
            self._memo[parent] = self._of(parent)
        return self._memo[parent]

    def _of(self, parent: str) -> tuple[str, int]:
        folders, split = parent.split(os.sep) if parent else [], ""
        if self.splits:
            split = self.splits.get(folders[0], "") if folders else ""
            if not split:
                return _NO_SPLIT, -1
            folders = folders[1:]
        folders = [composed(printable_name(name)) for name in folders]
        if len(folders) == len(self._levels):
            labels = tuple(folders)
        elif len(folders) == 1 and self._paths:
            labels = self._path_of(folders[0])
        else:
            return _depth_reason(len(folders), self._levels), -1
        return "", self.distinct.setdefault((split, labels), len(self.distinct))

    def _path_of(self, name: str) -> Labels:
        paths = self._paths.get(name, [(name, *[""] * (len(self._levels) - 1))])  # not in the taxonomy: unknown
        if len(paths) > 1:
            raise UserError(
                f"The folder {name!r} could be {' or '.join(map(class_name, paths))}: "
                f"put its images into folders as {'/'.join(paths[0])}."
            )
        return paths[0]


def _depth_reason(depth: int, levels: Sequence[str]) -> str:
    count = "1 folder" if depth == 1 else f"{depth} folders"
    return f"in {count}, not in {len(levels)} ({'/'.join(levels)})"


def _way_out(data: DataFields, top: str, reasons: Sequence[str]) -> str:
    """Says what to do about images that cannot be used, by the reasons, as the end of a sentence.

    Args:
        data: which names them.
        top: name of the folder that holds them.
        reasons: why they cannot be used.
    """
    levels = list(data.levels)
    if set(reasons) == {_depth_reason(0, levels)}:
        return "put each into a folder named by its class, or set data.source to csv and name a table in data.csv"
    unpacking = ""
    if os.path.isfile(os.path.expanduser(data.path)) and set(reasons) == {_depth_reason(len(levels) - 1, levels)}:
        unpacking = (
            f"; or, if {top!r}, the top folder of the zip, is a class too, unpack it and name the folder around it"
        )
    for depth, names in _LEVELS.items():
        if set(reasons) == {_depth_reason(depth, levels)}:
            level = "level of classes" if depth == 1 else "levels"
            other = _FOR_MORE_LEVELS if depth == 1 else "or name the folders of splits in data.splits"
            return f'for {depth} {level} set --config.data.levels="{dict.fromkeys(names, "")}", {other}{unpacking}'
    return (
        f"put each into folders named by its {' and '.join(levels)}, {_FOR_MORE_LEVELS}; folders of splits may be "
        "named in data.splits"
    )


def _check_enough(data: DataFields, folder: Path, count: int, left_out: LeftOut) -> None:
    bad = [(path, reason) for reason, paths in left_out.items() if reason not in _HARMLESS for path in paths]
    if len(bad) > data.max_bad_fraction * (count + len(bad)):
        named = ", ".join(f"{path} ({reason})" for path, reason in bad[:3])
        raise UserError(
            f"{len(bad)} of {count + len(bad)} images below {str(folder)!r} cannot be used, such as {named}: "
            f"{table_advice(left_out)}{_way_out(data, folder.name, [reason for _, reason in bad])}."
        )
    if not count:
        raise UserError(f"There are no images below {str(folder)!r}: name the folder of their classes in data.path.")
