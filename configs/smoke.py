"""A run of about a minute that exercises everything: a small ResNet on a few small images."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.image_size = 32
    config.batch_size = 32
    config.num_epochs = 3
    config.model.name = "resnet10"
    config.data.catalogue.num_images = 1500
    return config
