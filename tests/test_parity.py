"""The flax models, their training, schedules and initialisation agree with PyTorch's stored results.

The reference is written by scripts/make_parity_reference.py, from the same weights and images.
"""

import dataclasses
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from configs import default
from fashion_jax.config.fields import MEAN, STD
from fashion_jax.data.augmentation.mixing import soft_targets
from fashion_jax.devices.mesh import create_mesh
from fashion_jax.models.batch_norm import BatchNorm
from fashion_jax.models.classifier import MultiHeadModel, create_model
from fashion_jax.models.heads import MainHead, SubHead
from fashion_jax.models.resnet import create_resnet
from fashion_jax.models.vgg import create_vgg
from fashion_jax.step import train_step
from fashion_jax.step.class_balance import NO_BALANCE
from fashion_jax.step.guard import init_guard
from fashion_jax.step.losses import smooth
from fashion_jax.step.metrics import init_accumulators
from fashion_jax.step.program import create_program
from fashion_jax.step.train_state import TrainState
from fashion_jax.taxonomy import Taxonomy
from tests.parity import inputs


@pytest.fixture(scope="module")
def reference():
    with np.load(inputs.REFERENCE) as arrays:
        return dict(arrays)


def but_long(cases: list[inputs.Case], *names: str) -> list:
    """Returns the cases, with those of these names marked as long."""
    return [pytest.param(case, marks=pytest.mark.long if case.name in names else ()) for case in cases]


@pytest.mark.parametrize("case", but_long(inputs.FORWARD, "vgg16_224x224"), ids=lambda case: case.name)
def test_logits_equal_pytorch(reference, case):
    images = inputs.draw_images(case)
    model = create_model(_config(case), _taxonomy())
    pixels = 255 * (images * np.float32(STD) + np.float32(MEAN))
    logits = jax.jit(partial(model.apply, train=False))(_draw_variables(model, images), pixels)
    assert set(logits) == {level for level, _ in case.heads}
    for level, x in logits.items():
        expected = reference[f"forward/{case.name}/{level}"]
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("case", but_long(inputs.TRAINING, "vgg16_64x64"), ids=lambda case: case.name)
def test_three_steps_equal_pytorch(reference, case, monkeypatch):
    """The images of the reference are not bytes, and enter the step as they are."""
    monkeypatch.setattr(train_step, "prepare_train", lambda images, *_: (images, jnp.ones(len(images))))
    with jax.enable_x64(True):
        result = _train(case)
    for name, x in result.items():
        expected = reference[f"train/{case.name}/{name}"]
        for part in (np.s_[..., :1], np.s_[..., 1:]):  # norms of the leaves, and entries relative to the largest
            scale = np.abs(expected[part]).max(axis=-1, keepdims=True)
            # A bias before BatchNorm has no gradient: noise of 1e-14, here and there.
            scale = np.broadcast_to(np.maximum(scale, 1e-4), x[part].shape)
            np.testing.assert_array_less(np.abs(x[part] - expected[part]), 1e-8 * scale, name)


def test_the_loss_of_smoothed_labels_equals_pytorch(reference):
    """Without and with weights of the classes."""
    logits, labels, weights = inputs.draw_smoothing()
    balances = NO_BALANCE, dataclasses.replace(NO_BALANCE, weights={"sub": weights})
    with jax.enable_x64(True):
        model = SimpleNamespace(apply=lambda *_, **__: ({"sub": jnp.asarray(logits)}, {}))
        targets = soft_targets(jnp.asarray(labels), jnp.ones(len(labels)), len(weights))
        batch = {
            "images": None,
            "targets": {"sub": targets},
            "smoothed": {"sub": smooth(targets, inputs.LABEL_SMOOTHING)},
        }
        fields = {"model_state": {}, "batch": batch, "key": jax.random.key(0), "model": model}
        losses = [
            train_step.compute_loss({}, **fields, loss_weights={"sub": 1}, balance=balance)[0] for balance in balances
        ]
    np.testing.assert_allclose(losses, reference["label_smoothing"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("resnet18", {"main": "main", "sub": "sub"}),
        pytest.param("vgg16", {"sub": "classifier"}, marks=pytest.mark.long),
    ],
)
def test_initialisation_is_pytorchs(name, heads):
    """Checks the kind of distribution, its bounds and its deviation for every leaf."""
    config = default.get_config()
    config.model.update(name=name, heads=heads)
    model = create_model(config, _taxonomy())
    init = jax.jit(lambda key: model.init(key, np.zeros((1, 32, 32, 3), np.float32), train=False))
    leaves = {
        path: leaf
        for collection in init(jax.random.key(0, impl="rbg")).values()  # faster to compile and to run
        for path, leaf in flatten_dict(collection, sep="/").items()
    }
    for path, leaf in leaves.items():
        kernel = leaves.get(path.rpartition("/")[0] + "/kernel")
        _check_initial(path, np.asarray(leaf), None if kernel is None else kernel.shape, name == "vgg16")


