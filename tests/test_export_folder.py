"""The folder of an export: its digests, what replaces what, and what of someone else's export is refused."""

import json

import numpy as np
import pytest

import fashion_jax as fj
from fashion_jax import evaluate, predict
from fashion_jax.config.loading import config_to_json, load_export_config, portable_config
from fashion_jax.errors import UserError
from fashion_jax.serving.exports import savedmodel
from fashion_jax.serving.exports.card_lines import python_lines
from fashion_jax.serving.exports.engines import load_engine
from fashion_jax.serving.exports.folder import (
    INDEX,
    Export,
    check_replaceable,
    read_export,
    read_export_taxonomy,
    read_test_vectors,
    seal,
    write_test_vectors,
    writing_export,
)
from tests.shop import shop_config
from tests.trees import SHOP

EXPORT = Export(
    format="tflite",
    fashion_jax="0.1.0",
    int8=False,
    canvas=(40, 32),
    resize="crop",
    decode="conditional",
    levels=SHOP.levels,
    features=8,
    step=10,
    batch_size=16,
    parameters=100,
    flops_per_image=1e6,
    train_counts={level: tuple(range(len(names))) for level, names in SHOP.classes.items()},
)


@pytest.fixture
def folder(tmp_path):
    with writing_export(tmp_path / "exports" / "shop") as temporary:
        (temporary / "model.tflite").write_bytes(bytes(100))
        (temporary / "taxonomy.json").write_text(SHOP.to_json())
        (temporary / "card.md").write_text("# Card")
        write_test_vectors(temporary, np.zeros((2, 40, 32, 3), np.uint8), {"path": np.zeros((2, 2), np.int32)})
        seal(temporary, EXPORT)
    return tmp_path / "exports" / "shop"


def test_a_folder_is_read_as_it_was_written(folder):
    export = read_export(folder)
    assert export.canvas == EXPORT.canvas and export.train_counts == EXPORT.train_counts
    assert set(export.files) == {"model.tflite", "taxonomy.json", "card.md", "test_vectors.npz"}
    assert read_export_taxonomy(folder, export) == SHOP
    assert read_test_vectors(folder)["images"].shape == (2, 40, 32, 3)
    assert [path.name for path in folder.parent.iterdir()] == ["shop"]


def test_the_card_may_be_completed(folder):
    card = folder / "card.md"
    card.write_text(card.read_text() + "\nlicense: apache-2.0\n")
    assert read_export(folder).canvas == EXPORT.canvas


def replace(folder, card: str) -> None:
    """Replaces an export by another one with another card."""
    with writing_export(folder) as temporary:
        (temporary / "model.tflite").write_bytes(bytes(100))
        (temporary / "taxonomy.json").write_text(SHOP.to_json())
        (temporary / "card.md").write_text(card)
        seal(temporary, EXPORT)


def test_a_completed_card_stays_beside_the_next_ones(folder):
    replace(folder, "# Second")
    assert not (folder / "card.md.old").exists()
    (folder / "card.md").write_text("# Second, completed")
    for card in ("# Third", "# Fourth"):
        replace(folder, card)
        assert (folder / "card.md.old").read_text() == "# Second, completed"
        assert (folder / "card.md").read_text() == card and "card.md.old" not in read_export(folder).files
    (folder / "card.md").write_text("# Fourth, completed")
    with pytest.raises(UserError, match=r"card\.md\.old in it is no part of one: move it away"):
        replace(folder, "# Fifth")
    assert (folder / "card.md").read_text() == "# Fourth, completed"


