"""A model that predicts many inputs, as the flags of the predict command ask, and all that its answers depend on."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fashion_jax.command_line import Overrides
from fashion_jax.data.sources.inputs import Input
from fashion_jax.serving.loading import load
from fashion_jax.serving.model_identity import identify_model
from fashion_jax.serving.parts import Part, add_counts, is_parts_folder
from fashion_jax.serving.prediction_table import PredictionTable
from fashion_jax.serving.tally import Tally
from fashion_jax.terminal import doing

if TYPE_CHECKING:
    from fashion_jax.serving.answers import Answer
    from fashion_jax.serving.classifier import Classifier
    from fashion_jax.serving.parts import Answered
    from fashion_jax.terminal import Task


class Predictor(NamedTuple):
    """A classifier, the table of its answers, and the counts of what it has answered."""

    classifier: Classifier
    table: PredictionTable
    tally: Tally

    def answers(self, inputs: Iterable[Input], task: Task, are_first: bool = True) -> Iterator[Answer]:
        """Yields the answers for inputs, and counts them; see Classifier.stream for `are_first`."""
        stream = self.classifier.stream(
            inputs,
            all_probabilities=self.table.all_probabilities,
            embeddings=self.table.embeddings,
            are_first=are_first,
        )
        for answer in stream:
            self.tally.add(answer)
            task.reached(self.tally.count)
            yield answer

    def part_answers(self, task: Task) -> Answered:
        """Returns the function that answers the inputs of a part."""
        return lambda part, inputs: self.answers(inputs, task, are_first=part.first == 0)

    def tally_of(self, folder: Path, parts: Sequence[Part]) -> Tally:
        """Returns the counts of the answers that parts hold, whoever has predicted them."""
        tally = Tally(self.classifier.labels, self.classifier.batch_size)
        add_counts(tally, folder, parts)
        return tally


def load_predictor(flags: argparse.Namespace, overrides: Overrides) -> Predictor:
    """Loads the classifier of a run or an export, as the flags and overrides of the predict command say; see `load`."""
    with doing("Loading the model"):
        classifier = load(
            flags.workdir,
            checkpoint=flags.checkpoint,
            batch_size=flags.batch_size,
            decode=flags.decode,
            precision=flags.precision,
            min_probability=flags.min_probability,
            costs=flags.costs,
            top_k=flags.top_k,
            overrides=overrides,
        )
    table = PredictionTable(
        classifier.labels,
        has_answers=classifier.decider.abstention is not None,
        top_k=flags.top_k,
        all_probabilities=flags.all_probabilities,
        embeddings=flags.embeddings,
        is_flat=flags.output.lower().endswith(".csv") and not is_parts_folder(flags.output),
    )
    return Predictor(classifier, table, Tally(classifier.labels, classifier.batch_size))


def settings(flags: argparse.Namespace, overrides: Overrides, classifier: Classifier, size: int) -> dict[str, Any]:
    """Returns all that an answer depends on, as name in words -> value: equal for all parts of one folder.

    Args:
        flags: of the predict command.
        overrides: of fields of the run's config.
        classifier: loaded by them.
        size: inputs of a part.
    """
    return {
        "part_size": size,
        **identify_model(flags.workdir, classifier.engine.step),
        "temperatures": dict(classifier.engine.temperatures),
        "fields": {field: text for field, text in overrides if field != "data.cache_dir"},
        "decode": classifier.decider.how,
        "costs": _identified(flags.costs),
        "min_probability": flags.min_probability,
        "precision": flags.precision,
        "top_k": flags.top_k,
        "all_probabilities": flags.all_probabilities,
        "embeddings": flags.embeddings,
    }


def _identified(costs: str) -> str:
    """Returns what tells the value of --costs from others: the text of a table, or its SHA-256 if it is not UTF-8."""
    if not costs or costs == "tree":
        return costs
    try:
        return Path(costs).read_text("utf-8")  # also known to jobs that earlier versions have begun
    except UnicodeDecodeError:  # Parquet, or text in UTF-16
        return f"of a table with the SHA-256 {hashlib.sha256(Path(costs).read_bytes()).hexdigest()}"
