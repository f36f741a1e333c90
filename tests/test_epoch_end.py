"""The end of an epoch, as a process sees it that is not the first."""

import contextlib
from unittest.mock import MagicMock

from fashion_jax.config.loading import load_config
from fashion_jax.training import epoch_end


def test_only_the_first_process_computes_the_scores_and_the_others_wait_for_them(monkeypatch):
    line = {"epoch": 3, "step": 30, "train/skipped_updates": 0, "validation/sub/accuracy": 0.5, "validation/loss": 1.0}
    line["timing"] = {"validation_seconds": 7.0}
    run, paused = MagicMock(), []

    @contextlib.contextmanager
    def pause():
        paused.append(True)
        yield
        paused.append(False)

    run.config, run.watchdog.paused, run.metrics_file.lines = load_config("configs/smoke.py"), pause, []

    def decided(name, answer):
        assert paused == [True], "the first process may take longer than a step"
        return line

    monkeypatch.setattr(epoch_end, "fetch", lambda tree: ({}, {"rollbacks": 0}))
    for name in ("named_metrics", "epoch_summary"):
        monkeypatch.setattr(epoch_end, name, lambda *_: {})
    monkeypatch.setattr(epoch_end, "predict_validation", lambda *_: {})
    monkeypatch.setattr(epoch_end, "split_metrics", None)
    monkeypatch.setattr(epoch_end, "decided", decided)
    epoch_end.end_epoch(run, MagicMock(), 30, MagicMock(steps=0))
    run.metrics_file.append.assert_called_once_with(line)
    assert run.progress.pace.evaluated.call_args[0][0] == 7.0
    assert paused == [True, False]
