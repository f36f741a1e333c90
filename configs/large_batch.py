"""The recipe with batches of 256 to 4,096 images: set batch_size, and data.path to your images.

The learning rate grows with the batch and rises during the first epochs, and each BatchNorm normalises groups of 64
images, as in "Accurate, Large Minibatch SGD" (Goyal et al. 2017, arXiv 1706.02677).
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.batch_size = 1024
    config.learning_rate_batch_size = 64  # learning_rate, 0.01, is the recipe's for 64 images
    config.warmup_epochs = 2.0
    config.schedule_per = "step"
    config.batch_norm = "group"
    config.batch_norm_group_size = 64
    config.no_decay = True
    return config
