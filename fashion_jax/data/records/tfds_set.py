"""Opens the dataset that the tfds source reads: a TFDS directory, a TFDS dataset by name, or IDX files."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.atomic import replacing
from fashion_jax.data.decoding.limits import MAX_PIXELS
from fashion_jax.data.records.idx_set import idx_files, open_idx_set
from fashion_jax.data.records.prepared_index import INFO, is_prepared, read_index
from fashion_jax.data.records.record_files import ArrayRecords, Records, Shard, TfRecords, read_patiently
from fashion_jax.data.records.record_images import ImageFormat
from fashion_jax.data.records.record_set import RecordSet, Values
from fashion_jax.data.records.tfds_builders import builder_of_directory, builder_of_name, damaged
from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.devices.host import cache_root
from fashion_jax.errors import Outage, RunError, UserError
from fashion_jax.taxonomy import MAX_CLASSES

_CHUNK = 512  # records at a time

_READERS: dict[str, type[ArrayRecords] | type[TfRecords]] = {"array_record": ArrayRecords, "tfrecord": TfRecords}


def open_tfds_set(name: str, path: Path | None, cache_dir: str) -> RecordSet:
    """Opens the dataset that data.tfds (`name`) and data.path (`path`, None if it is empty) name.

    Raises:
        UserError: there is no such dataset, or it does not consist of labelled images.
    """
    if path and not path.is_dir():
        raise UserError(
            f"data.path is {str(path)!r}, but there is no such folder: name the dataset's folder, create this one for "
            "TFDS to use, or leave data.path empty for TFDS's default."
        )
    if path and (path / INFO).is_file():
        return _of_builder(builder_of_directory(path), cache_dir)
    if path and (files := idx_files(path)):
        return open_idx_set(path, files, name)
    if path and is_prepared(path):
        raise UserError(f"data.path is {str(path)!r}, which is not complete: run fashion_jax.prepare on it again.")
    if not name:
        raise UserError(
            f"data.path is {str(path)!r}, which is no directory of one TFDS set (it has no dataset_info.json): name "
            "one, or the set in data.tfds."
        )
    return _of_builder(builder_of_name(name, path), cache_dir)


def _of_builder(builder: Any, cache_dir: str) -> RecordSet:
    kind = builder.info.file_format.value
    if kind not in _READERS:
        raise UserError(f"The TFDS set in {builder.data_dir} has the format {kind!r}: make it anew as ArrayRecord.")
    shards, splits = _shards_and_splits(builder)
    _check_shards(Path(builder.data_dir), shards)
    starts = dict(zip((path for path, _ in shards), np.cumsum([0, *(n for _, n in shards)])[:-1], strict=True))
    records = _READERS[kind](shards)

    def rows_of(text: str) -> np.ndarray:
        parts = _instructions(builder, text)
        return np.concatenate([np.arange(part.take) + part.skip + starts[os.fspath(part.filename)] for part in parts])

    def values(split: str, features: Sequence[str]) -> Values:
        folder = Path(builder.data_dir)
        if is_prepared(folder):
            return read_index(folder, split, features)

        def parsed() -> Values:
            try:
                return _parsed(records, splits[split], features, str(folder))
            except (UserError, Outage, OSError, MemoryError):
                raise
            except Exception as error:  # the readers raise many kinds of errors for truncated or changed records
                raise damaged(folder, error) from error

        return _cached(cache_dir, shards, split, features, parsed)

    return RecordSet(
        title=f"{builder.info.full_name} of TFDS",
        folder=Path(builder.data_dir),
        splits=splits,
        records=records,
        format=_image_format(builder.info),
        classes=_classes(builder.info.features),
        rows_of=rows_of,
        values=values,
    )


def _shards_and_splits(builder: Any) -> tuple[list[Shard], dict[str, slice]]:
    """Returns the files with their numbers of records, and split -> slice of the records, sorted by split."""
    shards: list[Shard] = []
    splits: dict[str, slice] = {}
    for name, split in sorted(builder.info.splits.items()):
        start = sum(count for _, count in shards)
        shards += list(zip(map(os.fspath, split.filepaths), split.shard_lengths, strict=True))
        splits[name] = slice(start, start + split.num_examples)
    return shards, splits


def _check_shards(folder: Path, shards: Sequence[tuple[str, int]]) -> None:
    """Checks the files listed in dataset_info.json, which may name any path and claim any number of records."""
    if missing := [path for path, _ in shards if not os.path.isfile(path)]:
        raise UserError(f"{len(missing)} files of the TFDS set are missing, such as {missing[0]!r}: copy it anew.")
    inside = os.path.abspath(folder)
    for path, count in shards:
        if os.path.dirname(os.path.abspath(path)) != inside:
            raise UserError(
                f"The dataset_info.json in {str(folder)!r} names the file {path!r}, which is not in that folder: copy "
                "the set anew."
            )
        if count > (size := os.path.getsize(path)):
            raise UserError(
                f"The dataset_info.json in {str(folder)!r} says that {path!r} has {count:,} records, but the file has "
                f"only {size:,} bytes: copy the set anew."
            )


def _instructions(builder: Any, text: str) -> list[Any]:
    try:
        if parts := builder.info.splits[text].file_instructions:
            return parts
        reason = "it has no images"
    except (KeyError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    names = ", ".join(sorted(builder.info.splits))
    raise UserError(
        f"data.splits has {text!r}, which is no split of {builder.info.full_name} ({reason}): use {names}, or slices "
        "of them such as train[:90%]."
    )


def _image_format(info: Any) -> ImageFormat:
    import tensorflow_datasets as tfds

    for name, feature in info.features.items():
        if isinstance(feature, tfds.features.Image):
            return ImageFormat(name)
        if type(feature) is tfds.features.Tensor and _is_raw_image(feature):
            return ImageFormat(name, tuple(feature.shape))
    raise UserError(f"The TFDS set {info.full_name} has no feature that is an image: name another in data.tfds.")


def _is_raw_image(feature: Any) -> bool:
    """Whether a tensor is stored as the bytes of uint8 [height, width, 1 or 3]."""
    if (
        len(feature.shape) != 3
        or None in feature.shape
        or feature.shape[2] not in (1, 3)
        or feature.np_dtype != np.uint8
        or math.prod(feature.shape) > 3 * MAX_PIXELS
    ):
        return False
    zeros = np.zeros(feature.shape, np.uint8)
    return feature.encode_example(zeros) == zeros.tobytes()


def _classes(features: Any) -> dict[str, list[str] | None]:
    import tensorflow_datasets as tfds

    classes: dict[str, list[str] | None] = {}
    for name, feature in features.items():
        if isinstance(feature, tfds.features.ClassLabel):
            if (feature.num_classes or 0) > MAX_CLASSES:
                raise UserError(
                    f"The feature {name!r} of the TFDS set has {feature.num_classes:,} classes, more than "
                    f"{MAX_CLASSES:,}: copy the set anew."
                )
            classes[name] = list(feature.names)
        elif isinstance(feature, tfds.features.Text) or (feature.shape == () and feature.np_dtype == np.int64):
            classes[name] = None
    return classes


def _parsed(records: Records, part: slice, features: Sequence[str], title: str) -> Values:
    """Reads the values of the features from all records of a split of a set with a title."""
    tf = import_tensorflow()
    found: dict[str, list[np.ndarray]] = {name: [] for name in features}
    for start in range(part.start, part.stop, _CHUNK):
        batch = read_patiently(records, range(start, min(start + _CHUNK, part.stop)), title)
        examples = [tf.train.Example.FromString(record).features.feature for record in batch]
        for name in features:
            found[name].append(np.array([_value(example[name]) for example in examples]))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _value(feature: Any) -> int | bytes:
    return next(iter(feature.int64_list.value or feature.bytes_list.value), b"")


def _cached(
    cache_dir: str, shards: Sequence[Any], split: str, features: Sequence[str], make: Callable[[], Values]
) -> Values:
    """Returns the result of make(), cached on disk as long as the files stay the same."""
    stats = [(path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path, _ in shards]
    digest = hashlib.sha256(repr((stats, split, list(features))).encode()).hexdigest()[:32]
    file = cache_root(cache_dir) / f"labels-{digest}.npz"
    try:
        with np.load(file) as kept:
            return {name: kept[name] for name in features}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):  # not cached yet, or damaged
        values = make()
    with contextlib.suppress(OSError, UserError, RunError):  # a cache that cannot be written only costs time
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary, temporary.open("wb") as kept:
            np.savez(kept, **values)  # type: ignore[arg-type]  # numpy's types take every name for allow_pickle
    return values
