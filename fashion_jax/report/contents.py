"""Holds what the report page is made from, and names classes the way people read them."""

from __future__ import annotations

import collections
import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.config.combinations import comparable_in_training
from fashion_jax.config.loading import image_shape
from fashion_jax.report.album import Album
from fashion_jax.report.augmented import Augmented, augmented_images
from fashion_jax.report.timings import training_seconds
from fashion_jax.scoring import metrics
from fashion_jax.scoring.assessment import Assessment
from fashion_jax.scoring.blocks import LazyRows, likeliest, probabilities
from fashion_jax.scoring.evaluation import Comparison
from fashion_jax.scoring.label_errors import LabelErrors, rank_levels
from fashion_jax.scoring.scores import variability
from fashion_jax.scoring.seeds import SeedGroup
from fashion_jax.scoring.temperature import calibrated_levels
from fashion_jax.serving.grad_cam import Explain
from fashion_jax.taxonomy import Taxonomy, class_labels
from fashion_jax.workdir.files import read_json, train_counts
from fashion_jax.workdir.metrics_file import read_metrics
from fashion_jax.workdir.paths import data_path, environment_path

if TYPE_CHECKING:
    from ml_collections import ConfigDict
    from scipy.sparse import csr_array

    from fashion_jax.data.dataset import Split


