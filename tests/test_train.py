"""train_and_evaluate, end to end on tiny runs."""

import json
import math
import shutil
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sk

from fashion_jax.data.dataset import load_dataset
from fashion_jax.devices.mesh import create_mesh
from fashion_jax.errors import RunError, UserError
from fashion_jax.step.program import create_program
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.training import epoch_end, loop, rollback, train
from fashion_jax.training.train import train_and_evaluate
from fashion_jax.workdir.checkpoints.store import Checkpoints
from tests.cutting import cut_after
from tests.faults.lab import flip
from tests.run_files import digests, without_timing
from tests.shop import products, shop_config, write_shop

MIXED = {"augment": "strong", "eval_flip": True, "rare_classes.draw": {"sub": "class_balanced"}}
FINE_TUNED = {
    "optimizer": "muon",
    "no_decay": True,
    "schedule": "one_cycle",
    "schedule_per": "step",
    "warmup_epochs": 0.5,
    "learning_rate_factors": {"^trunk/(conv1|bn1)/": 0.0, "^trunk/": 0.1},
    "layer_decay": 0.8,
    "label_smoothing": {"sub": 0.1},
    "average": 0.9,
    "early_stopping": {"metric": "validation/loss", "patience": 5},
    "accumulate": 2,
    "remat": "dots",
    "steps_per_dispatch": 2,
}


def damage(step: Path) -> None:
    """Flips ten bits of the largest file of a checkpoint: one alone may hit a part that was replaced."""
    files = [path for path in (step / "state").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    for tenth in range(10):
        flip(largest, byte=tenth * largest.stat().st_size // 10)


@pytest.fixture
def finished(finished_run) -> Path:
    """Returns a workdir with an uninterrupted run of two epochs (20 steps)."""
    return finished_run


def test_leaves_the_files_of_the_contract(finished):
    names = {path.name for path in finished.iterdir()}
    assert {
        "config.json",
        "taxonomy.json",
        "environment.json",
        "data.json",
        "metrics.jsonl",
        "calibration.json",
    } <= names
    assert {path.parent.name for path in finished.glob("tensorboard/*/events.out.tfevents*")} == {"train", "validation"}
    report = {path.name for path in (finished / "report").iterdir()}
    assert {
        "index.html",
        "curves.png",
        "confusion_main.png",
        "confusion_sub.png",
        "classes_main.csv",
        "classes_sub.csv",
    } <= report
    data = json.loads((finished / "data.json").read_text())
    assert data["splits"]["train"]["images"] + data["splits"]["validation"]["images"] == 200
    assert data["splits"]["train"]["left_over_per_epoch"] == data["splits"]["train"]["images"] % 16


def test_lines_have_every_metric_of_both_splits_and_levels(finished):
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 10), (2, 20)]
    assert lines[0]["learning_rate"] == 0.01 and lines[1]["learning_rate"] == pytest.approx(0.005, rel=1e-12)
    for line in lines:
        for split in ("train", "validation"):
            total = sum(line[f"{split}/{level}/loss"] for level in ("main", "sub"))
            assert line[f"{split}/loss"] == pytest.approx(total, rel=1e-6)
            for level in ("main", "sub"):
                for name in ("loss", "accuracy", "macro_f1", "auroc"):
                    assert math.isfinite(line[f"{split}/{level}/{name}"])
        assert {"images_per_second", "data_wait_fraction"} <= set(line["timing"])


def test_metrics_of_the_best_epoch_agree_with_scikit_learn(finished):
    table = pq.read_table(finished / "predictions" / "validation.parquet").to_pydict()
    taxonomy = Taxonomy.from_json((finished / "taxonomy.json").read_text(), "taxonomy")
    lines = without_timing(finished)
    best = max(lines, key=lambda line: line["validation/sub/macro_f1"])
    assert len(set(table["id"])) == len(table["id"]) == 40
    for level in ("main", "sub"):
        names = list(taxonomy.classes[level])
        truth = np.array([names.index(name) for name in table[f"{level}_true"]])
        probabilities = np.array(table[f"{level}_probabilities"], np.float64)
        predicted = probabilities.argmax(axis=1)
        assert [names[i] for i in predicted] == table[f"{level}_predicted"]
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        present = [c for c in range(len(names)) if 0 < (truth == c).sum() < len(truth)]
        expected = {
            "loss": -np.log(probabilities[np.arange(len(truth)), truth]).mean(),
            "accuracy": sk.accuracy_score(truth, predicted),
            "macro_f1": sk.f1_score(truth, predicted, average="macro", zero_division=0),
            "auroc": np.mean([sk.roc_auc_score(truth == c, probabilities[:, c]) for c in present]),
        }
        for name, value in expected.items():
            assert best[f"validation/{level}/{name}"] == pytest.approx(value, abs=1e-6), (level, name)


