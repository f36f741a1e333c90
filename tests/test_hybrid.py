"""Two trunks fused, either frozen or taken from another run; on small trunks, but for one run of the real ones."""

import re
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fashion_jax.config.combinations import trunk_paths
from fashion_jax.config.loading import load_config
from fashion_jax.devices.mesh import create_mesh, fetch, put_batch
from fashion_jax.errors import UserError
from fashion_jax.models.classifier import create_model
from fashion_jax.models.hybrid import GatedFusion
from fashion_jax.models.learning_rate_factors import create_factors
from fashion_jax.step import optimizer
from fashion_jax.step.program import create_program
from fashion_jax.training.init_checks import check_sources
from fashion_jax.training.init_from import with_trunks
from fashion_jax.training.train import train_and_evaluate
from fashion_jax.workdir.trained import load_trained
from tests.conftest import ROOT
from tests.small_trunks import shrink_trunks
from tests.steps import TAXONOMY, build, random_batch


def make_hybrid(config, **fields):
    """Returns the config of a hybrid with linear heads."""
    config.batch_size, config.augment = 8, "none"
    config.model.update(name="hybrid", heads={"main": "linear", "sub": "linear"})
    for field, value in fields.items():
        config.model[field] = value
    return config


@pytest.fixture
def config(tiny_config, monkeypatch):
    shrink_trunks(monkeypatch)
    return make_hybrid(tiny_config)


def flat(tree) -> dict[str, np.ndarray]:
    return flatten_dict(jax.tree.map(np.array, fetch(tree)), sep="/")


def test_concatenated_features_are_those_of_both(config):
    trunk = create_model(config, TAXONOMY).trunk
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)
    variables = jax.jit(partial(trunk.init, train=False))(jax.random.key(0), images)

    def features_of(module, variables):
        return jax.jit(partial(module.apply, train=False))(variables, images)

    features = features_of(trunk, variables)
    own = {name: {k: v[name] for k, v in variables.items() if name in v} for name in ("resnet34", "vgg16")}
    resnet = features_of(trunk.resnet34.clone(parent=None), own["resnet34"])
    vgg = features_of(trunk.vgg16.clone(parent=None, pooled=8), own["vgg16"])  # its map of 8 x 8 itself
    np.testing.assert_allclose(features[:, :64], resnet, rtol=1e-5)
    np.testing.assert_allclose(features[:, 64:], vgg.reshape(2, 64, 8).mean(axis=1), rtol=1e-4)


