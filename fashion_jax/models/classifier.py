"""Builds the model of a config: a trunk with one head per label level."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from fashion_jax.config.architectures import RESNETS, VGGS
from fashion_jax.config.combinations import head_names, normalization
from fashion_jax.devices.mesh import replicated
from fashion_jax.models.batch_norm import BatchNorm
from fashion_jax.models.heads import HEADS, ParentCondition
from fashion_jax.models.hybrid import Hybrid
from fashion_jax.models.learning_rate_factors import NO_FACTORS, LearningRateFactors
from fashion_jax.models.pixel_normalization import Normalization
from fashion_jax.models.resnet import create_resnet
from fashion_jax.models.vgg import create_vgg
from fashion_jax.taxonomy import Taxonomy

# Up to this many devices, each computes the heads of the whole batch, statistics of BatchNorm included, from gathered
# features. That saves two collectives for each BatchNorm, which would wait for one another, and costs every device the
# work of all: for the recipe's heads on 16 devices, 0.1 % of the work of a ResNet-34 at 224 px.
_FEW_DEVICES = 16


class MultiHeadModel(nn.Module):
    """A trunk shared by the heads of several label levels.

    Attributes:
        trunk: maps images to features.
        heads: level -> module that maps features to logits.
        conditions: level -> module that adds to its logits, given the level before it in heads.
        whole: in training, the sharding that puts features and logits of the whole batch on every device, so that each
            computes all heads for all images; None if each device computes the heads of its own images.
    """

    trunk: nn.Module
    heads: dict[str, nn.Module]
    conditions: dict[str, nn.Module]
    whole: NamedSharding | None = None

    def __call__(self, images: Array, *, train: bool, targets: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Maps pixels from 0 to 255 [batch, height, width, 3] to level -> logits [batch, classes], at least float32.

        Training needs a key named "dropout" and makes the collection "batch_stats" mutable. Conditions use the targets
        (level -> share of each class [batch, classes]) if given, and predictions otherwise.
        """
        features = self.trunk(images, train=train)
        is_whole = train and self.whole is not None
        if is_whole:
            features = lax.with_sharding_constraint(features, self.whole)
        own = {level: head(features, train=train) for level, head in self.heads.items()}
        if is_whole:
            own = {level: lax.with_sharding_constraint(x, self.whole) for level, x in own.items()}  # in their order
        logits: dict[str, Array] = {}
        for parent, level in itertools.pairwise(["", *own]):
            logits[level] = own[level]
            if level in self.conditions:
                shares = None if targets is None else targets[parent]
                logits[level] += self.conditions[level](logits[parent], shares)
        return logits

    def features(self, images: Array) -> Array:
        """Maps pixels from 0 to 255 [batch, height, width, 3] to the heads' input at prediction [batch, features]."""
        return self.trunk(images, train=False)


def create_model(
    config: ConfigDict, taxonomy: Taxonomy, mesh: Mesh | None = None, factors: LearningRateFactors = NO_FACTORS
) -> MultiHeadModel:
    """Creates the model of a checked config, with the taxonomy's numbers of classes.

    Args:
        config: see configs/default.py.
        taxonomy: the levels and their classes.
        mesh: the devices that a batch is spread over in training; None means one device.
        factors: on the learning rates of the parameters; a frozen BatchNorm uses its running statistics in training.
    """
    num_devices = mesh.size if mesh else 1
    names = head_names(config)
    groups = {
        "global": 1,
        "group": max(config.batch_size // config.accumulate // config.batch_norm_group_size, 1),
        "local": num_devices,
    }
    norm = partial(BatchNorm, num_groups=groups[config.batch_norm], factors=factors)
    heads = {level: HEADS[head](num_classes=taxonomy.num_classes(level), norm=norm) for level, head in names.items()}
    conditioned = list(heads)[1:] if config.model.condition_on_parent else []
    conditions: dict[str, nn.Module] = {level: ParentCondition(taxonomy.num_classes(level)) for level in conditioned}
    are_small = config.model.name not in VGGS and {*names.values()} <= {"main", "sub"}
    is_whole = are_small and config.batch_norm == "global" and 1 < num_devices <= _FEW_DEVICES
    return MultiHeadModel(
        trunk=_create_trunk(config, norm),
        heads=heads,
        conditions=conditions,
        whole=replicated(mesh) if mesh and is_whole else None,
    )


def _create_trunk(config: ConfigDict, norm: partial) -> nn.Module:
    tables, remat = config.model.normalization, config.remat == "blocks"

    def create(name: str, **fields: Any) -> nn.Module:
        return create_trunk(name, normalization(tables, name), norm=norm, dtype=config.dtype, **fields)

    if config.model.name == "hybrid":
        resnet, vgg = create("resnet34", remat=remat), create("vgg16", pooled=1)
        return Hybrid(resnet, vgg, config.model.fusion)
    return create(config.model.name, **({"remat": remat} if config.model.name in RESNETS else {}))


def create_trunk(
    name: str,
    pixels: Mapping[str, Any],
    *,
    norm: Callable[..., nn.Module] = BatchNorm,
    dtype: str = "float32",
    **fields: Any,
) -> nn.Module:
    """Creates a trunk.

    Args:
        name: of a trunk in config.architectures.
        pixels: mean and std by which pixels are normalised.
        norm: constructor of BatchNorm, called with train=.
        dtype: type of the computation.
        fields: other attributes of the module.
    """
    normalize = Normalization(tuple(pixels["mean"]), tuple(pixels["std"]), dtype)
    create = create_resnet if name in RESNETS else create_vgg
    return create(name, norm=norm, normalize=normalize, **fields)
