"""The predict command: one row per input whatever it is, as the run itself predicts, in three formats."""

import csv
import json
import os
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fashion_jax.data.catalogue import catalogue_folder
from fashion_jax.predict import main
from tests.shop import write_image

COLUMNS = ["path", "main", "main_probability", "sub", "sub_probability", "error"]


def read(path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def predict(finished_run, tmp_path):
    """Predicts paths; returns the rows of the table."""

    def run(*paths, options=()) -> list[dict]:
        output = tmp_path / "predictions.csv"
        arguments = ["--workdir", str(finished_run), "--input", *map(str, paths), "--output", str(output), *options]
        assert main(arguments) == 0
        return read(output)

    return run


def test_the_run_s_own_predictions_again_for_any_batch_size(finished_run, catalogue_cache, predict):
    expected = pq.read_table(finished_run / "predictions" / "validation.parquet").to_pylist()
    folder = catalogue_folder(catalogue_cache, 200, 0) / "images"
    files = [folder / f"{row['id']}.jpg" for row in expected]
    for size in (16, 24):
        rows = predict(*files, options=[f"--batch-size={size}"])
        assert list(rows[0]) == COLUMNS and [row["path"] for row in rows] == list(map(str, files))
        for row, known in zip(rows, expected, strict=True):
            assert row["error"] == ""
            for level in ("main", "sub"):
                assert row[level] == known[f"{level}_predicted"]
                assert float(row[f"{level}_probability"]) == pytest.approx(
                    max(known[f"{level}_probabilities"]), abs=1e-5
                )


def write_odd(folder) -> dict[str, str]:
    """Good images and odd files in a folder: name below it -> what the error says, "" where there is none."""
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
        "huge.png": "damaged",  # a header of 65,536 × 65,536 pixels, and nothing else
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
    same = {row["path"].rsplit("/", 1)[1]: row["sub_probability"] for row in rows}
    assert same["1.jpg"] == pytest.approx(same["link.jpg"]) == same["UPPER.JPG"]


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
    assert (rows[0]["sub"], rows[0]["sub_probability"]) == (rows[4]["sub"], rows[4]["sub_probability"])


def test_only_bad_files_and_formulas(predict, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (row,) = predict("=cmd.jpg")
    assert row["path"] == "'=cmd.jpg" and row["error"] == "there is no such file"
    assert "0 predictions; 1 without" in capsys.readouterr().out


def test_three_formats_hold_the_same(finished_run, tmp_path):
    write_image(tmp_path / "1.jpg", seed=1)
    arguments = ["--workdir", str(finished_run), "--input", str(tmp_path / "1.jpg"), str(tmp_path / "2.jpg")]
    for suffix in ("csv", "jsonl", "parquet"):
        assert main([*arguments, "--output", str(tmp_path / f"p.{suffix}")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.to_pylist() == lines and table.column_names == COLUMNS
    assert [{k: "" if v is None else str(v) for k, v in line.items()} for line in lines] == read(tmp_path / "p.csv")
    assert lines[1]["sub"] is None and lines[1]["sub_probability"] is None and lines[0]["error"] == ""
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--input", "x", "--output", "p.csv"], "--workdir"),
        (["--workdir=nowhere", "--input", "x", "--output", "p.csv"], "'nowhere'"),
        (["--workdir={run}", "--output", "p.csv"], "--input"),
        (["--workdir={run}", "--input", "x"], "--output"),
        (["--workdir={run}", "--input", "x", "--output", "p.txt"], "'p.txt'"),
        (["--workdir={run}", "--input", "x", "--output", "no/such/p.csv"], "no/such/p.csv"),
        (["--workdir={run}", "--input", "x", "--output", "p.csv", "--batch-size=0"], "--batch-size"),
        (["--workdir={run}", "--input", "{empty}", "--output", "p.csv"], "{empty}"),
        (["--workdir={run}", "--input", "x", "--output", "p.csv", "--bogus"], "--bogus"),
    ],
)
def test_wrong_usage_is_one_sentence(finished_run, tmp_path, capsys, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"run": finished_run, "empty": tmp_path / "empty"}
    assert main([argument.format(**places) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert named.format(**places) in error and error.count("\n") == 1