def test_the_gate_is_arevalos():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(3, 2))
    kernels = {"first": rng.normal(size=(4, 5)), "second": rng.normal(size=(2, 5)), "gate": rng.normal(size=(6, 5))}
    params = {name: {"kernel": jnp.asarray(x, jnp.float32)} for name, x in kernels.items()}
    fused = GatedFusion(5).apply({"params": params}, jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    z = 1 / (1 + np.exp(-np.hstack([a, b]) @ kernels["gate"]))
    expected = z * np.tanh(a @ kernels["first"]) + (1 - z) * np.tanh(b @ kernels["second"])
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(("fusion", "frozen"), [("gated", ()), ("concatenate", ("resnet34",))])
def test_every_parameter_is_updated_but_those_of_frozen_trunks(config, fusion, frozen):
    config.model.fusion, config.model.frozen = fusion, list(frozen)
    mesh, _, state, step = build(config, jax.devices()[:1])
    before = flat(state.params)
    state, _ = step(state, put_batch(random_batch(), mesh))
    after = flat(state.params)
    assert any("fusion_gate" in name for name in after) == (fusion == "gated")
    for name, x in after.items():
        is_frozen = any(name.startswith(f"trunk/{trunk}/") for trunk in frozen)
        assert np.array_equal(x, before[name]) == is_frozen, name


def test_a_frozen_trunk_stays_as_it_is_to_the_last_bit(config):
    config.model.frozen = ["resnet34"]
    mesh, _, state, step = build(config)
    before = flat(state.params), flat(state.model_state)
    for seed in range(3):
        batch = random_batch()
        batch["image"] = np.roll(batch["image"], seed, axis=1)
        state, _ = step(state, put_batch(batch, mesh))
    for old, new in zip(before, (flat(state.params), flat(state.model_state)), strict=True):
        for name, x in new.items():
            assert np.array_equal(x, old[name]) == ("resnet34" in name), name
    momentum = [jax.tree_util.keystr(path) for path, _ in jax.tree.flatten_with_path(state.opt_state)[0]]
    assert not any("resnet34" in name for name in momentum) and any("vgg16" in name for name in momentum)


def test_the_others_are_updated_as_without_frozen_ones(config):
    params = {"trunk": {"resnet34": {"bias": jnp.ones(2)}, "vgg16": {"bias": jnp.ones(3)}}, "heads_sub": jnp.ones(4)}
    grads = jax.tree.map(lambda x: jnp.arange(x.size, dtype=jnp.float32), params)
    updates = []
    for frozen in ([], ["vgg16"]):
        config.model.frozen = frozen
        tx = optimizer.create_optimizer(config, create_factors("hybrid", frozen, {}, 1.0))
        state = tx.init(params)
        for _ in range(2):
            new, state = tx.update(grads, state, params)
        updates.append(new)
    plain, partly = updates
    assert not np.any(partly["trunk"].pop("vgg16")["bias"]) and np.any(plain["trunk"].pop("vgg16")["bias"])
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(partly), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def source(tmp_path_factory, catalogue_cache):
    """Returns the workdir of a finished run of a small hybrid."""
    workdir = tmp_path_factory.mktemp("source") / "run"
    with pytest.MonkeyPatch.context() as patched:
        shrink_trunks(patched)
        train_and_evaluate(small_run(catalogue_cache), workdir)
    return workdir


def small_run(catalogue_cache, **fields):
    config = make_hybrid(load_config(str(ROOT / "configs" / "smoke.py")), **fields)
    config.batch_size, config.num_epochs = 16, 1
    config.data.cache_dir, config.data.catalogue.num_images = catalogue_cache, 200
    return config


@pytest.mark.long
def test_a_run_from_the_trunks_of_another_one_of_them_frozen(source, catalogue_cache, tmp_path, monkeypatch):
    """It resumes after the other run is gone, and predicts."""
    shrink_trunks(monkeypatch)
    trunks = {"resnet34": str(tmp_path / "source"), "vgg16": str(tmp_path / "source")}
    shutil.copytree(source, tmp_path / "source")
    config = small_run(catalogue_cache, init_from=trunks, frozen=["vgg16"], condition_on_parent=True)
    train_and_evaluate(config, tmp_path / "run")
    before, after = (flat(load_trained(x, "latest").state.params) for x in (source, tmp_path / "run"))
    for name, x in after.items():
        assert np.array_equal(x, before.get(name)) == name.startswith("trunk/vgg16/"), name
    shutil.rmtree(tmp_path / "source")
    config.num_epochs = 2
    lines = train_and_evaluate(config, tmp_path / "run")
    assert [line["epoch"] for line in lines] == [1, 2]
    again = flat(load_trained(tmp_path / "run", "latest").state.params)
    assert all(np.array_equal(x, before[name]) for name, x in again.items() if name.startswith("trunk/vgg16/"))


def test_the_trunk_of_a_plain_run_in_a_plain_model(finished_run, tiny_config):
    tiny_config.model.init_from = {"resnet10": str(finished_run)}
    check_sources(tiny_config.model.init_from, tiny_config.dtype)
    sentence = r"init_from\.resnet10 is .*, which was trained with dtype float32, but dtype is float64: set it to"
    with pytest.raises(UserError, match=sentence):
        check_sources(tiny_config.model.init_from, "float64")
    check_sources(tiny_config.model.init_from, "bfloat16")
    mesh = create_mesh()
    new = create_program(tiny_config, TAXONOMY, mesh).create_state()
    old = load_trained(finished_run).state
    said = []
    begun = with_trunks(new, "resnet10", {"main": "main"}, tiny_config.model.init_from, said.append)
    assert re.fullmatch(rf"resnet10 begins as it was in {re.escape(str(finished_run))} after step [12]0\.", said[0])
    assert jax.tree.structure(begun) == jax.tree.structure(new)
    for part in ("params", "model_state"):
        here, there, drawn = (flat(getattr(state, part)) for state in (begun, old, new))
        for name, x in here.items():
            expected = there if "trunk/" in name else drawn
            np.testing.assert_array_equal(x, expected[name], name)
    assert trunk_paths("resnet10") == {"resnet10": ("trunk",)}


def test_runs_that_do_not_have_the_trunk_are_refused_before_anything_else(finished_run, tiny_config, tmp_path):
    (tmp_path / "unsaved").mkdir()
    shutil.copy(finished_run / "config.json", tmp_path / "unsaved")
    for workdir, words in (
        (tmp_path / "no", "which does not exist: name the --workdir of a training"),
        (tmp_path / "unsaved", "which holds no checkpoint of a run"),
        (finished_run, "but the model there is resnet10: name a run of vgg16"),
    ):
        config = make_hybrid(tiny_config, init_from={"vgg16": str(workdir)})
        with pytest.raises(UserError, match=rf"^model\.init_from\.vgg16 is '{re.escape(str(workdir))}', {words}"):
            train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.long
def test_an_epoch_of_the_real_hybrid(catalogue_cache, tmp_path):
    config = load_config(str(ROOT / "configs" / "hybrid.py"), [("model.fusion", "gated"), ("image_size", "32")])
    config.batch_size, config.num_epochs = 16, 1
    config.data.cache_dir, config.data.catalogue.num_images = catalogue_cache, 200
    (line,) = train_and_evaluate(config, tmp_path)
    assert np.isfinite(line["train/loss"]) and np.isfinite(line["validation/sub/loss"])
