"""Logits conditioned on the parent: the true one in training, the predicted one afterwards."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.data.augmentation.mixing import soft_targets
from fashion_jax.devices.mesh import create_mesh, fetch, put_batch
from fashion_jax.models.classifier import MultiHeadModel, create_model
from fashion_jax.models.heads import LinearHead, ParentCondition
from fashion_jax.step.class_balance import NO_BALANCE
from fashion_jax.step.program import create_program
from fashion_jax.step.train_state import abstract_batch
from fashion_jax.step.train_step import compute_loss
from fashion_jax.taxonomy import Taxonomy
from tests.small_trunks import shrink_trunks
from tests.steps import TAXONOMY, build, random_batch

SIZES = {"main": 2, "sub": 3, "type": 4}
LEVELS = list(SIZES)


class Mean(nn.Module):
    """A trunk without parameters."""

    @nn.compact
    def __call__(self, x, *, train):
        return x.mean(axis=(1, 2))


def make(conditioned: list[str]) -> MultiHeadModel:
    heads = {level: LinearHead(size, norm=None) for level, size in SIZES.items()}
    return MultiHeadModel(Mean(), heads, {level: ParentCondition(SIZES[level]) for level in conditioned})


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 2, 3)), jnp.float32)


@pytest.fixture(scope="module")
def params(images):
    """Returns the initial parameters of the model with both conditions."""
    return make(LEVELS[1:]).init(jax.random.key(0), images, train=False)["params"]


@pytest.fixture(scope="module")
def learnt(params):
    """Returns parameters whose conditions have been trained."""
    rng = np.random.default_rng(1)
    weights = {f"conditions_{level}": {"kernel": params[f"conditions_{level}"]["kernel"]} for level in LEVELS[1:]}
    return params | jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), weights)


def own_logits(params, images) -> dict[str, np.ndarray]:
    heads = {name: x for name, x in params.items() if name.startswith("heads")}
    return make([]).apply({"params": heads}, images, train=False)


def shares(labels: dict[str, list[int]], own: list[float]) -> dict[str, jax.Array]:
    return {k: soft_targets(jnp.asarray(x), jnp.asarray(own, jnp.float32), SIZES[k]) for k, x in labels.items()}


LABELS = {"main": [0, 1, -1, 1], "sub": [2, 0, 1, -1], "type": [3, 1, 0, -1]}


@pytest.mark.parametrize("train", [False, True])
def test_it_begins_as_the_plain_model(params, images, train):
    targets = shares(LABELS, [1, 1, 1, 1]) if train else None
    logits = make(LEVELS[1:]).apply({"params": params}, images, train=train, targets=targets)
    for level, x in own_logits(params, images).items():
        np.testing.assert_array_equal(logits[level], x)
    assert {name for name in params if "conditions" in name} == {"conditions_sub", "conditions_type"}
    assert params["conditions_type"]["kernel"].shape == (3, 4)


def test_evaluation_feeds_what_it_predicts_of_the_parent(learnt, images):
    logits = make(LEVELS[1:]).apply({"params": learnt}, images, train=False)
    own = own_logits(learnt, images)
    expected = {"main": own["main"]}
    for parent, level in (("main", "sub"), ("sub", "type")):  # conditioned logits, one level after the other
        expected[level] = own[level] + jax.nn.softmax(expected[parent]) @ learnt[f"conditions_{level}"]["kernel"]
    for level in LEVELS:
        np.testing.assert_allclose(logits[level], expected[level], rtol=1e-5, atol=1e-6)


def test_training_feeds_the_truth_and_what_is_predicted_where_it_is_unknown(learnt, images):
    """Image 2 has an unknown main; images 0 and 1 are mixed, as are 2 and 3, half of which is therefore unknown."""
    targets = shares(LABELS, [0.75, 1, 1, 0.5])
    logits = make(LEVELS[1:]).apply({"params": learnt}, images, train=True, targets=targets)
    own, kernel = own_logits(learnt, images), learnt["conditions_sub"]["kernel"]
    main = np.asarray(jax.nn.softmax(own["main"]))
    p = np.stack([[0.75, 0.25], [0, 1], main[2], [0, 0.5] + 0.5 * main[3]])
    np.testing.assert_allclose(logits["sub"], own["sub"] + p @ kernel, rtol=1e-5, atol=1e-6)


def test_no_gradient_flows_through_what_is_predicted(learnt, images):
    def total(params, targets):
        logits = make(LEVELS[1:]).apply({"params": params}, images, train=True, targets=targets)
        return (logits["sub"] ** 2).sum()

    for targets in (None, shares(LABELS, [1, 1, 1, 1])):
        grads = jax.grad(total)(learnt, targets)
        assert not np.any(grads["heads_main"]["logits"]["kernel"])
        assert np.any(grads["conditions_sub"]["kernel"]) and np.any(grads["heads_sub"]["logits"]["kernel"])


def test_weights_of_classes_do_not_change_what_is_fed(learnt, images):
    class Doubled:
        trained = staticmethod(NO_BALANCE.trained)
        weighted = staticmethod(lambda targets: {level: 2 * x for level, x in targets.items()})

    targets = shares(LABELS, [1, 1, 1, 1])
    batch = {"images": images, "targets": targets, "smoothed": targets}
    arguments = {"batch": batch, "model": make(LEVELS[1:])}
    arguments |= {"model_state": {}, "key": jax.random.key(0), "loss_weights": dict.fromkeys(LEVELS, 1.0)}
    (loss, (logits, _)), (doubled, (same, _)) = (
        compute_loss(learnt, **arguments, balance=b) for b in (NO_BALANCE, Doubled)
    )
    assert float(loss) == pytest.approx(float(doubled), rel=1e-6)  # divided by the weights' sum
    for level in LEVELS:
        np.testing.assert_array_equal(logits[level], same[level])


def test_a_step_trains_it(tiny_config, monkeypatch):
    shrink_trunks(monkeypatch)
    heads = {"main": "linear", "sub": "linear"}
    tiny_config.batch_size, tiny_config.augment = 8, "none"
    tiny_config.model.update(name="resnet34", heads=heads, condition_on_parent=True)
    mesh, _, state, step = build(tiny_config, jax.devices()[:1])
    state, outcome = step(state, put_batch(random_batch(), mesh))
    kernel = fetch(state.params["conditions_sub"]["kernel"])
    assert np.isfinite(outcome.loss) and kernel.shape == (2, 5) and np.all(np.any(kernel, axis=1))


def test_levels_stay_in_their_order_on_several_devices(tiny_config):
    """main, sub and article are not in the order of the alphabet, in which JAX puts the keys of a tree."""
    levels = ("main", "sub", "article")
    taxonomy = Taxonomy.from_paths(levels, [("a", "b", "c"), ("a", "b", "d"), ("e", "f", "g"), ("e", "h", "i")])
    tiny_config.data.levels = dict.fromkeys(levels, "")
    tiny_config.model.condition_on_parent = True
    counts = {level: np.ones(taxonomy.num_classes(level)) for level in levels}
    program = create_program(tiny_config, taxonomy, create_mesh(), num_images=100, counts=counts)
    batch = abstract_batch(tiny_config.batch_size, levels, program.mesh, (32, 32))
    state, _ = jax.eval_shape(program.train_step, program.abstract_state, batch)
    assert program.model.whole is not None
    assert state.params["conditions_article"]["kernel"].shape == (3, 4)


def test_without_it_the_model_has_no_such_parameters(tiny_config):
    images = jnp.zeros((1, 32, 32, 3))
    init = partial(create_model(tiny_config, TAXONOMY).init, train=False)
    assert set(jax.eval_shape(init, jax.random.key(0), images)["params"]) == {"trunk", "heads_main", "heads_sub"}
