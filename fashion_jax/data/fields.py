"""The config fields that decide which images and labels there are, and in which splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from fashion_jax.config.fields import DEFAULT_SPLITS, are_fractions


@dataclasses.dataclass(frozen=True)
class CatalogueFields:
    """The fields of config.data.catalogue."""

    num_images: int
    seed: int
    label_noise: float


@dataclasses.dataclass(frozen=True)
class DataFields:
    """The fields of config.data under their own names (see configs/default.py), and config.seed.

    Fields that decide how images are decoded and cached are not among them.
    """

    source: str
    path: str
    tfds: str
    csv: str
    image: str | Sequence[str]
    levels: Mapping[str, str]
    taxonomy: str
    splits: str | Mapping[str, Any]
    folds: int
    fold: int
    group_column: str
    min_images_per_class: int
    rare_classes: str
    max_bad_fraction: float
    drop_leaks: bool
    cache_dir: str
    catalogue: CatalogueFields
    seed: int


def data_fields(config: ConfigDict) -> DataFields:
    """Takes the fields from a checked config.

    If the source is the generated catalogue, fields that fit it replace those of an overlay for real data.
    """
    names = [field.name for field in dataclasses.fields(DataFields) if field.name not in ("catalogue", "seed")]
    drawn = config.data.catalogue
    fields = DataFields(
        **{name: config.data[name] for name in names},
        catalogue=CatalogueFields(drawn.num_images, drawn.seed, float(drawn.label_noise)),
        seed=config.seed,
    )
    if fields.source != "catalogue":
        return fields
    splits = fields.splits if are_fractions(fields.splits) else DEFAULT_SPLITS
    return dataclasses.replace(fields, csv="", image="images/{id}.jpg", group_column="", splits=splits)
