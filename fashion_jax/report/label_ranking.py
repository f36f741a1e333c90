"""Writes all labels, ranked by how wrong they look, for one run or for several held-out parts of the data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from fashion_jax.data.dataset import Split
from fashion_jax.errors import UserError
from fashion_jax.scoring.blocks import joined, probabilities
from fashion_jax.scoring.label_errors import COLUMNS, label_error_rows, rank_levels, verdict
from fashion_jax.scoring.pairing import shared_images
from fashion_jax.serving.table_files import write_csv
from fashion_jax.taxonomy import Taxonomy


class Model(Protocol):
    """A run or an export: its folder and its classes."""

    @property
    def workdir(self) -> Path: ...

    @property
    def taxonomy(self) -> Taxonomy: ...


class RankedRun(Protocol):
    """A model, the images it was measured on, and level -> its calibrated log-probabilities of them."""

    @property
    def trained(self) -> Model: ...

    @property
    def split(self) -> Split: ...

    @property
    def calibrated(self) -> Mapping[str, np.ndarray]: ...


def check_joinable(models: Sequence[Model], splits: Sequence[Split]) -> None:
    """Raises UserError if the models have different classes, or their splits images in common."""
    first = models[0]
    for model in models:
        if model.taxonomy != first.taxonomy:
            raise UserError(
                f"{model.workdir} has other classes than {first.workdir}, so that --label-errors cannot join "
                "them: train them with the same data.taxonomy."
            )
    if any(_have_common(a, b) for a, b in itertools.combinations(splits, 2)):
        raise UserError(
            "--label-errors joins runs that were each kept from other images, but these have images in common: "
            "give one run, or those of every data.fold."
        )


def _have_common(one: Split, other: Split) -> bool:
    a, b = one.content_digests, other.content_digests
    return len(shared_images(one.ids, other.ids, None if a is None or b is None else (a, b))[0]) > 0


def write_ranking(path: Path, runs: Sequence[RankedRun]) -> str:
    """Writes a CSV with a row for each known label of all runs' images; returns a line of summary per level.

    For each level, the labels that look the most wrong come first; the column `suspected` says which are suspected.

    Args:
        path: of the CSV.
        runs: with the same classes and without images in common (see check_joinable).
    """
    taxonomy = runs[0].trained.taxonomy
    probs = {level: probabilities(joined([run.calibrated[level] for run in runs])) for level in taxonomy.levels}
    labels = {level: np.concatenate([run.split.labels[level] for run in runs]) for level in taxonomy.levels}
    ranked = rank_levels(probs, labels, taxonomy)
    ids = [image for run in runs for image in run.split.ids]
    write_csv(path, COLUMNS, label_error_rows(ids, ranked, labels, taxonomy))
    return "\n".join(f"{level}: {verdict(errors)}" for level, errors in ranked.items())
