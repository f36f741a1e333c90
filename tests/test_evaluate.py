"""The evaluate command: a run's own metrics again, those of other data, and one sentence for every mistake."""

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fashion_jax.data.fingerprint import read_images
from fashion_jax.evaluate import main
from fashion_jax.report import evaluate_command, text_tables
from fashion_jax.scoring import pairing
from fashion_jax.scoring.assessment import compare
from fashion_jax.scoring.label_errors import COLUMNS
from fashion_jax.scoring.tree_decoding import decode
from fashion_jax.serving.exports.evaluated import EvaluatedExport
from fashion_jax.training.train import train_and_evaluate
from fashion_jax.workdir.environment import commit
from tests.pages import read_page
from tests.shop import products, write_image, write_shop
from tests.trees import MAIN_ALONE, PLAIN, SHOP, random_log_probs


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
    levels, more, decodes, sizes, undefined = out.split("\n\n")
    assert f"{row['sub/accuracy']:.2%}" in levels and len(levels.splitlines()) == 5
    best = max(lines_of(run), key=lambda line: line["validation/sub/macro_f1"])["step"]
    fitted = "on these images; the calibrated ECE is cross-fitted" if best == 20 else f"to step {best}."
    assert f"the temperatures were fitted {fitted}" in levels
    assert "head (>1,000)" in more and len(more.splitlines()) == 4
    assert len(decodes.splitlines()) == 5 and len(sizes.splitlines()) == 2
    assert undefined.startswith("– stands where nothing can be computed") and "nan" not in out
    assert sorted(path.relative_to(run) for path in run.rglob("*")) == before


