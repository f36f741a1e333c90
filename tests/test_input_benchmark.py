"""The benchmark of the input on tiny images: the files it writes, its counts and its output."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import input_pipeline as benchmark
from benchmarks.input_contenders import create_contender


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    benchmark.write_photographs(folder / "a", 70, (30, 40))
    return folder


def test_the_photographs_have_their_size_and_differ(photographs):
    images = [Image.open(photographs / "a" / f"{i}.jpg") for i in range(2)]
    assert {(image.format, image.size, image.mode) for image in images} == {("JPEG", (30, 40), "RGB")}
    assert np.asarray(images[0]).std() > 20
    assert (np.asarray(images[0]) != np.asarray(images[1])).any()


# Not PyTorch's DataLoader, which needs a process without TensorFlow: the benchmark gives it one.
@pytest.mark.parametrize(("name", "cache"), [("decoding", "none"), ("pipeline", "none"), ("pipeline", "host")])
def test_each_contender_goes_over_the_full_batches(photographs, name, cache):
    make_ready, epoch = create_contender(name, photographs, 16, cache)
    make_ready()
    assert [epoch(), epoch()] == [64, 64]


def test_the_contenders_are_measured_in_turns(photographs, monkeypatch, tmp_path, capsys):
    """A stand-in answers for each contender, at a known speed."""
    code = (
        "import json,sys\nfor _ in sys.stdin: print(json.dumps(dict(images=64,seconds=.5,peak_mib=9.6)),flush=True)\n"
    )
    (tmp_path / "stand_in.py").write_text(code)
    (tmp_path / "stand_in").write_text(f"#!/bin/sh\nexec {benchmark.sys.executable} {tmp_path / 'stand_in.py'}\n")
    (tmp_path / "stand_in").chmod(0o755)
    monkeypatch.setattr(benchmark.sys, "executable", str(tmp_path / "stand_in"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    path = tmp_path / "result.json"
    assert benchmark.main(["--images", str(photographs), "--rounds=2", "--json", str(path)]) == 0
    result = json.loads(path.read_text(encoding="utf-8"))
    rate = {"min": 128, "median": 128, "max": 128}
    assert result["images_per_second"] == {"decoding": rate, "pipeline": rate}
    assert result["peak_mib"] == {"decoding": 10, "pipeline": 10}
    said = capsys.readouterr().out
    assert "pipeline / decoding    1.00" in said
    assert "DataLoader is not measured" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size=0x4"], "--size is '0x4'"),
        (["--number=3"], "--number is 3"),
        (["--rounds=0"], "--rounds is 0"),
        (["--images=nowhere"], "'nowhere'"),
        (["--json", "no/such/folder/x.json"], "'no/such/folder/x.json'"),
        (["--fast"], "--fast"),
        (["--config.seed=1"], "There is no flag '--config.seed'"),
    ],
)
def test_wrong_usage_is_told_in_one_sentence(arguments, said, capsys):
    assert benchmark.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
