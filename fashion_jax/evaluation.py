"""A split to log-probabilities of every image, and those to metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.atomic import replacing
from fashion_jax.config_combinations import best_metric
from fashion_jax.data.dataset import Split
from fashion_jax.errors import UserError, first_line
from fashion_jax.hierarchy import UNKNOWN, Taxonomy
from fashion_jax.metrics import evaluate_level
from fashion_jax.models import head_names
from fashion_jax.sharding import fetch, put_batch
from fashion_jax.train_state import TrainState

EvalFn = Callable[..., dict[str, Any]]  # the jitted eval_step: (params, model_state, batch) -> log-probabilities


def predict_split(
    state: TrainState, batches: Iterator[dict[str, Any]], count: int, eval_fn: EvalFn, mesh: Mesh
) -> dict[str, np.ndarray]:
    """Level -> log-probabilities [count, classes], each image once, in order.

    Args:
        state: whose params and model_state are used.
        batches: of each batch the rows that this process holds (sharding.local_rows), the last batch filled up.
        count: images in the split.
        eval_fn: the jitted eval_step.
        mesh: over which batches are spread.
    """
    results, pending = [], None
    for batch in batches:
        latest = eval_fn(state.params, state.model_state, put_batch(batch, mesh))
        if pending is not None:  # fetched one batch late, so that the device never waits
            results.append(fetch(pending))
        pending = latest
    results.append(fetch(pending))
    return {level: np.concatenate([result[level] for result in results])[:count] for level in results[0]}


def split_metrics(config: ConfigDict, split: Split, log_probs: dict[str, np.ndarray]) -> dict[str, float]:
    """`LEVEL/METRIC` and `loss` -> value, in float64 over the images with a known label."""
    levels = {level: evaluate_level(x, split.labels[level]) for level, x in log_probs.items()}
    return named_metrics(config, levels)


def named_metrics(config: ConfigDict, levels: dict[str, dict[str, float]]) -> dict[str, float]:
    """Flattens level -> metric -> value, and adds the total loss: the weighted sum of the trained levels'."""
    metrics = {f"{level}/{name}": value for level, values in levels.items() for name, value in values.items()}
    metrics["loss"] = sum(config.loss_weights.get(level, 1.0) * levels[level]["loss"] for level in head_names(config))
    return metrics


def score(config: ConfigDict, line: dict[str, Any]) -> float:
    """The metric by which the best checkpoint is chosen, of a line of metrics.jsonl: higher is better, NaN is none."""
    name = best_metric(config)
    value = line.get(name)
    return math.nan if value is None else -value if name.endswith("loss") else value


def write_predictions(path: Path, taxonomy: Taxonomy, split: Split, log_probs: dict[str, np.ndarray]) -> None:
    """A Parquet table: id, and per level LEVEL_true (null where unknown), _predicted and _probabilities."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"id": list(split.ids)}
    for level, values in log_probs.items():
        names = taxonomy.classes[level]
        columns[f"{level}_true"] = [None if i == UNKNOWN else names[i] for i in split.labels[level]]
        columns[f"{level}_predicted"] = [names[i] for i in values.argmax(axis=-1)]
        columns[f"{level}_probabilities"] = pa.array(list(np.exp(values.astype(np.float64))))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def read_predictions(path: Path, taxonomy: Taxonomy) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What write_predictions wrote: level -> log-probabilities [images, classes], and level -> int labels [images].

    Raises:
        UserError: the file cannot be read, or is not of this taxonomy.
    """
    import pyarrow.parquet as pq

    log_probs, labels = {}, {}
    try:
        table = pq.read_table(path)
        for level, names in taxonomy.classes.items():
            ids = {name: i for i, name in enumerate(names)} | {None: UNKNOWN}
            labels[level] = np.array([ids[name] for name in table[f"{level}_true"].to_pylist()], int)
            probs = np.array(table[f"{level}_probabilities"].to_pylist(), np.float64).reshape(-1, len(names))
            with np.errstate(divide="ignore"):
                log_probs[level] = np.log(probs)
    except (OSError, ValueError, LookupError) as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)}): let the run write its predictions again."
        ) from error
    return log_probs, labels
