"""The most accurate training of a ResNet-34 from scratch that was found for the product images.

Differences from configs/product_images.py: images keep their own aspect ratio, the article type is a third level,
labels are smoothed, and a higher learning rate rises and falls step by step. Its 12 epochs take twice the compute;
configs/best_half.py takes half of it ("Accuracy for compute" in docs/results.md).
"""

from ml_collections import ConfigDict

from configs import product_images


def get_config() -> ConfigDict:
    config = product_images.get_config()
    config.data.levels = {"main": "masterCategory", "sub": "subCategory", "article": "articleType"}
    config.image_size = (80, 60)  # the originals' own
    config.num_epochs = 12
    config.checkpoint.best = "validation/sub/macro_f1"  # some article types have hardly any images
    set_training(config)
    return config


def set_training(config: ConfigDict) -> None:
    """Sets how the levels of a config are trained: the schedule of the learning rate, and the labels' smoothing."""
    config.schedule = "one_cycle"
    config.schedule_per = "step"
    config.learning_rate = 0.03
    config.label_smoothing = dict.fromkeys(config.data.levels, 0.1)
