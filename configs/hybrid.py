"""The multi-task model on ResNet-34 and VGG-16 together, the features of both concatenated.

A gate instead: --config.model.fusion=gated. Trained trunks to start from, and to keep one as it is:
--config.model.init_from.resnet34=runs/mtl --config.model.init_from.vgg16=runs/direct --config.model.frozen="['vgg16']".
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.model.name = "hybrid"
    return config
