"""Turns the config's data.* fields into splits of files and labels, and records which images were left out."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.config.fields import DEFAULT_SPLITS, are_fractions, split_column
from fashion_jax.data.catalogue.generator import catalogue_folder
from fashion_jax.data.decoding.file_check import check_files
from fashion_jax.data.fields import DataFields, data_fields
from fashion_jax.data.findings import label_warnings, unlabelled_below
from fashion_jax.data.fingerprint import split_digests
from fashion_jax.data.label_checks import (
    check_classes_repeat,
    divided_ids,
    empty_labels,
    file_conflicts,
    id_conflicts,
    name_conflicts,
    unknown_labels,
    unused_labels,
)
from fashion_jax.data.leaks import Leaks, find_leaks, leaks_by_ids, without_leaks
from fashion_jax.data.rare import drop_rare, merge_rare, merge_unknown, merged_counts
from fashion_jax.data.records.record_images import RecordNames
from fashion_jax.data.sources.archive import check_archive, extracted
from fashion_jax.data.sources.folder import read_folder, split_folders, table_advice
from fashion_jax.data.sources.image_advice import image_advice
from fashion_jax.data.sources.table import LabelPaths, Labels, LeftOut, Table, check_folder, read_table, table_file
from fashion_jax.data.sources.taxonomy_file import read_taxonomy_file
from fashion_jax.data.sources.tfds import read_records
from fashion_jax.data.splits import ALL, Assigned, assign_splits, check_splits, no_split
from fashion_jax.data.stored_names import stored_path
from fashion_jax.data.strings import Files, Strings
from fashion_jax.data.usable import usable, without_repeats
from fashion_jax.devices.host import cache_root
from fashion_jax.errors import UserError
from fashion_jax.taxonomy import UNKNOWN, Taxonomy

_FEW = 100  # files that are looked for, to see whether the names of a table are right


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a split, addressed by index.

    Attributes:
        ids: the user's names of the images.
        files: absolute paths.
        labels: level -> int32 [images], UNKNOWN (-1) if not known.
        content_digests: uint64 [images], of the files' contents; None unless made by load_dataset or load_split.
        left_out: reason -> names of the images of the data that cannot be used or are in no split, and of those of this
            split whose class the run has left out as rare; only of load_split.
        warnings: sentences, without their full stops, on labels that the run does not know; only of load_split.
    """

    ids: Sequence[str]
    files: Sequence[str]
    labels: dict[str, np.ndarray]
    content_digests: np.ndarray | None = None
    left_out: LeftOut = dataclasses.field(default_factory=dict)
    warnings: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, rows: slice) -> Split:
        """Returns some consecutive images."""
        labels = {level: values[rows] for level, values in self.labels.items()}
        digests = None if self.content_digests is None else self.content_digests[rows]
        return Split(self.ids[rows], self.files[rows], labels, digests, self.left_out, self.warnings)

    def counts(self, level: str, num_classes: int) -> np.ndarray:
        """Counts the images of each class of a level, int [num_classes], without those whose label is not known."""
        labels = self.labels[level]
        return np.bincount(labels[labels != UNKNOWN], minlength=num_classes)

    def class_counts(self, taxonomy: Taxonomy) -> dict[str, np.ndarray]:
        """Counts the images of each class at each level, level -> int [classes]; see `counts`."""
        return {level: self.counts(level, taxonomy.num_classes(level)) for level in self.labels}

    def picture(self, i: int) -> str | io.BytesIO:
        """Returns what Pillow opens to show image i: a path or an open file."""
        return self.files.picture(i) if isinstance(self.files, RecordNames) else self.files[i]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The splits of a dataset and their taxonomy.

    Attributes:
        taxonomy: the classes, made from the training rows unless data.taxonomy fixes them.
        splits: train, validation, and any other split that data.splits names.
        left_out: reason -> ids of the images that are in no split.
        merged: class "Other" -> rare class merged into it -> number of its images in all splits.
        leaks: two splits -> pairs of ids of equal images, one of each split.
        warnings: sentences on what may be wrong with the labels.
    """

    taxonomy: Taxonomy
    splits: dict[str, Split]
    left_out: LeftOut
    merged: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    leaks: dict[str, list[list[str]]] = dataclasses.field(default_factory=dict)
    warnings: Sequence[str] = ()

    @functools.cached_property
    def digests(self) -> dict[str, dict[str, str]]:
        """Split -> digests of its ids, labels and files (see fingerprint.split_digests)."""
        return {name: split_digests(x.ids, x.labels, x.content_digests) for name, x in self.splits.items()}

    def summary(self, batch_size: int) -> dict[str, Any]:
        """Returns the content of data.json: images per split and class, what was left out or merged, and warnings."""
        splits = {}
        for name, split in self.splits.items():
            classes = {
                level: dict(zip(names, split.counts(level, len(names)).tolist(), strict=True))
                for level, names in self.taxonomy.classes.items()
            }
            unknown = {level: int((labels == UNKNOWN).sum()) for level, labels in split.labels.items()}
            splits[name] = {"images": len(split), "unknown_labels": unknown, "classes": classes} | self.digests[name]
        splits["train"]["left_over_per_epoch"] = len(self.splits["train"]) % batch_size
        leaks = {name: {"images": len(pairs), "ids": pairs} for name, pairs in self.leaks.items()}
        found = {"merged": self.merged, "leaks": leaks, "warnings": list(self.warnings)}
        return {"splits": splits, "left_out": self.left_out} | {name: value for name, value in found.items() if value}


def check_paths(data: DataFields, split: str = "") -> None:
    """Checks that the files named by the fields of a checked config exist; reads at most the directory of a zip.

    If only one split is wanted, the taxonomy is known already and data.taxonomy is not needed; if that split is ALL,
    neither are the files of splits. The content of a zip is checked later.

    Raises:
        UserError: names the first missing file, or the zip that cannot be used.
    """
    names = {}
    if data.taxonomy and not split:
        names["data.taxonomy"] = stored_path(Path(os.path.expanduser(data.taxonomy)))
    folder = _path(data.path)
    if data.source in ("csv", "folder") and os.path.isfile(folder):
        check_archive(folder)
    elif data.source == "csv":
        table_file(data.csv, folder, data.path)
        names |= _split_files(data.splits, folder) if split != ALL else {}
    elif data.source == "folder":
        check_folder(folder)
        files = _split_files(data.splits, folder) if split != ALL else {}
        names |= {field: path for field, path in files.items() if not os.path.isdir(path)}
    _check_exist(names)


def load_dataset(config: ConfigDict, *, is_divided: bool = False) -> Dataset:
    """Finds the images and labels of a checked config, and checks every file that is not known to be good.

    Args:
        config: see configs/default.py.
        is_divided: whether all processes of the run call this at the same time and divide the check of the files.

    Raises:
        UserError: the data is missing, wrong, or does not fit the config.
    """
    data = data_fields(config)
    check_paths(data)
    fixed = read_taxonomy_file(data.taxonomy, list(data.levels)) if data.taxonomy else None
    table, left_out, digests, assigned, warnings = _find(data, fixed, is_divided=is_divided)
    leaks = find_leaks(table.files, digests, assigned)
    if data.drop_leaks:
        assigned, leaked = without_leaks(assigned, leaks)
        _check_left(assigned, leaks)
        left_out |= {"in another split too": list(table.ids.select(leaked))} if len(leaked) else {}
    before = table.paths
    if data.rare_classes == "merge":
        table = merge_rare(table, assigned["train"], len(data.levels), data.min_images_per_class)
    assigned, rare = drop_rare(table, assigned, len(data.levels), data.min_images_per_class)
    if rare:
        left_out[_rare_words(data)] = rare
    _check_has_images(assigned)
    if not config.time_limit:  # which chooses the size of a batch
        check_fills_a_batch(len(assigned["train"]), config.batch_size)
    taxonomy = fixed or _taxonomy(data.levels, table.paths.select(assigned["train"]))
    images = np.concatenate(list(assigned.values()))
    merged = merged_counts(before, table.paths, images, taxonomy)
    warnings = [*warnings, *label_warnings(list(data.levels), _distinct(table.paths.select(images)))]
    content_digests = _contents(table, digests)
    splits = {
        name: _split(table.select(images), taxonomy, content_digests[images]) for name, images in assigned.items()
    }
    _check_trained(data, taxonomy, table.paths, splits["train"])
    warnings += unknown_labels(table, assigned, taxonomy, is_trained=True)
    warnings += unlabelled_below(taxonomy, splits["train"].labels)
    return Dataset(taxonomy, splits, left_out, merged, leaks_by_ids(leaks, table.ids), warnings)


def check_fractions(data: DataFields) -> None:
    """Checks that a new run asks for no fractions of a folder that is divided into splits; extracts a zip first.

    Fractions that are the default are not asked for.

    Raises:
        UserError: the folders of the splits would be taken whole.
    """
    if data.source != "folder" or not are_fractions(data.splits) or data.splits == DEFAULT_SPLITS:
        return
    folder = _folder(data)
    check_folder(folder)
    if found := {split: name for name, split in split_folders(data.splits, folder).items()}:
        raise UserError(
            f"data.splits is {data.splits!r}, but {data.path!r} is divided into the folders "
            f"{', '.join(found.values())}, which are taken whole: set it to {found!r}, or data.path to a folder "
            "without such folders."
        )


def check_tells_apart(dataset: Dataset, data: DataFields) -> None:
    """Checks that a new run has something to learn: several classes at its finest level.

    A coarser level may have one class.

    Args:
        dataset: of the run.
        data: the fields by which it was loaded.

    Raises:
        UserError: the finest level has one class, so that its scores would be perfect from the first step on.
    """
    level = dataset.taxonomy.levels[-1]
    first, *others = dataset.taxonomy.classes[level]
    if others:
        return
    if dataset.merged or _rare_words(data) in dataset.left_out:
        way_out = "lower data.min_images_per_class, below which the others are rare"
    elif any(dataset.taxonomy.num_classes(coarser) > 1 for coarser in dataset.taxonomy.levels):
        way_out = "take it out of data.levels, or add labels of other classes"
    else:
        column = f", or name another column than {data.levels[level]!r} in data.levels" if data.levels[level] else ""
        way_out = f"{table_advice(dataset.left_out)}add training images of other classes{column}"
    raise UserError(
        f"The finest level, {level!r}, has only the class {first!r}, so that it has nothing to learn: {way_out}."
    )


def load_split(config: ConfigDict, taxonomy: Taxonomy, name: str) -> Split:
    """Loads one split of a checked config, or ALL images, with labels from an existing taxonomy.

    Raises:
        UserError: the data is missing or wrong, or has no such split.
    """
    data = data_fields(config)
    if list(data.levels) != list(taxonomy.levels):
        raise UserError(f"data.levels is {data.levels!r}, but must name {', '.join(taxonomy.levels)}, in order.")
    check_paths(data, name)
    # Folders are listed as in training: splits by fractions depend on the list.
    is_as_trained = data.source == "folder" and not data.taxonomy and name != ALL
    table, left_out, digests, assigned, _ = _find(data, None if is_as_trained else taxonomy, name)
    merged = merge_unknown(table, taxonomy) if data.rare_classes == "merge" else table
    if name == ALL:
        return _measured(merged, taxonomy, digests, left_out, name)
    if data.drop_leaks:
        assigned, _ = without_leaks(assigned, find_leaks(table.files, digests, assigned))
    before = assigned.get(name, ())
    assigned, _ = drop_rare(merged, assigned, len(data.levels), data.min_images_per_class, taxonomy)
    if len(rare := np.setdiff1d(before, assigned.get(name, ()))):
        left_out = left_out | {_rare_words(data): list(table.ids.select(rare))}
    if name not in assigned or not len(assigned[name]):
        raise no_split(name, [other for other, images in assigned.items() if len(images)], " with images")
    return _measured(merged.select(assigned[name]), taxonomy, digests[assigned[name]], left_out, name)


def _measured(table: Table, taxonomy: Taxonomy, digests: np.ndarray, left_out: LeftOut, name: str) -> Split:
    """Returns the images of a table as a split, with the names that are left out and the warnings on its labels."""
    warnings = unknown_labels(table, {name: np.arange(len(table))}, taxonomy, is_trained=False)
    split = _split(table, taxonomy, _contents(table, digests))
    return dataclasses.replace(split, left_out=left_out, warnings=warnings)


class _Found(NamedTuple):
    """The usable images, and what was found about all.

    Attributes:
        table: the usable images.
        left_out: reason -> names of the other images.
        digests: uint64 [images], of the contents of the usable images' files.
        assigned: split -> its images (int [n]); empty for ALL.
        warnings: sentences on what may be wrong with the labels.
    """

    table: Table
    left_out: LeftOut
    digests: np.ndarray
    assigned: Assigned
    warnings: list[str]


def _find(data: DataFields, taxonomy: Taxonomy | None, only: str = "", *, is_divided: bool = False) -> _Found:
    """Finds the usable images and their splits; if only one split is wanted, it is `only`."""
    if only == ALL and data.source == "csv":  # its table need not have the columns of groups and splits
        data = dataclasses.replace(data, group_column="", splits=DEFAULT_SPLITS)
    listed, left_out, folder = _listed(data, taxonomy)
    if data.source == "csv":
        _check_exist(_split_files(data.splits, folder))  # of a zip they are known only now
    warnings = [] if only else [*check_classes_repeat(listed, data.levels), *empty_labels(listed, data.levels)]
    warnings += [*listed.warnings, *id_conflicts(listed), *name_conflicts(listed)]
    if data.source == "csv":
        warnings += unused_labels(listed)
    table, repeated = (listed, {}) if data.source in ("folder", "tfds") else without_repeats(listed)
    if only != ALL and _some_exist(table.files):  # otherwise the check of the images advises what to do
        there = check_splits(data, table, folder, only)  # first, since that check may take hours
        if only and only not in there:
            raise no_split(only, there, " with images")
    good, bad, digests = _check_images(data, table, folder, is_divided)
    assigned, unassigned = ({}, {}) if only == ALL else assign_splits(data, table, folder, good, only)
    places = np.cumsum(good) - 1  # row of the table -> row among the good ones
    assigned = {name: places[images] for name, images in assigned.items()}
    table, digests = table.select(np.flatnonzero(good)), digests[good]
    warnings += [*divided_ids(table, assigned), *file_conflicts(table, digests)]
    return _Found(table, _joined(left_out, repeated, bad, unassigned), digests, assigned, warnings)


def _check_images(
    data: DataFields, table: Table, folder: Path, is_divided: bool
) -> tuple[np.ndarray, LeftOut, np.ndarray]:
    """Checks the images as `usable` says; records were checked when they were prepared, and all count as different."""
    files = table.files if isinstance(table.files, Files) else Files("", Strings())
    # Records have no files to check, but each process must take part: whether configs differ is not known yet.
    checked = check_files(files, cache_root(data.cache_dir), is_divided=is_divided)
    if data.source == "tfds":
        return np.ones(len(table), bool), {}, np.arange(1, len(table) + 1, dtype=np.uint64)
    advice = functools.partial(image_advice, data, folder) if data.source == "csv" else str
    return usable(table, data.max_bad_fraction, checked, advice)


def _some_exist(files: Sequence[str]) -> bool:
    """Returns whether a few of the files of a table are there; False for records, which are not checked one by one."""
    if not isinstance(files, Files):
        return False
    few = np.linspace(0, len(files) - 1, min(_FEW, len(files))).astype(int)
    return any(map(os.path.exists, files.select(few)))


def _listed(data: DataFields, taxonomy: Taxonomy | None) -> tuple[Table, LeftOut, Path]:
    """Returns the table of the source's images, the rows or files left out, and the folder of the data."""
    if data.source == "tfds":
        path = _path(data.path) if data.path else None
        return *read_records(data, path, taxonomy), path or Path()
    if data.source == "folder":
        folder = _folder(data)
        return *read_folder(data, folder, taxonomy), folder
    if data.source == "catalogue":
        drawn = data.catalogue
        folder = catalogue_folder(data.cache_dir, drawn.num_images, drawn.seed, drawn.label_noise)
    else:
        folder = _folder(data)
    return *read_table(data, folder), folder


