"""A process of a run on loopback is killed, stopped or asked to end at a random moment; the run then goes on."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.loopback import start_all
from tests.run_files import without_timing

pytestmark = pytest.mark.long

RUNS = 20
ENDED = 60.0  # seconds after a fault within which the other processes have ended
SAVED = 180.0  # the same after SIGTERM, which waits for the first step, and then for a checkpoint


def start(folder: Path, run: str, cache: str, count: int) -> list[subprocess.Popen]:
    fields = {
        "batch_size": 32,
        "num_epochs": 2,
        "checkpoint.every_steps": 2,
        "data.catalogue.num_images": 200,
        "data.cache_dir": cache,
    }
    with (folder / f"{run}.log").open("a") as log:
        return start_all(
            folder / run, fields, count=count, devices=4 // count, flags=("--initialization-timeout=40",), output=log
        )


def wait(processes: list[subprocess.Popen], seconds: float) -> list[int]:
    """Returns the exit statuses of processes, which must have ended in time."""
    deadline = time.monotonic() + seconds
    return [process.wait(max(deadline - time.monotonic(), 0.01)) for process in processes]


@pytest.fixture(scope="module")
def shared(tmp_path_factory, catalogue_cache):
    """Returns, by the number of processes, an uninterrupted run, and its seconds once compiled."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

        def whole(count):
            if count not in found:
                folder = tmp_path_factory.mktemp(f"whole{count}")
                for run in ("first", "second"):
                    began = time.monotonic()
                    assert set(wait(start(folder, run, catalogue_cache, count), 600)) == {0}
                found[count] = folder / "second", time.monotonic() - began
            return found[count]

        yield whole


@pytest.mark.parametrize(("count", "seed"), [*((2, seed) for seed in range(RUNS)), (4, 0), (4, 1)])
def test_no_process_hangs_and_the_run_goes_on(tmp_path, shared, catalogue_cache, count, seed):
    whole, duration = shared(count)
    chance = random.Random(f"{count} {seed}")
    number = chance.choice([signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM]) if count == 2 else signal.SIGKILL
    index, moment = chance.randrange(count), chance.uniform(0, duration)
    processes = start(tmp_path, "run", catalogue_cache, count)
    try:
        time.sleep(moment)
        os.kill(processes[index].pid, number)  # a process that has ended is a zombie until it is waited for
        others = [process for process in processes if process is not processes[index]]
        began = time.monotonic()
        statuses = wait(others if number == signal.SIGSTOP else processes, SAVED if number == signal.SIGTERM else ENDED)
        seconds = time.monotonic() - began
    finally:
        for process in processes:
            process.kill()
            process.wait()
    log = (tmp_path / "run.log").read_text()
    told = f"{number.name} to {index} of {count} after {moment:.1f} of {duration:.1f} s: {statuses} in {seconds:.1f} s"
    print(told, log, sep="\n")
    if 0 in statuses:
        assert without_timing(tmp_path / "run") == without_timing(whole), "it was over"
    assert set(wait(start(tmp_path, "run", catalogue_cache, count), 600)) == {0}
    assert without_timing(tmp_path / "run") == without_timing(whole)
