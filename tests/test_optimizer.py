import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import default
from fashion_jax.models.learning_rate_factors import create_factors
from fashion_jax.step.optimizer import create_optimizer
from tests.parity import inputs


@pytest.fixture
def config():
    config = default.get_config()
    config.unlock()
    return config


def factors_of(config):
    return create_factors(config.model.name, config.model.frozen, config.learning_rate_factors, config.layer_decay)


def updated(config, params, gradients, rate):
    """Returns the parameters after each update."""
    optimizer = create_optimizer(config, factors_of(config))
    state, steps = optimizer.init(params), []
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, jax.tree.map(lambda u: rate * u, updates))
        steps.append(params)
    return steps


def test_adamw_equals_pytorch(config):
    config.update(optimizer="adamw", adam_beta2=0.99)
    config.update(momentum=inputs.MOMENTUM, weight_decay=inputs.WEIGHT_DECAY)
    with np.load(inputs.REFERENCE) as arrays, jax.enable_x64(True):
        values, gradients = inputs.draw_updates()
        found = updated(config, jnp.asarray(values), map(jnp.asarray, gradients), inputs.LEARNING_RATE)
        np.testing.assert_allclose(np.stack(found), arrays["adamw"], rtol=0, atol=1e-14)


def tree(x):
    """Returns a tree with a convolution's kernel, a hidden dense layer and the last layer of a head."""
    return {
        "trunk": {"conv1": {"kernel": x(3, 3, 2, 5)}, "bn1": {"scale": x(5)}},
        "heads_sub": {"linear1": {"kernel": x(5, 4), "bias": x(4)}, "logits": {"kernel": x(4, 3)}},
    }


def test_muon_orthogonalises_kernels_as_matrices_and_leaves_the_rest_to_adamw(config):
    config.update(optimizer="muon", momentum=0.95, weight_decay=0.0)
    rng = np.random.default_rng(0)
    gradient = tree(lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32))
    zeros = jax.tree.map(jnp.zeros_like, gradient)
    update = updated(config, zeros, [gradient], 1.0)[0]
    for path in (("trunk", "conv1"), ("heads_sub", "linear1")):
        kernel = update[path[0]][path[1]]["kernel"]
        matrix = kernel.reshape(-1, kernel.shape[-1])
        # Newton and Schulz's five steps bring the singular values to about 1, here times 0.2 sqrt(the longer side).
        values = np.linalg.svd(matrix, compute_uv=False) / (0.2 * max(matrix.shape) ** 0.5)
        assert values.min() > 0.6 and values.max() < 1.3
        assert np.vdot(matrix, gradient[path[0]][path[1]]["kernel"]) < 0
    adam = [update["trunk"]["bn1"]["scale"], update["heads_sub"]["linear1"]["bias"]]
    for x in (*adam, update["heads_sub"]["logits"]["kernel"]):  # AdamW's first update is the sign of the gradient
        np.testing.assert_allclose(np.abs(x), 1, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_biases_and_batch_norm_need_not_decay(config, optimizer):
    config.update(optimizer=optimizer, weight_decay=0.1, no_decay=True)
    ones = tree(lambda *shape: jnp.ones(shape))
    after = updated(config, ones, [jax.tree.map(jnp.zeros_like, ones)], 1.0)[0]
    for path, x in jax.tree.flatten_with_path(after)[0]:
        expected = 0.9 if path[-1].key == "kernel" else 1.0
        np.testing.assert_allclose(x, expected, rtol=1e-6, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_frozen_parameters_have_neither_update_nor_state(config, optimizer):
    config.update(optimizer=optimizer, weight_decay=0.1, learning_rate_factors={"^trunk/": 0.0})
    ones = tree(lambda *shape: jnp.ones(shape))
    after = updated(config, ones, [ones], 1.0)[0]
    assert all(np.all(x == 1) for x in jax.tree.leaves(after["trunk"]))
    assert not any(np.all(x == 1) for x in jax.tree.leaves(after["heads_sub"]))
    state = create_optimizer(config, factors_of(config)).init(ones)
    assert not any("trunk" in jax.tree_util.keystr(path) for path, _ in jax.tree.flatten_with_path(state)[0])
