"""Builds the models in plain PyTorch: torchvision's layers, names and initialisation, and the recipe's heads.

It needs PyTorch, which the project itself does not. The benchmarks use it, and it wrote the reference of the parity
tests.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_VGG16_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (features, number of convolutions)


class BasicBlock(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, in_features: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_features, features, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.downsample = None
        if stride != 1 or in_features != features:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_features, features, 1, stride, bias=False), nn.BatchNorm2d(features)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(y + shortcut)


class ResNet(nn.Module):
    """torchvision's ResNet of basic blocks without its final layer: images to features [batch, num_features]."""

    def __init__(self, stage_sizes: Sequence[int] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.num_features, self.num_stages = 64, len(stage_sizes)
        for i, size in enumerate(stage_sizes):
            self.add_module(f"layer{i + 1}", self._stage(64 * 2**i, size, stride=1 if i == 0 else 2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stage(self, features: int, size: int, stride: int) -> nn.Sequential:
        blocks = [BasicBlock(self.num_features, features, stride)]
        blocks += [BasicBlock(features, features, 1) for _ in range(size - 1)]
        self.num_features = features
        return nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for i in range(self.num_stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return torch.flatten(self.avgpool(x), 1)


class VGG16(nn.Module):
    """torchvision's VGG-16 up to its adaptive pooling: images to features [batch, num_features]."""

    def __init__(self, stages: Sequence[Sequence[int]] = _VGG16_STAGES) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_features = 3
        for features, size in stages:
            for _ in range(size):
                layers += [nn.Conv2d(in_features, features, 3, padding=1), nn.ReLU(inplace=True)]
                in_features = features
            layers.append(nn.MaxPool2d(2, stride=2))
        self.features = nn.Sequential(*layers)
        self.avgpool, self.num_features = nn.AdaptiveAvgPool2d(7), in_features * 7 * 7
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.avgpool(self.features(x)), 1)


def main_head(num_features: int, num_classes: int) -> nn.Sequential:
    """Builds the recipe's head of the main task."""
    return nn.Sequential(
        OrderedDict(
            linear1=nn.Linear(num_features, 128),
            bn1=nn.BatchNorm1d(128),
            relu1=nn.ReLU(inplace=True),
            logits=nn.Linear(128, num_classes),
        )
    )


def sub_head(num_features: int, num_classes: int, dropout: float = 0.3) -> nn.Sequential:
    """Builds the recipe's head of the sub task."""
    return nn.Sequential(
        OrderedDict(
            linear1=nn.Linear(num_features, 256),
            bn1=nn.BatchNorm1d(256),
            relu1=nn.ReLU(inplace=True),
            dropout1=nn.Dropout(dropout),
            linear2=nn.Linear(256, 128),
            bn2=nn.BatchNorm1d(128),
            relu2=nn.ReLU(inplace=True),
            dropout2=nn.Dropout(dropout),
            logits=nn.Linear(128, num_classes),
        )
    )


def classifier_head(num_features: int, num_classes: int, dropout: float = 0.5) -> nn.Sequential:
    """Builds torchvision's classifier of VGG-16, with its initialisation."""
    head = nn.Sequential(
        OrderedDict(
            linear1=nn.Linear(num_features, 4096),
            relu1=nn.ReLU(inplace=True),
            dropout1=nn.Dropout(dropout),
            linear2=nn.Linear(4096, 4096),
            relu2=nn.ReLU(inplace=True),
            dropout2=nn.Dropout(dropout),
            logits=nn.Linear(4096, num_classes),
        )
    )
    for module in head:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
    return head


class TwinClassifier(nn.Module):
    """A trunk shared by the heads of several label levels."""

    def __init__(self, trunk: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleDict(heads)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps normalised images [batch, 3, height, width] to level -> logits [batch, classes]."""
        features = self.trunk(images)
        return {level: head(features) for level, head in self.heads.items()}


_TRUNKS: dict[str, Callable[..., Any]] = {"resnet34": ResNet, "vgg16": VGG16}
_HEADS = {"main": main_head, "sub": sub_head, "classifier": classifier_head}


def create_twin(name: str, heads: Mapping[str, tuple[str, int]], stages: Sequence[Any] | None = None) -> TwinClassifier:
    """Creates the PyTorch twin of `create_model`.

    Args:
        name: trunk, resnet34 | vgg16.
        heads: level -> (head, number of classes); a head is main | sub | classifier.
        stages: of a smaller trunk; None means the trunk's own.
    """
    trunk = _TRUNKS[name]() if stages is None else _TRUNKS[name](stages)
    return TwinClassifier(trunk, {level: _HEADS[head](trunk.num_features, n) for level, (head, n) in heads.items()})
