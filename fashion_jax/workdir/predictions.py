"""Writes and reads predictions/SPLIT.parquet: the probabilities of every class for every image."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.atomic import replacing
from fashion_jax.data.dataset import Split
from fashion_jax.json_text import parse_json
from fashion_jax.scoring.blocks import row_blocks
from fashion_jax.taxonomy import UNKNOWN, Taxonomy
from fashion_jax.workdir.reading import reading

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROW_GROUP = 2**20  # probabilities: the writer keeps a group of rows in memory until it is whole
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


def _predictions(rows: np.ndarray, taxonomy: Taxonomy, split: Split, log_probs: dict[str, np.ndarray]) -> pa.Table:
    """Returns some rows of the table of predictions."""
    import pyarrow as pa

    columns: dict[str, Any] = {"id": pa.array([split.ids[i] for i in rows], pa.string())}
    for level, values in log_probs.items():
        names, block = taxonomy.classes[level], values[rows]
        true = [None if i == UNKNOWN else names[i] for i in split.labels[level][rows]]
        probs, ends = np.exp(block.astype(np.float64)), np.arange(len(rows) + 1, dtype=np.int32) * len(names)
        columns[f"{level}_true"] = pa.array(true, pa.string())
        columns[f"{level}_predicted"] = pa.array([names[i] for i in block.argmax(axis=-1)], pa.string())
        columns[f"{level}_probabilities"] = pa.ListArray.from_arrays(ends, probs.ravel())
    return pa.table(columns)


def _read_levels(file: pq.ParquetFile, taxonomy: Taxonomy) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    count, log_probs, labels = file.metadata.num_rows, {}, {}
    for level, names in taxonomy.classes.items():
        ids = {name: i for i, name in enumerate(names)} | {None: UNKNOWN}
        log_probs[level], labels[level] = np.empty((count, len(names))), np.empty(count, int)
        columns, start = [f"{level}_true", f"{level}_probabilities"], 0
        for batch in _batches(file, columns, max(_ROW_GROUP // len(names), 1)):
            rows = slice(start, start + len(batch))
            start = rows.stop
            true, probs = (batch[column] for column in columns)
            labels[level][rows] = [ids[name] for name in true.to_pylist()]
            if {*probs.value_lengths().to_pylist()} != {len(names)}:
                raise ValueError(f"{columns[1]} has not a value for each class")
            numbers = probs.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(names))
            with np.errstate(divide="ignore"):
                np.log(numbers, out=log_probs[level][rows])
    return log_probs, labels


def _batches(file: pq.ParquetFile, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Yields some columns, at most so many rows at a time: group by group, or the reader keeps all that it has read."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)
