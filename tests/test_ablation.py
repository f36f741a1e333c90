"""The ablation trains what a study says and compares the variants seed by seed."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from benchmarks import ablation
from fashion_jax.config.loading import config_to_json, flatten, load_config
from fashion_jax.errors import RunError, UserError
from fashion_jax.workdir.paths import config_path, page_path, report_path

STUDIES = sorted(Path("benchmarks", "studies").glob("*.json"))


def run(variant: str, seed: int, accuracy: float, difference: float | None, *, flops: float = 2.0) -> dict:
    """Returns the part of the JSON that a run has; its level before the finest one is never shown."""
    scores = {"accuracy": accuracy, "macro_f1": 0.5, "tail": None, "ece": 0.05, "calibrated": {"ece": 0.01}}
    test = {"difference": difference, "interval": [-0.01, 0.03]}
    tests = None if difference is None else {"main": None, "sub": test}
    costs = {"training_flops": flops, "seconds": 10.0}
    return {"variant": variant, "seed": seed, "levels": {"main": {}, "sub": scores}, "tests": tests, **costs}


def cells(table: str, variant: str) -> list[str]:
    row = next(line for line in table.splitlines() if line.startswith(f"| {variant} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_one_seed_has_the_interval_of_its_paired_difference() -> None:
    table = ablation.table([run("recipe", 0, 0.9, None), run("adamw", 0, 0.91, 0.01, flops=3.0)])
    assert cells(table, "recipe") == ["recipe", "1", "90.00%", "", "0.500", "", "0.010", "1.00 ×", "1.00 ×"]
    assert cells(table, "adamw")[2:4] == ["91.00%", "+1.00 (-1.00 to +3.00)"]
    assert cells(table, "adamw")[-2:] == ["1.50 ×", "1.00 ×"]


def test_several_seeds_have_means_and_costs_are_compared_on_the_seeds_that_both_have() -> None:
    first = [run("recipe", seed, 0.9, None, flops=1.0 + seed) for seed in (0, 1, 2)]
    second = [run("muon", 1, 0.91, 0.01, flops=4.0), run("muon", 2, 0.93, 0.03, flops=6.0)]
    row = cells(ablation.table(first + second), "muon")
    assert row[1:4] == ["2", "92.00%", "+2.00 ± 1.41"]
    assert row[-2] == "2.00 ×"  # (4 + 6) / (2 + 3)


def test_the_time_is_compared_only_among_runs_that_were_evaluated_together() -> None:
    first, alone = run("recipe", 0, 0.9, None), run("adamw", 1, 0.93, None, flops=3.0)
    row = cells(ablation.table([first, run("adamw", 0, 0.91, 0.01, flops=3.0), alone]), "adamw")
    assert row[1:4] == ["2", "92.00%", "+1.00 (-1.00 to +3.00), 1 of 2 seeds"] and row[-2:] == ["1.50 ×", ""]
    row = cells(ablation.table([first, alone]), "adamw")
    assert row[1:4] == ["1", "93.00%", ""] and row[-2:] == ["1.50 ×", ""]


def test_progressive_epochs_count_with_their_smaller_images() -> None:
    fields = [("image_size", "64"), ("num_epochs", "3"), ("progressive.epochs", "2")]
    config = load_config("smoke", fields)
    whole = ablation._training_flops(load_config("smoke", fields[:1]), [{"epoch": 1, "step": 10}])
    lines = [{"epoch": epoch, "step": 10 * epoch} for epoch in (1, 2, 3)]
    assert ablation._training_flops(config, lines) == pytest.approx(whole * (1 + 2 / 4), rel=0.05)


def test_the_command_line_overrides_all_variants_and_each_seed_is_a_run(tmp_path: Path) -> None:
    study = {"seeds": [3, 4], "overrides": {"num_epochs": "2"}, "variants": {"a": {}, "b": {"num_epochs": "5"}}}
    runs = list(ablation.runs_of(study, [("data.path", "photos")], tmp_path))
    assert [(x.variant, x.seed, dict(x.overrides)["num_epochs"]) for x in runs] == [
        ("a", 3, "2"),
        ("a", 4, "2"),
        ("b", 3, "5"),
        ("b", 4, "5"),
    ]
    assert all(dict(x.overrides)["data.path"] == "photos" and dict(x.overrides)["seed"] == str(x.seed) for x in runs)
    assert len({x.workdir for x in runs}) == 4


def test_a_seed_of_the_command_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--config\.seed is 5.*study\.json"):
        ablation._parse([str(tmp_path / "study.json"), "--config.seed=5"])


def test_runs_of_a_seed_are_measured_together_if_its_first_variant_is_complete(tmp_path: Path) -> None:
    study = {"seeds": [0, 1], "overrides": {}, "variants": {"recipe": {}, "adamw": {}, "muon": {}}}
    runs = list(ablation.runs_of(study, [], tmp_path))
    for run in runs:
        if (run.variant, run.seed) not in [("recipe", 0), ("muon", 1)]:
            page = page_path(report_path(run.workdir))
            page.parent.mkdir(parents=True)
            page.touch()
    together = ablation._compared(ablation.complete_runs(runs), "recipe")
    assert [[(x.variant, x.seed) for x in group] for group in together] == [
        [("recipe", 1), ("adamw", 1)],
        [("adamw", 0)],
        [("muon", 0)],
    ]


def test_the_time_of_an_epoch_that_was_resumed_follows_from_its_speed() -> None:
    times = {"images_per_second": 50.0, "validation_seconds": 3.0}
    lines = [
        {"step": 100, "timing": {**times, "train_seconds": 200.0}},
        {"step": 200, "timing": {**times, "images_per_second": 5.0, "train_seconds": 20.0}},  # its last step, a start
        {"step": 300, "timing": {"validation_seconds": 3.0}},  # resumed after its last step
    ]
    assert ablation.seconds(lines, 100) == pytest.approx(3 * (200 + 3))


def test_the_time_of_an_epoch_is_that_of_its_own_batches() -> None:
    """The run was resumed with twice the batch, so that its second epoch has half of the steps."""
    times = {"images_per_second": 50.0, "train_seconds": 200.0, "validation_seconds": 3.0}
    lines = [{"step": step, "timing": {**times, "batch_size": size}} for step, size in ((100, 100), (150, 200))]
    assert ablation.seconds(lines, 200) == pytest.approx(2 * (200 + 3))


def test_a_curve_joins_what_has_one_name_and_is_drawn(tmp_path: Path) -> None:
    runs = [run("recipe_at_1", seed, accuracy, None) for seed, accuracy in enumerate((0.9, 0.92))]
    runs += [run("best_at_2", 0, 0.95, 0.04, flops=4.0), run("best_at_0.5", 0, 0.91, 0.0, flops=1.0)]
    assert ablation.curves(runs) == {
        "recipe": [(1.0, pytest.approx(91.0), 90.0, 92.0)],
        "best": [(2.0, 95.0, 95.0, 95.0), (0.5, 91.0, 91.0, 91.0)],
    }
    ablation.draw(runs, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", [None, "{", "[]", '{"config": "configs/mtl.py"}'])
def test_a_study_that_cannot_be_read_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "study.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"study\.json"):
        ablation.read_study(path)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_variant_of_the_studies_is_a_config(path: Path) -> None:
    study = ablation.read_study(path)
    for variant in ablation.runs_of(study, [], Path("runs")):
        assert load_config(study["config"], variant.overrides).seed == variant.seed


def test_the_study_of_compute_trains_what_best_half_does() -> None:
    study = ablation.read_study(Path("benchmarks", "studies", "accuracy_for_compute.json"))
    overrides = list(study["variants"]["progressive_at_0.5"].items())
    assert flatten(load_config(study["config"], overrides)) == flatten(load_config("configs/best_half.py"))


def test_a_run_of_other_fields_is_not_taken_for_a_variant(tmp_path: Path) -> None:
    fields = [("num_epochs", "2"), ("data.path", "photos"), ("data.source", "csv")]
    variant = ablation.Run("short", 0, fields, tmp_path)
    ablation.check_fields(variant, "smoke")  # nothing is there yet
    config = load_config("smoke", [*fields[:1], ("data.path", "moved"), ("data.source", "csv")])
    (tmp_path / "config.json").write_text(config_to_json(config))
    ablation.check_fields(variant, "smoke")
    with pytest.raises(UserError, match="num_epochs=2, but 'long' has 3"):
        ablation.check_fields(ablation.Run("long", 0, [("num_epochs", "3"), *fields[1:]], tmp_path), "smoke")


def test_a_run_of_an_override_that_the_variant_has_no_more_is_not_taken_for_it(tmp_path: Path) -> None:
    fields, smoothed = [("num_epochs", "2")], ("label_smoothing.sub", "0.1")
    kept = ("checkpoint.keep", "3")  # which changes nothing that is measured
    config_path(tmp_path).write_text(config_to_json(load_config("smoke", [*fields, smoothed, kept])))
    ablation.check_fields(ablation.Run("smooth", 0, [*fields, smoothed], tmp_path), "smoke")
    with pytest.raises(UserError, match=r"was trained with label_smoothing=\{'sub': 0\.1\}, but 'plain' has \{\}"):
        ablation.check_fields(ablation.Run("plain", 0, fields, tmp_path), "smoke")


def test_a_level_that_was_not_compared_has_no_difference() -> None:
    """Where a variant merges classes, only the levels whose classes agree are compared."""
    merged = run("merged", 0, 0.93, 0.01)
    table = ablation.table([run("recipe", 0, 0.9, None), merged | {"tests": {"main": merged["tests"]["sub"]}}])
    assert cells(table, "merged")[2:4] == ["93.00%", ""]


def test_a_signal_is_passed_on_to_the_command_and_waited_for() -> None:
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    timer.start()
    with pytest.raises(RunError, match=r"http\.server ended with status -15"):
        ablation._call("http.server", "0", "--bind", "127.0.0.1", output=subprocess.DEVNULL)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_part_of_a_table_is_compared_as_a_field(tmp_path: Path) -> None:
    study = {"seeds": [0], "overrides": {}, "variants": {"a": {"loss_weights.sub": "2.0"}, "b": {}}}
    one, _ = ablation.runs_of(study, [], tmp_path)
    one.workdir.mkdir()
    (one.workdir / "config.json").write_text(config_to_json(load_config("configs/smoke.py", one.overrides)))
    ablation.check_fields(one, "configs/smoke.py")
    with pytest.raises(UserError, match=r"loss_weights=\{'sub': 2.0\}, but 'a' has \{'sub': 3.0\}"):
        ablation.check_fields(one._replace(overrides=[("loss_weights.sub", "3.0")]), "configs/smoke.py")


def test_a_run_without_any_timed_epoch_has_no_time() -> None:
    lines = [{"step": 10, "timing": {"validation_seconds": 1.0}}]
    assert ablation.seconds(lines, 8) is None
    timed = run("recipe", 0, 0.9, None)
    assert cells(ablation.table([timed, timed | {"variant": "late", "seconds": None}]), "late")[-2:] == ["1.00 ×", ""]


def test_a_study_in_a_remote_store_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert ablation.main(["gs://bucket/study.json"]) == 2
    assert "STUDY.json is 'gs:/bucket/study.json', but files are" in capsys.readouterr().err


@pytest.mark.long
def test_variants_are_trained_and_measured(tmp_path: Path) -> None:
    overrides = {"num_epochs": "1", "data.catalogue.num_images": "200"}
    variants = {"recipe": {}, "adamw": {"optimizer": "adamw", "learning_rate": "0.001"}}
    study = {"config": "configs/smoke.py", "seeds": [0], "overrides": overrides, "variants": variants}
    path, result = tmp_path / "study.json", tmp_path / "result.json"
    path.write_text(json.dumps(study))
    assert ablation.main([str(path), "--workdirs", str(tmp_path), "--json", str(result)]) == 0
    found = json.loads(result.read_text())
    first, second = found["runs"]
    assert found["study"] == study and [first["variant"], second["variant"]] == ["recipe", "adamw"]
    assert first["tests"] is None and 0 <= second["tests"]["sub"]["p_value"] <= 1
    assert first["training_flops"] > 0 and first["epochs"] == 1 and first["seconds"] > 0
