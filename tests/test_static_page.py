"""The demo without a server: which files the folder has, what they may load, and what is not overwritten."""

import json
import re
from pathlib import Path

import pytest

from fashion_jax.errors import UserError
from fashion_jax.serving.demo.description import describe
from fashion_jax.serving.demo.static_page import check_static_folder, find_runtime, write_static_page
from fashion_jax.taxonomy import Taxonomy
from tests.untrained import make_config, make_trained, shrink_all_trunks

TAXONOMY = Taxonomy.from_paths(("main", "sub"), [("Apparel", "Dress"), ("Shoes", "Boot")])
MODEL = describe("mine", TAXONOMY, (8, 8), "crop", {"main": 0.8, "sub": 0.8}, has_heat_maps=False, is_calibrated=True)


@pytest.fixture
def package(tmp_path) -> Path:
    folder = tmp_path / "package" / "dist"
    folder.mkdir(parents=True)
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (folder / name).write_text(name)
    return folder.parent


def write(folder: Path, package: Path, content: str = "a model") -> None:
    write_static_page(folder, find_runtime(package), MODEL, lambda place: (place / "model.onnx").write_text(content))


def test_the_folder_has_all_that_the_page_loads_at_relative_addresses(tmp_path, package):
    folder = tmp_path / "new" / "page"
    write(folder, package)
    assert (folder / "model.onnx").read_text() == "a model"
    assert (folder / "runtime" / "ort.wasm").read_text() == "ort-wasm-simd-threaded.wasm"
    assert json.loads((folder / "model.json").read_text())["labels"]["sub"] == ["Apparel/Dress", "Shoes/Boot"]
    named = re.findall(r'(?:src|href)="([^"#]+)"', (folder / "index.html").read_text())
    texts = {path.name: path.read_text() for path in folder.iterdir() if path.suffix in (".js", ".html", ".css")}
    for name, text in texts.items():
        named += re.findall(r'(?:from|Worker\(|newest\(|fetched\() ?"([^"]+)"', text)
        assert not re.search(r"https?:", text), name
    assert {"app.js", "style.css", "./engine.js", "worker.js", "model.json", "model.onnx", "runtime/ort.wasm"} <= {
        *named
    }
    assert [name for name in named if not (folder / name).is_file()] == []
    assert "wasm-unsafe-eval" in texts["index.html"] and "'unsafe" not in texts["index.html"]


def test_an_earlier_page_is_replaced_and_nothing_else(tmp_path, package):
    folder = tmp_path / "page"
    for content in ("one", "two"):
        check_static_folder(folder)
        write(folder, package, content)
        assert (folder / "model.onnx").read_text() == content
    (folder / "notes.txt").touch()
    with pytest.raises(UserError, match=r"notes\.txt"):
        check_static_folder(folder)
    with pytest.raises(UserError, match="no folder"):
        check_static_folder(folder / "notes.txt")


def test_a_failure_leaves_the_earlier_page(tmp_path, package):
    folder = tmp_path / "page"
    write(folder, package)
    broken = {"ort.js": package / "nothing"}
    with pytest.raises(FileNotFoundError, match="nothing"):  # not the folder of the page is at fault
        write_static_page(folder, broken, MODEL, lambda place: None)
    assert (folder / "model.onnx").read_text() == "a model" and len([*tmp_path.iterdir()]) == 2


def test_a_folder_without_the_runtime_is_told(tmp_path):
    with pytest.raises(UserError, match=r"npm pack onnxruntime-web"):
        find_runtime(tmp_path)


def test_a_run_in_bfloat16_is_compared_in_float32(tmp_path, monkeypatch):
    for library in ("onnx", "onnxruntime"):
        pytest.importorskip(library)
    from fashion_jax.scoring.decider import Decider
    from fashion_jax.serving.classifier import Classifier
    from fashion_jax.serving.demo import static_model
    from fashion_jax.serving.engine import RunEngine

    monkeypatch.setattr(static_model, "_IMAGES", 4)
    shrink_all_trunks(monkeypatch)
    trained = make_trained(make_config({"model.name": "resnet18", "dtype": "bfloat16"}))
    engine = RunEngine(trained, 4)
    classifier = Classifier(engine, Decider(engine.taxonomy, engine.temperatures, "conditional"))
    static_model.write_static_model(classifier, tmp_path, tmp_path, str(tmp_path / "cache"))
    assert (tmp_path / "model.onnx").is_file() and [*(tmp_path / "cache").glob("catalogue-*")]
