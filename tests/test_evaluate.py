"""The evaluate command: a run's own metrics again, those of other data, and one sentence for what is wrong."""

import json
from pathlib import Path

import pytest

from fashion_jax.checkpoint import Checkpoints
from fashion_jax.evaluate import main
from tests.shop import products, write_image, write_shop


@pytest.fixture
def run(finished_run) -> Path:
    return finished_run


def lines_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_validation_split_gives_the_line_of_the_checkpoint(run, tmp_path, capsys):
    before = sorted(path.relative_to(run) for path in run.rglob("*"))
    assert main(["--workdir", str(run), "--checkpoint=latest", "--json", str(tmp_path / "m.json")]) == 0
    (row,) = json.loads((tmp_path / "m.json").read_text())
    line = lines_of(run)[-1]
    assert row["step"] == line["step"] == 20 and row["images"] == row["sub/known_labels"] == 40
    for name in ("loss", *(f"{level}/{m}" for level in ("main", "sub") for m in ("loss", "accuracy", "auroc"))):
        assert row[name] == pytest.approx(line[f"validation/{name}"], abs=1e-6)
    out = capsys.readouterr().out
    assert f"{row['sub/accuracy']:.2%}" in out and out.count("\n") == 3
    assert sorted(path.relative_to(run) for path in run.rglob("*")) == before


def test_the_best_checkpoint_is_the_default(run, tmp_path):
    assert main(["--workdir", str(run), "--json", str(tmp_path / "m.json")]) == 0
    (row,) = json.loads((tmp_path / "m.json").read_text())
    best = max(lines_of(run), key=lambda line: line["validation/sub/macro_f1"])
    assert row["step"] == best["step"]
    assert row["sub/macro_f1"] == pytest.approx(best["validation/sub/macro_f1"], abs=1e-6)


def test_other_data_by_the_same_fields(run, tmp_path):
    shop = tmp_path / "shop"
    write_shop(shop, products(9, [("Apparel", "Topwear")]) + [(str(i), "Apparel", "Spacesuits") for i in range(9, 12)])
    for i in range(12):
        write_image(shop / "images" / f"{i}.jpg", seed=i)
    data = ["--config.data.source=csv", f"--config.data.path={shop}"]
    assert main(["--workdir", str(run), *data, "--split=all", "--json", str(tmp_path / "m.json")]) == 0
    (row,) = json.loads((tmp_path / "m.json").read_text())
    assert (row["images"], row["main/known_labels"], row["sub/known_labels"]) == (12, 12, 9)


@pytest.mark.parametrize("place", ["Apparel/Topwear", "Topwear"])
def test_a_folder_of_classes(run, tmp_path, place):
    """By MAIN/SUB, and by CLASS: the run knows what stands under what."""
    for i in range(3):
        write_image(tmp_path / "shop" / place / f"{i}.jpg", seed=i)
        write_image(tmp_path / "shop" / Path(place).with_name("Spacesuits") / f"{i}.jpg", seed=i)
    data = ["--config.data.source=folder", f"--config.data.path={tmp_path / 'shop'}"]
    assert main(["--workdir", str(run), *data, "--split=all", "--json", str(tmp_path / "m.json")]) == 0
    (row,) = json.loads((tmp_path / "m.json").read_text())
    assert (row["images"], row["sub/known_labels"]) == (6, 3)
    assert row["main/known_labels"] == (6 if "/" in place else 3)


def test_a_reader_leaves_the_checkpoints_of_a_training_alone(run):
    unfinished = run / "checkpoints" / "30.orbax-checkpoint-tmp"
    unfinished.mkdir()
    Checkpoints(run / "checkpoints", keep=1, read_only=True).close()
    assert unfinished.exists() and len([p for p in (run / "checkpoints").iterdir() if p.name.isdigit()]) == 2
    unfinished.rmdir()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--workdir"),
        (["--workdir=nowhere"], "'nowhere'"),
        (["--workdir={run}", "--config.learning_rate=1"], "learning_rate"),
        (["--workdir={run}", "--config.data.sourse=csv"], "data.sourse"),
        (["--workdir={run}", "--split=nosuch"], "'nosuch'"),
        (["--workdir={run}", "--json=no/such/m.json"], "no/such/m.json"),
        (["--workdir={run}", "--config.data.source=csv", "--config.data.path=nofolder"], "nofolder"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, named, run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([argument.format(run=run) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and named in err
