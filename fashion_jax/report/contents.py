"""What the report page is made from, and the names of classes as people read them."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.hierarchy import UNKNOWN, Taxonomy

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from fashion_jax.data.dataset import Dataset, Split


@dataclasses.dataclass(frozen=True)
class PageContents:
    """A finished run.

    Attributes:
        workdir: as the user named it.
        config: a checked one.
        dataset: with the splits train and validation.
        environment: what environment.json holds.
        lines: of metrics.jsonl, one of them of best_step.
        best_step: of the best checkpoint.
        log_probs: that checkpoint's; level -> [validation images, classes].
    """

    workdir: Path
    config: ConfigDict
    dataset: Dataset
    environment: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    best_step: int
    log_probs: Mapping[str, np.ndarray]

    @property
    def taxonomy(self) -> Taxonomy:
        return self.dataset.taxonomy

    @property
    def train(self) -> Split:
        return self.dataset.splits["train"]

    @property
    def validation(self) -> Split:
        return self.dataset.splits["validation"]

    @property
    def best_line(self) -> Mapping[str, Any]:
        return next(line for line in self.lines if line["step"] == self.best_step)

    @property
    def name(self) -> str:
        return self.workdir.resolve().name or str(self.workdir)

    def counts(self, split: Split, level: str) -> np.ndarray:
        """Images of each class of a level, int [classes]."""
        labels = split.labels[level]
        return np.bincount(labels[labels != UNKNOWN], minlength=self.taxonomy.num_classes(level))


@dataclasses.dataclass(frozen=True)
class ClassName:
    """A class for people: its own label where no other class of the level has it, and where it belongs."""

    short: str
    label: str
    parent: str

    @property
    def full(self) -> str:
        return f"{self.parent} / {self.label}" if self.parent else self.label


def class_names(taxonomy: Taxonomy, level: str) -> list[ClassName]:
    """The names of a level's classes, in the order of their ids."""
    paths = _paths(taxonomy, level)
    times = collections.Counter(path[-1] for path in paths)
    return [
        ClassName(path[-1] if times[path[-1]] == 1 else " / ".join(path), path[-1], " / ".join(path[:-1]))
        for path in paths
    ]


def _paths(taxonomy: Taxonomy, level: str) -> list[tuple[str, ...]]:
    """The labels from the root to each class, without the escapes that class_name put in."""
    index = taxonomy.levels.index(level)
    if not index:
        return [(_plain(name),) for name in taxonomy.classes[level]]
    above = taxonomy.levels[index - 1]
    prefixes = _paths(taxonomy, above)
    return [
        (*prefixes[parent], _plain(name[len(taxonomy.classes[above][parent]) + 1 :]))
        for name, parent in zip(taxonomy.classes[level], taxonomy.parents[level], strict=True)
    ]


def _plain(label: str) -> str:
    return re.sub(r"\\(.)", r"\1", label, flags=re.DOTALL)
