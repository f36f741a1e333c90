"""Gradients of a batch in parts agree with those of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from fashion_jax.devices.mesh import batch_sharding, check_batch_size, create_mesh, fetch, put_batch
from fashion_jax.errors import UserError
from fashion_jax.step.accumulation import Microbatches, Variables, loss_and_gradient
from fashion_jax.step.losses import soft_cross_entropy
from tests.steps import build, random_batch

STEPS = 2


@pytest.fixture
def config(tiny_config):
    """Disables dropout, whose masks differ between parts and whole, and keeps BatchNorm's groups together."""
    tiny_config.batch_size, tiny_config.dtype = 16, "float64"
    tiny_config.model.heads = {"main": "main", "sub": "main"}
    tiny_config.batch_norm, tiny_config.batch_norm_group_size = "group", 2
    return tiny_config


def trained(config):
    """Returns losses and state after a few steps on two devices."""
    with jax.enable_x64(True):
        mesh, _, state, step = build(config, jax.devices()[:2])
        batch = random_batch(16)
        batch["labels"]["sub"][[0, 1, 2, 9]] = -1
        placed = put_batch(batch, mesh)
        losses = []
        for _ in range(STEPS):
            state, outcome = step(state, placed)
            losses.append(float(fetch(outcome.loss)))
        return losses, fetch(state)


def compute(params, *, model_state, batch, key, loss_weights):
    """Computes a linear model with two levels; its state counts the parts."""
    del key
    logits = {level: batch["x"] @ params[level] for level in ("main", "sub")}
    loss = sum(loss_weights[level] * soft_cross_entropy(x, batch[level]) for level, x in logits.items())
    return loss, (logits, model_state + 1)


def test_loss_gradient_and_outputs_are_those_of_the_whole_batch():
    rng = np.random.default_rng(0)
    labels = {level: rng.integers(-1, 3, 24) for level in ("main", "sub")}
    labels["sub"][:8] = -1
    targets = {level: np.eye(3)[x] * (x != -1)[:, None] * (0.3, 1, 2) for level, x in labels.items()}  # and weights
    with jax.enable_x64(True):
        params = {level: jnp.asarray(rng.normal(size=(5, 3))) for level in labels}
        variables = Variables(params, jnp.asarray(0))
        arguments = (variables, {"x": rng.normal(size=(24, 5)), **targets}, jax.random.key(0))
        keywords = {"loss_weights": {"sub": 0.5}, "masses": {level: x.sum(-1) for level, x in targets.items()}}
        whole = loss_and_gradient(compute, *arguments, **keywords, microbatches=Microbatches())
        parts = loss_and_gradient(compute, *arguments, **keywords, microbatches=Microbatches(4, unit=2))
        losses = {k: float(soft_cross_entropy(arguments[1]["x"] @ params[k], x)) for k, x in targets.items()}
    assert float(whole[0]) == pytest.approx(losses["main"] + 0.5 * losses["sub"], rel=1e-12)
    assert (int(whole[2]), int(parts[2])) == (1, 4)
    for i in (0, 1, 3):
        for a, b in zip(jax.tree.leaves(whole[i]), jax.tree.leaves(parts[i]), strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-12)


@pytest.mark.long
def test_parts_add_up_to_the_whole_batch_in_float64(config):
    whole_losses, whole = trained(config)
    config.accumulate = 4
    losses, parts = trained(config)
    np.testing.assert_allclose(losses, whole_losses, rtol=1e-8)
    for part, expected in zip(jax.tree.leaves(parts.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(part, expected, rtol=0, atol=1e-8)
    for level, sums in whole.metrics.items():
        assert sums["count"] == STEPS * (16 if level == "main" else 12)
        np.testing.assert_array_equal(parts.metrics[level]["confusion"], sums["confusion"])


@pytest.mark.parametrize("unit", [1, 2])
def test_parts_are_put_together_again_in_order(unit):
    x = np.arange(24).reshape(12, 2)
    parts = Microbatches(3, unit).split(x)
    np.testing.assert_array_equal(Microbatches(3, unit).join(parts), x)
    assert parts[1][:unit, 0].tolist() == [2 * unit + 2 * i for i in range(unit)]
    assert sorted(parts[:, :, 0].ravel().tolist()) == x[:, 0].tolist()


def test_every_device_keeps_its_own_images():
    mesh = create_mesh()
    spread = NamedSharding(mesh, PartitionSpec(None, "batch"))
    dealt = jax.jit(Microbatches(2).split, in_shardings=batch_sharding(mesh), out_shardings=spread)
    program = dealt.lower(jax.ShapeDtypeStruct((32, 3), np.float32)).compile().as_text()
    assert not any(name in program for name in ("all-gather", "all-to-all", "collective-permute", "all-reduce"))


def test_parts_must_go_over_the_devices():
    check_batch_size(64, 8, accumulate=4)
    with pytest.raises(UserError, match=r"batch_size is 48, but must be a multiple of 32: each of the 4 parts"):
        check_batch_size(48, 8, accumulate=4)
    check_batch_size(64, 8, accumulate=4, batch_norm="local")
    with pytest.raises(UserError, match=r"batch_size is 32, but must be at least 64 if batch_norm is local"):
        check_batch_size(32, 8, accumulate=4, batch_norm="local")
