"""A work directory has one writer at a time."""

import fcntl
import json
import os
import subprocess
import sys

import pytest

from fashion_jax.errors import UserError
from fashion_jax.workdir.lock import locked
from tests.conftest import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from fashion_jax.workdir.lock import locked
with locked(Path(sys.argv[1]), print):
    print("ready", flush=True)
    time.sleep(600)
"""


def hold(workdir) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, workdir], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_holder_is_named_until_it_is_killed(tmp_path):
    with hold(tmp_path) as process:
        with pytest.raises(UserError, match=rf"where process {process.pid} on .+, started 20\d\d-.+ is training"):
            locked(tmp_path, print).__enter__()
        process.kill()
        process.wait()
        with locked(tmp_path, print):
            pass
    assert (tmp_path / "lock").read_text() == ""


def test_the_flag_and_what_the_holder_does_are_named(tmp_path):
    with hold(tmp_path) as process:
        with pytest.raises(UserError, match=r"--output is .+, where process .+ is preparing data: wait for it"):
            locked(tmp_path, print, "--output", "is preparing data").__enter__()
        process.kill()


def test_a_damaged_lock_file_still_locks(tmp_path):
    with hold(tmp_path) as process:
        (tmp_path / "lock").write_bytes(b"\xff{")
        with pytest.raises(UserError, match="where another process is training"):
            locked(tmp_path, print).__enter__()
        process.kill()


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    said = []

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path, said.append):
        assert "cannot be locked (Operation not supported)" in said[0]


@pytest.mark.parametrize("plant", ["link", "dangling", "folder", "pipe"])
def test_what_is_planted_as_the_lock_is_refused_and_left_alone(tmp_path, plant):
    victim, lock = tmp_path / "victim", tmp_path / "lock"
    victim.write_text("precious")
    if plant in ("link", "dangling"):
        lock.symlink_to(victim if plant == "link" else tmp_path / "gone")
    else:
        lock.mkdir() if plant == "folder" else os.mkfifo(lock)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError, match=r"lock cannot be written \(.+\): move it away"):
        locked(tmp_path, print).__enter__()
    assert victim.read_text() == "precious" and sorted(os.listdir(tmp_path)) == before


def test_a_start_that_fails_leaves_no_lock_that_was_not_there(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(tmp_path, print):
            raise ZeroDivisionError
        assert os.listdir(tmp_path) == []
    with locked(tmp_path, print):
        pass
    with pytest.raises(ZeroDivisionError), locked(tmp_path, print):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["lock"]


def test_a_lock_on_a_file_that_is_gone_is_taken_anew(tmp_path, monkeypatch):
    """Another process removes the file between its opening and its locking."""
    flock, removals = fcntl.flock, iter([True, False])

    def lock_late(descriptor, how):
        if next(removals):
            (tmp_path / "lock").unlink()
        flock(descriptor, how)

    monkeypatch.setattr("fcntl.flock", lock_late)
    with locked(tmp_path, print):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
