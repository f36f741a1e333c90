"""The networks that are checked and timed, and their programs on some devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from benchmarks.compiled_step import random_batches, synthetic_taxonomy
from fashion_jax.command_line import Overrides
from fashion_jax.config.loading import load_config
from fashion_jax.devices.mesh import create_mesh
from fashion_jax.step.program import Program, create_program
from fashion_jax.step.train_step import Batch

_CONFIGS = Path(__file__).parents[2] / "configs"
_STEPS_PER_EPOCH = 1000

# A small network has the structure of its model and few layers, so that it compiles in about a second.
_SMALL_RESNET = {"stage_sizes": (1,)}
_SMALL_VGG = {"stages": ((16, 1), (64, 1))}


class Case(NamedTuple):
    """A network with a size of images and a batch size.

    Attributes:
        name: names the case in the results.
        config: a file of configs/, which names the model and its heads.
        image_size: height and width in pixels.
        batch_size: images per device.
        is_small: takes a network with few layers, to try the command on a CPU.
    """

    name: str
    config: str
    image_size: int
    batch_size: int
    is_small: bool = False

    def create_config(self, dtype: str, devices: int = 1, overrides: Overrides = ()) -> ConfigDict:
        """Returns the checked config of the case for a number of devices."""
        fields = [("image_size", str(self.image_size)), ("batch_size", str(self.batch_size * devices))]
        if self.is_small:
            fields.append(("model.heads", "{'sub': 'sub'}"))  # torchvision's classifier has 17 million parameters
        return load_config(str(_CONFIGS / self.config), [*fields, ("dtype", dtype), *overrides])


class Built(NamedTuple):
    """The trainer's own functions for a case on some devices, and made-up batches that lie there."""

    program: Program
    batches: list[Batch]


def build(
    case: Case,
    dtype: str = "float32",
    devices: Sequence[jax.Device] | None = None,
    *,
    overrides: Overrides = (),
    is_random: bool = True,
) -> Built:
    """Builds the functions of a case and its made-up batches on some devices, by default on all.

    Args:
        case: the network and the sizes.
        dtype: the type of the computation; float64 needs jax.enable_x64.
        devices: the devices of the mesh.
        overrides: further fields of the config.
        is_random: with dropout and the config's augmentation. Without, steps of any type and on any platform compute
            the same function: random numbers of different types are different numbers.
    """
    mesh = create_mesh(devices)
    overrides = overrides if is_random else [("augment", "none"), *overrides]
    config = case.create_config(dtype, mesh.size, overrides)
    taxonomy, paths = synthetic_taxonomy(list(config.data.levels))
    program = create_program(config, taxonomy, mesh, num_images=_STEPS_PER_EPOCH * config.batch_size)
    model = program.model
    if case.is_small:
        model = model.clone(trunk=_small(model.trunk))
    if not is_random:
        model = model.clone(heads={level: _without_dropout(head) for level, head in model.heads.items()})
    return Built(dataclasses.replace(program, model=model), random_batches(config, taxonomy, paths, mesh))


def _small(trunk: nn.Module) -> nn.Module:
    """Returns a trunk of the same structure with few layers."""
    if hasattr(trunk, "fusion"):
        return trunk.clone(resnet34=_small(trunk.resnet34), vgg16=_small(trunk.vgg16))
    return trunk.clone(**(_SMALL_RESNET if hasattr(trunk, "stage_sizes") else _SMALL_VGG))


def _without_dropout(head: nn.Module) -> nn.Module:
    return head.clone(dropout=0.0) if hasattr(head, "dropout") else head


class Sizes(NamedTuple):
    """How much is checked and measured.

    Attributes:
        checked: the networks that are compared with float64.
        pooled: [images, height, width, channels] of the map that BatchNorm normalises and pools.
        timed: the networks that are timed, the most important first.
        rounds: turns of each contender.
        turn_seconds: about how long a turn takes.
        dispatched: the network that is timed with steps_per_dispatch 1 and 8.
        cached: the network that is trained from images in the devices' memory.
        cached_images: their number.
    """

    checked: tuple[Case, ...]
    pooled: tuple[int, int, int, int]
    timed: tuple[Case, ...]
    rounds: int
    turn_seconds: float
    dispatched: Case
    cached: Case
    cached_images: int


FULL = Sizes(
    checked=(Case("resnet34", "default.py", 64, 64), Case("vgg16", "direct.py", 64, 32)),
    pooled=(64, 112, 112, 64),
    timed=(
        Case("resnet34_224px", "default.py", 224, 256),
        Case("resnet34_64px", "default.py", 64, 1024),
        Case("vgg16_224px", "direct.py", 224, 128),
        Case("hybrid_128px", "hybrid.py", 128, 256),
    ),
    rounds=10,
    turn_seconds=0.15,
    dispatched=Case("resnet34_64px", "default.py", 64, 64),
    cached=Case("resnet34_64px", "default.py", 64, 1024),
    cached_images=50_000,
)
TINY = Sizes(
    checked=(Case("resnet34", "default.py", 32, 8, True), Case("vgg16", "direct.py", 32, 8, True)),
    pooled=(4, 8, 8, 16),
    timed=(
        Case("resnet34_224px", "default.py", 32, 8, True),
        Case("resnet34_64px", "default.py", 32, 8, True),
        Case("vgg16_224px", "direct.py", 32, 8, True),
        Case("hybrid_128px", "hybrid.py", 32, 8, True),
    ),
    rounds=2,
    turn_seconds=0.01,
    dispatched=Case("resnet34_64px", "default.py", 32, 2, True),  # XLA's CPU backend is slow at convolutions in loops
    cached=Case("resnet34_64px", "default.py", 32, 8, True),
    cached_images=64,
)
SIZES = {"full": FULL, "tiny": TINY}
