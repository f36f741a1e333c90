"""Fine-tunes a trunk that was trained elsewhere on your images: name its weights in model.init_from, and your data.

The trunk is trained at a tenth of the heads' learning rate; both rise over the first half epoch and then follow a
cosine, step by step.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.model.name = "vgg16"  # the trunk of the weights: resnet18 | resnet34 | resnet50 | vgg16 | vgg16_bn
    config.image_size = 96
    config.batch_size = 32
    config.learning_rate_factors = {"^trunk/": 0.1}
    config.schedule_per = "step"
    config.warmup_epochs = 0.5
    config.augment = "light"
    return config