def _contents(table: Table, digests: np.ndarray) -> np.ndarray:
    """Returns digests of the files that images were made of, uint64 [images]; of records, others than `digests`."""
    return table.files.content_digests() if isinstance(table.files, RecordNames) else digests


def _joined(*accounts: LeftOut) -> LeftOut:
    """Merges several tables of reason -> ids."""
    reasons = dict.fromkeys(reason for account in accounts for reason in account)
    return {reason: [name for account in accounts for name in account.get(reason, [])] for reason in reasons}


def _folder(data: DataFields) -> Path:
    """Returns the folder of the data; extracts it first if data.path is a zip."""
    path = _path(data.path)
    return extracted(path, cache_root(data.cache_dir)) if os.path.isfile(path) else path


def _path(path: str) -> Path:
    return stored_path(Path(os.path.expanduser(path)).absolute())


def _check_exist(names: Mapping[str, Path]) -> None:
    """Raises a UserError that names the first file that is missing, of config field -> file."""
    for field, path in names.items():
        if not os.path.isfile(path):
            fractions = ", or divide the rows by {'train': 0.8, 'validation': 0.2}" if "splits" in field else ""
            raise UserError(f"{field} is {str(path)!r}, but there is no such file: name one that is there{fractions}.")


def _split_files(splits: str | Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Returns config field -> file, for the splits that are given as files."""
    if isinstance(splits, str) or split_column(splits):
        return {}
    named = {split: folder / os.path.expanduser(x) for split, x in splits.items() if isinstance(x, str)}
    return {f"data.splits.{split}": stored_path(path) for split, path in named.items()}


def _check_left(assigned: Assigned, leaks: Leaks) -> None:
    """Raises a UserError if training has no images but those that data.drop_leaks has left out."""
    if not len(assigned["train"]):
        others = " or ".join(repr(other) for first, other in leaks if first == "train")
        raise UserError(
            f"The split 'train' has no images left, as data.drop_leaks leaves out those that {others} has too: take "
            "copies out of there, or set data.drop_leaks to False."
        )


def _check_has_images(assigned: Assigned) -> None:
    for split, images in assigned.items():
        if not len(images):
            raise UserError(
                f"The split {split!r} has no images left, as all its classes are rare: lower data.min_images_per_class."
            )


def check_fills_a_batch(count: int, batch_size: int) -> None:
    """Checks that the training images, so many, fill a batch.

    Raises:
        UserError: they do not.
    """
    if count < batch_size:
        raise UserError(f"batch_size is {batch_size}, but the training split has only {count} images: lower it.")


def _rare_words(data: DataFields) -> str:
    """Returns the reason to leave out the images of rare classes."""
    return f"class with fewer than {data.min_images_per_class} training images"


def _distinct(paths: LabelPaths) -> list[Labels]:
    """Returns the distinct label paths of the images."""
    return [paths.distinct[code] for code in np.unique(paths.codes)]


def _taxonomy(levels: Mapping[str, str], paths: LabelPaths) -> Taxonomy:
    taxonomy = Taxonomy.from_paths(list(levels), _distinct(paths))
    for level, column in levels.items():
        if not taxonomy.classes[level]:
            raise UserError(f"No training row has a label at the level {level!r}: fill its column, {column!r}.")
    return taxonomy


def _check_trained(data: DataFields, taxonomy: Taxonomy, paths: LabelPaths, train: Split) -> None:
    """Checks that every folder of images has its class, and that every class of a taxonomy file has training images."""
    if data.source == "folder" and data.taxonomy:
        finest = taxonomy.label_ids(paths.distinct)[taxonomy.levels[-1]]
        if strange := [paths.distinct[i] for i in np.flatnonzero(finest == UNKNOWN)]:
            raise UserError(
                f"The folder {os.path.join(*filter(None, strange[0]))!r} is no class of {data.taxonomy}: add it "
                "there or take it out of data.path, or set data.taxonomy to a file of your own, or leave it empty if "
                "the folders are MAIN/SUB."
            )
    for level, names in taxonomy.classes.items():
        counts = train.counts(level, len(names)).tolist()
        if 0 in counts:
            raise UserError(
                f"The class {names[counts.index(0)]!r} of {data.taxonomy} has no training images, or fewer than "
                f"data.min_images_per_class = {data.min_images_per_class}: add some, or take it out of there."
            )


def _split(table: Table, taxonomy: Taxonomy, content_digests: np.ndarray | None = None) -> Split:
    labels = taxonomy.label_ids(table.paths.distinct)
    of_images = {level: ids[table.paths.codes] for level, ids in labels.items()}
    return Split(table.ids, table.files, of_images, content_digests)
