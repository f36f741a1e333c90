"""Trunks with the structure of the real ones and only a few layers, which compile in seconds."""

import pytest

from fashion_jax.config.architectures import RESNETS, VGGS, ResNetSizes


def shrink_resnet10(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes resnet10 small: one of its four stages, 0.08 of 4.9 million parameters."""
    monkeypatch.setitem(RESNETS, "resnet10", ResNetSizes((1,)))


# The same in a process of its own, as Python lines before the command.
SHRINK_RESNET10 = "import pytest; from tests import small_trunks; small_trunks.shrink_resnet10(pytest.MonkeyPatch())"


def shrink_trunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes resnet34 and vgg16 small: 64 features of one block, and 8 of two convolutions."""
    monkeypatch.setitem(RESNETS, "resnet34", ResNetSizes((1,)))
    monkeypatch.setitem(VGGS, "vgg16", ((4, 1), (8, 1)))
