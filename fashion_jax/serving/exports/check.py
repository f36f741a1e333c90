"""Compares an export with the live model on the same images: probabilities, paths, features and speed."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fashion_jax.errors import RunError
from fashion_jax.scoring.temperature import apply_temperatures
from fashion_jax.scoring.tree_decoding import decode, leaf_log_probs, leaf_paths
from fashion_jax.serving.exports.engines import ExportEngine, Run
from fashion_jax.serving.exports.graph import FEATURES, PATH, probabilities_name
from fashion_jax.taxonomy import Taxonomy

if TYPE_CHECKING:
    from fashion_jax.serving.engine import Engine

PROBABILITY = 1e-4  # the largest difference of a probability that is allowed
MARGIN = 1e-3  # where the two likeliest paths differ by less, either one may be the answer
FEATURE = 1e-3  # the largest difference of a feature that is allowed, as a share of the largest feature


@dataclasses.dataclass(frozen=True)
class Differences:
    """How far the answers of an export are from those of the live model.

    Attributes:
        images: number of images.
        probability: the largest difference of a probability.
        feature: the largest difference of a feature, as a share of the largest one.
        paths: images with another path.
        sure_paths: images with another path although the two best differ by MARGIN or more.
        export_rate: images per second of the export.
        live_rate: images per second of the live model.
        export_paths: int32 [images, levels], of the export.
        live_paths: int32 [images, levels], of the live model.
    """

    images: int
    probability: float
    feature: float
    paths: int
    sure_paths: int
    export_rate: float
    live_rate: float
    export_paths: np.ndarray
    live_paths: np.ndarray

    def check(self) -> None:
        """Raises a RunError if the export does not answer as the live model does."""
        found = []
        if not self.probability <= PROBABILITY:
            found.append(f"a probability differs by {self.probability:.2g}, more than {PROBABILITY:g}")
        if self.sure_paths:
            found.append(f"{self.sure_paths:,} images have another path")
        if not self.feature <= FEATURE:
            found.append(f"a feature differs by {self.feature:.2g} of the largest, more than {FEATURE:g}")
        if found:
            raise RunError(
                f"The export does not answer as the live model does: of {self.images:,} images, {'; '.join(found)}. It "
                "was deleted; please report it, with the run's config.json."
            )


def live_outputs(engine: Engine, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what the model of an export must return for uint8 [n, height, width, 3], from the run: name -> [n, ...].

    Args:
        engine: of the run.
        images: its canvases.
    """
    taxonomy = engine.taxonomy
    decoded = decode(apply_temperatures(engine.log_probs(images), engine.temperatures), taxonomy, "conditional")
    outputs = {probabilities_name(level): np.exp(x).astype(np.float32) for level, x in decoded.items()}
    path = leaf_paths(taxonomy)[leaf_log_probs(decoded, taxonomy).argmax(1)].astype(np.int32)
    return outputs | {PATH: path, FEATURES: engine.features(images)}


def compare(
    export: ExportEngine, live: Engine, batches: Iterable[np.ndarray], reached: Callable[[int], None] = lambda _: None
) -> Differences:
    """Runs images through both models.

    Args:
        export: the export, as loaded from its folder.
        live: the model of the run.
        batches: canvases, uint8 [n, height, width, 3]; all batches but the last one have the same size.
        reached: called with the number of images that are done.
    """
    rows, clocks = [], {"export": _Clock(), "live": _Clock()}
    for images in batches:
        ours = clocks["export"].measured(export.outputs, images)
        theirs = clocks["live"].measured(lambda images: live_outputs(live, images), images)
        rows.append(_row(ours, theirs, export.taxonomy))
        reached(sum(len(row.live_paths) for row in rows))
    paths, live_paths, close = (np.concatenate(columns) for columns in zip(*(row[:3] for row in rows), strict=True))
    others = (paths != live_paths).any(1)
    largest = max(row.largest_feature for row in rows)
    return Differences(
        images=len(paths),
        probability=max(row.probability for row in rows),
        feature=max(row.feature for row in rows) / max(largest, 1e-30),
        paths=int(others.sum()),
        sure_paths=int((others & ~close).sum()),
        export_rate=clocks["export"].rate,
        live_rate=clocks["live"].rate,
        export_paths=paths,
        live_paths=live_paths,
    )


class _Row(NamedTuple):
    """The comparison of a batch; see Differences."""

    export_paths: np.ndarray
    live_paths: np.ndarray
    is_close: np.ndarray
    probability: float
    feature: float
    largest_feature: float


class _Clock:
    """Measures images per second, without the compilation that the first batch of a size needs."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, ...]] = set()
        self._images = 0
        self._seconds = 0.0

    def measured(self, run: Run, images: np.ndarray) -> Mapping[str, np.ndarray]:
        if images.shape not in self._seen:
            self._seen.add(images.shape)
            run(images)
        began = time.perf_counter()
        outputs = run(images)
        self._seconds += time.perf_counter() - began
        self._images += len(images)
        return outputs

    @property
    def rate(self) -> float:
        return self._images / max(self._seconds, 1e-9)


def _row(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> _Row:
    """Compares the outputs for a batch; a NaN differs from everything."""
    names = [probabilities_name(level) for level in taxonomy.levels]
    live = {level: theirs[name] for level, name in zip(taxonomy.levels, names, strict=True)}
    best = np.sort(leaf_log_probs(live, taxonomy), axis=1)[:, -2:]  # of probabilities, which it takes as well
    return _Row(
        export_paths=ours[PATH],
        live_paths=theirs[PATH],
        is_close=best[:, -1] - best[:, 0] < MARGIN if best.shape[1] > 1 else np.zeros(len(best), bool),
        probability=max(_difference(ours[name], theirs[name]) for name in names),
        feature=_difference(ours[FEATURES], theirs[FEATURES]),
        largest_feature=float(np.abs(theirs[FEATURES]).max()),
    )


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    found = float(np.abs(one.astype(np.float64) - other).max())
    return found if math.isfinite(found) else math.inf
