"""Decides the order of the images in an epoch."""

from __future__ import annotations

import numpy as np

from fashion_jax.data.tensorflow_cpu import import_tensorflow

MAX_PERMUTED = 1 << 20  # images; a permutation of more is never held in memory


def epoch_order(seed: int, epoch: int, count: int, chances: np.ndarray | None = None) -> np.ndarray | ShuffledIndices:
    """Returns the order of the images in an epoch, which can be sliced: a pure function of (seed, epoch).

    It is a permutation, or, if each image has a probability in `chances`, `count` independent draws with replacement.
    A permutation of more than MAX_PERMUTED images is never held in memory as a whole.
    """
    if chances is None and count > MAX_PERMUTED:
        return ShuffledIndices(seed, epoch, count)
    rng = np.random.default_rng([seed, epoch])
    return rng.permutation(count) if chances is None else rng.choice(count, count, p=chances)


class ShuffledIndices:
    """A permutation of range(count) that is computed slice by slice, by tf.random.experimental.index_shuffle."""

    def __init__(self, seed: int, epoch: int, count: int):
        words = np.random.SeedSequence([seed, epoch]).generate_state(2)
        self._seed, self._count = words.astype(np.uint32), count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, places: slice) -> np.ndarray:
        """Returns int64 [n], the images at a slice of positions in the order."""
        tf = import_tensorflow()
        indices = np.arange(*places.indices(self._count), dtype=np.int64)
        if not len(indices):
            return indices
        last = np.int64(self._count - 1)
        return tf.random.experimental.index_shuffle(indices, self._seed, last).numpy()
