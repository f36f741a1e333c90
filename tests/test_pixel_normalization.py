"""Each trunk normalises its pixels by its own mean and standard deviation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.config.fields import MEAN, STD
from fashion_jax.models.classifier import create_model
from fashion_jax.models.pixel_normalization import Normalization
from tests.small_trunks import shrink_trunks
from tests.steps import TAXONOMY

CAFFE = {"mean": (0.48, 0.46, 0.41), "std": (1 / 255, 1 / 255, 1 / 255)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pixels_are_normalised_in_float32_and_rounded_once(dtype):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 3, 3)).astype(np.float32)
    found = Normalization(**CAFFE, dtype=dtype)(jnp.asarray(pixels))
    expected = (pixels.astype(np.float64) / 255 - CAFFE["mean"]) / CAFFE["std"]
    assert found.dtype == jnp.dtype(dtype)
    error = np.abs(np.asarray(found, np.float64) - expected)
    assert np.all(error <= (2**-8 * np.abs(expected) if dtype == "bfloat16" else 0) + 1e-4)


def test_the_trunks_of_a_hybrid_have_their_own_and_others_that_of_imagenet(tiny_config):
    tiny_config.model.update(name="hybrid", normalization={"vgg16": CAFFE})
    trunk = create_model(tiny_config, TAXONOMY).trunk
    assert trunk.vgg16.normalize == Normalization(**CAFFE, dtype="float32")
    assert trunk.resnet34.normalize == Normalization(MEAN, STD, "float32")


def test_a_trunk_normalises_first(tiny_config, monkeypatch):
    shrink_trunks(monkeypatch)
    tiny_config.model.update(name="vgg16", heads={"sub": "linear"}, normalization={"vgg16": CAFFE})
    trunk = create_model(tiny_config, TAXONOMY).trunk
    pixels = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)), jnp.float32)
    variables = trunk.init(jax.random.key(0), pixels, train=False)
    images = (pixels / 255 - jnp.asarray(CAFFE["mean"])) / jnp.asarray(CAFFE["std"])
    expected = trunk.clone(normalize=lambda x: x).apply(variables, images, train=False)
    np.testing.assert_allclose(trunk.apply(variables, pixels, train=False), expected, rtol=1e-3, atol=1e-3)
