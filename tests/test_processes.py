"""Processes that are joined by JAX's coordination service: they exchange values, and end together."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.loopback import free_port, start_all

JOIN = """
import os, sys, time
from pathlib import Path
from fashion_jax.devices import processes
from fashion_jax.devices.job import Job
from fashion_jax.devices.roll_call import call_roll
from fashion_jax.errors import UserError

port, index = map(int, sys.argv[1:3])
job = Job("127.0.0.1", port, 2, index)
processes._SILENCE, processes._SHUTDOWN = 600.0, 120  # seconds; a busy machine may be silent for the usual 30
processes.join(job, 600, call_roll(job, 600))
"""

ONE_ENDS = """
from fashion_jax.devices import shared_files
from fashion_jax.training.agreement import check_same_weights

shared_files._SLOW = 1.0  # seconds for which process 1 looks for a file that only process 0 has
with processes.failing_together(lambda: None):
    assert processes.exchange("sum", index + 1, sum) == 3
    assert [processes.decided("index", lambda: [index]) for _ in range(2)] == [[0], [0]]
    import jax.numpy as jnp
    try:
        check_same_weights({"w": jnp.full(3, 1.0 + index)}, ["vgg16.pth", ""])
    except UserError as error:
        print(error, flush=True)
    import jax
    from fashion_jax.devices.compilation_cache import keeps_programs, keep_cache_if_shared
    shared = Path(sys.argv[4])
    for folder, is_kept in ((shared, True), (shared / str(index), False))[: 1 + int(sys.argv[3])]:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        keep_cache_if_shared()
        assert keeps_programs() == is_kept
    processes.barrier("all are there")
    if index == int(sys.argv[3]):
        os._exit(9)
    time.sleep(600)
"""

CHECKPOINTS = """
import jax, numpy as np
from fashion_jax.devices.mesh import create_mesh, fetch, put_everywhere
from fashion_jax.workdir.checkpoints import restoring, writer
from fashion_jax.workdir.checkpoints.digests import Unusable
from fashion_jax.workdir.checkpoints.store import Checkpoints

start, read, calls, said = writer.CheckpointWriter.start, restoring.read_step, [], []

def fail_at_first(self, *arguments):
    calls.append(arguments)
    if len(calls) == 1:
        raise OSError("No space left on device")
    start(self, *arguments)

def fail_in_one(directory, step):
    if step == 3 and index == 1:
        raise Unusable("it cannot be read here")
    return read(directory, step)

writer.CheckpointWriter.start, restoring.read_step = fail_at_first, fail_in_one
state = put_everywhere({"w": np.float32(0.5)}, create_mesh())
checkpoints = Checkpoints(Path(sys.argv[3]), keep=3, say=said.append)
assert checkpoints.restore_latest(state) is None
checkpoints.save_now(1, state)
checkpoints.save(2, state)
checkpoints.save(3, state)
assert checkpoints.steps() == [1, 2, 3] and len(calls) == (0 if index else 4), calls
step, restored = checkpoints.restore_latest(state)
assert step == 2 and fetch(restored)["w"] == 0.5, "no process uses what another one cannot use"
assert "it cannot be read here" in said[-1], said
checkpoints.discard_after(1)
assert checkpoints.best_step == 1
checkpoints.close()
processes.barrier("end")
"""


def run_both(program: str, *arguments: object) -> list[tuple[int, str, str]]:
    """Returns the exit statuses of two processes that run a program, and what they print on stdout and stderr."""
    command = [sys.executable, "-c", JOIN + program, str(free_port())]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen([*command, str(index), *map(str, arguments)], cwd=ROOT, **streams) for index in range(2)
    ]
    try:
        printed = [process.communicate(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(started, printed, strict=True)]


@pytest.mark.parametrize("ending", [0, 1])
def test_processes_exchange_values_and_notice_the_end_of_another(ending, tmp_path):
    """If process 0 ends, JAX aborts the others as soon as it notices: the connection of the roll call is faster."""
    ended = run_both(ONE_ENDS, ending, tmp_path)
    assert ended[ending][0] == 9, ended
    assert ended[1 - ending][0] == 75, ended
    assert all(
        "Process 1 begins with other weights than process 0: the files of vgg16.pth" in out for _, out, _ in ended
    )
    told = f"Process {ending} of this run was killed or has ended: run the same command again"
    assert told in ended[1 - ending][2]


def test_process_0_saves_and_all_use_the_same_checkpoint(tmp_path):
    ended = run_both(CHECKPOINTS, tmp_path)
    assert [status for status, _, _ in ended] == [0, 0], ended


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


FAIL_SAVES = """
from fashion_jax.workdir.checkpoints import writer

start, calls = writer.CheckpointWriter.start, []

def fail_at_first(self, *arguments):
    calls.append(arguments)
    if len(calls) <= {count}:
        raise OSError("No space left on device")
    start(self, *arguments)

writer.CheckpointWriter.start = fail_at_first
"""


@pytest.mark.long
@pytest.mark.parametrize(("failing", "status"), [(2, 0), (99, 1)])
def test_a_save_that_fails_is_repeated_with_all_processes(tmp_path, catalogue_cache, failing, status):
    before = FAIL_SAVES.format(count=failing)
    started = start_all(tmp_path / "run", overrides(catalogue_cache), before=before)
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [status, status], outputs
    if status:
        assert all("Saving a checkpoint failed 5 times in a row (No space left on device)." in text for text in outputs)
    else:
        assert [int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()] == [5]
