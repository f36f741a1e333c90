"""The report's multi-task model on the generated catalogue: ResNet-34, a head for main and one for sub."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.num_epochs = 6
    return config
