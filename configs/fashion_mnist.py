"""The multi-task model on Fashion-MNIST, 28 × 28 grey: fashion_mnist.yaml puts its 10 classes under 4 main classes.

The data comes from TFDS, or from the four original IDX files, gzipped or not, if data.path is their folder.
"""

from pathlib import Path

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.image_size = 32
    config.batch_size = 128
    config.num_epochs = 5
    config.data.source = "tfds"
    config.data.tfds = "fashion_mnist"
    config.data.levels = {"main": "", "sub": "label"}
    config.data.taxonomy = str(Path(__file__).with_name("fashion_mnist.yaml"))
    config.data.splits = {"train": "train", "validation": "test"}
    return config
