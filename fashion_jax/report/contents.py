"""What the report page is made from, and the names of classes as people read them."""

from __future__ import annotations

import collections
import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.scoring.blocks import LazyRows
from fashion_jax.scoring.temperature import calibrated_levels
from fashion_jax.serving.grad_cam import Explain
from fashion_jax.taxonomy import UNKNOWN, Taxonomy, class_labels
from fashion_jax.workdir.files import _read_json, train_counts

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from fashion_jax.data.dataset import Split


@dataclasses.dataclass(frozen=True)
class PageContents:
    """A run, and what it says of a split.

    Attributes:
        workdir: as the user named it.
        config: a checked one.
        taxonomy: the classes of the run.
        environment: what environment.json holds.
        data: what data.json holds of the run's data.
        lines: of metrics.jsonl.
        step: of the checkpoint.
        split_name: of the images that were measured.
        split: those images.
        log_probs: of the checkpoint; level -> [images, classes].
        assessment: what assess() says of them.
        temperatures: level -> what log_probs are to be divided by to be calibrated; empty where not fitted.
        train: the training images, None where the page is not to show them.
        explain: None where nothing can.
        explained_from: what it draws its heat maps from, in words.
        cost: parameters, flops_per_image and images_per_second of the measurement; empty where not measured.
        command: of evaluate, by which the page is made again; empty for the page of a training.
        note: what to know of the measurement, a sentence or more; else empty.
        thresholds: training images over which a class is of the head, and under which of the tail.
    """

    workdir: Path
    config: ConfigDict
    taxonomy: Taxonomy
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    step: int
    split_name: str
    split: Split
    log_probs: Mapping[str, np.ndarray]
    assessment: Mapping[str, Any]
    temperatures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    train: Split | None = None
    explain: Explain | None = None
    explained_from: str = ""
    cost: Mapping[str, float] = dataclasses.field(default_factory=dict)
    command: str = ""
    note: str = ""
    thresholds: tuple[int, int] = (1000, 100)

    @functools.cached_property
    def calibrated(self) -> dict[str, LazyRows]:
        """log_probs by the temperatures; level -> [images, classes]."""
        return calibrated_levels(self.log_probs, self.temperatures)

    @property
    def line(self) -> Mapping[str, Any]:
        """That of the checkpoint's epoch; empty where the checkpoint is of the middle of one."""
        return next((line for line in self.lines if line["step"] == self.step), {})

    @property
    def name(self) -> str:
        return self.workdir.resolve().name or str(self.workdir)

    def counts(self, level: str) -> np.ndarray:
        """Measured images of each class of a level, int [classes]."""
        labels = self.split.labels[level]
        return np.bincount(labels[labels != UNKNOWN], minlength=self.taxonomy.num_classes(level))

    def train_counts(self, level: str) -> np.ndarray:
        """Training images of each class of a level, int [classes]."""
        return self._train_counts[level]

    @functools.cached_property
    def _train_counts(self) -> dict[str, np.ndarray]:
        return train_counts(self.data, self.taxonomy)


def read_contents(workdir: Path, **known: Any) -> PageContents:
    """The contents of a page from the files of a run, and from what is `known`: the other attributes of PageContents.

    Raises:
        UserError: a file is missing or damaged.
    """
    from fashion_jax.workdir.metrics_file import MetricsFile

    lines = MetricsFile(workdir / "metrics.jsonl", sys.maxsize, writes=False).lines
    environment, data = (_read_json(workdir / name) for name in ("environment.json", "data.json"))
    return PageContents(workdir=workdir, environment=environment, data=data, lines=lines, **known)


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
    paths = [class_labels(name) for name in taxonomy.classes[level]]
    times = collections.Counter(path[-1] for path in paths)
    return [
        ClassName(path[-1] if times[path[-1]] == 1 else " / ".join(path), path[-1], " / ".join(path[:-1]))
        for path in paths
    ]