@dataclasses.dataclass(frozen=True)
class PageContents:
    """A run and its predictions on a split.

    Attributes:
        workdir: as the user named it.
        config: the run's config, checked.
        taxonomy: the classes of the run.
        environment: contents of environment.json.
        data: the run's data, from data.json.
        lines: of metrics.jsonl.
        step: of the checkpoint.
        split_name: name of the split that was measured.
        split: its images.
        log_probs: level -> [images, classes], predicted by the checkpoint.
        assessment: the result of `assess` on them.
        temperatures: level -> temperature that calibrates log_probs; empty if none was fitted.
        train: the training images, None if the page should not show them.
        explain: draws heat maps; None if the page has none.
        explained_from: the maps that they are drawn from, in words.
        cost: parameters, flops_per_image and images_per_second of the measurement; empty if not measured.
        command: the evaluate command that makes the page again; empty for the page of a training.
        note: sentences to read with the measurement, or an empty string.
        thresholds: a class of more training images than the first is in the head, of fewer than the second in the tail.
        comparison: tests against the first of the runs that the page compares; empty for the first itself.
        over_seeds: spread over the compared runs that differ only in the seed, at the first of them.
        album: the images that the page under way shows.
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
    assessment: Assessment
    temperatures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    train: Split | None = None
    explain: Explain | None = None
    explained_from: str = ""
    cost: Mapping[str, float] = dataclasses.field(default_factory=dict)
    command: str = ""
    note: str = ""
    thresholds: tuple[int, int] = (1000, 100)
    comparison: Comparison = dataclasses.field(default_factory=Comparison)
    over_seeds: SeedGroup | None = None
    album: Album = dataclasses.field(default_factory=Album)

    @functools.cached_property
    def calibrated(self) -> dict[str, LazyRows]:
        """Returns level -> calibrated log-probabilities, [images, classes]."""
        return calibrated_levels(self.log_probs, self.temperatures)

    @property
    def training_rate(self) -> float | None:
        """Returns the images per second at image_size, the median of the epochs; None if no epoch has one."""
        lines = [line for line in self.lines if line["epoch"] > self.config.progressive.epochs]
        rates = [line["timing"]["images_per_second"] for line in lines if "images_per_second" in line["timing"]]
        return statistics.median(rates) if rates else None

    @property
    def comparable_levels(self) -> Sequence[str]:
        """Returns the levels whose scores in training can be compared with those in validation."""
        config = self.config
        return comparable_in_training(
            self.taxonomy.levels, config.rare_classes.draw, condition_on_parent=config.model.condition_on_parent
        )

    def variability(self, level: str) -> dict[str, float]:
        """Returns how much a level fluctuated and over-fitted in the last epochs; see `scores.variability`."""
        return variability(
            self.lines,
            level,
            small_epochs=self.config.progressive.epochs,
            is_comparable=level in self.comparable_levels,
        )

    @functools.cached_property
    def training_seconds(self) -> float:
        """Returns the seconds that all epochs have trained; 0 if no epoch was timed."""
        return training_seconds(self.lines, self.config.batch_size) or 0.0

    @property
    def devices(self) -> str:
        """Names the devices, such as "8 × NVIDIA H100"."""
        kinds = collections.Counter(self.environment.get("devices", []))
        return ", ".join(f"{number} × {kind}" if number > 1 else kind for kind, number in kinds.items())

    @functools.cached_property
    def likeliest(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Returns level -> each image's largest calibrated log-probability and its class, [images] each."""
        return {level: likeliest(log_probs) for level, log_probs in self.calibrated.items()}

    @functools.cached_property
    def label_errors(self) -> dict[str, LabelErrors]:
        """Returns level -> the labels by how wrong they look, of each level with at least two classes."""
        probs = {level: probabilities(log_probs) for level, log_probs in self.calibrated.items()}
        return rank_levels(probs, self.split.labels, self.taxonomy)

    @functools.cached_property
    def class_scores(self) -> dict[str, list[dict[str, float]]]:
        """Returns level -> F1, precision, recall, AUROC and support of each class (see metrics.per_class)."""
        return {level: metrics.per_class(x, self.split.labels[level]) for level, x in self.log_probs.items()}

    @functools.cached_property
    def confusion_counts(self) -> dict[str, csr_array]:
        """Returns level -> images whose class is known, int64 [classes, classes], rows true, columns predicted."""
        sizes = {level: self.taxonomy.num_classes(level) for level in self.log_probs}
        return {
            level: metrics.confusion_matrix(self.split.labels[level], np.argmax(x, axis=1), sizes[level])
            for level, x in self.log_probs.items()
        }

    @property
    def line(self) -> Mapping[str, Any]:
        """Returns the checkpoint's line of metrics.jsonl, or an empty dict if it was saved within an epoch."""
        return next((line for line in self.lines if line["step"] == self.step), {})

    @property
    def name(self) -> str:
        return self.workdir.resolve().name or str(self.workdir)

    def counts(self, level: str) -> np.ndarray:
        """Counts the measured images of each class of a level, int [classes]."""
        return self.split.counts(level, self.taxonomy.num_classes(level))

    def train_counts(self, level: str) -> np.ndarray:
        """Counts the training images of each class of a level, int [classes]."""
        return self._train_counts[level]

    @functools.cached_property
    def augmented(self) -> Augmented | None:
        """Training images in several draws of the augmentation; None if the page should not or cannot show them."""
        from fashion_jax.data.batches.pipeline import canvas_shape

        if self.train is None:
            return None
        config, shape = self.config, image_shape(self.config)
        canvas, finest = canvas_shape(config, shape), self.taxonomy.levels[-1]
        return augmented_images(self.train, finest, config.augment, config.seed, shape, canvas, config.data.resize)

    @functools.cached_property
    def _train_counts(self) -> dict[str, np.ndarray]:
        return train_counts(self.data, self.taxonomy)


def read_contents(workdir: Path, **known: Any) -> PageContents:
    """Reads the contents of a page from a run's files; `known` holds the attributes of PageContents that no file has.

    Raises:
        UserError: a file is missing or damaged.
    """
    return PageContents(
        workdir=workdir,
        environment=read_json(environment_path(workdir)),
        data=read_json(data_path(workdir)),
        lines=read_metrics(workdir),
        **known,
    )


@dataclasses.dataclass(frozen=True)
class ClassName:
    """A class as people read it: its own label if no other class of the level has the same, and its parents."""

    short: str
    label: str
    parent: str

    @property
    def full(self) -> str:
        return f"{self.parent} / {self.label}" if self.parent else self.label


def class_names(taxonomy: Taxonomy, level: str) -> list[ClassName]:
    """Returns the names of a level's classes, in the order of their ids."""
    paths = [class_labels(name) for name in taxonomy.classes[level]]
    times = collections.Counter(path[-1] for path in paths)
    return [
        ClassName(path[-1] if times[path[-1]] == 1 else " / ".join(path), path[-1], " / ".join(path[:-1]))
        for path in paths
    ]
