"""The training of configs/best.py on the generated catalogue, small images first, for the compute of configs/mtl.py."""

from ml_collections import ConfigDict

from configs import best, default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.image_size = 64
    config.batch_size = 32
    config.num_epochs = 15
    config.progressive.epochs = 6
    config.progressive.image_size = 32
    config.eval_flip = True
    best.set_training(config)
    return config
