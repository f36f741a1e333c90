"""Holds the results of measuring a run on a split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fashion_jax.scoring.assessment import Assessment
from fashion_jax.scoring.seeds import SeedGroup


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Tests whether a run differs in accuracy from the first one; empty for the first one itself.

    Attributes:
        tests: level -> `paired_test`, and, if there are several levels, PATH -> `paired_test`; None if not tested.
        tested_images: number of images that both runs have, with the same labels; None if not tested.
        relabeled_images: number of images that both runs have, but with other labels, so that they are not tested.
        untested: why a further run was not tested, in words that follow its name; empty if it was.
        decode: how the levels of both were made to agree before the tests, as those of an export are; empty if each
            head was tested by itself.
    """

    tests: Mapping[str, Any] | None = None
    tested_images: int | None = None
    relabeled_images: int = 0
    untested: str = ""
    decode: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the comparison's part of a run's object in the JSON of evaluate."""
        found: dict[str, Any] = {"tests": self.tests}
        if self.untested:
            found["untested"] = self.untested
        if self.tested_images is not None:
            found["tested_images"] = self.tested_images
        if self.relabeled_images:
            found["relabeled_images"] = self.relabeled_images
        if self.decode:
            found["decode"] = self.decode
        return found


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of a run on a split.

    Attributes:
        workdir: as the user named it.
        step: of the checkpoint.
        split: name of the split.
        images: number of images.
        known_labels: level -> number of images whose label is known.
        metrics: loss and LEVEL/METRIC -> value, as in metrics.jsonl.
        assessment: all scores.
        shots: head classes have more training images than the first number, tail classes fewer than the second.
        variability: level -> std/METRIC and gap/METRIC over the last half of the epochs; see `scores.variability`.
        parameters: number of parameters of the model.
        flops_per_image: floating-point operations of a prediction.
        images_per_second: speed, reading the images included; None if there was less than a batch to measure it on.
        left_out: reason -> names of the images of the data that cannot be used or are in no split.
        note: sentences to read with the results, or an empty string.
        comparison: tests against the first of several runs.
        over_seeds: spread over the runs that differ only in the seed, at the first of them.
    """

    workdir: str
    step: int
    split: str
    images: int
    known_labels: Mapping[str, int]
    metrics: Mapping[str, float]
    assessment: Assessment
    shots: Sequence[int]
    variability: Mapping[str, Mapping[str, float]]
    parameters: int
    flops_per_image: float
    images_per_second: float | None
    left_out: Mapping[str, Sequence[str]]
    note: str
    comparison: Comparison = Comparison()
    over_seeds: SeedGroup | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the run's object in the JSON of evaluate."""
        found: dict[str, Any] = {name: getattr(self, name) for name in ("workdir", "step", "split", "images")}
        found |= {f"{level}/known_labels": count for level, count in self.known_labels.items()}
        found |= self.metrics
        found |= {"assessment": self.assessment.to_json(), "shots": self.shots, "variability": self.variability}
        for name in ("parameters", "flops_per_image", "images_per_second", "left_out", "note"):
            found[name] = getattr(self, name)
        found |= self.comparison.to_json()
        if self.over_seeds is not None:
            found["over_seeds"] = dataclasses.asdict(self.over_seeds)
        return found
