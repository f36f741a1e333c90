"""metrics.jsonl: lines are appended, read again, cut off after the last step, and damage is named."""

import json
import math

import pytest

from fashion_jax.errors import UserError
from fashion_jax.workdir.metrics_file import MetricsFile


def write_lines(path, *steps: int, end: str = "") -> None:
    path.write_text("".join(json.dumps({"step": step, "loss": 0.1}) + "\n" for step in steps) + end)


def steps(path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_are_appended_and_read_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, 0)
    for step in (10, 20):
        file.append({"step": step, "loss": 0.1 + 0.2, "timing": {"seconds": 1.5}})
    assert path.read_text().count("\n") == 2
    assert MetricsFile(path, 20).lines == file.lines
    assert file.lines[1] == {"step": 20, "loss": 0.1 + 0.2, "timing": {"seconds": 1.5}}


def test_values_that_are_not_finite_are_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, 0).append({"step": 1, "a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.0})
    assert path.read_text() == '{"step": 1, "a": null, "b": null, "c": null, "d": 0.0}\n'


@pytest.mark.parametrize("end", ['{"step": 30, "lo', '{"step": 30, "loss": 0.1}', '{"step": 30, "gr\u00f6'])
def test_a_half_written_last_line_is_cut_off(tmp_path, end):
    path = tmp_path / "metrics.jsonl"
    write_lines(path, 10, 20, end=end)
    path.write_bytes(path.read_bytes()[: -1 if "\u00f6" in end else None])  # within a character
    file = MetricsFile(path, 30)
    assert steps(path) == [line["step"] for line in file.lines] == [10, 20]
    file.append({"step": 30})
    assert steps(path) == [10, 20, 30]


def test_lines_after_the_last_step_are_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_lines(path, 10, 20, 30)
    assert [line["step"] for line in MetricsFile(path, 20).lines] == [10, 20]
    assert steps(path) == [10, 20]
    assert MetricsFile(path, 0).lines == [] and path.read_text() == ""


def test_a_file_that_is_right_is_not_touched(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_lines(path, 10, 20)
    before = path.stat()
    MetricsFile(path, 20)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_only_one_process_writes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_lines(path, 10, 20, end="{")
    before = path.read_bytes()
    file = MetricsFile(path, 10, writes=False)
    file.append({"step": 20, "loss": math.nan})
    assert file.lines == [{"step": 10, "loss": 0.1}, {"step": 20, "loss": None}]
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", ["", "{", "3", "{}", '{"step": null}'])
def test_a_damaged_line_before_the_last_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    write_lines(path, 10, end=line + "\n")
    with pytest.raises(UserError, match=r"Line 2 of .*metrics\.jsonl is damaged"):
        MetricsFile(path, 20)
