"""Writes and reads predictions/SPLIT.parquet: the probabilities of every class for every image."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from fashion_jax.atomic import replacing
from fashion_jax.data.dataset import Split
from fashion_jax.json_text import parse_json
from fashion_jax.scoring.blocks import row_blocks
from fashion_jax.step.prediction import _ROW_GROUP, _predictions, _read_levels
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.reading import reading

CLASSES = b"fashion_jax.classes"  # key of the schema's metadata


def write_predictions(path: Path, taxonomy: Taxonomy, split: Split, log_probs: dict[str, np.ndarray]) -> None:
    """Writes a Parquet table: id, and per level LEVEL_true (null where unknown), _predicted and _probabilities.

    The metadata of its schema holds the names of the classes, which the probabilities are in the order of: CLASSES ->
    JSON, level -> list of names.
    """
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    classes = sum(values.shape[1] for values in log_probs.values())
    parts = (_predictions(rows, taxonomy, split, log_probs) for rows in row_blocks(len(split), classes, _ROW_GROUP))
    first = next(parts)
    with (
        replacing(path) as temporary,
        temporary.open("wb") as opened,  # pyarrow opens no path that is not UTF-8
        pq.ParquetWriter(opened, first.schema.with_metadata({CLASSES: json.dumps(taxonomy.classes)})) as writer,
    ):
        for part in itertools.chain([first], parts):
            writer.write_table(part.replace_schema_metadata(writer.schema.metadata))


def read_predictions(path: Path, taxonomy: Taxonomy) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Reads level -> log-probabilities [images, classes] and level -> int labels [images] from a predictions file.

    Files of before, which do not name their classes, are read too.

    Raises:
        UserError: the file cannot be read, or is not of this taxonomy.
    """
    import pyarrow.parquet as pq

    with (
        reading(path, "let the run write its predictions again"),
        path.open("rb") as opened,
        pq.ParquetFile(opened, buffer_size=2**20) as file,
    ):
        named = (file.schema_arrow.metadata or {}).get(CLASSES)
        if named and parse_json(named) != {level: list(names) for level, names in taxonomy.classes.items()}:
            raise ValueError("its classes are not those of taxonomy.json")
        return _read_levels(file, taxonomy)
