"""The step: on the real model, ResNet-34 with the recipe's heads, and on small ones."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fashion_jax.data.augmentation.mixing import soft_targets
from fashion_jax.devices.mesh import fetch, put_batch
from fashion_jax.models.batch_norm import BatchNorm
from fashion_jax.models.classifier import MultiHeadModel
from fashion_jax.models.heads import HEADS
from fashion_jax.step import train_step
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


class Points(nn.Module):
    """A trunk without parameters, every eighth pixel of an image."""

    @nn.compact
    def __call__(self, images, *, train):
        return images[:, ::8, ::8].reshape(len(images), -1) / 255


def build_small(config, head="linear"):
    """Builds a program whose step is compiled in a second: hardly a trunk, a linear head, and one of a kind at sub."""
    sizes = {level: TAXONOMY.num_classes(level) for level in TAXONOMY.levels}
    heads = {"main": HEADS["linear"](sizes["main"], BatchNorm), "sub": HEADS[head](sizes["sub"], BatchNorm)}
    return build(config, jax.devices()[:1], model=MultiHeadModel(Points(), heads, {}))


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


def test_the_loss_of_a_step_smooths_labels_and_weights_levels_and_its_metrics_do_not(config):
    config.update(label_smoothing={"sub": 0.1}, loss_weights={"sub": 0.5})
    mesh, model, state, step = build_small(config)
    batch = random_batch()
    batch["labels"]["sub"][:3] = -1
    logits = model.apply({"params": state.params}, batch["image"].astype(np.float32), train=True)
    log_probs = {level: np.asarray(jax.nn.log_softmax(x)) for level, x in logits.items()}
    losses = {level: -x[np.arange(8), batch["labels"][level]] for level, x in log_probs.items()}
    smoothed = 0.9 * losses["sub"] - 0.1 * log_probs["sub"].mean(axis=1)
    state, outcome = step(state, put_batch(batch, mesh))
    assert float(outcome.loss) == pytest.approx(losses["main"].mean() + 0.5 * smoothed[3:].mean(), rel=1e-5)
    sums = {level: float(fetch(x["loss_sum"])) for level, x in state.metrics.items()}
    assert sums == pytest.approx({"main": losses["main"].sum(), "sub": losses["sub"][3:].sum()}, rel=1e-5)


def test_a_level_of_weight_0_is_not_trained(config):
    config.update(loss_weights={"sub": 0}, weight_decay=0.0)
    mesh, _, state, step = build_small(config)
    before = fetch(state.params)
    after = fetch(step(state, put_batch(random_batch(), mesh))[0].params)
    for name in ("kernel", "bias"):
        changed = {level: before[level]["logits"][name] != after[level]["logits"][name] for level in before}
        assert changed["heads_main"].all() and not changed["heads_sub"].any()


@pytest.mark.parametrize(("head", "augment"), [("sub", "none"), ("linear", "flip")], ids=["dropout", "flip"])
def test_the_randomness_of_a_step_is_a_function_of_seed_and_step(config, head, augment):
    config.augment = augment
    begun, losses = None, []
    for seed in (0, 1):
        config.seed = seed
        _, _, state, step = build_small(config, head)
        begun, compute = begun or state, loss_alone(step)  # the same weights for both seeds
        losses += [float(compute(begun.replace(step=jnp.int32(number)), random_batch())) for number in (0, 1, 0)]
    assert losses[2] == losses[0] and losses[5] == losses[3]
    assert len(set(losses)) == 4


def loss_alone(step):
    """Returns a function of (state, batch) that computes the loss of a step, and leaves the state as it is."""
    return jax.jit(lambda *arguments: step.__wrapped__(*arguments)[1].loss)


@pytest.mark.parametrize("head", ["sub", "classifier"])
def test_a_head_drops_features_in_training_alone(head):
    model, features = HEADS[head](3, BatchNorm), jnp.ones((2, 4))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), features, train=False))
    variables = jax.tree.map(lambda x: np.full(x.shape, 0.01, np.float32), variables)

    @functools.partial(jax.jit, static_argnames="train")
    def logits(seed, *, train):
        return model.apply(variables, features, train=train, rngs={"dropout": jax.random.key(seed)}, mutable=True)[0]

    trained, other, same = (logits(seed, train=True) for seed in (0, 1, 0))
    assert (trained != other).all() and (trained == same).all()
    assert (logits(0, train=False) == logits(1, train=False)).all()


def test_the_initial_weights_are_a_function_of_the_seed(config):
    params = []
    for seed in (0, 1, 0):
        config.seed = seed
        params.append(fetch(build_small(config)[2].params))
    trees = zip(*map(jax.tree.leaves, params), strict=True)
    assert all((first != other).all() and (first == same).all() for first, other, same in trees)


def test_mixed_images_count_in_the_metrics_by_their_larger_share(config, monkeypatch):
    """Both images of each pair show the second one for the most part, whether or not the first one's label is known."""
    share = jnp.tile(jnp.asarray([0.25, 1.0]), 4)
    monkeypatch.setattr(train_step, "prepare_train", lambda images, *_: (images.astype(jnp.float32), share))
    mesh, _, state, step = build_small(config)
    batch = random_batch()
    batch["labels"]["sub"][[0, 2, 5]] = -1
    state, outcome = step(state, put_batch(batch, mesh))
    assert np.isfinite(float(outcome.loss))
    for level, labels in batch["labels"].items():
        shown = labels[1::2].repeat(2)
        expected = np.bincount(shown[shown >= 0], minlength=TAXONOMY.num_classes(level))
        np.testing.assert_array_equal(fetch(state.metrics[level]["confusion"]).sum(axis=1), expected)


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