def test_running_again_says_that_the_run_is_complete(finished, tiny_config, tmp_path, capsys):
    finished = shutil.copytree(finished, tmp_path / "finished")
    names = ("metrics.jsonl", "config.json", "environment.json")  # which tells what it was trained with, and not now
    before = [(finished / name).read_bytes() for name in names]
    train_and_evaluate(tiny_config, finished)
    tiny_config.batch_size = 8  # of later steps, of which there are none
    train_and_evaluate(tiny_config, finished)
    out = capsys.readouterr().out
    assert out.count(" is complete: ") == 2 and "batch_size is 8 instead of 16. This has no effect" in out
    assert [(finished / name).read_bytes() for name in names] == before


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("stop", [*(pytest.param(stop, marks=pytest.mark.long) for stop in (4, 10)), 13])
def test_an_interrupted_run_resumes_bit_identically(finished, tiny_config, tmp_path, monkeypatch, stop):
    """The steps after the last checkpoint (every 3 steps) are lost and done again."""
    tiny_config.checkpoint.every_steps = 3
    cut_after(monkeypatch, stop, tiny_config, tmp_path)
    assert len(without_timing(tmp_path)) == stop // 10
    train_and_evaluate(tiny_config, tmp_path)
    assert without_timing(tmp_path) == without_timing(finished)
    assert digests(tmp_path, 20) == digests(finished, 20)


@pytest.mark.usefixtures("no_report")
@pytest.mark.long
@pytest.mark.parametrize("fields", [MIXED, FINE_TUNED], ids=["mixed", "fine-tuned"])
def test_runs_with_many_options_resume_bit_identically(tiny_config, tmp_path, monkeypatch, fields):
    """All randomness in them is a function of (seed, step) or (seed, epoch).

    The run uses one device: with two images on each of eight, XLA moves images between fake CPU devices, which can
    starve.
    """
    one = jax.devices()[:1]
    tiny_config.update_from_flattened_dict(fields)
    tiny_config.checkpoint.every_steps = 3
    train_and_evaluate(tiny_config, tmp_path / "whole", one)
    cut_after(monkeypatch, 5, tiny_config, tmp_path / "cut", one)
    train_and_evaluate(tiny_config, tmp_path / "cut", one)
    assert without_timing(tmp_path / "cut") == without_timing(tmp_path / "whole")
    assert digests(tmp_path / "cut", 20) == digests(tmp_path / "whole", 20)


@pytest.mark.usefixtures("no_report")
def test_a_run_killed_before_an_epochs_line_writes_it_on_resume(finished, tiny_config, tmp_path, monkeypatch):
    def killed(self, line):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train.MetricsFile, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(tiny_config, tmp_path)
    assert without_timing(tmp_path) == []
    lines = train_and_evaluate(tiny_config, tmp_path)
    assert without_timing(tmp_path) == without_timing(finished)
    assert list(lines[0]["timing"]) == ["validation_seconds"], "how long the training took is not known any more"


@pytest.mark.usefixtures("no_report")
def test_streamed_and_cached_images_train_the_same(finished, tiny_config, tmp_path):
    tiny_config.data.cache = "none"
    train_and_evaluate(tiny_config, tmp_path)
    assert without_timing(tmp_path) == without_timing(finished)


def test_best_checkpoint_outlives_the_latest(finished, tiny_config, tmp_path):
    """Only the score decides: the first of four epochs is made the best."""
    shutil.copytree(finished / "checkpoints" / "10", tmp_path / "checkpoints" / "10")
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
    state = checkpoints.restore(10, _abstract_state(tiny_config))
    checkpoints.set_scores({10: 0.9})
    for step, score in ((20, 0.5), (30, math.nan), (40, 0.1)):
        checkpoints.add_score(step, score)
        checkpoints.save_now(step, state)
    assert checkpoints.best_step == 10 and checkpoints.latest_step == 40
    checkpoints.save_now(50, state)
    checkpoints.add_score(50, 0.95)  # an epoch is evaluated after it was saved
    checkpoints.save_now(50, state)
    assert checkpoints.best_step == 50 and checkpoints.steps() == [50]
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()) == [50]
    checkpoints.close()


def test_a_flipped_bit_in_a_checkpoint_is_named(finished, tiny_config, tmp_path):
    shutil.copytree(finished / "checkpoints", tmp_path / "checkpoints")
    damage(tmp_path / "checkpoints" / "20")
    said = []
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, say=said.append)
    step, _ = checkpoints.restore_latest(_abstract_state(tiny_config))
    assert step == 10 and "The checkpoint of step 20" in said[0]
    assert checkpoints.steps() == [10] and (tmp_path / "checkpoints" / "damaged" / "20").is_dir()
    damage(tmp_path / "checkpoints" / "10")
    with pytest.raises(RunError, match=r"None of the checkpoints in .* \(steps 10\) can be used"):
        checkpoints.restore_latest(_abstract_state(tiny_config))
    assert checkpoints.steps() == [10], "what is left is not set aside: the next start must not begin anew"


