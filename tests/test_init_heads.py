import copy
import json
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fashion_jax.config.combinations import head_names, loss_weights
from fashion_jax.data.dataset import load_split
from fashion_jax.devices.mesh import create_mesh, fetch
from fashion_jax.errors import UserError
from fashion_jax.step.program import create_program
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.training import init_heads
from fashion_jax.training.init_checks import Features, check_heads
from fashion_jax.training.init_heads import with_heads
from fashion_jax.training.notes import notes_of_weights, trained_on_before
from fashion_jax.workdir.files import read_taxonomy
from fashion_jax.workdir.paths import config_path, images_path, taxonomy_path
from fashion_jax.workdir.trained import load_trained
from tests.small_trunks import shrink_trunks


def flat(tree):
    return flatten_dict(jax.tree.map(np.asarray, fetch(tree)), sep="/")


def test_classes_of_the_same_path_keep_their_weights_and_others_are_new(finished_run, tiny_config):
    known = read_taxonomy(finished_run)
    subs = known.classes["sub"]
    paths = [tuple(name.split("/")) for name in (*subs[3:9], "Furniture/Chairs")]
    taxonomy = Taxonomy.from_paths(("main", "sub"), [(main, sub) for main, sub in paths])
    program = create_program(tiny_config, taxonomy, create_mesh(jax.devices()[:1]))
    new, said = program.create_state(), []
    begun = with_heads(new, taxonomy, head_names(tiny_config), str(finished_run), said.append)
    assert "sub keeps 6 of 7 classes (new: Furniture/Chairs)" in said[0] and "Furniture)" in said[0]
    old = load_trained(finished_run).state
    for collection in ("params", "model_state"):
        fresh, theirs, found = (flat(getattr(state, collection)) for state in (new, old, begun))
        for name, x in found.items():
            if "logits" not in name:
                np.testing.assert_array_equal(x, (theirs if "heads_" in name else fresh)[name], name)
                continue
            level = "main" if "heads_main" in name else "sub"
            for i, label in enumerate(taxonomy.classes[level]):
                is_known = label in known.classes[level]
                expected = theirs[name][..., known.classes[level].index(label)] if is_known else fresh[name][..., i]
                np.testing.assert_array_equal(x[..., i], expected, f"{name} {label}")


def check_new(config, source, tmp_path, **fields):
    """Checks a run in a new folder that begins with the heads of another one, with other fields of its model."""
    config = copy.deepcopy(config)
    config.model.update(fields)
    features = Features(config.model.name, config.model.fusion, config.dtype)
    check_heads(head_names(config), loss_weights(config), features, str(source), tmp_path / "new")


def changed(run, folder, **model):
    """Copies a run and changes fields of its model."""
    source = shutil.copytree(run, folder)
    fields = json.loads(config_path(source).read_text())
    fields["model"] |= model
    config_path(source).write_text(json.dumps(fields))
    return source


def test_a_run_without_such_heads_is_refused(finished_run, tiny_config, tmp_path):
    check_new(tiny_config, finished_run, tmp_path, heads={"main": "linear", "sub": "sub"})
    with pytest.raises(UserError, match=r"features of resnet10, but model\.name is 'resnet50'"):
        check_new(tiny_config, finished_run, tmp_path, name="resnet50")
    with pytest.raises(UserError, match=r"init_heads_from is '.*nowhere'.*--workdir"):
        check_new(tiny_config, tmp_path / "nowhere", tmp_path)
    tiny_config.data.levels = {"brand": "brand"}
    with pytest.raises(UserError, match=r"heads are main \(main\), sub \(sub\), but this run's are brand \(sub\)"):
        check_new(tiny_config, finished_run, tmp_path, heads={"brand": "sub"})


def test_a_head_that_is_neither_taken_nor_trained_is_refused(finished_run, tiny_config, tmp_path):
    tiny_config.loss_weights = {"main": 0}
    check_new(tiny_config, finished_run, tmp_path)
    with pytest.raises(UserError, match=r"loss_weights\.main is 0, .* has no head of the kind linear on main: give it"):
        check_new(tiny_config, finished_run, tmp_path, heads={"main": "linear", "sub": "sub"})
    source = changed(finished_run, tmp_path / "source", heads={"sub": "sub"})
    with pytest.raises(UserError, match=r"loss_weights\.main is 0, .* has no head of the kind main on main"):
        check_new(tiny_config, source, tmp_path)


def test_a_run_whose_heads_need_their_conditions_is_refused(finished_run, tiny_config, tmp_path):
    source = changed(finished_run, tmp_path / "source", condition_on_parent=True)
    with pytest.raises(UserError, match=r"were trained with model\.condition_on_parent .* name another run"):
        check_new(tiny_config, source, tmp_path)


def test_a_run_of_other_features_or_parameters_is_refused(finished_run, tiny_config, tmp_path):
    source = changed(finished_run, tmp_path / "source", name="hybrid", fusion="gated")
    check_new(tiny_config, source, tmp_path, name="hybrid", fusion="gated")
    sentence = r"model\.fusion 'gated', but model\.fusion is 'concatenate': set it to gated, or name another run"
    with pytest.raises(UserError, match=sentence):
        check_new(tiny_config, source, tmp_path, name="hybrid")
    tiny_config.dtype = "bfloat16"
    check_new(tiny_config, finished_run, tmp_path)
    tiny_config.dtype = "float64"
    with pytest.raises(UserError, match="was trained with dtype float32, but dtype is float64: set it to float32"):
        check_new(tiny_config, finished_run, tmp_path)


