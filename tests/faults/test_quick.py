"""Of the whole suite (scripts/faults), what takes seconds: a signal, then a bit flip, in the command on a small net."""

import signal

from tests.faults.lab import Lab, flip, lines
from tests.small_trunks import SHRINK_RESNET10


def test_stopped_by_a_signal_and_then_damaged_it_goes_on(tmp_path, catalogue_cache):
    lab = Lab(tmp_path)
    lab.fields |= {
        "data.cache_dir": catalogue_cache,
        "data.catalogue.num_images": 200,
        "num_epochs": 2,
    }  # 10 steps an epoch
    workdir = tmp_path / "run"  # 10 steps an epoch
    command = lab.run(workdir, before=SHRINK_RESNET10)
    command.until(lambda: len(command.steps()) > 1)
    command.process.send_signal(signal.SIGTERM)
    assert command.wait() == 75, command.stderr()
    newest = command.steps()[-1]
    said = f"Stopped by SIGTERM after step {newest}, which is saved: run the same command again to go on."
    assert command.sentence() == said
    files = [path for path in (workdir / "checkpoints" / str(newest) / "state").rglob("*") if path.is_file()]
    flip(max(files, key=lambda path: path.stat().st_size), byte=10**6 + 1)
    again = lab.run(workdir, before=SHRINK_RESNET10)
    assert again.wait() == 0, again.stderr()
    assert f"The checkpoint of step {newest} in" in again.stdout()
    assert again.steps()[-1] == 20 and len(lines(workdir)) == 2