def test_a_card_that_is_a_link_is_kept_as_one(folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (folder / "card.md").unlink()
    (folder / "card.md").symlink_to(tmp_path / "secret")
    replace(folder, "# Second")
    assert (folder / "card.md.old").is_symlink() and (folder / "card.md").read_text() == "# Second"


def test_test_vectors_are_nothing_but_arrays_by_name(tmp_path, monkeypatch):
    """An early NumPy takes every keyword of savez for the name of an array."""
    written = []
    monkeypatch.setattr(np, "savez", lambda file, **arrays: written.extend(arrays))
    write_test_vectors(tmp_path, np.zeros((2, 4, 4, 3), np.uint8), {"path": np.zeros((2, 2), np.int32)})
    assert written == ["images", "path"]


@pytest.mark.parametrize("name", ["model.tflite", "taxonomy.json", "test_vectors.npz"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove", "folder"])
def test_a_damaged_file_is_named(folder, name, damage):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "remove":
        path.write_bytes({"flip": content, "cut": content[:-1], "grow": content + b"x"}[damage])
    with pytest.raises(UserError, match=rf"{name}.*(Copy|export) ") as raised:
        load_engine(folder)
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "pickle"},
        {"resize": "melt"},
        {"decode": "joint"},
        {"canvas": [0, 32]},
        {"canvas": [1e9, 32]},
        {"levels": ["main"]},
        {"train_counts": 3},
        {"flops_per_image": float("nan")},
        {"files": {"taxonomy.json": {"sha256": "", "bytes": 3}}},
        {"files": {"model.tflite": {"sha256": "", "bytes": 3}, "../taxonomy.json": {"sha256": "", "bytes": 3}}},
    ],
    ids=str,
)
def test_a_strange_index_is_refused(folder, change):
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps(index | change))
    with pytest.raises(UserError, match=f"{INDEX} cannot be read"):
        load_engine(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\xff", "[" * 10**5])
def test_an_index_that_is_none_is_refused(folder, text):
    (folder / INDEX).write_text(text)
    with pytest.raises(UserError, match=f"{INDEX} cannot be read"):
        read_export(folder)


def test_a_taxonomy_of_other_classes_is_refused(folder):
    index = json.loads((folder / INDEX).read_text())
    index["train_counts"]["sub"].append(3)
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match="different classes"):
        load_engine(folder)


def test_a_model_that_is_none_is_told_in_a_sentence(folder):
    with pytest.raises(UserError, match=r"model.tflite is no tflite model"):
        load_engine(folder)


def test_an_export_is_replaced_as_a_whole(folder):
    with writing_export(folder) as temporary:
        (temporary / "model.tflite").write_bytes(bytes(50))
        (temporary / "taxonomy.json").write_text(SHOP.to_json())
        seal(temporary, EXPORT)
        assert (folder / "card.md").exists()
    assert set(read_export(folder).files) == {"model.tflite", "taxonomy.json"}
    assert not (folder / "card.md").exists()
    with pytest.raises(RuntimeError, match="stopped"), writing_export(folder):
        raise RuntimeError("stopped")
    read_export(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["shop"]


def test_a_damaged_export_is_not_replaced_and_the_way_out_is_another(folder):
    (folder / "export.json").write_text("{")
    with pytest.raises(UserError, match=r"export\.json cannot be read .*: remove the folder, or name another --output"):
        check_replaceable(folder)
    with pytest.raises(UserError, match="export the run again"):
        read_export(folder)


def test_a_config_leaves_without_paths(tmp_path):
    config = shop_config(tmp_path, csv=str(tmp_path / "labels.csv"), image=f"{tmp_path}/{{id}}.jpg")
    config.model.init_from = {"resnet10": str(tmp_path)} if config.model.name == "resnet10" else {}
    config.data.splits = {"train": str(tmp_path / "train.txt"), "validation": str(tmp_path / "val.txt")}
    config.data.taxonomy = config.data.cache_dir = str(tmp_path / "x")
    text = config_to_json(portable_config(config, (40, 32)))
    assert str(tmp_path) not in text and "val.txt" in text
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"--config.data.path"):
        load_export_config(tmp_path / "config.json")
    found = load_export_config(tmp_path / "config.json", [("data.path", "photos")])
    assert found.data.levels == config.data.levels and list(found.data.levels) == list(config.data.levels)
    assert found.data.canvas_size == [40, 32] and found.data.path == "photos"


def test_a_saved_model_that_writes_files_is_not_run(tmp_path):
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    written = tmp_path / "written.txt"

    @tf.function(input_signature=[tf.TensorSpec([None, 40, 32, 3], tf.uint8, name="images")])
    def predict(images):
        tf.io.write_file(str(written), "obeyed")
        return {"path": tf.shape(images)}

    tf.saved_model.save(
        tf.Module(), str(tmp_path / "saved_model"), signatures={"serving_default": predict.get_concrete_function()}
    )
    with pytest.raises(ValueError, match="WriteFile"):
        savedmodel.read(tmp_path)
    graph = SavedModel.FromString((tmp_path / "saved_model" / "saved_model.pb").read_bytes())
    graph.meta_graphs[0].ClearField("object_graph_def")  # as in TensorFlow 1, which runs operations while it loads
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ValueError, match="no SavedModel of TensorFlow 2"):
        savedmodel.read(tmp_path)
    assert not written.exists()


def test_a_saved_model_whose_signature_saves_files_is_not_run(tmp_path):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 40, 32, 3], tf.uint8, name="images")])
    def predict(images):
        tf.raw_ops.SaveV2(prefix=str(tmp_path / "x"), tensor_names=["x"], shape_and_slices=[""], tensors=[images])
        return {"path": images}

    signature = predict.get_concrete_function()
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved_model"), signatures={"serving_default": signature})
    with pytest.raises(ValueError, match=r"reads or writes files|is none of an export"):
        savedmodel.read(tmp_path)


@pytest.mark.parametrize("name", ["onnx", "savedmodel", "stablehlo", "tflite"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_the_lines_of_a_card_are_python(name, resize):
    compile(python_lines(name, (40, 32), resize), name, "exec")


def test_a_folder_whose_index_is_a_broken_link_is_an_export_for_all(folder, tmp_path, capsys):
    """Otherwise one command would take it for a run, and another one for an export."""
    (folder / INDEX).unlink()
    (folder / INDEX).symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=f"{INDEX} cannot be read"):
        fj.load(folder)
    (tmp_path / "photo.jpg").touch()
    files = ["--input", str(tmp_path / "photo.jpg"), "--output", str(tmp_path / "p.csv")]
    for command, flags in ((predict, files), (evaluate, [])):
        assert command.main(["--workdir", str(folder), *flags]) == 2
        assert f"{INDEX} cannot be read" in capsys.readouterr().err
    assert predict.main(["--workdir", str(folder), *files, "--explain", str(tmp_path / "why")]) == 2
    assert "is an export" in capsys.readouterr().err
