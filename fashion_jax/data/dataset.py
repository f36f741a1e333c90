"""From the config's data.* fields to splits of files and labels, and the account of what was left out."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.data.archive import check_archive, extracted
from fashion_jax.data.cache import cache_root
from fashion_jax.data.catalogue import catalogue_folder
from fashion_jax.data.splits import LeftOut, assign_splits, training_counts
from fashion_jax.data.table import Table, read_table, table_file
from fashion_jax.errors import UserError
from fashion_jax.hierarchy import UNKNOWN, Taxonomy

ALL = "all"  # in place of a split's name: every row of the table


@dataclasses.dataclass(frozen=True)
class Split:
    """Images of a split, by index.

    Attributes:
        ids: what the user calls the images.
        files: absolute paths.
        labels: level -> int32 [images], UNKNOWN (-1) where not known.
    """

    ids: list[str]
    files: list[str]
    labels: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Splits with their taxonomy.

    Attributes:
        taxonomy: the classes, made from the training rows unless data.taxonomy fixes them.
        splits: train, validation, and what else data.splits names.
        left_out: reason -> ids of the images that are in no split.
    """

    taxonomy: Taxonomy
    splits: dict[str, Split]
    left_out: LeftOut

    def summary(self, batch_size: int) -> dict[str, Any]:
        """What data.json holds: images per split and class, unknown labels, and the images left out."""
        splits = {}
        for name, split in self.splits.items():
            classes = {
                level: dict(zip(names, _counts(split.labels[level], len(names)), strict=True))
                for level, names in self.taxonomy.classes.items()
            }
            unknown = {level: int((labels == UNKNOWN).sum()) for level, labels in split.labels.items()}
            splits[name] = {"images": len(split), "unknown_labels": unknown, "classes": classes}
        splits["train"]["left_over_per_epoch"] = len(self.splits["train"]) % batch_size
        return {"splits": splits, "left_out": self.left_out}


def check_paths(config: ConfigDict, split: str = "") -> None:
    """Checks that the files which a checked config names are there; reads no more than a zip's directory.

    Where only one split is wanted, and that is ALL, the files of splits are not. What a zip holds is told later.

    Raises:
        UserError: names the first that is missing, or the zip that cannot be used.
    """
    names = {"data.taxonomy": Path(os.path.expanduser(config.data.taxonomy))} if config.data.taxonomy else {}
    folder = _path(config)
    if config.data.source == "csv" and os.path.isfile(folder):
        check_archive(folder)
    elif config.data.source == "csv":
        table_file(config, folder)
        if isinstance(config.data.splits, dict) and split != ALL:
            files = {split: name for split, name in config.data.splits.items() if isinstance(name, str)}
            names |= {f"data.splits.{split}": folder / name for split, name in files.items()}
    for field, path in names.items():
        if not os.path.isfile(path):
            raise UserError(f"{field} is {str(path)!r}, but there is no such file: name one that is there.")


def load_dataset(config: ConfigDict) -> Dataset:
    """Finds the images and labels of a checked config; decodes nothing.

    Raises:
        UserError: the data is missing, wrong, or does not fit the config.
    """
    check_paths(config)
    table, left_out, folder = _read(config)
    rows, unassigned = assign_splits(_source_config(config), table, folder)
    left_out |= unassigned
    if rare := _drop_rare(config, table, rows):
        left_out[f"class with fewer than {config.data.min_images_per_class} training images"] = rare
    _check_sizes(config, rows)
    taxonomy = _taxonomy(config, [table.paths[row] for row in rows["train"]])
    splits = {name: _split(table.select(chosen), taxonomy) for name, chosen in rows.items()}
    _check_trained(config, taxonomy, splits["train"])
    return Dataset(taxonomy, splits, left_out)


def load_split(config: ConfigDict, taxonomy: Taxonomy, name: str) -> Split:
    """One split of a checked config, or ALL the table's rows, labelled by a taxonomy that is already there.

    Raises:
        UserError: the data is missing or wrong, or has no such split.
    """
    if list(config.data.levels) != list(taxonomy.levels):
        raise UserError(f"data.levels is {config.data.levels!r}, but must name {', '.join(taxonomy.levels)}, in order.")
    check_paths(config, name)
    table, _, folder = _read(config)
    if name == ALL:
        return _split(table, taxonomy)
    rows, _ = assign_splits(_source_config(config), table, folder)
    _drop_rare(config, table, rows)
    if not rows.get(name):
        raise UserError(f"There is no split {name!r} with images: use --split {', '.join(rows)} or {ALL}.")
    return _split(table.select(rows[name]), taxonomy)


def _read(config: ConfigDict) -> tuple[Table, LeftOut, Path]:
    """The rows whose file is there, what was left out, and the folder."""
    if config.data.source == "catalogue":
        catalogue = config.data.catalogue
        noise = float(catalogue.label_noise)
        folder = catalogue_folder(config.data.cache_dir, catalogue.num_images, catalogue.seed, noise)
    else:
        folder = _folder(config)
    table, repeated = _without_repeats(read_table(_source_config(config), folder))
    table, missing = _present(table, config.data.max_bad_fraction)
    return table, repeated | missing, folder


