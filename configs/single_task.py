"""configs/mtl.py with the sub level alone, to compare both; main follows from sub."""

from ml_collections import ConfigDict

from configs import mtl


def get_config() -> ConfigDict:
    config = mtl.get_config()
    config.model.heads = {"sub": "sub"}
    return config
