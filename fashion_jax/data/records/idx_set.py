"""Datasets of labelled images in IDX files, the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fashion_jax.data.records.record_files import IdxImages, read_idx
from fashion_jax.data.records.record_images import ImageFormat
from fashion_jax.data.records.record_set import RecordSet
from fashion_jax.data.records.tfds_builders import features_of_name
from fashion_jax.errors import UserError

_SPLITS = {"train": "train", "t10k": "test"}  # prefix of the files' names -> split


def idx_files(path: Path) -> dict[str, tuple[Path, Path]]:
    """Finds the IDX files in a folder; returns split -> the files of its images and of its labels."""
    found = {}
    for start, split in _SPLITS.items():
        images, labels = (
            next((path / (name + end) for end in ("", ".gz") if (path / (name + end)).is_file()), None)
            for name in (f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte")
        )
        if images and labels:
            found[split] = images, labels
    return found


def open_idx_set(path: Path, files: dict[str, tuple[Path, Path]], name: str) -> RecordSet:
    """Opens the dataset of the IDX files in a folder.

    Args:
        path: the folder.
        files: the files that idx_files found there.
        name: the TFDS dataset that provides the names of the classes; "" means that they are named by numbers.

    Raises:
        UserError: the files do not fit together, or the TFDS dataset does not fit the files.
    """
    labels = {split: read_idx(pair[1]) for split, pair in files.items()}
    records = IdxImages([str(images) for images, _ in files.values()])
    splits, start = {}, 0
    for (split, values), count in zip(labels.items(), records.counts, strict=True):
        if len(values) != count or not count:
            raise UserError(
                f"The IDX files of {split} in {str(path)!r} have {count} images and {len(values)} labels: restore them."
            )
        splits[split] = slice(start, start + count)
        start += count

    def rows_of(text: str) -> np.ndarray:
        if text not in splits:
            raise UserError(f"data.splits has {text!r}, but the IDX files in {str(path)!r} have {', '.join(splits)}.")
        return np.arange(splits[text].start, splits[text].stop)

    classes = idx_classes(name, 1 + max(int(values.max()) for values in labels.values()))
    return RecordSet(
        title=f"the IDX files in {path}",
        folder=path,
        splits=splits,
        records=records,
        format=ImageFormat(shape=(*records.shape, 1)),
        classes={"label": classes},
        rows_of=rows_of,
        values=lambda split, features: {feature: labels[split].astype(np.int64) for feature in features},
    )


def idx_classes(name: str, count: int) -> list[str]:
    """Returns the names of `count` classes: those of the TFDS dataset `name`, or their numbers if no name is given."""
    if not name:
        return [str(i) for i in range(count)]
    try:
        names = list(features_of_name(name)["label"].names)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"data.tfds is {name!r}, but TFDS knows no such set with a label: name one.") from error
    if len(names) < count:
        raise UserError(f"data.tfds is {name!r}, which has {len(names)} classes, but the IDX files have {count}.")
    return names
