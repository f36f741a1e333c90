import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.devices.mesh import create_mesh, fetch, put_batch
from fashion_jax.errors import UserError
from fashion_jax.models.batch_norm import BatchNorm
from fashion_jax.models.classifier import MultiHeadModel
from fashion_jax.models.heads import LinearHead
from fashion_jax.models.layers import linear
from fashion_jax.models.learning_rate_factors import create_factors, merge
from fashion_jax.step.optimizer import scaled
from fashion_jax.step.program import create_program
from tests.steps import TAXONOMY, build, random_batch


@pytest.fixture
def config(tiny_config):
    tiny_config.model.name = "resnet34"
    tiny_config.batch_size = 8
    return tiny_config


class Layers(nn.Module):
    """A trunk of two dense layers, whose step is compiled in a second."""

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.relu(linear(6, images[:, ::8, ::8].reshape(len(images), -1) / 255, name="conv1"))
        return nn.relu(linear(5, x, name="layer1_0"))


def factors_of(config):
    return create_factors(config.model.name, config.model.frozen, config.learning_rate_factors, config.layer_decay)


def params_of(config):
    return create_program(config, TAXONOMY, create_mesh(jax.devices()[:1])).abstract_state.params


def flat(tree):
    return {jax.tree_util.keystr(k, simple=True, separator="/"): v for k, v in jax.tree.flatten_with_path(tree)[0]}


def test_the_first_expression_that_is_found_decides(config):
    config.learning_rate_factors = {"layer4": 0.5, "^trunk/.*kernel$": 0.1}
    factors = flat(factors_of(config).tree(params_of(config)))
    assert factors["trunk/layer4_0/conv1/kernel"] == 0.5
    assert factors["trunk/conv1/kernel"] == 0.1
    assert factors["trunk/bn1/scale"] == factors["heads_sub/linear1/kernel"] == 1


def test_layers_are_slower_the_farther_they_are_from_the_heads(config):
    config.layer_decay = 0.5
    factors = flat(factors_of(config).tree(params_of(config)))
    assert factors["heads_main/linear1/kernel"] == 1
    assert factors["trunk/layer4_2/conv2/kernel"] == factors["trunk/layer4_2/bn1/bias"] == 0.5
    assert factors["trunk/layer4_1/conv1/kernel"] == 0.25
    assert factors["trunk/conv1/kernel"] == factors["trunk/bn1/scale"] == 0.5**17  # 16 blocks, and the stem


def test_the_layers_of_vgg_are_its_convolutions(config):
    config.model.name, config.layer_decay = "vgg16", 0.5
    factors = flat(factors_of(config).tree(params_of(config)))
    assert factors["trunk/conv5_3/kernel"] == 0.5 and factors["trunk/conv1_1/bias"] == 0.5**13


def test_expressions_that_are_found_nowhere_or_freeze_everything_are_refused(config):
    config.learning_rate_factors = {"layr4": 0.5}
    with pytest.raises(UserError, match=r"'layr4' \(factor 0\.5\).* no parameter: .*heads_"):
        params_of(config)
    config.learning_rate_factors = {"": 0.0}
    with pytest.raises(UserError, match="freeze all"):
        params_of(config)


@pytest.mark.parametrize("factors", [{"^trunk/": 0.1, "trunk/conv1/": 0.0}, {"conv": 0.5, "conv1": 0.1}])
def test_an_expression_that_decides_nothing_is_refused(config, factors):
    config.learning_rate_factors = factors
    (wide, _), (narrow, _) = factors.items()
    wide, narrow = map(re.escape, (wide, narrow))
    with pytest.raises(UserError, match=rf"'{wide}', which comes before it .* put '{narrow}' first"):
        factors_of(config).check_order(params_of(config))
    config.learning_rate_factors = dict(reversed(factors.items()))
    factors_of(config).check_order(params_of(config))


