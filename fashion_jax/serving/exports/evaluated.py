"""Makes an export look like a run to the evaluate command."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.serving.exports.engines import ExportEngine, load_engine
from fashion_jax.taxonomy import Taxonomy


@dataclasses.dataclass(frozen=True)
class EvaluatedExport:
    """An export, with what `evaluate` asks of workdir.trained.Trained.

    Attributes:
        workdir: its folder.
        engine: computes its answers.
    """

    workdir: Path
    engine: ExportEngine

    mesh = None  # its images are kept in host memory

    @property
    def taxonomy(self) -> Taxonomy:
        return self.engine.taxonomy

    @property
    def step(self) -> int:
        """Returns the step of the exported checkpoint."""
        return self.engine.step

    @property
    def decode(self) -> str:
        """Returns how its levels agree."""
        return self.engine.export.decode

    @property
    def note(self) -> str:
        """Returns the note to its scores."""
        export = self.engine.export
        words = "have been calibrated and" if export.calibrated else "are not calibrated, but have been"
        if export.calibration_note:
            words = "have temperatures that were fitted to other predictions, and have been"
        return f"an export, whose probabilities {words} made to agree ({self.decode}) already."

    @property
    def train_counts(self) -> dict[str, np.ndarray]:
        """Returns level -> training images of each class, int [classes]."""
        return {level: np.array(counts, np.int64) for level, counts in self.engine.export.train_counts.items()}

    @property
    def num_parameters(self) -> int:
        return self.engine.export.parameters

    def flops_per_image(self) -> float:
        """Returns the floating-point operations of a prediction."""
        return self.engine.export.flops_per_image

    def batch_size(self) -> int:
        """Returns the number of images at a time."""
        return self.engine.batch_size

    def compiled(self, batch_size: int) -> EvaluatedExport:
        """Returns the same export after it has computed a batch of so many canvases, for which it may compile."""
        self.engine.log_probs(np.zeros((batch_size, *self.engine.canvas, 3), np.uint8))
        return self

    def log_probs(self, batches: Iterator[dict[str, Any]], count: int) -> dict[str, np.ndarray]:
        """Returns level -> log-probabilities [count, classes] of the images of batches, the last of which is padded."""
        results = [self.engine.log_probs(np.asarray(batch["image"])) for batch in batches]
        return {level: np.concatenate([result[level] for result in results])[:count] for level in results[0]}


def load_evaluated(directory: Path, cache_dir: str = "") -> EvaluatedExport:
    """Loads an export to evaluate it; see `load_engine`."""
    return EvaluatedExport(directory, load_engine(directory, cache_dir))
