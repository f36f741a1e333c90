"""What the tfds source needs to know of a set of labelled images that is kept as records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fashion_jax.data.records.record_files import Records
from fashion_jax.data.records.record_images import ImageFormat

Values = dict[str, np.ndarray]  # feature -> its value in each record: int64, or bytes objects


@dataclasses.dataclass(frozen=True)
class RecordSet:
    """Records, and what can be said of them without their images.

    Attributes:
        title: for people.
        folder: of the TFDS directory; of the IDX files.
        splits: split -> the slice of the records that it is.
        records: of all splits.
        format: how a record holds its image.
        classes: feature that may be a label -> names of its classes, None where its values are the names.
        rows_of: int64 [n], the records that a text such as "train[:10%]+test" stands for; raises UserError.
        values: of some features, in all records of a split.
    """

    title: str
    folder: Path
    splits: dict[str, slice]
    records: Records
    format: ImageFormat
    classes: dict[str, list[str] | None]
    rows_of: Callable[[str], np.ndarray]
    values: Callable[[str, Sequence[str]], Values]
