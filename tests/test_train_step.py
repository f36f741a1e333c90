"""The step on the real model: ResNet-34 with the recipe's heads."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fashion_jax.data.augmentation.mixing import soft_targets
from fashion_jax.devices.mesh import fetch, put_batch
from fashion_jax.step.losses import level_log_probs, soft_cross_entropy
from fashion_jax.step.program import create_program
from tests.steps import TAXONOMY, build, random_batch


@pytest.fixture
def config(tiny_config):
    tiny_config.model.name = "resnet34"
    tiny_config.batch_size = 8
    tiny_config.augment = "none"
    return tiny_config


def build_to_over_fit(config):
    """Builds the same program for the tests that need ResNet-34 on one device."""
    config.num_epochs = 6
    return build(config, jax.devices()[:1], steps_per_epoch=10)


def losses_of(config, devices, steps=5):
    mesh, _, state, step = build(config, devices)
    losses = []
    for seed in range(steps):
        batch = random_batch()
        batch["image"] = np.roll(batch["image"], seed, axis=1)
        state, outcome = step(state, put_batch(batch, mesh))
        losses.append(float(fetch(outcome.loss)))
    return losses, fetch(state)


FINE_TUNING = {
    "optimizer": "muon",
    "learning_rate_factors": {"trunk/(conv1|bn1)/": 0.0, "^trunk/": 0.1},
    "layer_decay": 0.8,
    "schedule": "one_cycle",
    "schedule_per": "step",
    "no_decay": True,
    "label_smoothing": {"sub": 0.1},
    "average": 0.9,
    "early_stopping": {"metric": "validation/sub/accuracy", "patience": 2},
}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("resnet10", {}),
        pytest.param("resnet10", FINE_TUNING, marks=pytest.mark.long),
        pytest.param("resnet34", {}, marks=pytest.mark.long),
    ],
    ids=["resnet10", "resnet10 with the options of fine-tuning", "resnet34"],
)
def test_one_and_eight_devices_agree_in_float64(config, name, fields):
    config.model.name, config.dtype, config.augment = name, "float64", "flip"
    config.update(fields)
    with jax.enable_x64(True):
        one, state_one = losses_of(config, jax.devices()[:1])
        eight, state_eight = losses_of(config, jax.devices())
    np.testing.assert_allclose(eight, one, rtol=1e-8)
    for a, b in zip(jax.tree.leaves(state_one), jax.tree.leaves(state_eight), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-8 * max(np.abs(a).max(), 1e-3))


@pytest.mark.long  # test_parity.py compares each gradient of the same network with PyTorch's
def test_every_parameter_receives_a_gradient_but_biases_before_batch_norm(config):
    mesh, _, state, step = build_to_over_fit(config)
    before = jax.device_get(state.params)
    state, _ = step(state, put_batch(random_batch(), mesh))
    # the first step's momentum is its gradient, and the weight decay's
    grads = jax.tree.map(lambda m, p: m - config.weight_decay * p, optax.tree.get(state.opt_state, "trace"), before)
    norms = {
        jax.tree_util.keystr(path, simple=True, separator="/"): float(jnp.linalg.norm(leaf))
        for path, leaf in jax.tree.flatten_with_path(grads)[0]
    }
    before_norm = {name for name in norms if re.search(r"heads_.*/linear\d/bias", name)}
    assert len(before_norm) == 3
    assert all(norms[name] < 1e-5 for name in before_norm)
    assert min(value for name, value in norms.items() if name not in before_norm) > 1e-6


@pytest.mark.long
def test_eight_images_can_be_over_fitted(config):
    mesh, _, state, step = build_to_over_fit(config)
    batch = random_batch()
    placed = put_batch(batch, mesh)
    for _ in range(60):
        state, outcome = step(state, placed)
    log_probs = create_program(config, TAXONOMY, mesh).eval_step(state.params, state.model_state, placed)
    for level, labels in batch["labels"].items():
        assert (np.argmax(log_probs[level], axis=-1) == labels).all(), level
    assert float(outcome.loss) < 0.5


@pytest.mark.long
def test_bfloat16_computes_in_it_and_keeps_float32(config):
    config.model.name, config.dtype = "resnet10", "bfloat16"
    mesh, model, state, step = build(config)
    assert "bf16[8,32,32,3]" in step.lower(state, put_batch(random_batch(), mesh)).as_text("hlo")
    state, outcome = step(state, put_batch(random_batch(), mesh))
    assert outcome.loss.dtype == jnp.float32
    kept = (state.params, state.model_state, state.opt_state)
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} <= {jnp.dtype("float32"), jnp.dtype("int32")}
    logits = model.apply(
        {"params": state.params, **state.model_state}, jnp.zeros((2, 32, 32, 3), jnp.bfloat16), train=False
    )
    assert {x.dtype for x in logits.values()} == {jnp.dtype("float32")}


def test_metrics_start_anew_with_each_epoch_and_skip_unknown_labels(config):
    config.model.name = "resnet10"
    mesh, _, state, step = build(config, steps_per_epoch=2)
    batch = random_batch()
    batch["labels"]["sub"][:3] = -1
    counts = []
    for _ in range(3):
        before = jax.tree.leaves(state)
        state, _ = step(state, put_batch(batch, mesh))
        assert all(leaf.is_deleted() for leaf in before), "the state is donated"
        counts.append({level: int(fetch(sums["count"])) for level, sums in state.metrics.items()})
    assert counts == [{"main": 8, "sub": 5}, {"main": 16, "sub": 10}, {"main": 8, "sub": 5}]


def test_loss_is_the_mean_over_known_labels():
    logits = jnp.asarray([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    labels = jnp.asarray([0, -1, 1])
    expected = (np.log1p(np.exp(-2.0)) + np.log(2)) / 2
    targets = soft_targets(labels, jnp.ones(3), 2)
    assert float(soft_cross_entropy(logits, targets)) == pytest.approx(expected, rel=1e-6)
    assert float(soft_cross_entropy(logits, soft_targets(jnp.asarray([-1, -1, -1]), jnp.ones(3), 2))) == 0


@pytest.mark.long
def test_mixed_images_count_in_the_metrics_by_their_larger_share(config):
    config.model.name, config.augment = "resnet10", "strong"
    mesh, _, state, step = build(config, jax.devices()[:1])
    batch = random_batch(16)
    batch["labels"]["sub"][:4] = -1  # two pairs, so that nothing of their pictures is known
    state, outcome = step(state, put_batch(batch, mesh))
    assert np.isfinite(float(outcome.loss))
    counts = {level: int(fetch(sums["count"])) for level, sums in state.metrics.items()}
    assert counts == {"main": 16, "sub": 12}


def test_eval_flip_predicts_the_mean_of_an_image_and_its_mirror_image(config):
    config.model.name = "resnet10"
    mesh, _, state, _ = build(config, jax.devices()[:1])
    batch = random_batch()
    mirrored = batch | {"image": batch["image"][:, :, ::-1]}
    step = create_program(config, TAXONOMY, mesh).eval_step
    one, other = (step(state.params, state.model_state, put_batch(x, mesh)) for x in (batch, mirrored))
    config.eval_flip = True
    both = create_program(config, TAXONOMY, mesh).eval_step(state.params, state.model_state, put_batch(batch, mesh))
    for level in TAXONOMY.levels:
        mean = (np.exp(one[level]) + np.exp(other[level])) / 2
        np.testing.assert_allclose(np.exp(both[level]), mean, atol=1e-6)
        assert np.abs(one[level] - other[level]).max() > 1e-6


def test_a_level_without_a_head_sums_its_childrens_probabilities():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)), jnp.float32)
    log_probs = level_log_probs({"sub": logits}, TAXONOMY)
    probs = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(
        np.exp(log_probs["main"]), np.stack([probs[:, :2].sum(1), probs[:, 2:].sum(1)], 1), rtol=1e-5
    )
    assert list(log_probs) == ["main", "sub"]
