"""TFDS sets from other people: no module that their files or names mention is imported."""

import json
import shutil
import sys

import pytest

from fashion_jax.data.dataset import load_dataset
from fashion_jax.data.records.idx_set import idx_classes
from fashion_jax.data.records.tfds_builders import builder_of_directory, builder_of_name
from fashion_jax.errors import UserError

MODULE = "planted_features"
CLASS = f"{MODULE}.Evil"


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """Returns a file that exists once the planted module has been imported."""
    (tmp_path / "code").mkdir()
    marker = tmp_path / "imported"
    (tmp_path / "code" / f"{MODULE}.py").write_text(
        f"""from pathlib import Path
import tensorflow_datasets as tfds
Path({str(marker)!r}).touch()
class Evil(tfds.features.Image): pass
"""
    )
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return marker


@pytest.fixture
def copy_of_set(sets, tmp_path):
    """Returns a TFDS directory, in a data_dir of its own, whose features.json may be changed."""
    folder = tmp_path / "data" / "tiny_fashion" / "1.0.0"
    shutil.copytree(sets["array_record"], folder)
    return folder


def own(feature: str, content: dict) -> dict:
    return {"type": f"tensorflow_datasets.core.features.{feature}", "content": content}


def planted(name: str, tree: dict) -> dict:
    """Returns features.json with the planted class, in each of the forms that TFDS reads."""
    features = tree["featuresDict"]["features"]
    if name == "current":
        features["image"]["pythonClassName"] = CLASS
    elif name == "other spelling":
        features["image"]["python_class_name"] = CLASS
        del features["image"]["pythonClassName"]
    elif name == "the whole":
        tree["pythonClassName"] = CLASS
    elif name == "in a sequence":
        inner = features["image"] | {"pythonClassName": CLASS}
        sequence = "tensorflow_datasets.core.features.sequence_feature.Sequence"
        features["more"] = {"pythonClassName": sequence, "sequence": {"feature": inner, "length": "-1"}}
    elif name == "legacy":
        return {"type": CLASS, "content": {}}
    elif name == "legacy, nested":
        inner = {"x": own("sequence_feature.Sequence", {"feature": {"type": CLASS, "content": {}}, "length": None})}
        return own("features_dict.FeaturesDict", inner)
    elif name == "legacy in a text":
        text = json.dumps({"x": {"type": CLASS, "content": {}}})
        return {"pythonClassName": tree["pythonClassName"], "jsonFeature": {"json": text}}
    return tree


FORMS = (
    "current",
    "other spelling",
    "the whole",
    "in a sequence",
    "legacy",
    "legacy, nested",
    "legacy in a text",
)


@pytest.mark.parametrize("form", FORMS)
def test_a_class_that_is_not_of_tfds_is_refused_and_not_imported(copy_of_set, marker, form):
    file = copy_of_set / "features.json"
    file.write_text(json.dumps(planted(form, json.loads(file.read_text()))))
    with pytest.raises(UserError) as refused:
        builder_of_directory(copy_of_set)
    assert CLASS in str(refused.value) and str(copy_of_set) in str(refused.value)
    with pytest.raises(UserError, match=CLASS):
        builder_of_name("tiny_fashion", copy_of_set.parent.parent)
    assert not marker.exists() and MODULE not in sys.modules


def test_the_source_refuses_it_too(copy_of_set, config_of, marker):
    file = copy_of_set / "features.json"
    file.write_text(json.dumps(planted("current", json.loads(file.read_text()))))
    with pytest.raises(UserError, match=CLASS):
        load_dataset(config_of(copy_of_set))
    assert not marker.exists()


def test_a_module_of_tfds_that_has_no_feature_is_not_imported(copy_of_set):
    file, name = copy_of_set / "features.json", "tensorflow_datasets.scripts.cli.main.Main"
    tree = json.loads(file.read_text())
    tree["featuresDict"]["features"]["image"]["pythonClassName"] = name
    file.write_text(json.dumps(tree))
    with pytest.raises(UserError, match=name):
        builder_of_directory(copy_of_set)
    assert name.rpartition(".")[0] not in sys.modules


def test_tfds_is_as_before_for_everybody_else(copy_of_set, marker):
    import tensorflow_datasets as tfds

    builder_of_directory(copy_of_set)
    assert tfds.features.FeatureConnector.cls_from_name(CLASS).__name__ == "Evil" and marker.exists()


@pytest.mark.parametrize("name", ["huggingface:mnist", "kaggle:set/config:1.0.0", "some-one:set"])
def test_names_whose_code_is_fetched_from_elsewhere_are_refused(name, tmp_path):
    for ask in (lambda: builder_of_name(name, tmp_path), lambda: idx_classes(name, 3)):
        with pytest.raises(UserError) as refused:
            ask()
        assert repr(name) in str(refused.value) and repr(name[: name.index(":") + 1]) in str(refused.value)


def test_a_version_is_no_namespace(copy_of_set):
    assert builder_of_name("tiny_fashion:1.0.0", copy_of_set.parent.parent).info.version == "1.0.0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda split: split.update(filepathTemplate="../../{DATASET}-{SPLIT}"), "not in that folder"),
        (lambda split: split.update(shardLengths=["9223372036854775807"]), "9,223,372,036,854,775,807 records"),
    ],
)
def test_what_the_set_says_of_its_files_is_checked(copy_of_set, config_of, change, words):
    file = copy_of_set / "dataset_info.json"
    tree = json.loads(file.read_text())
    change(next(split for split in tree["splits"] if split["name"] == "train"))
    file.write_text(json.dumps(tree))
    (copy_of_set.parent.parent / "tiny_fashion-train").touch()
    with pytest.raises(UserError, match=words):
        load_dataset(config_of(copy_of_set))


def test_what_the_set_says_of_its_classes_is_checked(copy_of_set, config_of):
    file = copy_of_set / "features.json"
    tree = json.loads(file.read_text())
    tree["featuresDict"]["features"]["label"]["classLabel"] = {"numClasses": "4000000000"}
    file.write_text(json.dumps(tree))
    (copy_of_set / "label.labels.txt").unlink()
    with pytest.raises(UserError, match=r"'label' .* has 4,000,000,000 classes"):
        load_dataset(config_of(copy_of_set))
