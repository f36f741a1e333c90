"""The report's multi-task model on the generated catalogue: ResNet-34, a head for main and one for sub."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.image_size = 80  # the catalogue's own
    config.batch_size = 24  # more steps than with the report's 64: ten minutes on two cores are few
    config.num_epochs = 6
    config.eval_flip = True
    return config
