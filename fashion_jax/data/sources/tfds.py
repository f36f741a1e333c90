"""The tfds source: turns a dataset of records into a table of images, labelled at each level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fashion_jax.config.fields import split_column
from fashion_jax.data.fields import DataFields
from fashion_jax.data.records.prepared_index import (
    CONTENTS,
    ID,
    LEFT_OUT,
    TAXONOMY,
    is_prepared,
    made_from,
    made_splits,
    read_json,
)
from fashion_jax.data.records.record_images import RecordNames
from fashion_jax.data.records.record_set import RecordSet
from fashion_jax.data.records.tfds_set import open_tfds_set
from fashion_jax.data.sources.split_names import by_usual_split
from fashion_jax.data.sources.table import FOLDERS, LabelPaths, Labels, LeftOut, Table
from fashion_jax.data.sources.taxonomy_file import paths_by_name
from fashion_jax.data.strings import Strings
from fashion_jax.errors import UserError
from fashion_jax.letters import composed
from fashion_jax.taxonomy import Taxonomy, class_labels, class_name

_IDS = (ID, "file_name", "image/filename")  # features that name an image

_LABEL = "label"


def read_records(data: DataFields, path: Path | None, taxonomy: Taxonomy | None) -> tuple[Table, LeftOut]:
    """Reads the dataset that data.path and data.tfds name.

    Args:
        data: if the values of its splits are strings, they are splits of the dataset or slices of them; fractions
            divide all images of the dataset; a prepared directory has the splits that it was prepared with.
        path: data.path; None if it is empty.
        taxonomy: gives the classes of a dataset with one label their parents.

    Returns:
        The table of the images, with the column FOLDERS if the splits come from the dataset; and the images that were
        left out when it was prepared.

    Raises:
        UserError: there is no such dataset, split or label.
    """
    records = open_tfds_set(data.tfds, path, data.cache_dir)
    prepared = is_prepared(records.folder)
    _check_fields(data, records.folder, prepared)
    rows, of = _rows(data, records, prepared)
    features = list(data.levels) if prepared else _label_features(data, records, taxonomy)
    parts = _values(records, rows, features)
    if prepared:
        paths = _paths_of_names(records, parts, features)
    elif len(features) == len(data.levels):
        paths = _paths_of_levels(records, parts, features)
    else:
        assert taxonomy is not None  # _label_features asks for it
        paths = _paths_by_taxonomy(records, parts, features[0], taxonomy, len(data.levels))
    columns = {FOLDERS: of} if of else {}
    contents = _contents(records, rows) if prepared else None
    names = RecordNames(records.records, rows, records.format, records.title, contents)
    left_out = read_json(records.folder / LEFT_OUT) if prepared else {}
    warnings = [] if of else _merged(records)
    return Table(_ids(records, rows), names, paths, np.arange(len(rows)), columns, warnings=warnings), left_out


def _check_fields(data: DataFields, folder: Path, prepared: bool) -> None:
    levels = list(data.levels)
    if data.group_column and (data.folds or not (prepared and made_from(data.splits, folder))):
        way_out = "leave it empty"
        if prepared:
            way_out = (
                f"set data.splits to {made_splits(folder)!r}, by which its groups were prepared, and data.folds to 0"
            )
        raise UserError(f"data.group_column is {data.group_column!r}, but a TFDS set has no columns: {way_out}.")
    if prepared and levels != (made := read_json(folder / TAXONOMY)["levels"]):
        raise UserError(
            f"data.levels is {data.levels!r}, but {str(folder)!r} was prepared with {', '.join(made)}: name these, in "
            "order, or prepare it anew."
        )


def _rows(data: DataFields, records: RecordSet, prepared: bool) -> tuple[np.ndarray, Strings | None]:
    """Returns the records of all splits (int64 [n]), and each one's split, None if data.splits are fractions."""
    splits = data.splits
    if prepared and made_from(data.splits, records.folder):
        splits = {split: split for split in records.splits}
    if split_column(splits):
        raise UserError(f"data.splits is {splits!r}, but a TFDS set has no columns: name its splits, or fractions.")
    assert not isinstance(splits, str)  # which would name a column
    if not all(isinstance(text, str) for text in splits.values()):
        return np.concatenate([np.arange(part.start, part.stop) for part in records.splits.values()]), None
    rows = {split: records.rows_of(text) for split, text in splits.items()}
    together = np.concatenate(list(rows.values()))
    if len(np.unique(together)) < len(together):
        raise UserError(f"data.splits is {splits!r}, two of which share images: name parts that do not overlap.")
    of = np.repeat(np.arange(len(rows)), [len(part) for part in rows.values()])
    return together, Strings(list(rows)).select(of)


def _merged(records: RecordSet) -> list[str]:
    """Warns that fractions divide the images of several splits, such as published test images, as if they were one."""
    names = list(records.splits)
    if len(names) == 1:
        return []
    usual = {split: alike[0] for split, alike in by_usual_split(names).items()}
    own = {"train": usual.get("train"), "validation": usual.get("validation", usual.get("test"))}
    advice = f", such as {own!r}" if all(own.values()) else ""
    listed = f"{', '.join(names[:-1])} and {names[-1]} of {records.title}"
    return [f"data.splits divides the splits {listed} as if they were one: to keep them apart, name them there{advice}"]


