"""The names and sizes of the trunks, of which modules are built and by which files of weights are checked."""

from typing import NamedTuple


class ResNetSizes(NamedTuple):
    """The blocks of a ResNet.

    Attributes:
        stages: number of blocks per stage.
        has_bottlenecks: whether a block is a bottleneck of three convolutions, or a basic block of two.
    """

    stages: tuple[int, ...]
    has_bottlenecks: bool = False


RESNETS = {
    "resnet10": ResNetSizes((1, 1, 1, 1)),
    "resnet18": ResNetSizes((2, 2, 2, 2)),
    "resnet34": ResNetSizes((3, 4, 6, 3)),
    "resnet50": ResNetSizes((3, 4, 6, 3), has_bottlenecks=True),
}
EXPANSION = 4  # the output of a bottleneck has so many times the features of its 3x3 convolution

VGGS = {"vgg16": ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))}  # features and convolutions of each stage
VGGS["vgg16_bn"] = VGGS["vgg16"]  # with BatchNorm after each convolution
VGG_POOLED = 7  # height and width of the pooled map
VGG_HIDDEN = 4096  # features of the two hidden layers of the classifier

TRUNKS = (*RESNETS, *VGGS)
