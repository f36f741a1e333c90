"""Training with the equivalent operations against training with the plain ones."""

import jax
import numpy as np
import pytest

from fashion_jax.models import batch_norm
from fashion_jax.ops import convolution
from fashion_jax.ops.normalization import normalize
from tests.test_pooling import plain
from tests.test_train_step import config, losses_of  # noqa: F401


def normalized_then_pooled(_, x, *arrays):
    y, mean, var = normalize(x, *arrays)
    y = plain(y.reshape(-1, *y.shape[2:]), 3)
    return y.reshape(*x.shape[:2], *y.shape[1:]), mean, var


@pytest.fixture
def use_plain(monkeypatch):
    """A function after which steps are built of XLA's own operations."""

    def use() -> None:
        monkeypatch.setattr(convolution, "_suits_karatsuba", lambda x: False)
        monkeypatch.setattr(convolution, "_suits_winograd", lambda x, kernel: False)
        monkeypatch.setattr(convolution, "_TINY_MAP", 0)
        monkeypatch.setattr(batch_norm, "normalize_pooled", normalized_then_pooled)
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
