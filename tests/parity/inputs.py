"""Draws the inputs that PyTorch and flax share: cases, weights, images and labels, by numpy alone.

Everything is made of uniform float32 draws and one product, so that it is the same to the last bit on
every platform, and exact in float64.
"""

import dataclasses
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

REFERENCE = Path(__file__).with_name("reference.npz")
SEED = 20240607
NUM_CLASSES = {"main": 4, "sub": 21}
NUM_SAMPLES = 24  # stored entries per leaf
NUM_STEPS = 3  # training steps, each an epoch of the cosine schedule
SCHEDULE_EPOCHS = (8, 30)
SCHEDULES = ("cosine", "exponential", "one_cycle", "warmup")  # warmup: before cosine
WARMUP_EPOCHS = 2
LABEL_SMOOTHING = 0.1
LEARNING_RATE, LEARNING_RATE_DECAY = 0.01, 0.9  # rate of the first epoch; decay per epoch in the exponential schedule
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and the shape of its images.

    Attributes:
        trunk: resnet34 | vgg16.
        heads: (level, head) pairs.
        shape: of the images, [batch, height, width].
        learning_rate: of the first training step.
    """

    trunk: str
    heads: tuple[tuple[str, str], ...]
    shape: tuple[int, int, int]
    learning_rate: float = 0.01

    @property
    def name(self) -> str:
        return f"{self.trunk}_{self.shape[1]}x{self.shape[2]}"


_MULTI_TASK = (("main", "main"), ("sub", "sub"))
FORWARD = (
    Case("resnet34", _MULTI_TASK, (4, 64, 64)),
    Case("resnet34", _MULTI_TASK, (2, 75, 60)),
    Case("vgg16", (("sub", "classifier"),), (2, 64, 64)),
    Case("vgg16", (("sub", "classifier"),), (1, 224, 224)),
)
TRAINING = (
    Case("resnet34", _MULTI_TASK, (8, 64, 64)),
    Case("vgg16", (("sub", "sub"),), (4, 64, 64), learning_rate=0.001),
)


def draw_leaf(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draws the parameter or running statistic at a flax path ("trunk/conv1/kernel"), float32 in flax's layout."""
    low, high = {
        "bias": (-0.2, 0.2),
        "scale": (0.5, 1.5),
        "mean": (-0.5, 0.5),
        "var": (0.5, 3.5),
        "kernel": _kaiming_bounds(shape),
    }[path.rpartition("/")[2]]
    return _uniform(path, shape, low, high)


def draw_images(case: Case) -> np.ndarray:
    """Draws images, float32 [batch, height, width, 3], as if normalised."""
    return _uniform(f"{case.name}/images", (*case.shape, 3), -2, 2)


def draw_labels(case: Case, level: str) -> np.ndarray:
    """Draws labels, int32 [batch]; the last one is unknown (-1)."""
    labels = _rng(f"{case.name}/{level}").integers(NUM_CLASSES[level], size=case.shape[0], dtype=np.int32)
    labels[-1] = -1
    return labels


def summarise(leaves: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns float64 [leaves, 1 + NUM_SAMPLES], sorted by path: the norm of each leaf, then fixed entries of it.

    The entries detect a permuted leaf, which has the same norm.
    """
    rows = []
    for path, leaf in sorted(leaves.items()):
        leaf = np.asarray(leaf, np.float64).ravel()
        chosen = _rng(f"{path}/samples").integers(leaf.size, size=NUM_SAMPLES)
        rows.append(np.concatenate([[np.linalg.norm(leaf)], leaf[chosen]]))
    return np.stack(rows)


def _kaiming_bounds(shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns bounds that keep the scale of activations through a layer and its ReLU."""
    bound = (6 / np.prod(shape[:-1])) ** 0.5 if len(shape) > 1 else 0.0
    return -bound, bound


def _uniform(path: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    return np.float32(low) + np.float32(high - low) * _rng(path).random(shape, np.float32)


def _rng(path: str) -> np.random.Generator:
    return np.random.default_rng([SEED, zlib.crc32(path.encode())])


def draw_updates() -> tuple[np.ndarray, np.ndarray]:
    """Draws parameters [4, 3] and the gradients of five updates [5, 4, 3]."""
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (4, 3)), rng.uniform(-1, 1, (5, 4, 3))


def draw_smoothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws logits [6, 4], labels [6], one of them unknown, and weights of the classes [4]."""
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (6, 4)), np.asarray([0, 3, 1, -1, 2, 3]), rng.uniform(0.5, 2, 4)
