"""Signals, in processes of their own; and runs that are asked to stop, in this one."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from fashion_jax.errors import Interrupted
from fashion_jax.training import interruption
from fashion_jax.training.train import train_and_evaluate
from tests.conftest import ROOT
from tests.run_files import digests, without_timing

PROGRAM = """
import hashlib, sys, time
from fashion_jax.training import interruption
from fashion_jax.command_line import run_command

def command(arguments):
    interruption.hold("hold" in arguments)
    print("ready", flush=True)
    if "busy" in arguments:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes in C, as a compilation, without the GIL
    while not interruption.requested():
        time.sleep(0.01)
    time.sleep(600 if "slow" in arguments else 0)  # the second signal ends it
    raise interruption.stopped(7)

interruption.watch()
sys.exit(run_command(command, None))
"""


# The tests may run under nohup, whose processes inherit that SIGHUP is ignored.
AS_WITHOUT_NOHUP = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"


def interrupted(*arguments: str, signals: list[int]) -> tuple[int, str]:
    """Returns the status and stderr of PROGRAM, to which signals are sent once it is ready."""
    command = [sys.executable, "-c", AS_WITHOUT_NOHUP + PROGRAM, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.2)
        try:
            _, stderr = process.communicate(timeout=300)
        finally:
            process.kill()
    return process.returncode, stderr


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGHUP, 75), (signal.SIGINT, 130)],
    ids=str,
)
def test_a_signal_waits_while_there_is_something_to_save(number, status):
    name = signal.Signals(number).name
    ended, stderr = interrupted("hold", signals=[number])
    acknowledged, sentence = stderr.splitlines()
    assert ended == status and acknowledged.startswith(f"{name}: saving") and "again to stop at once" in acknowledged
    assert sentence == f"Stopped by {name} after step 7, which is saved: run the same command again to resume."


def test_under_nohup_a_lost_terminal_stops_nothing():
    command = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", sys.executable, "-c", PROGRAM, "hold"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        run.stdout.readline()
        run.send_signal(signal.SIGHUP)
        run.send_signal(signal.SIGTERM)
        _, stderr = run.communicate(timeout=300)
    assert run.returncode == 75 and "Stopped by SIGTERM after step 7" in stderr


def test_with_nothing_to_save_it_ends_at_once_even_inside_c_code():
    status, stderr = interrupted("busy", signals=[signal.SIGTERM])
    assert (status, stderr.count("\n")) == (75, 1) and "at once by SIGTERM, with nothing to save" in stderr


def test_the_second_signal_ends_at_once():
    status, stderr = interrupted("hold", "slow", signals=[signal.SIGINT, signal.SIGTERM])
    first, second = stderr.splitlines()
    assert status == 75 and "SIGINT: saving" in first and "Ctrl-C again" in first
    assert "at once by SIGTERM, without saving" in second


SHARED_PROGRAM = """
import os, sys, time
from fashion_jax.devices.job import find_job
from fashion_jax.devices.processes import join
from fashion_jax.training import interruption
from fashion_jax.command_line import run_command

def command(numbers):
    join(find_job(os.environ, 60), 60, {})
    interruption.share_among_processes()
    for number in numbers:
        os.kill(os.getpid(), int(number))
        time.sleep(0.1)
    time.sleep(3)  # as a compilation: the others hear of the signal before anyone has polled
    for step in range(1, 100):
        if interruption.requested():
            raise interruption.stopped(step)

interruption.watch()
sys.exit(run_command(command, sys.argv[1:]))
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "signals", [([signal.SIGTERM], []), ([], [signal.SIGUSR1]), ([signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1],) * 2]
)
def test_signals_before_the_first_step_stop_all_processes_after_it(signals):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        variables = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free.getsockname()[1]}", "JAX_NUM_PROCESSES": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", AS_WITHOUT_NOHUP + SHARED_PROGRAM, *(str(int(number)) for number in numbers)],
            cwd=ROOT,
            env=os.environ | variables | {"JAX_PROCESS_ID": str(index)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, numbers in enumerate(signals)
    ]
    outputs = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [75, 75], outputs
    assert all("after step 1, which is saved" in output for output in outputs), outputs


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("polls", "step"),
    [(1, 1), pytest.param(11, 10, marks=pytest.mark.long), (18, 17), pytest.param(22, 20, marks=pytest.mark.long)],
)
def test_a_run_that_is_asked_to_stop_resumes_bit_identically(
    finished_run, tiny_config, tmp_path, monkeypatch, polls, step
):
    """Each of an epoch's 10 steps is followed by a poll, its only validation batch is preceded by one."""
    tiny_config.checkpoint.every_steps = 4
    asked = iter(range(1, 10**6))
    with monkeypatch.context() as patched:
        patched.setattr(interruption, "requested", lambda: next(asked) == polls)
        with pytest.raises(Interrupted, match=f"after step {step}, which is saved") as stop:
            train_and_evaluate(tiny_config, tmp_path)
    assert stop.value.status == 75
    assert (tmp_path / "checkpoints" / str(step)).exists()
    train_and_evaluate(tiny_config, tmp_path)
    assert without_timing(tmp_path) == without_timing(finished_run)
    assert digests(tmp_path, 20) == digests(finished_run, 20)
