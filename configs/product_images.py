"""The recipe on Fashion Product Images (Small): set data.path to its folder, or a zip of it.

The folder holds styles.csv and images/ID.jpg as published, and splits/train.txt and splits/validation.txt, which list
the ids that Condition-CNN (Kolisnik et al. 2021) trained and validated on; docs/results.md says how they are made.
These images have 4 main and 21 sub categories.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.eval_flip = True  # training flips half of the images
    config.data.source = "csv"
    config.data.path = "data/fashion-product-images-small"
    config.data.splits = {"train": "splits/train.txt", "validation": "splits/validation.txt"}
    return config
