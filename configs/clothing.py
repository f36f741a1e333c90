"""The multi-task model on a folder of classes: Clothing dataset (small), unpacked or zipped. Set data.path to it.

It has train/CLASS/*.jpg and validation/CLASS/*.jpg; clothing.yaml puts its 10 classes under 4 main classes.
"""

from pathlib import Path

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.source = "folder"
    config.data.path = "data/clothing-dataset-small"
    config.data.taxonomy = str(Path(__file__).with_name("clothing.yaml"))
    return config
