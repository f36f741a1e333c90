"""Trunks with the structure of the real ones and hardly any layers, which compile in seconds."""

from functools import partial

import pytest

from fashion_jax import models
from fashion_jax.models import resnet, vgg


def shrink_resnet10(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes resnet10 small: two of its four stages, 0.3 of 4.9 million parameters."""
    monkeypatch.setitem(models.RESNETS, "resnet10", partial(resnet.ResNet, stage_sizes=(1, 1)))


def restore_resnet10(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes it whole again, as it is in the commands."""
    monkeypatch.setitem(models.RESNETS, "resnet10", resnet.resnet10)


def shrink_trunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes resnet34 and vgg16 small: 64 features of one block, and 8 of two convolutions."""
    small = partial(resnet.ResNet, stage_sizes=(1,))
    monkeypatch.setattr(resnet, "resnet34", small)  # the hybrid's
    monkeypatch.setitem(models.RESNETS, "resnet34", small)
    monkeypatch.setattr(vgg, "_STAGES", ((4, 1), (8, 1)))
