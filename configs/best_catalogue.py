"""The training of configs/best.py on the generated catalogue, for about the compute of configs/mtl.py."""

from ml_collections import ConfigDict

from configs import best, default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.image_size = 56
    config.batch_size = 32
    config.num_epochs = 12
    config.eval_flip = True
    best.set_training(config)
    return config
