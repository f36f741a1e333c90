"""The recipe's multi-task model on the generated catalogue: ResNet-34 with a head for main and one for sub."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.image_size = 80  # the size of the catalogue's images
    config.batch_size = 24  # more steps than with the recipe's 64, since ten minutes on two cores allow few
    config.num_epochs = 6
    config.eval_flip = True
    return config