def test_the_json_has_everything(run, tmp_path):
    assert main(["--workdir", str(run), "--json", str(tmp_path / "m.json")]) == 0
    text = (tmp_path / "m.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    (row,) = json.loads(text)
    assert row["measured_at"] == commit()
    written = json.loads((run / "calibration.json").read_text())
    for level, scores in row["assessment"]["levels"].items():
        assert scores["ece"] == pytest.approx(written["levels"][level]["ece_before"], abs=1e-6)
        assert scores["calibrated"]["ece"] == pytest.approx(written["levels"][level]["ece_cross_fitted"], abs=1e-6)
        assert scores["intervals"]["accuracy"][0] <= scores["accuracy"] <= scores["intervals"]["accuracy"][1]
        values = [line[f"validation/{level}/accuracy"] for line in lines_of(run)]
        assert row["variability"][level]["std/accuracy"] == pytest.approx(np.std(values[len(values) // 2 :]))
    decodes = row["assessment"]["decodes"]
    assert [decodes[how]["contradiction_rate"] for how in ("marginal", "conditional", "joint")] == [0, 0, 0]
    assert row["parameters"] == 145_883
    stem, block = 2 * 16 * 16 * 7 * 7 * 3 * 64, 2 * 2 * 8 * 8 * 9 * 64 * 64  # by the plain formulas
    assert stem + block / 2.25 < row["flops_per_image"] < 1.1 * (stem + block)  # Winograd needs fewer
    assert row["images_per_second"] is None and row["tests"] is None  # a batch of evaluation is larger than the split


def test_of_less_than_a_batch_no_speed_is_told():
    trained = SimpleNamespace(batch_size=lambda: 16)
    rates = [
        evaluate_command._Run(trained, None, range(count), {}, None, seconds=2.0).images_per_second
        for count in (1, 15, 16, 99)
    ]
    assert rates == [None, None, 8, 49.5]


@pytest.mark.parametrize("flag", ["--json", "--label-errors"])
def test_a_file_that_cannot_be_written_is_told_first(run, tmp_path, capsys, flag):
    assert main(["--workdir", str(run), flag, str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and f"{flag} is {str(tmp_path)!r}, which cannot be written" in captured.err


def test_data_that_has_changed_since_training_is_told(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    written = tmp_path / "run" / "calibration.json"
    written.write_text(written.read_text().replace('"ids_sha256": "', '"ids_sha256": "0'))
    others = "--config.data.splits={'train': 0.6, 'validation': 0.4}"
    cases = (([], True), (["--config.data.cache=none"], True), ([others], False), (["--split=all"], False))
    for flags, is_told in cases:
        assert main(["--workdir", str(tmp_path / "run"), *flags]) == 0
        assert ("the data has changed since" in capsys.readouterr().out) == is_told


def test_images_that_were_trained_on_are_counted(run, tmp_path, capsys):
    def said(*flags: str) -> str:
        assert main(["--workdir", str(tmp_path / "run"), *flags]) == 0
        return capsys.readouterr().out

    shutil.copytree(run, tmp_path / "run")
    assert "trained on" not in said()
    assert "160 of these 200 images were trained on: these scores do not say" in said("--split=all")
    listed = "--label-errors", str(tmp_path / "e.csv")
    found = re.search(r"(\d+) of these (\d+) images were", out := said("--config.data.folds=5", *listed))
    assert found and 0 < int(found[1]) < int(found[2]) and f"Note: {found[0]} trained on" in out
    other = write_same_names(run, tmp_path / "other")
    assert "trained on" not in said("--split=all", *other)
    (tmp_path / "run" / "images.parquet").unlink()
    assert "some of these images were trained on, so that" in said("--split=all") and "trained on" not in said()
    assert "trained on" not in said("--split=all", *other)


def test_labels_that_the_run_does_not_know_are_told(run, tmp_path, capsys):
    write_shop(tmp_path / "shop", products(30, [("Apparel", "Topwear"), ("Apparel", "Kimonos"), ("Toys", "Dolls")]))
    other = "--config.data.source=csv", f"--config.data.path={tmp_path / 'shop'}"
    assert main(["--workdir", str(run), "--split=all", *other]) == 0
    out = capsys.readouterr().out
    assert f"{run}: 10 images have labels that are no class of the run, such as 'Toys': at the level 'main' they" in out
    assert "10 images have labels that are no class of the run, such as 'Apparel/Kimonos'" in out


def test_temperatures_of_other_files_with_the_same_ids_are_not_fitted_again(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    ids = list(read_images(run / "images.parquet", 2).ids[160:])
    write_shop(tmp_path / "shop", [(name, "Apparel", "Topwear") for name in ids])
    assert main(["--workdir", str(tmp_path / "run")]) == 0
    assert "the temperatures were fitted on these images" in capsys.readouterr().out
    other = "--config.data.source=csv", f"--config.data.path={tmp_path / 'shop'}", "--split=all"
    for is_listed in (True, False):
        assert main(["--workdir", str(tmp_path / "run"), *other]) == 0
        assert ("fitted on these images" in capsys.readouterr().out) != is_listed
        (tmp_path / "run" / "images.parquet").unlink(missing_ok=True)  # as in a run of an early version


def write_same_names(run: Path, folder: Path) -> list[str]:
    """Writes images with ids of a run that are others; returns the overrides that name them."""
    ids = read_images(run / "images.parquet", 2).ids[:6]
    write_shop(folder, [(name, "Apparel", "Topwear") for name in ids])
    return ["--config.data.source=csv", f"--config.data.path={folder}"]


def test_an_export_is_told_by_the_name_of_the_split(tmp_path):
    (tmp_path / "export.json").touch()
    run = SimpleNamespace(trained=SimpleNamespace(workdir=tmp_path))
    overrides = [("data.path", "photos")]
    notes = [
        evaluate_command._trained_on(run, SimpleNamespace(split=x), overrides) for x in ("train", "all", "validation")
    ]
    assert notes[0] == notes[1] != notes[2] == ""
    assert notes[0].startswith("if some of these images were trained on, these scores do not say")


def test_what_is_wrong_with_any_run_is_told_before_one_predicts(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate_command, "_predicted", None)
    (tmp_path / "again").symlink_to(run)
    arguments = ["--workdir", str(run), "--workdir", str(tmp_path / "again"), "--label-errors", str(tmp_path / "e.csv")]
    assert main(arguments) == 2
    assert "images in common" in capsys.readouterr().err
    second = shutil.copytree(run, tmp_path / "second")
    (second / "calibration.json").write_text("{}")
    monkeypatch.setattr("fashion_jax.data.dataset.load_split", None)
    assert main(["--workdir", str(run), "--workdir", str(second)]) == 2
    assert str(second / "calibration.json") in capsys.readouterr().err


def test_runs_are_compared_with_the_first(run, tmp_path, capsys):
    (tmp_path / "again").symlink_to(run)
    arguments = ["--workdir", str(run), "--workdir", str(tmp_path / "again"), "--json", str(tmp_path / "m.json")]
    assert main(arguments) == 0
    first, second = json.loads((tmp_path / "m.json").read_text())
    interval = pytest.approx([-0.066, 0.066], abs=1e-3)
    same = {"only_a": 0, "only_b": 0, "difference": 0, "interval": interval, "p_value": 1}
    assert first["tests"] is None and second["tests"] == {"main": same, "sub": same, "path": same}
    assert f"against {run}" in capsys.readouterr().out


def test_label_errors_are_written_as_a_table(run, tmp_path):
    path = tmp_path / "errors.csv"
    assert main(["--workdir", str(run), "--label-errors", str(path)]) == 0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 80
    for level in ("main", "sub"):
        ranks = [int(row["rank"]) for row in rows if row["level"] == level]
        assert ranks == list(range(1, 41))
    assert all(row["given"] != row["suggested"] for row in rows)


@pytest.mark.long
def test_label_errors_of_all_folds_together(tiny_config, tmp_path):
    tiny_config.num_epochs, tiny_config.data.folds = 1, 2
    runs = []
    for fold in range(2):
        tiny_config.data.fold = fold
        runs += ["--workdir", str(tmp_path / f"fold{fold}")]
        train_and_evaluate(tiny_config, runs[-1])
    assert main([*runs, "--label-errors", str(tmp_path / "errors.csv")]) == 0
    with (tmp_path / "errors.csv").open(newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file) if row["level"] == "sub"]
    assert len(ids) == len(set(ids)) == 199  # all of the catalogue but the one image of a class


def test_the_best_checkpoint_is_the_default(run, tmp_path):
    assert main(["--workdir", str(run), "--json", str(tmp_path / "m.json")]) == 0
    (row,) = json.loads((tmp_path / "m.json").read_text())
    best = max(lines_of(run), key=lambda line: line["validation/sub/macro_f1"])
    assert row["step"] == best["step"]
    assert row["sub/macro_f1"] == pytest.approx(best["validation/sub/macro_f1"], abs=1e-6)


def test_other_data_by_the_same_fields(run, tmp_path, capsys):
    """No image has a known label at sub, and one is damaged."""
    shop = tmp_path / "shop"
    write_shop(shop, products(12, [("Apparel", "Spacesuits")]))
    for i in range(12):
        write_image(shop / "images" / f"{i}.jpg", seed=i)
    (shop / "images" / "11.jpg").write_bytes(b"no image")
    data = ["--config.data.source=csv", f"--config.data.path={shop}", "--config.data.max_bad_fraction=0.5"]
    assert main(["--workdir", str(run), *data, "--split=all", "--json", str(tmp_path / "m.json")]) == 0
    (row,) = json.loads((tmp_path / "m.json").read_text())
    assert (row["images"], row["main/known_labels"], row["sub/known_labels"]) == (11, 11, 0)
    ((left_out,),) = row["left_out"].values()
    assert left_out.startswith("11") and row["sub/accuracy"] is None
    out = capsys.readouterr().out
    assert "left out, all named by --json FILE: 1 because of" in out and f"such as {left_out}." in out
    assert "nan" not in out and out.count("– stands where nothing can be computed: for a level of which no image") == 1


@pytest.mark.parametrize("place", ["Apparel/Topwear", "Topwear"])
def test_a_folder_of_classes(run, tmp_path, place):
    """Folders are MAIN/SUB or CLASS: the run knows the parent of each class."""
    for i in range(3):
        write_image(tmp_path / "shop" / place / f"{i}.jpg", seed=i)
        write_image(tmp_path / "shop" / Path(place).with_name("Spacesuits") / f"{i}.jpg", seed=i)
    data = ["--config.data.source=folder", f"--config.data.path={tmp_path / 'shop'}"]
    assert main(["--workdir", str(run), *data, "--split=all", "--json", str(tmp_path / "m.json")]) == 0
    (row,) = json.loads((tmp_path / "m.json").read_text())
    assert (row["images"], row["sub/known_labels"]) == (6, 3)
    assert row["main/known_labels"] == (6 if "/" in place else 3)


def test_a_reader_leaves_the_checkpoints_of_a_training_alone(run, tmp_path):
    run = shutil.copytree(run, tmp_path / "run")
    (run / "checkpoints" / "30.orbax-checkpoint-tmp").mkdir()
    before = sorted(path.relative_to(run) for path in (run / "checkpoints").rglob("*"))
    for which in ("best", "latest"):
        assert main(["--workdir", str(run), f"--checkpoint={which}"]) == 0
    assert sorted(path.relative_to(run) for path in (run / "checkpoints").rglob("*")) == before


def test_the_page_of_a_run_shows_where_it_looked(run, tmp_path, capsys):
    report = tmp_path / "new" / "report"
    assert main(["--workdir", str(run), "--report", str(report)]) == 0
    page = read_page(report / "index.html")
    assert f"Report: {report / 'index.html'}" in capsys.readouterr().out
    assert "Of 40 validation images" in page.text and f"--report {report}" in page.text
    assert "cross-fitted" in page.text
    assert any(a.get("class") == "heat" for a in page.of("img"))
    assert {"classes_sub.csv", "confusion_main.png", "label_errors.csv"} <= {path.name for path in report.iterdir()}


def test_several_runs_make_one_page_of_the_tests_that_are_printed(run, tmp_path, monkeypatch):
    tested = []
    monkeypatch.setattr(pairing, "compare", lambda *pair: tested.append(pair) or compare(*pair))
    (tmp_path / "again").symlink_to(run)
    report = tmp_path / "report"
    assert main(["--workdir", str(run), "--workdir", str(tmp_path / "again"), "--report", str(report)]) == 0
    page = read_page(report / "index.html")
    assert "2 runs" in page.text and page.text.count("not significant") == 3 and len(tested) == 1
    assert [path.name for path in report.iterdir()] == ["index.html"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--workdir"),
        (["--workdir=nowhere"], "'nowhere'"),
        (["--workdir={run}", "--config.learning_rate=1"], "learning_rate"),
        (["--workdir={run}", "--config.data.sourse=csv"], "data.sourse"),
        (["--workdir={run}", "--split=nosuch"], "'nosuch'"),
        (["--workdir={run}", "--split=val"], "did you mean --split validation?"),
        (["--workdir={run}", "--json=no/such/m.json"], "no/such/m.json"),
        (["--workdir={run}", "--report={run}/config.json"], "config.json"),
        (["--workdir={run}", "--shots", "5", "6"], "--shots"),
        (["--workdir={run}", "--label-errors=no/such/e.csv"], "no/such/e.csv"),
        (["--workdir={run}", "--config.data.source=csv", "--config.data.path=nofolder"], "nofolder"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, named, run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([argument.format(run=run) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and named in err


def test_the_best_checkpoint_is_calibrated_on_these_images(run, capsys):
    assert main(["--workdir", str(run)]) == 0
    assert "cross-fitted" in capsys.readouterr().out
    assert main(["--workdir", str(run), "--config.eval_flip=true"]) == 0
    out = capsys.readouterr().out
    assert "eval_flip" in out and "cross-fitted" not in out
    assert main(["--workdir", str(run), "--config.eval_flip=false"]) == 0  # the run's own value
    out = capsys.readouterr().out
    assert "eval_flip" not in out and "cross-fitted" in out


def measured(ids, taxonomy=PLAIN):
    """A run of evaluate's that was measured on images of these ids."""
    log_probs = random_log_probs(taxonomy, len(ids), 0)
    labels = {level: x.argmax(1) for level, x in log_probs.items()}
    split = SimpleNamespace(ids=ids, labels=labels, content_digests=None)
    trained = SimpleNamespace(taxonomy=taxonomy)
    return SimpleNamespace(trained=trained, split=split, calibrated=log_probs)


def test_runs_on_other_images_or_classes_are_told():
    first = measured(["a", "b", "c"])
    runs = [first, measured(["x"]), measured(["b"], SHOP), measured(["c", "x"])]
    for level, labels in runs[3].split.labels.items():
        labels[0] = first.split.labels[level][2]
    compared = [evaluate_command.compare_with(first, run) for run in runs]
    text = text_tables.difference_table(
        [
            SimpleNamespace(workdir=f"run{i}", images=len(run.split.ids), comparison=comparison)
            for i, (run, comparison) in enumerate(zip(runs, compared, strict=True))
        ]
    )
    assert "run1 has no image in common with the first run: not tested." in text
    assert "run2 has other classes" in text and "run3: tested on the 1 images that both have." in text
    assert compared[3].tested_images == 1 and set(compared[3].tests) == {"main", "sub", "path"}


def test_an_export_is_compared_after_the_levels_of_both_agree():
    """A true copy of a run differs from it at no level, however often the run's heads contradict each other."""
    run = measured([str(i) for i in range(200)], SHOP)
    run.split.labels.update(run_labels := {level: x.argmax(1) for level, x in random_log_probs(SHOP, 200, 1).items()})
    agreeing = decode(run.calibrated, SHOP, "conditional")
    engine = SimpleNamespace(taxonomy=SHOP, export=SimpleNamespace(decode="conditional"))
    split = SimpleNamespace(ids=run.split.ids, labels=run_labels, content_digests=None)
    export = SimpleNamespace(trained=EvaluatedExport(Path("export"), engine), split=split, calibrated=agreeing)
    for pair in ((run, export), (export, run)):
        compared = evaluate_command.compare_with(*pair)
        assert {(test["only_a"], test["only_b"]) for test in compared.tests.values()} == {(0, 0)}
        assert compared.decode == "conditional" and set(compared.tests) == {*SHOP.levels, "path"}
    contradicting = {level: x.argmax(1) for level, x in run.calibrated.items()}
    assert any((contradicting[level] != agreeing[level].argmax(1)).any() for level in SHOP.levels)


def test_runs_are_tested_at_the_levels_that_both_have():
    both, alone = measured(["a", "b", "c"]), measured(["a", "b", "c"], MAIN_ALONE)
    alone.calibrated["main"] = both.calibrated["main"]
    for pair in ((both, alone), (alone, both)):
        tests = evaluate_command.compare_with(*pair).tests
        assert set(tests) == {"main"} and tests["main"]["p_value"] == 1