def _label_features(data: DataFields, records: RecordSet, taxonomy: Taxonomy | None) -> list[str]:
    """Returns the feature of each level, or only that of the finest level if a taxonomy gives its parents."""
    levels = data.levels
    named = [next((n for n in (value, level) if n in records.classes), "") for level, value in levels.items()]
    if all(named):
        return named
    labels = [name for name in records.classes if name not in _IDS]
    single = named[-1] or (_LABEL if _LABEL in labels else labels[0] if len(labels) == 1 else "")
    if single and (len(levels) == 1 or taxonomy):
        return [single]
    if single:
        raise UserError(
            f"{records.title} has one label, {single!r}, for the levels {', '.join(levels)}: name a file in "
            "data.taxonomy that gives the parents of its classes, or only one level in data.levels."
        )
    raise UserError(
        f"data.levels is {levels!r}, but {records.title} has the labels {', '.join(labels) or 'none'}: name one for "
        "each level."
    )


def _values(records: RecordSet, rows: np.ndarray, features: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns feature -> its values at rows."""
    values: dict[str, list[np.ndarray]] = {name: [] for name in features}
    where = np.empty(len(rows), np.int64)  # index into what is read: only the splits that are needed
    start = 0
    for split, part in records.splits.items():
        inside = (rows >= part.start) & (rows < part.stop)
        if not inside.any():
            continue
        for name, found in records.values(split, features).items():
            values[name].append(found)
        where[inside] = rows[inside] - part.start + start
        start += part.stop - part.start
    return {name: np.concatenate(found)[where] for name, found in values.items()}


def _contents(records: RecordSet, rows: np.ndarray) -> np.ndarray | None:
    """Returns digests of the files that the images were prepared from, uint64 [rows].

    Returns None if an earlier version of the program prepared them, which stored no digests.
    """
    try:
        return _values(records, rows, [CONTENTS])[CONTENTS]
    except UserError:  # the labels were read from the same files before, so only this column is missing
        return None


def _codes(records: RecordSet, feature: str, values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Returns the labels that occur, and int [n], which of them each image has; "" stands for no label."""
    if names := records.classes[feature]:
        if values.dtype.kind != "i":
            raise UserError(
                f"The TFDS set in {str(records.folder)!r} is damaged (a record has no {feature!r}): restore it."
            )
        return [*map(composed, names), ""], np.where((values >= 0) & (values < len(names)), values, len(names))
    distinct, codes = np.unique(values, return_inverse=True)
    texts = (x.decode("utf-8", "replace") if isinstance(x, bytes) else str(x) for x in distinct.tolist())
    return list(map(composed, texts)), codes


def _paths_of_levels(records: RecordSet, values: dict[str, np.ndarray], features: Sequence[str]) -> LabelPaths:
    """Returns the label paths of a dataset with one label per level."""
    texts, codes = zip(*(_codes(records, name, values[name]) for name in features), strict=True)
    distinct, code = np.unique(np.stack(codes, 1), axis=0, return_inverse=True)
    paths = [tuple(texts[k][c] for k, c in enumerate(path)) for path in distinct.tolist()]
    return LabelPaths(paths, code.reshape(-1).astype(np.int32))


def _paths_of_names(records: RecordSet, values: dict[str, np.ndarray], features: Sequence[str]) -> LabelPaths:
    """Returns the label paths of a prepared dataset, whose classes are named by their paths from the root."""
    by_level = _paths_of_levels(records, values, features)
    paths = [class_labels(next((name for name in reversed(names) if name), "")) for names in by_level.distinct]
    padded: list[Labels] = [(*path, *[""] * (len(features) - len(path))) for path in paths]
    return LabelPaths(padded, by_level.codes)


def _paths_by_taxonomy(
    records: RecordSet, values: dict[str, np.ndarray], feature: str, taxonomy: Taxonomy, depth: int
) -> LabelPaths:
    """Returns the label paths of a dataset that has only the label of the finest level."""
    known = paths_by_name(taxonomy)
    texts, codes = _codes(records, feature, values[feature])
    if shared := next((known[text] for text in texts if len(known.get(text, ())) > 1), None):
        raise UserError(
            f"The class {shared[0][-1]!r} of {records.title} could be {' or '.join(map(class_name, shared))}: "
            "name it only once in data.taxonomy."
        )
    paths = [known[text][0] if text in known else ("",) * depth for text in texts]
    return LabelPaths(paths, codes.astype(np.int32))


def _ids(records: RecordSet, rows: np.ndarray) -> Strings:
    """Returns the dataset's names of its images, or their split and index in it."""
    if feature := next((name for name in _IDS if records.classes.get(name, ()) is None), ""):
        ids = _values(records, rows, [feature])[feature]
        return Strings(composed(x.decode("utf-8", "backslashreplace") if isinstance(x, bytes) else str(x)) for x in ids)
    parts = sorted(records.splits.items(), key=lambda item: item[1].start)
    of = np.searchsorted([part.stop for _, part in parts], rows, side="right")
    return Strings(
        f"{parts[k][0]}/{row - parts[k][1].start}" for k, row in zip(of.tolist(), rows.tolist(), strict=True)
    )