def _check_initial(path, leaf, kernel_shape, is_classifier):
    """Checks that a leaf of a layer with this kernel shape (None: BatchNorm) is initialised as torchvision does."""
    last = path.rpartition("/")[2]
    if kernel_shape is None:
        assert np.all(leaf == (last in ("scale", "var"))), path
    elif len(kernel_shape) == 4:
        height, width, _, out = kernel_shape
        _check_normal(path, leaf, (2 / (height * width * out)) ** 0.5 if last == "kernel" else 0)
    elif is_classifier:
        _check_normal(path, leaf, 0.01 if last == "kernel" else 0)
    else:
        bound = kernel_shape[0] ** -0.5
        assert np.abs(leaf).max() <= bound, path
        _check_moments(path, leaf / bound, 3**-0.5, 9 / 5)


def _check_normal(path, leaf, std):
    if std:
        _check_moments(path, leaf / std, 1, 3)
    else:
        assert not leaf.any(), path


def _check_moments(path, leaf, std, kurtosis):
    """Checks moments within six standard errors; of large leaves the kurtosis too (uniform 9/5, normal 3)."""
    z = leaf.ravel()[:1_000_000] / std
    assert abs(z.mean()) < 6 * z.size**-0.5, path
    assert abs(np.square(z).mean() - 1) < 6 * ((kurtosis - 1) / z.size) ** 0.5, path
    if z.size > 4000:
        assert abs(np.square(np.square(z)).mean() - kurtosis) < 60 * z.size**-0.5, path


def _train(case):
    """Trains three steps, each an epoch, in float64 without dropout and augmentation, as stored in the reference."""
    images = inputs.draw_images(case).astype(np.float64)
    program = _program(case)
    variables = _draw_variables(program.model, images)
    state = _state(program, variables)
    batch = {"image": images, "labels": {level: inputs.draw_labels(case, level) for level in inputs.NUM_CLASSES}}
    losses, gradients = [], {}
    for _ in range(inputs.NUM_STEPS):
        state, outcome = program.train_step(state, batch)
        losses.append(float(outcome.loss))
        gradients = gradients or _first_gradients(state, variables["params"])
    trees = {"gradients": gradients, "params": state.params, "batch_stats": state.model_state["batch_stats"]}
    return {
        "losses": np.asarray(losses),
        **{name: inputs.summarise(flatten_dict(tree, sep="/")) for name, tree in trees.items()},
    }


def _program(case):
    """Returns the program of a run whose epochs have one step."""
    batch_size, *shape = case.shape
    config = _config(case)
    config.update(num_epochs=inputs.NUM_STEPS, learning_rate=case.learning_rate, schedule="cosine")
    config.update(momentum=inputs.MOMENTUM, weight_decay=inputs.WEIGHT_DECAY)
    config.update(batch_size=batch_size, image_size=tuple(shape), dtype="float64")
    program = create_program(config, _taxonomy(), create_mesh(jax.devices()[:1]), num_images=batch_size)
    return dataclasses.replace(program, model=_model_without_dropout(case))


def _state(program, variables):
    """Returns a new state with these variables, of which no two arrays share memory: the step overwrites them."""

    @jax.jit
    def begin(params, batch_stats):
        none = jnp.zeros((), jnp.int32)
        return TrainState(
            step=none,
            epoch=none,
            seen=none,
            params=params,
            model_state={"batch_stats": batch_stats},
            opt_state=program.optimizer.init(params),
            metrics=init_accumulators(inputs.NUM_CLASSES, jnp.float64),
            guard=init_guard(jnp.float64),
        )

    return begin(variables["params"], variables["batch_stats"])


def _first_gradients(state, params):
    """Returns the gradients of the first step at params: its momentum is their sum with the weight decay."""
    momentum = optax.tree.get(state.opt_state, "trace")
    return jax.tree.map(lambda m, p: np.asarray(m) - inputs.WEIGHT_DECAY * p, momentum, params)


def _model_without_dropout(case):
    trunk = (create_resnet if case.trunk == "resnet34" else create_vgg)(case.trunk, norm=BatchNorm)
    heads = {"main": MainHead, "sub": partial(SubHead, dropout=0.0)}
    return MultiHeadModel(
        trunk, {level: heads[head](inputs.NUM_CLASSES[level], BatchNorm) for level, head in case.heads}, {}
    )


def _draw_variables(model, images):
    """Returns the variables of the case in the dtype of the images."""
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    return {
        collection: unflatten_dict(
            {
                path: inputs.draw_leaf(path, leaf.shape).astype(images.dtype)
                for path, leaf in flatten_dict(tree, sep="/").items()
            },
            sep="/",
        )
        for collection, tree in shapes.items()
    }


def _config(case):
    config = default.get_config()
    config.model.update(name=case.trunk, heads=dict(case.heads))
    return config


def _taxonomy():
    mains, subs = inputs.NUM_CLASSES["main"], inputs.NUM_CLASSES["sub"]
    return Taxonomy.from_paths(["main", "sub"], [(f"main{i % mains}", f"sub{i}") for i in range(subs)])
