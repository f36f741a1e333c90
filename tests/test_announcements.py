"""The first and the last lines of a run."""

import shlex
from types import SimpleNamespace

import numpy as np
import pytest

from fashion_jax.data.dataset import Split
from fashion_jax.devices.mesh import create_mesh
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.training.announcements import device_text, first_rows, predict_line, score_rows


def split(count: int, files=None) -> Split:
    ids = [str(i) for i in range(count)]
    return Split(ids, files or [f"/photos/{i}.jpg" for i in ids], {"sub": np.zeros(count, np.int32)})


def test_the_first_rows_tell_devices_images_classes_steps_and_page():
    taxonomy = Taxonomy.from_paths(["main", "sub"], [("A", "x"), ("A", "y"), ("B", "z")])
    splits = {"train": split(1200), "validation": split(300), "test": split(7)}
    rows = "\n".join(first_rows(create_mesh(), splits, taxonomy, "3 epochs", "runs/x/report/index.html"))
    for fact in ("CPU", "GiB", "1,200 for training", "300 for validation", "7 for test", "2 main, 3 sub", "3 epochs"):
        assert fact in rows
    assert "runs/x/report/index.html" in rows and max(map(len, rows.splitlines())) <= 80


def test_the_memory_of_accelerators_is_told_where_they_tell_it():
    device = SimpleNamespace(platform="gpu", device_kind="NVIDIA H200", memory_stats=lambda: {"bytes_limit": 3 << 30})
    mesh = SimpleNamespace(devices=np.array([device, device]), local_devices=[device])
    assert device_text(mesh) == "2 × NVIDIA H200, 3.0 GiB of memory each"
    device.memory_stats = lambda: None
    assert device_text(mesh) == "2 × NVIDIA H200"


def test_the_scores_of_every_level_are_aligned_and_undefined_ones_are_dashes():
    line = {"validation/main/accuracy": 1.0, "validation/subCategory/accuracy": 0.5}
    line |= {"validation/main/auroc": float("nan"), "validation/main/loss": None}
    rows = list(score_rows(["main", "subCategory"], line))
    assert [row.split() for row in rows[1:]] == [
        ["main", "–", "100.00%", "–", "–"],
        ["subCategory", "–", "50.00%", "–", "–"],
    ]
    assert len(set(map(len, rows))) == 1


@pytest.mark.parametrize("workdir", ["runs/x", "runs/my run"])
def test_the_command_to_predict_can_be_typed(tmp_path, monkeypatch, workdir):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(predict_line(workdir, split(1, [str(tmp_path / "photos" / "0.jpg")])))
    assert words[1:] == [
        *("-m", "fashion_jax.predict", "--workdir", workdir, "--input", "photos/0.jpg", "--output", "predictions.csv")
    ]