@pytest.mark.usefixtures("no_report")
def test_only_a_few_fetches_reach_the_device_and_those_of_a_loss_follow_the_next_dispatch(
    tiny_config, tmp_path, monkeypatch
):
    """But at the end of an epoch, which is saved only where the updates have been checked, the last loss is fetched."""
    events, outcomes = [], {}
    compiling, fetch = train.Compiling, rollback.fetch

    def recorded(*arguments):
        step_fn = compiling(*arguments)

        def dispatch(state, batch):
            state, outcome = step_fn(state, batch)
            outcomes[id(outcome)] = outcome, len(outcomes) + 1  # keeps the outcome, so that no other has its id
            events.append(("dispatch", len(outcomes)))
            return state, outcome

        return dispatch

    def fetched(tree):
        events.append(("fetch", outcomes[id(tree)][1]))
        return fetch(tree)

    monkeypatch.setattr(train, "Compiling", recorded)
    monkeypatch.setattr(rollback, "fetch", fetched)
    monkeypatch.setattr(epoch_end, "fetch", lambda tree: events.append("fetch the epoch's sums") or fetch(tree))
    tiny_config.log_every_steps = 5
    train_and_evaluate(tiny_config, tmp_path)
    expected = []
    for step in range(1, 21):
        expected += [("dispatch", step)] + [("fetch", step - 1)] * (step % 5 == 0)
        expected += [("fetch", step), "fetch the epoch's sums"] * (step % 10 == 0)
    assert events == expected


@pytest.mark.usefixtures("no_report")
def test_an_epoch_whose_evaluation_fails_is_saved(tiny_config, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(UserError, match="a photo is gone"):
        patched.setattr(epoch_end, "predict_validation", failing(UserError("a photo is gone")))
        train_and_evaluate(tiny_config, tmp_path / "failed")
    assert [path.name for path in (tmp_path / "failed" / "checkpoints").iterdir()] == ["10"]
    train_and_evaluate(tiny_config, tmp_path / "failed")
    train_and_evaluate(tiny_config, tmp_path / "whole")
    assert without_timing(tmp_path / "failed") == without_timing(tmp_path / "whole")


@pytest.mark.parametrize(
    ("said", "error", "sentence"),
    [
        (
            "RESOURCE_EXHAUSTED: Out of memory",
            RunError,
            r"too little memory \(RESOURCE_.*: lower batch_size or image_size",
        ),
        ("INTERNAL: a bug", jax.errors.JaxRuntimeError, "a bug"),
    ],
)
def test_too_little_memory_is_told_with_what_needs_less(tiny_config, tmp_path, monkeypatch, said, error, sentence):
    monkeypatch.setattr(loop, "_steps", failing(jax.errors.JaxRuntimeError(said)))
    with pytest.raises(error, match=sentence):
        train_and_evaluate(tiny_config, tmp_path)


def failing(error):
    """Returns a function that raises an error."""

    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.long
def test_a_loss_that_is_not_finite_stops_the_run(tiny_config, tmp_path):
    tiny_config.learning_rate = 1e30
    with pytest.raises(RunError, match=r"learning_rate \(1e\+30\)"):
        train_and_evaluate(tiny_config, tmp_path)


def test_another_config_in_the_same_workdir_is_refused(finished, tiny_config):
    other = tiny_config.copy_and_resolve_references()
    other.learning_rate = 0.5
    with pytest.raises(UserError, match=r"learning_rate is 0\.5, but the run in .* has 0\.01"):
        train_and_evaluate(other, finished)
    tiny_config.nonfinite.learning_rate_factor = 0.9  # it counts for the rollbacks that have been
    with pytest.raises(UserError, match=r"nonfinite\.learning_rate_factor is 0\.9, but the run in .* has 0\.5"):
        train_and_evaluate(tiny_config, finished)


def test_batch_size_must_be_spread_evenly(tiny_config, tmp_path):
    tiny_config.batch_size = 12
    with pytest.raises(UserError, match="batch_size is 12"):
        train_and_evaluate(tiny_config, tmp_path)


def test_a_run_of_one_class_is_refused_unless_it_has_begun(tmp_path, monkeypatch):
    """An earlier version has begun it, so that it has a checkpoint."""
    write_shop(tmp_path / "shop", products(40, [("Apparel", "Dress")]))
    config, workdir = shop_config(tmp_path / "shop"), tmp_path / "run"

    def go_on(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_apply_plan", go_on)
    with pytest.raises(UserError, match="'sub', has only the class 'Apparel/Dress', so that it has nothing to learn"):
        train_and_evaluate(config, workdir)
    monkeypatch.setattr(train, "has_checkpoint", lambda _: True)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(config, workdir)


def _abstract_state(config):
    dataset = load_dataset(config)
    return create_program(config, dataset.taxonomy, create_mesh()).abstract_state