def _folder(config: ConfigDict) -> Path:
    """The folder of the data; a zip is extracted."""
    path = _path(config)
    return extracted(path, cache_root(config.data.cache_dir)) if os.path.isfile(path) else path


def _path(config: ConfigDict) -> Path:
    return Path(os.path.expanduser(config.data.path)).absolute()


def _source_config(config: ConfigDict) -> ConfigDict:
    """For the generated table, fields that suit it, so that overlays for real data run on it too."""
    if config.data.source != "catalogue":
        return config
    config = config.copy_and_resolve_references()
    config.data.csv, config.data.image, config.data.group_column = "", "images/{id}.jpg", ""
    if not all(isinstance(value, float) for value in dict(config.data.splits).values()):
        config.data.splits = {"train": 0.8, "validation": 0.2}
    return config


def _without_repeats(table: Table) -> tuple[Table, LeftOut]:
    """Leaves out further rows of the same file, which could stand in two splits or count twice."""
    first = {file: row for row, file in reversed(list(enumerate(table.files)))}
    repeated = [table.ids[row] for row, file in enumerate(table.files) if first[file] != row]
    return table.select(sorted(first.values())), {"listed before": repeated} if repeated else {}


def _present(table: Table, max_bad_fraction: float) -> tuple[Table, LeftOut]:
    """Leaves out the rows whose file is missing."""
    listed: dict[str, set[str]] = {}
    for folder in {os.path.dirname(file) for file in table.files}:
        listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    found = [os.path.basename(file) in listed[os.path.dirname(file)] for file in table.files]
    missing = [row for row, there in enumerate(found) if not there]
    if not missing:
        return table, {}
    if len(missing) > max_bad_fraction * len(found):
        named = ", ".join(table.files[row] for row in missing[:3])
        raise UserError(
            f"{len(missing)} of {len(found)} images are missing, such as {named}: check data.path and data.image, "
            f"or raise data.max_bad_fraction, {max_bad_fraction}."
        )
    present = table.select([row for row, there in enumerate(found) if there])
    return present, {"no such file": [table.ids[row] for row in missing]}


def _drop_rare(config: ConfigDict, table: Table, rows: dict[str, list[int]]) -> list[str]:
    """Takes the rows of classes with too few training images out of rows; returns their ids."""
    dropped: list[int] = []
    for depth in range(len(config.data.levels), 0, -1):
        counts = training_counts(table.paths, rows["train"], depth)
        rare = {path for path, count in counts.items() if count < config.data.min_images_per_class}
        for split, chosen in rows.items():
            rows[split] = [row for row in chosen if table.paths[row][:depth] not in rare]
            dropped += [row for row in chosen if table.paths[row][:depth] in rare]
    return [table.ids[row] for row in dropped]


def _check_sizes(config: ConfigDict, rows: dict[str, list[int]]) -> None:
    for split, chosen in rows.items():
        if not chosen:
            raise UserError(
                f"The split {split!r} has no images of classes with enough: lower data.min_images_per_class."
            )
    if len(rows["train"]) < config.batch_size:
        raise UserError(
            f"batch_size is {config.batch_size}, but the training split has only {len(rows['train'])} images: lower it."
        )


def _taxonomy(config: ConfigDict, paths: list[tuple[str, ...]]) -> Taxonomy:
    levels = list(config.data.levels)
    if not config.data.taxonomy:
        taxonomy = Taxonomy.from_paths(levels, paths)
        for level, column in config.data.levels.items():
            if not taxonomy.classes[level]:
                raise UserError(f"No training row has a label at the level {level!r}: fill its column, {column!r}.")
        return taxonomy
    name = config.data.taxonomy
    try:
        text = Path(os.path.expanduser(name)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.taxonomy is {name!r}, which cannot be read ({error}).") from error
    taxonomy = Taxonomy.from_json(text, name)
    if list(taxonomy.levels) != levels:
        raise UserError(f"{name} has the levels {', '.join(taxonomy.levels)}, but data.levels has {', '.join(levels)}.")
    return taxonomy


def _check_trained(config: ConfigDict, taxonomy: Taxonomy, train: Split) -> None:
    for level, names in taxonomy.classes.items():
        counts = _counts(train.labels[level], len(names))
        if 0 in counts:
            raise UserError(
                f"The class {names[counts.index(0)]!r} of {config.data.taxonomy} has no training images: "
                "add some, or take it out of the taxonomy."
            )


def _split(table: Table, taxonomy: Taxonomy) -> Split:
    return Split(table.ids, table.files, taxonomy.label_ids(table.paths))


def _counts(labels: np.ndarray, num_classes: int) -> list[int]:
    return np.bincount(labels[labels != UNKNOWN], minlength=num_classes).tolist()
