"""Predicts log-probabilities for every image of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh

from fashion_jax.devices.mesh import fetch, put_batch
from fashion_jax.step.train_state import TrainState
from fashion_jax.taxonomy import UNKNOWN, Taxonomy

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fashion_jax.data.dataset import Split


_ROW_GROUP = 2**20  # probabilities: the writer keeps a group of rows in memory until it is whole

EvalFn = Callable[..., dict[str, Any]]  # the jitted eval_step: (params, model_state, batch) -> log-probabilities


def predict_split(
    state: TrainState, batches: Iterator[dict[str, Any]], count: int, eval_fn: EvalFn, mesh: Mesh
) -> dict[str, np.ndarray]:
    """Returns level -> log-probabilities [count, classes], each image once, in order.

    Args:
        state: its params and model_state are used, or their averages.
        batches: the rows of each batch that this process holds (sharding.local_rows), the last batch padded.
        count: images in the split.
        eval_fn: the jitted eval_step.
        mesh: over which batches are spread.
    """
    results, pending = [], None
    for batch in batches:
        latest = eval_fn(*state.used, put_batch(batch, mesh))
        if pending is not None:  # fetched one batch late, so that the device never waits
            results.append(fetch(pending))
        pending = latest
    results.append(fetch(pending))
    return {level: np.concatenate([result[level] for result in results])[:count] for level in results[0]}


def _predictions(rows: np.ndarray, taxonomy: Taxonomy, split: Split, log_probs: dict[str, np.ndarray]) -> pa.Table:
    """Some rows of the table of predictions."""
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
            rows = slice(start, start := start + len(batch))
            true, probs = (batch[column] for column in columns)
            labels[level][rows] = [ids[name] for name in true.to_pylist()]
            if {*probs.value_lengths().to_pylist()} != {len(names)}:
                raise ValueError(f"{columns[1]} has not a value for each class")
            numbers = probs.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(names))
            with np.errstate(divide="ignore"):
                np.log(numbers, out=log_probs[level][rows])
    return log_probs, labels


def _batches(file: pq.ParquetFile, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Some columns, at most so many rows at a time: group by group, or the reader keeps all that it has read."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)