def test_a_taxonomy_that_is_not_the_checkpoints_is_refused(finished_run, tiny_config, tmp_path):
    """Two classes that were exchanged there would begin with each other's weights."""
    source = shutil.copytree(finished_run, tmp_path / "source")
    path = taxonomy_path(source)
    taxonomy = json.loads(path.read_text())
    first, second, *_ = taxonomy["classes"]["sub"]
    text = path.read_text().replace(first, "?").replace(second, first).replace("?", second)
    path.write_text(text)
    known = read_taxonomy(source)
    program = create_program(tiny_config, known, create_mesh(jax.devices()[:1]))
    with pytest.raises(UserError, match="has other classes than the checkpoint"):
        with_heads(program.create_state(), known, head_names(tiny_config), str(source), print)


def test_validation_images_that_the_run_of_the_weights_was_trained_on_are_counted(finished_run, tiny_config):
    taxonomy = read_taxonomy(finished_run)
    sources = [str(finished_run), str(finished_run), ""]
    assert list(trained_on_before(sources, load_split(tiny_config, taxonomy, "validation"))) == []
    (told,) = trained_on_before(sources, load_split(tiny_config, taxonomy, "all"))
    assert f"go back to the run {finished_run}, which was trained on 160 of the 200 validation images, so that" in told
    assert list(trained_on_before(["hf://timm/resnet10", ""], load_split(tiny_config, taxonomy, "all"))) == []


def test_the_runs_that_a_source_began_with_are_looked_at_too(finished_run, tiny_config, tmp_path):
    """The second run has no list of images of its own, and each run names the other."""
    first = changed(finished_run, tmp_path / "first", init_from={"resnet10": str(tmp_path / "second")})
    second = changed(finished_run, tmp_path / "second", init_heads_from=str(first))
    images_path(second).unlink()
    everything = load_split(tiny_config, read_taxonomy(finished_run), "all")
    (told,) = trained_on_before([str(second)], everything)
    assert f"go back to the run {first}, which" in told


def test_the_gate_of_a_hybrid_is_taken_with_both_trunks(finished_run, tiny_config, tmp_path, monkeypatch):
    shrink_trunks(monkeypatch)
    tiny_config.model.update(name="hybrid", fusion="gated")
    known, one = read_taxonomy(finished_run), create_mesh(jax.devices()[:1])
    source = changed(finished_run, tmp_path / "hybrid", name="hybrid", fusion="gated")
    program = create_program(tiny_config, known, one)
    theirs = program.create_state()
    monkeypatch.setattr(init_heads, "restore_parts", lambda folder, which, like, taxonomy: (7, pick(theirs, like)))
    tiny_config.seed = 1
    new = create_program(tiny_config, known, one).create_state()
    for with_gate in (False, True):
        begun = with_heads(new, known, head_names(tiny_config), str(source), print, with_gate=with_gate)
        for name, x in flat(begun.params).items():
            is_taken = name.startswith("heads_") or (with_gate and "fusion_gate" in name)
            np.testing.assert_array_equal(x, flat((theirs if is_taken else new).params)[name], name)


def pick(state, like):
    """Returns the leaves of a state that a tree of abstract arrays names."""
    found = flatten_dict({"params": state.params, "model_state": state.model_state})
    return unflatten_dict({path: found[path] for path in flatten_dict(like)})


def test_a_head_of_loss_weight_0_knows_all_its_classes(finished_run, tiny_config):
    known = read_taxonomy(finished_run)
    taxonomy = Taxonomy.from_paths(("main", "sub"), [("Apparel", "Topwear"), ("Apparel", "Capes")])
    state = create_program(tiny_config, known, create_mesh(jax.devices()[:1])).create_state()
    heads, run = head_names(tiny_config), str(finished_run)
    with_heads(state, known, heads, run, print, untrained=["sub"])
    with pytest.raises(UserError, match=r"loss_weights\.sub is 0, .* does not know the class 'Apparel/Capes' of sub"):
        with_heads(state, taxonomy, heads, run, print, untrained=["sub"])


def notes(config, taxonomy) -> list[str]:
    return list(notes_of_weights(create_program(config, taxonomy, create_mesh(jax.devices()[:1]))))


def test_parts_that_do_not_belong_together_are_told(finished_run, tiny_config):
    taxonomy, run = read_taxonomy(finished_run), str(finished_run)
    assert notes(tiny_config, taxonomy) == []
    tiny_config.model.init_heads_from = run
    (told,) = notes(tiny_config, taxonomy)
    assert f"begin resnet10 with it too, by model.init_from.resnet10={run}" in told
    tiny_config.model.init_from = {"resnet10": f"{run}/"}
    assert notes(tiny_config, taxonomy) == []


def test_parts_that_are_frozen_as_they_were_drawn_are_told(finished_run, tiny_config, monkeypatch):
    shrink_trunks(monkeypatch)
    taxonomy = read_taxonomy(finished_run)
    tiny_config.learning_rate_factors = {"^heads_main/": 0}
    assert notes(tiny_config, taxonomy)[0].startswith("the head of main, or a part of it, is frozen")
    tiny_config.model.update(name="hybrid", fusion="gated", init_from={"resnet34": "a.pth", "vgg16": "b.pth"})
    tiny_config.learning_rate_factors = {"^trunk/": 0.1}
    (told,) = notes(tiny_config, taxonomy)
    assert "only 0.1 times the learning rate: put '^trunk/fusion_gate/': 1 first in learning_rate_factors" in told
    tiny_config.learning_rate_factors = {"^trunk/fusion_gate/": 1, "^trunk/": 0.1}
    assert notes(tiny_config, taxonomy) == []
