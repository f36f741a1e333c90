"""The predict command: one row per input whatever it is, as the run itself predicts, in three formats."""

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fashion_jax.data.catalogue.generator import catalogue_folder
from fashion_jax.predict import main
from fashion_jax.scoring.calibration import Abstention
from fashion_jax.scoring.decider import Decider
from fashion_jax.scoring.tree_decoding import tree_costs
from fashion_jax.workdir.calibration_file import read_calibration
from fashion_jax.workdir.files import read_taxonomy
from fashion_jax.workdir.predictions import read_predictions
from tests.shop import write_image
from tests.table_rows import read

COLUMNS = ["path", "main", "main_name", "main_probability", "sub", "sub_name", "sub_probability", "error"]


@pytest.fixture
def predict(finished_run, tmp_path):
    """Predicts paths; returns the rows of the table."""

    def run(*paths, options=()) -> list[dict]:
        output = tmp_path / "predictions.csv"
        arguments = ["--workdir", str(finished_run), "--input", *map(str, paths), "--output", str(output), *options]
        assert main(arguments) == 0
        return read(output)

    return run


def decided(run, **options):
    """Returns the decisions on the run's validation split by its own predictions, the image files, and the taxonomy."""
    taxonomy = read_taxonomy(run)
    path = run / "predictions" / "validation.parquet"
    decider = Decider(taxonomy, read_calibration(run, taxonomy).temperatures, **{"how": "conditional"} | options)
    return decider.decide(read_predictions(path, taxonomy)[0]), pq.read_table(path)["id"].to_pylist(), taxonomy


@pytest.fixture
def validation_files(finished_run, catalogue_cache):
    folder = catalogue_folder(catalogue_cache, 200, 0) / "images"
    return [folder / f"{name}.jpg" for name in decided(finished_run)[1]]


def check_rows(rows, decisions, taxonomy) -> None:
    for level in taxonomy.levels:
        names = [taxonomy.classes[level][k] if k >= 0 else "" for k in decisions.classes[level]]
        assert [row[level] for row in rows] == names
        assert [row[f"{level}_name"] for row in rows] == [name.rpartition("/")[2] for name in names]
        for row, probability in zip(rows, decisions.probabilities[level], strict=True):
            value = row[f"{level}_probability"]
            assert float(value) == pytest.approx(probability, abs=1e-4) if row[level] else value == ""


def test_the_run_s_own_predictions_again_for_any_batch_size(finished_run, validation_files, predict, capsys):
    decisions, _, taxonomy = decided(finished_run)
    for size in (16, 24):
        rows = predict(*validation_files, options=[f"--batch-size={size}"])
        assert list(rows[0]) == COLUMNS and [row["path"] for row in rows] == list(map(str, validation_files))
        assert {row["error"] for row in rows} == {""}
        check_rows(rows, decisions, taxonomy)
    out, err = capsys.readouterr()
    assert (
        f"Decode: conditional. Each level by itself would contradict another on {decisions.contradicts.mean():.2%}"
        in out
    )
    assert err == ""


def test_the_speed_is_that_after_the_first_batch(validation_files, predict, capsys):
    predict(*validation_files, options=["--batch-size=16"])
    assert " images/s." in capsys.readouterr().out
    predict(validation_files[0], options=["--batch-size=16"])
    out = capsys.readouterr().out
    assert "1 prediction. " in out and "images/s" not in out and " s." in out


@pytest.mark.parametrize("bad", [[2], [0, 1, 2, 3, 4, 5, 6, 7, 20], range(8, 24), [7, 16, 31, 39]])
def test_a_broken_file_moves_no_other_s_prediction(validation_files, predict, tmp_path, bad):
    """Broken files lie in any batch, or fill a whole one; there are 8 images per batch."""
    expected = predict(*validation_files)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    files = [broken if i in bad else file for i, file in enumerate(validation_files)]
    rows = predict(*files, options=["--batch-size=8"])
    assert [i for i, row in enumerate(rows) if row["error"]] == [*bad]
    for row, right in zip(rows, expected, strict=True):
        for level in () if row["error"] else ("main", "sub"):
            probability = pytest.approx(float(right[f"{level}_probability"]), abs=1e-4)
            assert (row[level], float(row[f"{level}_probability"])) == (right[level], probability)


