"""The step on an NVIDIA GPU agrees with the CPU's: JAX_PLATFORMS=cuda,cpu scripts/test -m gpu."""

import jax
import numpy as np
import pytest

from fashion_jax.devices.mesh import fetch, put_batch
from tests.steps import build, random_batch


def gpus() -> list[jax.Device]:
    try:
        return jax.devices("gpu")
    except RuntimeError:
        return []


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not gpus(), reason="there is no NVIDIA GPU")]


@pytest.fixture
def config(tiny_config):
    tiny_config.batch_size, tiny_config.augment = 8, "none"
    return tiny_config


def first_loss(config, devices: list[jax.Device]) -> float:
    with jax.default_device(devices[0]):
        mesh, _, state, step = build(config, devices)
        return float(fetch(step(state, put_batch(random_batch(), mesh))[1].loss))


def test_the_first_loss_is_that_of_the_cpu(config):
    with jax.default_matmul_precision("highest"):
        assert first_loss(config, gpus()[:1]) == pytest.approx(first_loss(config, jax.devices("cpu")[:1]), rel=1e-4)


def test_the_state_is_updated_in_place(config):
    mesh, _, state, step = build(config, gpus())
    memory = step.lower(state, put_batch(random_batch(), mesh)).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


@pytest.mark.parametrize("remat", ["none", "dots", "blocks"])
def test_bfloat16_trains(config, remat):
    config.dtype, config.remat = "bfloat16", remat
    mesh, _, state, step = build(config, gpus())
    batch, losses = put_batch(random_batch(), mesh), []
    for _ in range(10):
        state, outcome = step(state, batch)
        losses.append(float(fetch(outcome.loss)))
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
