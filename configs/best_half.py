"""At least as accurate as configs/product_images.py, with half of its compute: configs/best.py with small images first.

"Accuracy for compute" in docs/results.md has the measurements.
"""

from ml_collections import ConfigDict

from configs import best


def get_config() -> ConfigDict:
    config = best.get_config()
    config.image_size = (64, 48)
    config.num_epochs = 7
    config.batch_size = 32
    config.learning_rate = 0.02
    config.progressive.epochs = 3
    config.progressive.image_size = (48, 32)
    return config
