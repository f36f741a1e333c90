"""A result of the ablation keeps runs that are not here any more."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kept_runs import fields_of, merged, read_kept
from fashion_jax.errors import UserError

FIELDS = {"recipe": {"num_epochs": "2"}, "adamw": {"num_epochs": "2", "optimizer": "adamw"}}
WANTED = {(variant, seed): {**FIELDS[variant], "seed": str(seed)} for variant in FIELDS for seed in (0, 1)}
STUDY = {
    "overrides": {"num_epochs": "2", "data.path": "photos"},
    "variants": {"recipe": {}, "adamw": {"optimizer": "adamw"}},
}


def run(variant: str, seed: int, accuracy: float, *, is_compared: bool = False) -> dict[str, Any]:
    tests = {"sub": {"difference": 0.01}} if is_compared else None
    return {"variant": variant, "seed": seed, "accuracy": accuracy, "tests": tests}


def written(path: Path, *runs: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"commit": "abc", "study": STUDY, "runs": runs}))
    return path


def test_runs_of_the_study_are_kept_wherever_the_data_are(tmp_path: Path) -> None:
    path = written(tmp_path / "result.json", run("recipe", 0, 0.9), run("adamw", 1, 0.92))
    kept = read_kept(path, WANTED)
    assert [(x["variant"], x["seed"], x["accuracy"]) for x in kept] == [("recipe", 0, 0.9), ("adamw", 1, 0.92)]
    assert [x["measured_at"] for x in kept] == ["abc", "abc"]
    assert kept[1]["fields"] == {"num_epochs": "2", "optimizer": "adamw", "seed": "1"}
    assert fields_of({"num_epochs": "2", "data.path": "photos"}) == {"num_epochs": "2"}
    assert read_kept(None, WANTED) == read_kept(tmp_path / "none.json", WANTED) == []


@pytest.mark.parametrize(
    "changed",
    [
        {("recipe", 0): {"num_epochs": "3", "seed": "0"}},  # the study has changed since
        {("muon", 0): {}},  # the study no longer has the variant
    ],
)
def test_a_run_that_the_study_does_not_have_is_refused(tmp_path: Path, changed: dict[Any, Any]) -> None:
    with pytest.raises(UserError, match="'recipe' with seed 0 that this study does not have"):
        read_kept(written(tmp_path / "result.json", run("recipe", 0, 0.9)), changed)


@pytest.mark.parametrize("text", ["{", "[]", '{"study": {}, "runs": [{}]}', '{"benchmark": "train_step"}'])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"result\.json is no result"):
        read_kept(path, WANTED)


def test_new_runs_replace_kept_ones_in_the_order_of_the_study() -> None:
    kept = [run("adamw", 0, 0.91, is_compared=True), run("recipe", 0, 0.9), run("adamw", 1, 0.92, is_compared=True)]
    new = [run("adamw", 1, 0.93), run("recipe", 1, 0.94)]
    assert merged(list(WANTED), kept, new) == [kept[1], new[1], kept[0], new[0]]


def test_a_kept_run_is_not_compared_with_a_first_variant_that_is_measured_anew() -> None:
    kept = [run("recipe", 0, 0.9), run("adamw", 0, 0.91, is_compared=True), run("adamw", 1, 0.92, is_compared=True)]
    found = merged(list(WANTED), kept, [run("recipe", 0, 0.95)])
    assert [(x["accuracy"], x["tests"] is None) for x in found] == [(0.95, True), (0.91, True), (0.92, False)]