def test_the_slowest_parameter_of_a_trunk_is_found(config):
    trunk, params = ("trunk",), params_of(config)
    assert factors_of(config).slowest(params, trunk) == 1
    config.learning_rate_factors = {"^trunk/conv1": 0.5, "^heads": 0.1}
    assert factors_of(config).slowest(params, trunk) == 0.5


def test_split_trees_are_merged_again(config):
    config.learning_rate_factors = {"a$": 0.0}
    tree = {"a": jnp.ones(1), "b": {"a": jnp.ones(2), "c": jnp.ones(3)}}
    trained, frozen = factors_of(config).split(tree)
    assert [x.size for x in jax.tree.leaves(trained)] == [3]
    assert [x.size for x in jax.tree.leaves(frozen)] == [1, 2]
    assert jax.tree.map(jnp.size, merge(trained, frozen)) == jax.tree.map(jnp.size, tree)


def test_updates_are_multiplied_by_the_factors(config):
    config.learning_rate_factors = {"b/": 0.5, "a$": 0.0}
    updates = {"a": jnp.ones(1), "b": {"c": jnp.ones(2)}, "d": jnp.ones(3)}
    found = scaled(updates, factors_of(config))
    assert [float(x[0]) for x in jax.tree.leaves(found)] == [1, 0.5, 1]  # frozen ones are none of the optimizer's


def test_a_step_changes_each_parameter_by_its_factor(config):
    config.dtype = "float64"
    heads = {level: LinearHead(TAXONOMY.num_classes(level), BatchNorm) for level in TAXONOMY.levels}
    with jax.enable_x64(True):
        plain = _after_a_step(config, random_batch(), MultiHeadModel(Layers(), heads, {}))
        config.update(learning_rate_factors={"^trunk/": 0.1}, layer_decay=0.5)
        slower = _after_a_step(config, random_batch(), MultiHeadModel(Layers(), heads, {}))
    factors = {"trunk/conv1": 0.1 * 0.5**2, "trunk/layer1_0": 0.1 * 0.5, "heads_main/logits": 1, "heads_sub/logits": 1}
    assert len(plain) == 2 * len(factors)
    for name, (before, after) in plain.items():
        factor = factors[name.rpartition("/")[0]]
        assert (slower[name][0] == before).all() and (after != before).any()
        np.testing.assert_allclose(slower[name][1] - before, factor * (after - before), rtol=1e-8, err_msg=name)


def test_frozen_layers_stay_and_others_are_trained(config):
    config.model.name = "resnet10"
    config.learning_rate_factors = {"trunk/(conv1|bn1|layer1)": 0.0}
    for name, (before, after) in _after_a_step(config, random_batch()).items():
        is_frozen = name.startswith(("trunk/conv1", "trunk/bn1", "trunk/layer1"))
        assert np.array_equal(before, after) == is_frozen, name


def _after_a_step(config, batch, model=None):
    """Returns path -> the parameter or statistic before and after a step; BatchNorm's of frozen layers stay too."""
    mesh, _, state, step = build(config, jax.devices()[:1], model=model)
    trees = fetch((state.params, *state.model_state.values()))
    state, _ = step(state, put_batch(batch, mesh))
    after = fetch((state.params, *state.model_state.values()))
    before, after = ({name: x for tree in pair for name, x in flat(tree).items()} for pair in (trees, after))
    return {name: (np.asarray(x), np.asarray(after[name])) for name, x in before.items()}


@pytest.mark.long
def test_nothing_is_computed_backwards_before_the_first_trained_layer(config):
    def flops(**factors):
        config.learning_rate_factors = factors
        mesh, _, state, step = build(config, jax.devices()[:1])
        return step.lower(state, put_batch(random_batch(), mesh)).cost_analysis()["flops"]

    whole, head_only = flops(), flops(trunk=0.0)
    later = flops(**{"trunk/(conv1|bn1|layer1|layer2)": 0.0})
    assert head_only < 0.4 * whole  # forward is a third
    assert head_only < later < 0.9 * whole
