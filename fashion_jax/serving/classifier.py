"""Classifies images in Python: what a user of a trained model calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.data.decoding.decode import ahead
from fashion_jax.scoring.decider import Decider
from fashion_jax.serving.answers import Answer
from fashion_jax.serving.images import Decoded, Image, decoded_ahead, each_image
from fashion_jax.taxonomy import UNKNOWN

if TYPE_CHECKING:  # an export needs no jax
    from fashion_jax.serving.engine import Engine


class Classifier:
    """A trained model that classifies images; `fashion_jax.load` makes one from a run or an export.

    Images are given as a list, an iterator, or a column of a table; a single image is taken as a list of one. An image
    is a path, the bytes of a file, a PIL image, or a uint8 array [height, width], [height, width, 3] or
    [height, width, 4]. Each is decoded as in training. One that cannot be decoded has its reason in `Answer.error`, and
    does not disturb the others. All methods may be called from several threads at a time.

    Attributes:
        labels: level -> the names of its classes, which are the columns of `probabilities`.
        engine: computes the model's log-probabilities.
        decider: turns them into classes.
        top_k: how many classes `Answer.top` names at each level.
        batch_size: the number of images that are decoded and computed together.

    Example:
        >>> import fashion_jax as fj, numpy as np
        >>> classifier = fj.load("runs/mtl")
        >>> pixels = np.zeros((80, 60, 3), np.uint8)
        >>> [answer.error for answer in classifier.predict(["photo.jpg", pixels, b"text"])]
        ['', '', 'this is no image of the kinds JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF']
        >>> table = classifier.probabilities(["photo.jpg", "nothing.jpg"])["main"]
        >>> table.shape == (2, len(classifier.labels["main"])), np.isnan(table[1]).all().item()
        (True, True)
    """

    def __init__(self, engine: Engine, decider: Decider, top_k: int = 0, batch_size: int | None = None):
        self.labels = {level: list(names) for level, names in engine.taxonomy.classes.items()}
        self.engine = engine
        self.decider = decider
        self.top_k = top_k
        self.batch_size = batch_size or engine.batch_size

    def predict(
        self, images: Image | Iterable[Image], *, all_probabilities: bool = False, embeddings: bool = False
    ) -> list[Answer]:
        """Returns an answer for each image, in order; see `stream`."""
        return list(self.stream(images, all_probabilities=all_probabilities, embeddings=embeddings))

    def stream(
        self,
        images: Image | Iterable[Image],
        *,
        all_probabilities: bool = False,
        embeddings: bool = False,
        are_first: bool = True,
    ) -> Iterator[Answer]:
        """Yields an answer for each image, in order, in constant memory: the images may be endless.

        Images are read at most three batches ahead (`batch_size` images each): one batch is decoded in threads while
        the network computes the batch before it, and the answers for the batch before that are made and used.

        Args:
            images: see the class.
            all_probabilities: whether answers have `all_probabilities`.
            embeddings: whether answers have `embedding`, which takes as long again.
            are_first: whether no other images come before these. If not, and they are fewer than a batch, they are
                computed as a whole batch, as they would be behind the others, so that not a bit differs.

        Raises:
            TypeError: `images` is no image and has none.
        """
        computed = ahead(lambda batch: self._computed(batch, embeddings), self._decoded(images, are_first))
        return (answer for batch in computed for answer in self._answers(*batch, all_probabilities))

    def probabilities(self, images: Image | Iterable[Image]) -> dict[str, np.ndarray]:
        """Returns level -> float32 [n, classes], calibrated and made to agree; NaN for an image that is broken.

        The columns are `labels[level]`.
        """
        parts: dict[str, list[np.ndarray]] = {
            level: [np.empty((0, len(names)), np.float32)] for level, names in self.labels.items()
        }
        for batch in self._decoded(images):
            found = self._probabilities(self._log_probs(batch)) if len(batch.indices) else {}
            for level, rows in parts.items():
                rows.append(_with_gaps(found.get(level, rows[0]), batch))
        return {level: np.concatenate(rows) for level, rows in parts.items()}

    def embed(self, images: Image | Iterable[Image]) -> np.ndarray:
        """Returns the trunk's output, float32 [n, features]; NaN for an image that is broken."""
        like = self.engine.features(np.zeros((1, *self.engine.canvas, 3), np.uint8))
        none = np.empty((0, like.shape[1]), np.float32)
        rows = [none]
        for batch in self._decoded(images):
            features = self._features(batch)
            rows.append(_with_gaps(none if features is None else features, batch))
        return np.concatenate(rows)

    def _decoded(self, images: Any, are_first: bool = True) -> Iterator[Decoded]:
        return decoded_ahead(each_image(images), self.engine.canvas, self.engine.resize, self.batch_size, are_first)

    def _log_probs(self, batch: Decoded) -> dict[str, np.ndarray]:
        log_probs = self.engine.log_probs(batch.canvases)
        return {level: x[: len(batch.indices)] for level, x in log_probs.items()}

    def _probabilities(self, log_probs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {level: np.exp(x).astype(np.float32) for level, x in self.decider.decoded(log_probs).items()}

    def _features(self, batch: Decoded) -> np.ndarray | None:
        return self.engine.features(batch.canvases)[: len(batch.indices)] if len(batch.indices) else None

    def _computed(self, batch: Decoded, embeddings: bool) -> tuple[Decoded, dict[str, np.ndarray], np.ndarray | None]:
        """Returns a batch, its log-probabilities, which are empty if no image could be decoded, and its features."""
        log_probs = self._log_probs(batch) if len(batch.indices) else {}
        return batch, log_probs, self._features(batch) if embeddings else None

    def _answers(
        self, batch: Decoded, log_probs: Mapping[str, np.ndarray], features: np.ndarray | None, all_probabilities: bool
    ) -> list[Answer]:
        answers = [Answer(name, batch.errors.get(i, "")) for i, name in enumerate(batch.names)]
        if not log_probs:
            return answers
        decisions = self.decider.decide(log_probs)
        probabilities = self._probabilities(log_probs) if all_probabilities or self.top_k else {}
        top = {level: self._top(level, x) for level, x in probabilities.items()} if self.top_k else {}
        for row, i in enumerate(batch.indices.tolist()):
            ids = {level: int(x[row]) for level, x in decisions.classes.items() if x[row] != UNKNOWN}
            answers[i] = Answer(
                path=batch.names[i],
                classes={level: self.labels[level][number] for level, number in ids.items()},
                probabilities={level: float(decisions.probabilities[level][row]) for level in ids},
                answer=decisions.answers[row] if self.decider.abstention else None,
                top={level: classes[row] for level, classes in top.items()},
                all_probabilities={level: x[row] for level, x in probabilities.items()} if all_probabilities else None,
                embedding=None if features is None else features[row],
                contradicts=bool(decisions.contradicts[row]),
            )
        return answers

    def _top(self, level: str, probabilities: np.ndarray) -> list[list[tuple[str, float]]]:
        """Returns each image's likeliest classes with their probabilities, from those of all [images, classes]."""
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top_k]
        values = np.take_along_axis(probabilities, order, axis=1)
        names = self.labels[level]
        return [
            [(names[number], value) for number, value in zip(*row, strict=True)]
            for row in zip(order.tolist(), values.tolist(), strict=True)
        ]


def _with_gaps(rows: np.ndarray, batch: Decoded) -> np.ndarray:
    """Returns a row for each image of a batch: those of the images that could be decoded, and NaN for the others."""
    filled = np.full((len(batch.names), rows.shape[1]), np.nan, np.float32)
    filled[batch.indices] = rows
    return filled
