import math

import jax
import pytest

from fashion_jax.scoring.early_stopping import best_so_far, is_defined, is_exhausted
from fashion_jax.training import train
from fashion_jax.training.train import train_and_evaluate

METRIC = "validation/sub/accuracy"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (-math.inf, 0)),
        ([0.5], (0.5, 0)),
        ([0.5, 0.4, 0.5], (0.5, 2)),
        ([math.nan, 0.1, math.nan], (0.1, 1)),
        ([math.nan] * 3, (-math.inf, 0)),  # a level without known labels never stops a run
    ],
)
def test_the_epochs_are_counted_since_the_first_best_one(values, expected):
    assert best_so_far([{METRIC: value} for value in values], METRIC) == expected


def test_a_metric_that_no_epoch_has_stops_nothing():
    lines = [{METRIC: None}] * 3
    assert not is_defined(lines, METRIC) and not is_exhausted({"metric": METRIC, "patience": 2}, lines)
    assert is_exhausted({"metric": METRIC, "patience": 2}, [{METRIC: 0.5}, *lines[1:]])


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_a_run_that_is_killed_goes_on_with_its_patience(tiny_config, tmp_path, monkeypatch):
    """An epoch whose line was not written when its checkpoint was, counts once."""
    one = jax.devices()[:1]
    tiny_config.learning_rate, tiny_config.num_epochs = 1e-12, 9
    tiny_config.early_stopping = {"metric": METRIC, "patience": 2}

    def killed(self, line):
        if line["epoch"] == 2:
            raise KeyboardInterrupt
        real(self, line)

    real = train.MetricsFile.append
    with monkeypatch.context() as patched:
        patched.setattr(train.MetricsFile, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(tiny_config, tmp_path, one)
    assert len(train_and_evaluate(tiny_config, tmp_path, one)) in (3, 4)


def test_a_lower_loss_is_better():
    assert best_so_far([{"validation/loss": x} for x in (3.0, 2.0, 2.5)], "validation/loss") == (-2.0, 1)


@pytest.mark.usefixtures("no_report")
def test_a_run_ends_early_and_is_complete(tiny_config, tmp_path, capsys):
    """With so small a learning rate the same images are right after every epoch."""
    one = jax.devices()[:1]
    tiny_config.learning_rate, tiny_config.num_epochs = 1e-12, 9
    tiny_config.early_stopping = {"metric": METRIC, "patience": 2}
    lines = train_and_evaluate(tiny_config, tmp_path, one)
    assert len(lines) in (3, 4)  # BatchNorm's statistics still move in the first epochs
    count = len(lines)
    said = capsys.readouterr().out
    assert "stopped early" in said and METRIC in said and f"epoch {count} of 9" in said
    assert len(train_and_evaluate(tiny_config, tmp_path, one)) == count
    assert "complete" in capsys.readouterr().out
    tiny_config.num_epochs = 10
    assert len(train_and_evaluate(tiny_config, tmp_path, one)) == count
    said = capsys.readouterr().out
    assert f"has no effect, since the run stopped early, after epoch {count} of 10" in said
    tiny_config.num_epochs, tiny_config.early_stopping = count + 1, {}
    assert len(train_and_evaluate(tiny_config, tmp_path, one)) == count + 1
