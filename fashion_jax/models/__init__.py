"""A trunk with one head per label level, made from a config."""

from functools import partial

import flax.linen as nn
from jax import Array
from ml_collections import ConfigDict

from fashion_jax.hierarchy import Taxonomy
from fashion_jax.models import resnet
from fashion_jax.models.batch_norm import BatchNorm
from fashion_jax.models.heads import HEADS
from fashion_jax.models.vgg import VGG16

_RESNETS = {"resnet10": resnet.resnet10, "resnet18": resnet.resnet18, "resnet34": resnet.resnet34}


class Classifier(nn.Module):
    """A trunk shared by the heads of several label levels.

    Attributes:
        trunk: images to features.
        heads: level -> features to logits.
    """

    trunk: nn.Module
    heads: dict[str, nn.Module]

    def __call__(self, images: Array, *, train: bool) -> dict[str, Array]:
        """Normalised images [batch, height, width, 3] to level -> logits [batch, classes].

        The type of the images is the type of the computation; logits are at least float32. Training
        needs a key named "dropout" and makes the collection "batch_stats" mutable.
        """
        features = self.trunk(images, train=train)
        return {level: head(features, train=train) for level, head in self.heads.items()}


def create_model(config: ConfigDict, taxonomy: Taxonomy, num_devices: int = 1) -> Classifier:
    """The model of a checked config, with the taxonomy's numbers of classes.

    Args:
        config: see configs/default.py.
        taxonomy: the levels and their classes.
        num_devices: over which a batch is spread, for batch_norm = local.
    """
    groups = {
        "global": 1,
        "group": max(config.batch_size // config.accumulate // config.batch_norm_group_size, 1),
        "local": num_devices,
    }
    norm = partial(BatchNorm, num_groups=groups[config.batch_norm])
    name = config.model.name
    trunk = VGG16() if name == "vgg16" else _RESNETS[name](norm=norm, remat=config.remat == "blocks")
    heads = {
        level: HEADS[head](num_classes=taxonomy.num_classes(level), norm=norm)
        for level, head in head_names(config).items()
    }
    return Classifier(trunk, heads)


def head_names(config: ConfigDict) -> dict[str, str]:
    """Level -> name of its head, for the levels that have one, coarse to fine."""
    levels = list(config.data.levels)
    if not config.model.heads:
        return {level: "main" if i == 0 else "sub" for i, level in enumerate(levels)}
    return {level: config.model.heads[level] for level in levels if level in config.model.heads}