@pytest.mark.parametrize("how", ["independent", "marginal", "joint"])
def test_other_decodes(finished_run, validation_files, predict, how):
    decisions, _, taxonomy = decided(finished_run, how=how)
    rows = predict(*validation_files, options=["--decode", how])
    check_rows(rows, decisions, taxonomy)
    contradictions = sum(not row["sub"].startswith(row["main"] + "/") for row in rows) / len(rows)
    assert contradictions == (pytest.approx(decisions.contradicts.mean()) if how == "independent" else 0)


def test_costs_change_the_choice(finished_run, validation_files, predict, tmp_path):
    decisions, _, taxonomy = decided(finished_run, costs=tree_costs(read_taxonomy(finished_run)))
    check_rows(predict(*validation_files, options=["--costs", "tree"]), decisions, taxonomy)
    names = taxonomy.classes["sub"]
    lines = [f"{true},{guess},{9 * (guess != names[3])}" for true in names for guess in names]
    (tmp_path / "costs.csv").write_text("\n".join(["true,predicted,cost", *lines]))
    rows = predict(*validation_files, options=["--costs", str(tmp_path / "costs.csv")])
    assert {row["sub"] for row in rows} == {names[3]}


def test_a_job_knows_its_costs_in_any_format(finished_run, validation_files, tmp_path, capsys):
    leaf = read_taxonomy(finished_run).classes["sub"]
    rows = f"true,predicted,cost\n{leaf[0]},{leaf[1]},50\n"
    (tmp_path / "c.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "utf16.csv").write_text(rows, encoding="utf-16")
    pq.write_table(pa.table({"true": [leaf[0]], "predicted": [leaf[1]], "cost": [50.0]}), tmp_path / "c.parquet")
    arguments = ["--workdir", str(finished_run), "--input", str(validation_files[0])]
    for number, name in enumerate(("c.csv", "utf16.csv", "c.parquet")):
        job = [*arguments, "--output", f"{tmp_path}/{number}/", "--costs"]
        assert main([*job, str(tmp_path / name)]) == main([*job, str(tmp_path / name)]) == 0
        assert main([*job, "tree"]) == 2 and "not tree" in capsys.readouterr().err
    assert json.loads((tmp_path / "0" / "_job.json").read_text())["costs"] == rows, "as in jobs of earlier versions"


def test_answers_stop_at_the_deepest_sure_class(finished_run, validation_files, predict, capsys):
    bound = 0.3
    abstention = Abstention({"main": bound, "sub": bound})
    decisions, _, taxonomy = decided(finished_run, abstention=abstention)
    rows = predict(*validation_files, options=[f"--min-probability={bound}"])
    assert list(rows[0]) == [*COLUMNS[:-1], "answer", "error"]
    check_rows(rows, decisions, taxonomy)
    answers = [row["answer"] for row in rows]
    assert answers == decisions.answers and all(row["answer"] in (row["sub"], row["main"], "unsure") for row in rows)
    counts = [sum(answer in taxonomy.classes[level] for answer in answers) for level in ("sub", "main")]
    at_sub, at_main, unsure = *counts, answers.count("unsure")
    assert min(at_sub, at_main) > 0
    out = capsys.readouterr().out
    assert f"{at_sub} at sub (probability at least 0.3), {at_main} at main" in out
    assert f"{unsure} not at all (unsure)" in out
    unsure_rows = predict(*validation_files, options=["--min-probability=1"])
    assert {row.pop("answer") for row in unsure_rows} == {"unsure"}
    assert unsure_rows == predict(*validation_files), "the levels keep the best guess"


def test_a_wanted_precision_holds_on_validation(finished_run, validation_files, predict):
    _, ids, taxonomy = decided(finished_run)
    labels = pq.read_table(finished_run / "predictions" / "validation.parquet").to_pylist()
    rows, answered = predict(*validation_files, options=["--precision=0.6"]), 0
    for level in taxonomy.levels:
        pairs = [(row, known[f"{level}_true"]) for row, known in zip(rows, labels, strict=True)]
        right = [row["answer"] == true for row, true in pairs if row["answer"] in taxonomy.classes[level]]
        assert not right or np.mean(right) >= 0.6
        answered += len(right)
    assert answered > 0 and len(rows) == len(ids)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--costs=costs.csv", "'Nothing' in the column true"),
        ("--precision=0.9", "validation.parquet, which is missing"),
    ],
)
def test_what_a_model_cannot_give_is_told_before_inputs_are_listed(
    finished_run, tmp_path, monkeypatch, capsys, option, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fashion_jax.serving.predict_command.Inputs", None)
    shutil.copytree(finished_run, "run")
    Path("run/predictions/validation.parquet").unlink()
    Path("costs.csv").write_text("true,predicted,cost\nNothing,Nothing,1\n")
    assert main(["--workdir=run", "--input=.", "--output=p.csv", option]) == 2
    assert said in capsys.readouterr().err


def test_a_run_without_calibration_says_so(finished_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "calibration.json").unlink()
    write_image(tmp_path / "1.jpg", seed=1)
    arguments = ["--workdir", str(run), "--input", str(tmp_path / "1.jpg"), "--output", str(tmp_path / "p.csv")]
    assert main(arguments) == 0
    assert "has no calibration.json" in capsys.readouterr().err
    assert main([*arguments, "--checkpoint=latest", "--precision=0.9"]) == 2
    assert "from predictions of the best checkpoint, but checkpoint is 'latest'" in capsys.readouterr().err
    shutil.copy(finished_run / "calibration.json", run)
    assert main([*arguments, "--config.eval_flip=true"]) == 0
    assert "fitted to predictions with another value of eval_flip, so" in capsys.readouterr().err
    (run / "calibration.json").write_text("{}")
    assert main(arguments) == 2 and "calibration.json cannot be read" in capsys.readouterr().err


def write_odd(folder) -> dict[str, str]:
    """Writes good images and odd files to a folder; returns name -> the expected error, "" if there is none."""
    folder.mkdir()
    for i in range(3):
        write_image(folder / f"{i}.jpg", seed=i)
    whole = (folder / "0.jpg").read_bytes()
    (folder / "deep" / "deeper").mkdir(parents=True)
    os.link(folder / "1.jpg", folder / "deep" / "deeper" / "UPPER.JPG")
    os.symlink("1.jpg", folder / "link.jpg")
    os.symlink(folder, folder / "deep" / "circle")
    os.symlink("nothing", folder / "broken.jpg")
    os.link(folder / "2.jpg", folder / "=1+1.jpg")
    os.link(folder / "2.jpg", os.fsencode(folder) + b"/\xff.jpg")
    os.link(folder / "2.jpg", folder / "no_suffix")
    Image.fromarray(np.zeros((5, 400, 4), np.uint8)).save(folder / "alpha.png")
    Image.new("L", (1, 1)).save(folder / "pixel.gif")
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\2\0\0\0")
    os.mkfifo(folder / "pipe.jpg")
    os.symlink("deeper", folder / "deep" / "again")
    for hidden in (".DS_Store", ".hidden.jpg", "THUMBS.DB"):
        (folder / hidden).write_bytes(b"x")
    return {
        **dict.fromkeys(["0.jpg", "1.jpg", "2.jpg", "deep/deeper/UPPER.JPG", "link.jpg", "=1+1.jpg"], ""),
        **dict.fromkeys(["\\udcff.jpg", "no_suffix", "alpha.png", "pixel.gif"], ""),
        "broken.jpg": "there is no such file",
        "cut.jpg": "damaged",
        "empty.jpg": "is empty",
        "notes.txt": "no image of the kinds JPEG",
        "huge.png": "4,294,967,296 pixels",  # a header of 65,536 × 65,536 pixels, and nothing else
        "pipe.jpg": "no regular file",
    }


def check_odd(rows: list[dict], expected: dict[str, str], prefix: str) -> None:
    errors = {row["path"].removeprefix(prefix): row["error"] for row in rows}
    assert errors.keys() == expected.keys() and len(rows) == len(expected)
    for name, words in expected.items():
        assert words in errors[name] and bool(words) == bool(errors[name])
    for row in rows:
        assert bool(row["sub"]) == bool(row["sub_probability"]) == (not row["error"])


def test_every_file_of_a_folder_has_a_row(predict, tmp_path):
    expected = write_odd(tmp_path / "odd")
    rows = predict(tmp_path / "odd")
    check_odd(rows, expected, f"{tmp_path}/odd/")
    check_odd(predict(tmp_path / "odd", options=["--batch-size=8"]), expected, f"{tmp_path}/odd/")
    same = {row["path"].rsplit("/", 1)[1]: float(row["sub_probability"] or "nan") for row in rows}
    assert same["1.jpg"] == pytest.approx(same["link.jpg"], rel=1e-5)
    assert same["1.jpg"] == pytest.approx(same["UPPER.JPG"], rel=1e-5)


def test_a_zip_and_what_is_not_there(predict, tmp_path):
    write_image(tmp_path / "1.jpg", seed=1)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(tmp_path / "1.jpg", "top/1.jpg")
        file.writestr("top/2.jpg", b"no image")
    (tmp_path / "bad.zip").write_text("no zip")
    rows = predict(tmp_path / "a.zip", tmp_path / "bad.zip", tmp_path / "none.jpg", tmp_path / "1.jpg")
    paths = [f"{tmp_path}/{name}" for name in ("a.zip/top/1.jpg", "a.zip/top/2.jpg", "bad.zip", "none.jpg", "1.jpg")]
    assert [row["path"] for row in rows] == paths
    assert [bool(row["error"]) for row in rows] == [False, True, True, True, False]
    assert rows[0]["sub"] == rows[4]["sub"]
    # the place in the batch may change the last bits
    assert float(rows[0]["sub_probability"]) == pytest.approx(float(rows[4]["sub_probability"]), rel=1e-5)


def test_a_table_without_any_prediction_is_told(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "=cmd.jpg").touch()
    arguments = ["--workdir", str(finished_run), "--output", "p.csv", "--input", "=cmd.jpg"]
    assert main(arguments) == 2
    (row,) = read(tmp_path / "p.csv")
    assert row["path"] == "'=cmd.jpg" and row["error"] == "the file is empty"
    assert main([*arguments, "none.jpg"]) == 2
    assert [row["error"] for row in read(tmp_path / "p.csv")] == ["the file is empty", "there is no such file"]
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 2 and err.count("=cmd.jpg is no image that can be predicted") == 2
    assert "the other file" in err and "p.csv has a row for each file" in err


def test_three_formats_hold_the_same(finished_run, tmp_path):
    write_image(tmp_path / "1.jpg", seed=1)
    arguments = ["--workdir", str(finished_run), "--input", str(tmp_path / "1.jpg"), str(tmp_path / "2.jpg")]
    for suffix in ("csv", "jsonl", "parquet"):
        assert main([*arguments, "--output", str(tmp_path / f"p.{suffix}")]) == 0
    (tmp_path / "link.csv").symlink_to("3f9a")
    assert main([*arguments, "--output", str(tmp_path / "link.csv")]) == 0
    assert (tmp_path / "3f9a").read_bytes() == (tmp_path / "p.csv").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.to_pylist() == lines and table.column_names == COLUMNS
    assert [{k: "" if v is None else str(v) for k, v in line.items()} for line in lines] == read(tmp_path / "p.csv")
    assert lines[1]["sub"] is None and lines[1]["sub_probability"] is None and lines[0]["error"] == ""
    assert not list(tmp_path.glob(".*"))


def test_a_table_and_paths_on_standard_input(validation_files, predict, tmp_path, monkeypatch):
    files = validation_files[:5]
    (tmp_path / "t.csv").write_text("\n".join(["name,photo", *(f"a,{file}" for file in files)]))
    rows = predict(tmp_path / "t.csv", options=["--column", "photo"])
    assert rows == predict(tmp_path / "t.csv") and [row["path"] for row in rows] == list(map(str, files))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\0".join(map(str, files)).encode())))
    assert predict("-") == rows
    source, sink = os.pipe()
    os.write(sink, "\n".join(map(str, files)).encode())
    os.close(sink)
    with open(source, encoding="utf-8") as piped:
        monkeypatch.setattr("sys.stdin", piped)
        assert predict("-") == rows


def test_a_pipe_without_paths_leaves_no_table(finished_run, tmp_path, monkeypatch, capsys):
    source, sink = os.pipe()
    os.close(sink)
    with open(source, encoding="utf-8") as piped:
        monkeypatch.setattr("sys.stdin", piped)
        assert main(["--workdir", str(finished_run), "--input", "-", "--output", str(tmp_path / "p.csv")]) == 2
    assert "--input is -, where there are no files" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_lists_of_classes_probabilities_and_features(finished_run, validation_files, tmp_path):
    (tmp_path / "broken.jpg").touch()
    paths = [*map(str, validation_files[:3]), str(tmp_path / "broken.jpg")]
    arguments = ["--workdir", str(finished_run), "--input", *paths, "--top-k=2", "--batch-size=16", "--output"]
    for name in ("p.parquet", "p.jsonl"):
        assert main([*arguments, str(tmp_path / name), "--all-probabilities", "--embeddings"]) == 0
    assert main([*arguments, str(tmp_path / "p.csv")]) == 0
    table = pq.read_table(tmp_path / "p.parquet")
    rows, flat = table.to_pylist(), read(tmp_path / "p.csv")
    assert rows == [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    classes = json.loads(table.schema.metadata[b"fashion_jax.classes"])
    features = {len(row["embedding"]) for row in rows[:3]}
    assert len(features) == 1 and features.pop() > 8
    for row, cells in zip(rows[:3], flat, strict=False):
        for level, names in classes.items():
            probabilities = row[f"{level}_probabilities"]
            assert sum(probabilities) == pytest.approx(1, abs=1e-5) and len(probabilities) == len(names)
            likeliest = sorted(probabilities, reverse=True)[:2]
            assert row[f"{level}_top_probabilities"] == pytest.approx(likeliest)
            assert [probabilities[names.index(name)] for name in row[f"{level}_top"]] == likeliest
            assert [cells[f"{level}_top_{i}"] for i in (1, 2)] == row[f"{level}_top"]
            assert row[level] == row[f"{level}_top"][0] and float(cells[f"{level}_top_1_probability"]) > 0
    empty = {name: value for name, value in rows[3].items() if name not in ("path", "error")}
    assert set(empty.values()) == {None} and rows[3]["error"] and flat[3]["sub_top_2"] == ""


def test_a_folder_of_parts(finished_run, validation_files, predict, tmp_path, capsys):
    arguments = ["--workdir", str(finished_run), "--input", *map(str, validation_files), "--batch-size=16"]
    folder = f"{tmp_path}/new/parts/"
    assert main([*arguments, "--output", folder, "--part-size=12", "--shard=2/2"]) == 0
    assert "16 of 40 rows in 4 parts" in (out := capsys.readouterr().out) and "--shard 1/2" in out
    assert main([*arguments, "--output", folder, "--shard=1/2"]) == 0
    assert f"{Path(folder)} is complete: 40 rows in 4 parts" in capsys.readouterr().out
    rows = pq.read_table(folder).to_pylist()
    expected = predict(*validation_files, options=["--batch-size=16"])
    for row, right in zip(rows, expected, strict=True):
        assert (row["path"], row["sub"]) == (right["path"], right["sub"])
        assert row["sub_probability"] == pytest.approx(float(right["sub_probability"]), rel=1e-4)
    assert main([*arguments, "--output", folder]) == 0
    assert "complete" in capsys.readouterr().out
    names = ["_job.json", *(f"part-00000{i}.parquet" for i in range(4))]
    assert sorted(path.name for path in Path(folder).iterdir()) == names
    for option, words in (
        ("--decode=joint", "decode conditional, not joint"),
        ("--config.eval_flip=true", "fields {}, not"),
    ):
        assert main([*arguments, "--output", folder, option]) == 2
        assert words in capsys.readouterr().err


def test_a_job_may_lie_inside_of_its_inputs(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "1.jpg", seed=1)
    for _ in range(2):
        assert main(["--workdir", str(finished_run), "--input", ".", "--output", "out/"]) == 0
    assert "out is complete: 1 row in 1 part" in capsys.readouterr().out


def test_a_job_is_judged_by_all_of_its_parts(finished_run, validation_files, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("no image")
    arguments = ["--workdir", str(finished_run), "--part-size=1", "--input", str(tmp_path / "a.txt")]
    photo, job = str(validation_files[0]), f"{tmp_path}/job/"
    assert main([*arguments, photo, "--output", job, "--shard=2/2"]) == 0
    assert main([*arguments, photo, "--output", job]) == 0
    out = capsys.readouterr().out
    assert "1 file has no prediction, such as" in out and "is complete: 2 rows in 2 parts" in out
    assert main([*arguments, photo, "--output", job]) == 0
    assert f"1 row has no prediction; the first is that of {tmp_path / 'a.txt'} (" in capsys.readouterr().out
    job, other = f"{tmp_path}/none/", str(tmp_path / "b.txt")
    assert main([*arguments, other, "--output", job, "--shard=1/2"]) == 0, "others may have predictions"
    assert main([*arguments, other, "--output", job]) == main([*arguments, other, "--output", job]) == 2
    assert capsys.readouterr().err.count("nor is the other file") == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--workdir={run}", "--input=x", "--output=p.csv", "--shard=1/2"], "--shard"),
        (["--workdir={run}", "--input=x", "--output=p/", "--shard=0/2"], "1/2"),
        (["--workdir={run}", "--input=x", "--output=p/", "--shard=3/2"], "'3/2'"),
        (["--workdir={run}", "--input=x", "--output=p/", "--part-size=0"], "--part-size"),
        (["--workdir={run}", "--input=x", "--output=p/", "--explain=e"], "--explain"),
        (["--workdir={run}", "--input=x", "--output=p.csv", "--part-size=5"], "--part-size"),
        (["--workdir={run}", "--input=x", "--output=p.csv", "--embeddings"], ".parquet, .jsonl"),
        (["--workdir={run}", "--input=x", "--output=p.csv", "--all-probabilities"], ".parquet, .jsonl"),
        (["--workdir={run}", "--input=x", "--output=p.csv", "--top-k=0"], "--top-k"),
        (["--workdir={run}", "--input={run}", "--output=p.csv", "--column=image"], "--column"),
        (["--workdir={run}", "--input={run}", "--output={run}"], "other files"),
        (["--workdir={run}", "--input", "no*.jpg", "--output=p/"], "no*.jpg"),
        (["--input", "x", "--output", "p.csv"], "--workdir"),
        (["--workdir=nowhere", "--input", "x", "--output", "p.csv"], "'nowhere'"),
        (["--workdir={run}", "--output", "p.csv"], "--input"),
        (["--workdir={run}", "--input", "x"], "--output"),
        (["--workdir={run}", "--input", "x", "--output", "p.txt"], "'p.txt'"),
        (["--workdir={run}", "--input", "x", "--output", "no/such/p.csv"], "no/such/p.csv"),
        (["--workdir={run}", "--input", "x", "--output", "p.csv", "--batch-size=0"], "--batch-size"),
        (["--workdir={run}", "--input", "{empty}", "--output", "p.csv"], "{empty}"),
        (["--workdir={run}", "--input", "photo.jpg", "none.jpg", "--output", "p.csv"], "photo.jpg none.jpg, where"),
        (["--workdir={run}", "--input", "x", "--output", "p.csv", "--bogus"], "--bogus"),
        (["--workdir={run}", "--input", "x", "--output", "p.csv", "--decode=best"], "--decode"),
        (["--workdir={run}", "--input", "x", "--output", "p.csv", "--precision=0"], "precision is 0"),
        (["--workdir={run}", "--input", "x", "--output", "p.csv", "--min-probability=1.5"], "min_probability is 1.5"),
        (["--workdir={run}", "--input=x", "--output=p.csv", "--precision=1", "--min-probability=1"], "one of them"),
        (
            ["--workdir={run}", "--input={run}", "--output=p.csv", "--precision=1", "--config.eval_flip=true"],
            "with another eval_flip",
        ),
        (["--workdir={run}", "--input=x", "--output=p.csv", "--decode=independent", "--costs=tree"], "costs needs"),
        (["--workdir={run}", "--input", "{run}/config.json", "--output=p.csv", "--costs=none.csv"], "none.csv"),
    ],
)
def test_wrong_usage_is_one_sentence(finished_run, tmp_path, capsys, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"run": finished_run, "empty": tmp_path / "empty"}
    assert main([argument.format(**places) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert named.format(**places) in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
