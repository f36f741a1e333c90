"""Processes that are joined by JAX's coordination service: they exchange values, and end together."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.loopback import free_port, start_all

JOIN = """
import os, sys, time
from fashion_jax.devices import processes
from fashion_jax.devices.job import Job
from fashion_jax.devices.roll_call import call_roll

port, index = map(int, sys.argv[1:3])
job = Job("127.0.0.1", port, 2, index)
processes.join(job, 60, call_roll(job, 60))
"""

ONE_ENDS = """
with processes.failing_together(lambda: None):
    assert processes.exchange("sum", index + 1, sum) == 3
    assert [processes.decided("index", lambda: [index]) for _ in range(2)] == [[0], [0]]
    processes.meet("all are there")
    if index == int(sys.argv[3]):
        os._exit(9)
    time.sleep(60)
"""


def run_both(program: str, *arguments: object) -> list[tuple[int, str, str]]:
    """Returns the exit statuses of two processes that run a program, and what they print on stdout and stderr."""
    command = [sys.executable, "-c", JOIN + program, str(free_port())]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen([*command, str(index), *map(str, arguments)], cwd=ROOT, **streams) for index in range(2)
    ]
    printed = [process.communicate(timeout=120) for process in started]
    return [(process.returncode, *texts) for process, texts in zip(started, printed, strict=True)]


@pytest.mark.parametrize("ending", [0, 1])
def test_processes_exchange_values_and_notice_the_end_of_another(ending):
    """If process 0 ends, JAX aborts the others as soon as it notices: the connection of the roll call is faster."""
    ended = run_both(ONE_ENDS, ending)
    assert ended[ending][0] == 9, ended
    assert ended[1 - ending][0] == 75, ended
    told = f"Process {ending} of this run was killed or has ended: run the same command again"
    assert told in ended[1 - ending][2]


def overrides(cache_dir: str) -> dict[str, object]:
    return {"batch_size": 32, "num_epochs": 1, "data.catalogue.num_images": 200, "data.cache_dir": cache_dir}


FAIL_AT_EVALUATION = """
import os
import fashion_jax.training.train as train

def fail(*_):
    raise OSError("the cable is out")

if os.environ["JAX_PROCESS_ID"] == "{index}":
    train.end_epoch = fail
"""


@pytest.mark.long
@pytest.mark.parametrize("index", [0, 1])
def test_all_processes_end_as_the_one_that_fails(tmp_path, catalogue_cache, index):
    before = FAIL_AT_EVALUATION.format(index=index)
    started = start_all(tmp_path / "run", overrides(catalogue_cache), before=before)
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [1, 1], outputs
    assert f"Process {index} of this run has failed: OSError: the cable is out" in outputs[1 - index]
