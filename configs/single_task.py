"""ResNet-34 trained on sub alone, to compare with the multi-task model; main follows from sub."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.model.heads = {"sub": "sub"}
    return config
