"""Names of classes, files and columns that are meant to do harm, from training to the page and to predictions."""

import csv
import json
import shutil

import pytest
from ml_collections import ConfigDict

from configs import default
from fashion_jax import evaluate
from fashion_jax.data.dataset import load_dataset
from fashion_jax.predict import main
from fashion_jax.training.train import train_and_evaluate
from tests.shop import write_image, write_table

CLASSES = ("=HYPERLINK(1)", "<script>alert(1)</script>", "\x1b[2J{{7*7}}\u202e", "../../etc/passwd")
COLUMNS = ("id", "=main<script>", "sub\x1b[31m")
PICKLE = b"cos\nsystem\n(S'touch harmed'\ntR."


@pytest.fixture
def config(tmp_path) -> ConfigDict:
    shop = tmp_path / "shop"
    rows = [(f"<i>={i}", "@main", CLASSES[i % len(CLASSES)]) for i in range(24)]
    for i, (name, *_) in enumerate(rows):
        write_image(shop / "images" / f"{name}.png", seed=i)
    write_table(shop / "styles.csv", rows, COLUMNS)
    config = default.get_config()
    config.image_size, config.batch_size, config.num_epochs, config.model.name = 32, 8, 1, "resnet10"
    config.data.source, config.data.path, config.data.image = "csv", str(shop), "images/{id}.png"
    config.data.levels = {"main": COLUMNS[1], "sub": COLUMNS[2]}
    config.data.splits = {"train": 0.5, "validation": 0.5}
    return config


def test_hostile_names_do_no_harm(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "<script>alert(2)"
    train_and_evaluate(config, run)
    assert load_dataset(config).taxonomy.num_classes("sub") == len(CLASSES)
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "\x1b" not in page and "&lt;script&gt;alert" in page
    for image, content in (("=1+1.png", None), ("\x1b[31m.jpg", PICKLE), ("<script>.pkl", PICKLE)):
        path = tmp_path / "new" / image
        write_image(path) if content is None else path.write_bytes(content)
    assert main(["--workdir", str(run), "--input", "new", "--output", "p.csv", "--batch-size", "8"]) == 0
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and sum(not row["error"] for row in rows) == 1
    tables = [tmp_path / "p.csv", *(run / "report").glob("*.csv")]
    assert len(tables) == 4
    for table in tables:
        with table.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [c for c in cells if c[:1] in ("=", "@", "+", "\t", "\r") or (c[:1] == "-" and not c[1:2].isdigit())]
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "\u202e" not in out + err
    assert not (tmp_path / "harmed").exists() and not (tmp_path / "etc").exists()
    assert json.loads((run / "taxonomy.json").read_text())["levels"] == ["main", "sub"]


def test_evaluate_and_predict_use_no_cache_that_a_run_names(finished_run, tmp_path, monkeypatch):
    """Compiled programs in it would be loaded: a planted one changed the answers."""
    run, planted = tmp_path / "run", tmp_path / "planted"
    shutil.copytree(finished_run, run)
    tree = json.loads((run / "config.json").read_text())
    tree["data"]["cache_dir"] = str(planted)
    (run / "config.json").write_text(json.dumps(tree))
    used = []
    monkeypatch.setattr("fashion_jax.workdir.trained.enable_compilation_cache", used.append)
    write_image(tmp_path / "new" / "a.png")
    shutil.make_archive(str(tmp_path / "new"), "zip", tmp_path / "new")
    assert main(["--workdir", str(run), "--input", str(tmp_path / "new.zip"), "--output", f"{tmp_path}/p.csv"]) == 0
    assert evaluate.main(["--workdir", str(run)]) == 0
    assert used == ["", ""] and not planted.exists()
