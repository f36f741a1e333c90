"""The interface between the tfds source and a dataset of labelled images that is stored as records."""

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
    """A dataset in records, and what is known of it without its images.

    Attributes:
        title: the dataset's name in messages.
        folder: the TFDS directory, or the folder of the IDX files.
        splits: split -> slice of the records.
        records: the records of all splits.
        format: how a record holds its image.
        classes: feature that may be a label -> names of its classes; None if its values are the names.
        rows_of: returns the records, int64 [n], that a text such as "train[:10%]+test" selects; raises UserError.
        values: returns the values of some features in all records of a split.
    """

    title: str
    folder: Path
    splits: dict[str, slice]
    records: Records
    format: ImageFormat
    classes: dict[str, list[str] | None]
    rows_of: Callable[[str], np.ndarray]
    values: Callable[[str, Sequence[str]], Values]
