"""The multi-task model on ResNet-34 and VGG-16 together, with the features of both concatenated.

--config.model.fusion=gated fuses them by a gate. Trained trunks to start from, one of them frozen:
--config.model.init_from.resnet34=runs/mtl --config.model.init_from.vgg16=runs/direct --config.model.frozen="['vgg16']".
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.model.name = "hybrid"
    return config
