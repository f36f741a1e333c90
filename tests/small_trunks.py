"""Trunks with the structure of the real ones and only a few layers, which compile in seconds."""

from functools import partial

import pytest

from fashion_jax import models
from fashion_jax.models import resnet, vgg


def shrink_resnet10(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes resnet10 small: one of its four stages, 0.08 of 4.9 million parameters."""
    monkeypatch.setitem(models.RESNETS, "resnet10", partial(resnet.ResNet, stage_sizes=(1,)))


# The same in a process of its own, as Python lines before the command.
SHRINK_RESNET10 = "import pytest; from tests import small_trunks; small_trunks.shrink_resnet10(pytest.MonkeyPatch())"


def shrink_trunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes resnet34 and vgg16 small: 64 features of one block, and 8 of two convolutions."""
    small = partial(resnet.ResNet, stage_sizes=(1,))
    monkeypatch.setattr(resnet, "resnet34", small)  # the hybrid's
    monkeypatch.setitem(models.RESNETS, "resnet34", small)
    monkeypatch.setattr(vgg, "_STAGES", ((4, 1), (8, 1)))
