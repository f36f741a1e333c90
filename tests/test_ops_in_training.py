"""Training with the equivalent operations against training with the plain ones."""

import jax
import numpy as np
import pytest

from fashion_jax.models import resnet
from fashion_jax.ops import convolution
from tests.test_train_step import config, losses_of  # noqa: F401


@pytest.fixture
def use_plain(monkeypatch):
    """A function after which steps are built of XLA's own operations."""

    def use() -> None:
        monkeypatch.setattr(convolution, "_suits_winograd", lambda x, kernel: False)
        monkeypatch.setattr(convolution, "_TINY_MAP", 0)
        monkeypatch.setattr(resnet, "max_pool3x3", resnet.max_pool3x3.__wrapped__)
        jax.clear_caches()

    return use


@pytest.mark.long
def test_steps_agree_in_float64(config, use_plain):  # noqa: F811
    config.dtype = "float64"
    with jax.enable_x64(True):
        losses, state = losses_of(config, jax.devices()[:1])
        use_plain()
        expected, reference = losses_of(config, jax.devices()[:1])
    np.testing.assert_allclose(losses, expected, rtol=1e-8)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(reference), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-8 * max(np.abs(b).max(), 1e-3))


@pytest.mark.long
def test_fifty_steps_in_float32_end_within_the_spread_of_seeds(config, use_plain):  # noqa: F811
    def last_losses(seed: int) -> float:
        config.seed = seed
        return float(np.mean(losses_of(config, jax.devices()[:1], steps=50)[0][-10:]))

    ours = last_losses(0)
    use_plain()
    plain = [last_losses(seed) for seed in range(3)]
    assert abs(ours - plain[0]) <= max(plain) - min(plain)
