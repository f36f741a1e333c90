"""Training from Python: the command's program, which resumes, and leaves the process as it was."""

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from fashion_jax.config.loading import config_to_json
from fashion_jax.errors import UserError
from fashion_jax.main import main
from fashion_jax.training import launch
from fashion_jax.training.launch import check, train
from fashion_jax.workdir.paths import config_path
from fashion_jax.workdir.start import check_same_config
from tests.run_files import without_timing
from tests.shop import write_image


@pytest.fixture
def run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.mark.parametrize("epochs", [2, pytest.param(3, marks=pytest.mark.long)], ids=["complete", "resumed"])
def test_a_run_of_two_epochs_is_trained_on_in_a_thread_and_loaded(epochs, tiny_config, run, tmp_path):
    tiny_config.num_epochs = epochs
    handlers, found = [signal.getsignal(number) for number in signal.valid_signals()], []
    thread = threading.Thread(target=lambda: found.append(train(tiny_config, str(run))))
    thread.start()
    thread.join()
    (trained,) = found
    assert handlers == [signal.getsignal(number) for number in signal.valid_signals()]
    lines = [{k: v for k, v in line.items() if k != "timing"} for line in trained.history]
    assert trained.workdir == run and lines == without_timing(run) and len(lines) == epochs
    name = tiny_config.checkpoint.best or "validation/sub/macro_f1"
    assert trained.metrics[name] == max(line[name] for line in lines)
    write_image(tmp_path / "a.png")
    classifier = trained.load(top_k=2)
    assert classifier.engine.trained.step == trained.metrics["step"]
    assert len(classifier.predict(tmp_path / "a.png")[0].top["sub"]) == 2


def test_a_wrong_config_is_refused_before_anything_is_written(tiny_config, tmp_path):
    with pytest.raises(TypeError, match="get_config"):
        train("mtl", tmp_path / "run")
    tiny_config.num_epochs = 0
    with pytest.raises(UserError, match="num_epochs is 0"):
        train(tiny_config, tmp_path / "run")
    tiny_config.num_epochs, tiny_config.model.init_heads_from = 1, str(tmp_path / "nothing")
    with pytest.raises(UserError, match="nothing"):
        train(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def save_something(workdir: Path) -> None:
    """Leaves what a run has that an earlier version has begun: a checkpoint."""
    (workdir / "checkpoints" / "1").mkdir(parents=True)


THREE_SPLITS = {"train": 0.7, "validation": 0.15, "test": 0.15}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"loss_weights": {"main": 0}}, r"loss_weights\.main is 0, .* by model\.heads={'sub': 'sub'}"),
        (
            {"model.heads": {"sub": "sub"}, "label_smoothing": {"main": 0.1}},
            "label_smoothing has 'main', but model.heads gives it no head",
        ),
        ({"rare_classes.beta": 0.9}, "rare_classes.beta is 0.9, but no level"),
        ({"data.folds": 5, "data.splits": THREE_SPLITS}, "data.folds is 5, .*'test': 0.15}, keeps some out: set it to"),
        ({"data.folds": 5, "data.splits": {"train": 0.7, "validation": 0.2}}, "data.splits, .* keeps some out"),
        (
            {"steps_per_dispatch": 8, "checkpoint.every_steps": 5},
            r"steps_per_dispatch is 8, but checkpoint\.every_steps is 5, .* to at least 8",
        ),
    ],
)
def test_what_would_have_no_effect_or_the_wrong_one_is_refused_in_a_new_run(tiny_config, tmp_path, fields, sentence):
    with tiny_config.unlocked():
        tiny_config.update_from_flattened_dict(fields)
    (tmp_path / "config.json").touch()  # all that a start leaves that was stopped before its first checkpoint
    with pytest.raises(UserError, match=sentence):
        check(tiny_config, tmp_path)
    save_something(tmp_path)
    check(tiny_config, tmp_path)


def test_folds_take_fractions_of_all_images(tiny_config, tmp_path):
    tiny_config.data.folds, tiny_config.data.splits = 5, {"train": 0.7, "validation": 0.3}
    check(tiny_config, tmp_path / "run")


def test_a_deterministic_run_sets_the_flags_of_the_compiler_and_its_check_does_not(tiny_config, tmp_path, monkeypatch):
    def launched(config, *_):
        assert config.deterministic
        found.append(os.environ["XLA_FLAGS"])
        return [{}]

    found, tiny_config.deterministic = [], True
    monkeypatch.setattr(launch, "launch", launched)
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_the_user=1")
    check(tiny_config, tmp_path / "run")
    assert os.environ["XLA_FLAGS"] == "--xla_of_the_user=1"
    train(tiny_config, tmp_path / "run")
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_the_user=1")
    assert main(["--config", "smoke", "--config.deterministic=true", f"--workdir={tmp_path / 'run'}"]) == 0
    assert all(flags.startswith("--xla_of_the_user=1 --xla_gpu_deterministic_ops=true") for flags in found)
    assert len(found) == 2


def test_a_remote_store_is_no_folder(tiny_config):
    with pytest.raises(UserError, match=r"workdir is 'gs:/bucket/run', .* mount the store"):
        train(tiny_config, "gs://bucket/run")


def test_a_single_epoch_of_one_cycle_is_refused_unless_an_earlier_version_began_it(tiny_config, tmp_path):
    tiny_config.schedule, tiny_config.num_epochs = "one_cycle", 1
    with pytest.raises(UserError, match="num_epochs is 1, but the last epoch of one_cycle has hardly any"):
        check(tiny_config, tmp_path / "run")
    save_something(tmp_path)
    check(tiny_config, tmp_path)
    tiny_config.schedule_per = "step"
    check(tiny_config, tmp_path / "run")


def test_a_run_that_has_trained_nothing_may_change_altogether(tiny_config, tmp_path):
    """Ctrl-C before the first step leaves its files, and a mistake in the command may be why it was pressed."""
    config_path(tmp_path).write_text(config_to_json(tiny_config))
    tiny_config.image_size = 40
    assert check_same_config(tmp_path, tiny_config) == []
    save_something(tmp_path)
    with pytest.raises(UserError, match=r"image_size is 40, but the run in .* has 32: set it back"):
        check_same_config(tmp_path, tiny_config)


def test_a_resume_with_too_few_epochs_for_its_schedule_is_refused(tiny_config, tmp_path):
    tiny_config.schedule = "one_cycle"
    config_path(tmp_path).write_text(config_to_json(tiny_config))
    save_something(tmp_path)
    assert check_same_config(tmp_path, tiny_config) == []
    tiny_config.num_epochs = 1
    with pytest.raises(UserError, match=r"num_epochs is 1, .* hardly any .*: raise num_epochs to at least 2"):
        check_same_config(tmp_path, tiny_config)
    config_path(tmp_path).write_text(config_to_json(tiny_config))  # an earlier version has begun it so
    assert check_same_config(tmp_path, tiny_config) == []
