"""One writer at a time."""

import subprocess
import sys

import pytest

from fashion_jax.errors import UserError
from fashion_jax.lock import locked
from tests.conftest import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from fashion_jax.lock import locked
with locked(Path(sys.argv[1]), print):
    print("ready", flush=True)
    time.sleep(60)
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
