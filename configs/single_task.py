"""configs/mtl.py with sub alone, to compare the two; main follows from sub."""

from ml_collections import ConfigDict

from configs import mtl


def get_config() -> ConfigDict:
    config = mtl.get_config()
    config.model.heads = {"sub": "sub"}
    return config
