"""metrics.jsonl: lines are appended, read again, cut off after the last step, and damage is named; the events."""

import json
import math

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from fashion_jax.errors import UserError
from fashion_jax.workdir.metrics_file import EventWriter, MetricsFile, read_lines


def write_lines(path, *steps: int, end: str = "") -> None:
    path.write_text("".join(json.dumps({"step": step, "loss": 0.1}) + "\n" for step in steps) + end)


def steps(path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_are_appended_and_read_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, [])
    for step in (10, 20):
        file.append({"step": step, "loss": 0.1 + 0.2, "timing": {"seconds": 1.5}})
    assert path.read_text().count("\n") == 2
    assert read_lines(path) == file.lines
    assert file.lines[1] == {"step": 20, "loss": 0.1 + 0.2, "timing": {"seconds": 1.5}}


def test_values_that_are_not_finite_are_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, []).append({"step": 1, "a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.0})
    assert path.read_text() == '{"step": 1, "a": null, "b": null, "c": null, "d": 0.0}\n'


@pytest.mark.parametrize("end", ['{"step": 30, "lo', '{"step": 30, "loss": 0.1}', '{"step": 30, "gr\u00f6'])
def test_a_half_written_last_line_is_cut_off(tmp_path, end):
    path = tmp_path / "metrics.jsonl"
    write_lines(path, 10, 20, end=end)
    path.write_bytes(path.read_bytes()[: -1 if "\u00f6" in end else None])  # within a character
    file = MetricsFile(path, read_lines(path))
    assert steps(path) == [line["step"] for line in file.lines] == [10, 20]
    file.append({"step": 30})
    assert steps(path) == [10, 20, 30]


def test_lines_after_the_last_step_are_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_lines(path, 10, 20, 30)
    assert [line["step"] for line in read_lines(path)] == steps(path) == [10, 20, 30]
    file = MetricsFile(path, read_lines(path, 20))
    assert [line["step"] for line in file.lines] == steps(path) == [10, 20]
    file.cut_after(10)
    assert [line["step"] for line in file.lines] == steps(path) == [10]
    assert MetricsFile(path, read_lines(path, 0)).lines == [] and path.read_text() == ""


def test_a_file_that_is_right_is_not_touched(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_lines(path, 10, 20)
    before = path.stat()
    MetricsFile(path, read_lines(path, 20)).cut_after(20)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_only_one_process_writes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_lines(path, 10, 20, end="{")
    before = path.read_bytes()
    file = MetricsFile(path, read_lines(path, 10), writes=False)
    file.append({"step": 20, "loss": math.nan})
    assert file.lines == [{"step": 10, "loss": 0.1}, {"step": 20, "loss": None}]
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", ["", "{", "3", "{}", '{"step": null}'])
def test_a_damaged_line_before_the_last_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    write_lines(path, 10, end=line + "\n")
    with pytest.raises(UserError, match=r"Line 2 of .*metrics\.jsonl is damaged"):
        read_lines(path)


def events_of(workdir, split: str) -> EventAccumulator:
    return EventAccumulator(str(workdir / "tensorboard" / split)).Reload()


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    """Returns the steps and values of a scalar, which TensorFlow 2 writes as a tensor."""
    found = ((event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors(tag))
    return [(step, pytest.approx(value)) for step, value in sorted(found)]  # files are read in the order of their names


def test_both_splits_are_on_one_chart_which_a_resumed_run_continues(tmp_path):
    for step in (10, 20):
        line = {"epoch": step // 10, "step": step, "learning_rate": 0.1, "timing": {"train_seconds": 2.0}}
        line |= {"train/loss": 3.0, "train/sub/accuracy": 0.5, "train/sub/auroc_tied_mass": 0.01}
        line |= {"validation/loss": 4.0, "validation/sub/accuracy": 0.25, "validation/sub/auroc": math.nan}
        writer = EventWriter(tmp_path)
        writer.write_step(step - 1, {"loss": 5.0, "images_per_second": math.nan})
        writer.write_epoch(line)
        writer.close()
    train, validation = (events_of(tmp_path, split) for split in ("train", "validation"))
    assert set(validation.Tags()["tensors"]) == {"loss", "sub/accuracy"}
    assert set(train.Tags()["tensors"]) == set(validation.Tags()["tensors"]) | {
        "learning_rate",
        "timing/train_seconds",
        "training_diagnostics/sub/auroc_tied_mass",
        "step/loss",
    }
    assert points(train, "sub/accuracy") == [(10, 0.5), (20, 0.5)]
    assert points(validation, "sub/accuracy") == [(10, 0.25), (20, 0.25)]
    assert points(train, "step/loss") == [(9, 5.0), (19, 5.0)]


def test_config_and_images_are_in_the_events(tmp_path):
    writer = EventWriter(tmp_path)
    writer.write_config(0, '{\n "seed": 1\n}')
    image = np.full((4, 6, 3), 255, np.uint8)
    writer.write_images(20, {"train": {"augmentation": image}, "validation": {"confusion_matrix/sub": image}})
    writer.close()
    (text,) = events_of(tmp_path, "train").Tensors("config")
    assert text.tensor_proto.string_val[0].decode().splitlines() == ["    {", '     "seed": 1', "    }"]
    for split, name in (("train", "augmentation"), ("validation", "confusion_matrix/sub")):
        (event,) = events_of(tmp_path, split).Tensors(name)
        assert event.step == 20 and event.tensor_proto.string_val[:2] == [b"6", b"4"]  # width and height


def test_a_run_has_events_of_its_steps_its_epochs_and_its_images(finished_run):
    lines = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    train, validation = (events_of(finished_run, split) for split in ("train", "validation"))
    for name in ("loss", "sub/macro_f1"):
        assert points(train, name) == [(line["step"], line[f"train/{name}"]) for line in lines]
        assert points(validation, name) == [(line["step"], line[f"validation/{name}"]) for line in lines]
    for name in ("loss", "learning_rate", "gradient_norm", "images_per_second"):
        ((step, value),) = points(train, f"step/{name}")
        assert step == 19 and value.expected > 0
        if name == "learning_rate":  # that of the second epoch, to which step 19 belongs
            assert value == lines[1]["learning_rate"] != lines[0]["learning_rate"]
    assert {"config", "augmentation"} <= set(train.Tags()["tensors"])
    assert "confusion_matrix/sub" in validation.Tags()["tensors"]
