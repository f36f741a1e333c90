"""The baseline: VGG-16 with its own classifier on the finest level; main follows from sub."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.model.name = "vgg16"
    config.model.heads = {"sub": "classifier"}
    config.schedule = "exponential"  # learning rate x 0.9 per epoch
    return config
