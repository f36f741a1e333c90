"""Runs the faults of scripts/faults that take seconds, a signal and a bit flip, and checks that the suite is sound."""

import collections
import signal

from tests.faults.__main__ import MOST_OF_A_KIND
from tests.faults.kinds import KINDS
from tests.faults.lab import Lab, flip, lines


def test_stopped_by_a_signal_and_then_damaged_it_goes_on(tmp_path, catalogue_cache):
    lab = Lab(tmp_path)
    lab.fields |= {"data.cache_dir": catalogue_cache, "num_epochs": 6}  # 10 steps an epoch
    workdir = tmp_path / "run"
    command = lab.train(workdir)
    command.until(lambda: len(command.steps()) > 1)
    command.process.send_signal(signal.SIGTERM)
    assert command.wait() == 75, command.stderr()
    newest = command.steps()[-1]
    said = f"Stopped by SIGTERM after step {newest}, which is saved: run the same command again to resume."
    assert command.sentence() == said
    files = [path for path in (workdir / "checkpoints" / str(newest) / "state").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    for tenth in range(10):  # one flip alone may hit a part of the index that was replaced, and change nothing
        flip(largest, byte=tenth * largest.stat().st_size // 10)
    again = lab.train(workdir)
    assert again.wait() == 0, again.stderr()
    assert f"The checkpoint of step {newest} in" in again.stdout()
    assert again.steps()[-1] == 60 and len(lines(workdir)) == 6


def test_the_suite_has_enough_faults_of_many_kinds():
    counts = collections.Counter({kind: len(faults) for kind, faults in KINDS.items()})
    assert counts.total() >= 150 and max(counts.values()) <= MOST_OF_A_KIND and min(counts.values()) > 0
