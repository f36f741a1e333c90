"""Rematerialization limits what is kept for the backward pass, and changes no number."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.models.classifier import create_model
from fashion_jax.models.rematerialization import with_remat
from fashion_jax.step.train_step import compute_loss
from tests.steps import TAXONOMY, random_batch


def loss_of(config, remat: str, name: str = "resnet10", draw=jax.jit):
    """Returns the loss as a function of the parameters, with the other outputs, and the drawn parameters."""
    config.remat, config.model.name, config.dtype = remat, name, "float64"
    model = create_model(config, TAXONOMY)
    batch = random_batch()
    images = jnp.asarray(batch["image"] / 255)
    targets = {level: jax.nn.one_hot(x, TAXONOMY.num_classes(level)) for level, x in batch["labels"].items()}
    variables = dict(draw(partial(model.init, train=False))(jax.random.key(0), images[:2]))
    params = variables.pop("params")
    compute = with_remat(partial(compute_loss, model=model), remat)
    arguments = {
        "batch": {"images": images, "targets": targets, "smoothed": targets},
        "key": jax.random.key(1),
        "loss_weights": {"main": 1, "sub": 1},
    }
    return partial(compute, model_state=variables, **arguments), params


def zeros(function):
    """Returns zeros of a function's output shapes, without running or compiling it."""
    return lambda *arguments: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, *arguments))


def kept_bytes(config, remat: str) -> int:
    """Returns the size of the residuals that a backward pass starts from."""
    loss, params = loss_of(config, remat, "resnet18", draw=zeros)
    residuals = jax.eval_shape(lambda p: jax.vjp(loss, p, has_aux=True)[1], params)
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(residuals))


@pytest.mark.long
@pytest.mark.parametrize("remat", ["dots", "blocks"])
def test_nothing_changes_but_what_is_kept(tiny_config, remat):
    with jax.enable_x64(True):
        results = []
        for choice in ("none", remat):
            loss, params = loss_of(tiny_config, choice)
            results.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(params))
    plain, again = results
    assert jax.tree.structure(plain) == jax.tree.structure(again)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12 * max(1, np.abs(a).max()))


def test_each_choice_keeps_less_than_none(tiny_config):
    with jax.enable_x64(True):
        none, dots, blocks = (kept_bytes(tiny_config, remat) for remat in ("none", "dots", "blocks"))
    assert dots < none and blocks < none
