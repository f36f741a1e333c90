"""Processes that share the work of predict and evaluate: as one process would have done it, killed or not."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from fashion_jax import predict
from fashion_jax.command_line import add_distributed
from fashion_jax.data.sources.walk import walk
from fashion_jax.devices.job import Job
from fashion_jax.errors import RunError, UserError
from fashion_jax.serving import sharing
from fashion_jax.serving.sharing import ProcessIndex, check_folder, difference, of_all, share_of_images, shared
from tests.conftest import ROOT
from tests.shop import write_image

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "MASTER_ADDR", "WORLD_SIZE", "RANK")


@pytest.fixture
def no_job(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def job_of_one(no_job, monkeypatch):
    for name, value in zip(VARIABLES, ("127.0.0.1:1", "1", "0"), strict=False):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("count", [1, 7, 8, 41, 48, 1000])
@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_each_image_is_in_one_share_of_whole_batches(count, size, processes):
    seen = []
    for index in range(processes):
        share = share_of_images(count, size, ProcessIndex(index, processes))
        rows = list(range(count))[share]
        assert rows and share.start % size == 0, "each process computes something, at the beginning of a batch"
        seen += rows if index == 0 or share.start else []
    assert seen == list(range(count))


def test_a_process_has_the_number_by_which_it_answers(monkeypatch):
    """TPUs number the processes of a job otherwise than the job does, and answers are ordered by their numbers."""
    monkeypatch.setattr(sharing, "find_job", lambda *_: Job("127.0.0.1", 1, count=2, index=1))
    monkeypatch.setattr(sharing, "call_roll_after", lambda job, timeout, check: (check(), {}))
    for name in ("_connect", "barrier"):
        monkeypatch.setattr(sharing, name, lambda *_: None)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    flags = argparse.Namespace(distributed=True, initialization_timeout=1)
    with shared(flags, lambda: "checked") as (place, found):
        assert (place, found) == (ProcessIndex(0, 2), "checked") and place.leads


def test_rows_pass_without_a_change():
    """Alone, as process 0 receives its own."""
    for rows in (np.random.default_rng(0).normal(size=(5, 3)), np.zeros((0, 7), np.float32), np.ones((2, 300_000))):
        np.testing.assert_array_equal(of_all(rows, max(len(rows), 1)), rows)


def test_who_differs_in_what_is_told():
    same = {"number of inputs": "40", "value of decode": "joint"}
    assert difference([same, same, dict(same)]) == ""
    told = difference([same, same, same | {"number of inputs": "41"}])
    assert all(words in told for words in ("number of inputs differs", "41 in process 2", "40 in process 0"))
    assert "value of costs" in difference([same, same | {"value of costs": "tree"}])


def test_the_file_by_which_a_folder_is_checked_does_not_stay_and_is_no_input(tmp_path, monkeypatch):
    check_folder(ProcessIndex(), "--output", tmp_path)
    assert not any(tmp_path.iterdir())

    def fail(*_):
        assert any(tmp_path.iterdir()) and not list(walk(str(tmp_path)))
        raise RunError("Process 1 is gone.")

    monkeypatch.setattr("fashion_jax.serving.sharing.exchange", fail)
    with pytest.raises(RunError, match="is gone"):
        check_folder(ProcessIndex(0, 2), "--output", tmp_path)
    assert not any(tmp_path.iterdir())


def test_without_launcher_there_is_no_job(no_job):
    parser = argparse.ArgumentParser()
    add_distributed(parser)
    with pytest.raises(UserError, match="JAX_COORDINATOR_ADDRESS"), shared(parser.parse_args(["--distributed"]), list):
        pass
    with shared(parser.parse_args([]), lambda: "checked") as found:
        assert found == (ProcessIndex(0, 1), "checked")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output=p/", "--shard=1/2"], "--shard"),
        (["--output=p.csv", "--explain=e"], "--explain"),
        (["--output=/dev/null"], "/dev/null"),
        (["--output=p.csv", "--initialization-timeout=0"], "--initialization-timeout is 0"),
        (["--output=p.csv"], "JAX_COORDINATOR_ADDRESS"),
    ],
)
def test_what_cannot_be_shared_is_told_at_once(finished_run, no_job, capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert predict.main(["--workdir", str(finished_run), "--input=x", "--distributed", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_job_of_one_process_is_that_process(finished_run, job_of_one, tmp_path, capsys):
    image, output = tmp_path / "1.jpg", tmp_path / "p.csv"
    write_image(image, seed=1)
    arguments = ["--workdir", str(finished_run), "--input", str(image), "--output", str(output), "--distributed"]
    assert predict.main(arguments) == 0 and f"{output}: 1 prediction." in capsys.readouterr().out


class Command:
    """Processes on loopback that share a command."""

    def __init__(self, count: int, module: str, *arguments: object, own: dict[int, list[str]] | None = None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes = []
        for index in range(count):
            environment = os.environ | {
                "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                "JAX_NUM_PROCESSES": str(count),
                "JAX_PROCESS_ID": str(index),
            }
            command = [sys.executable, "-m", module, "--distributed", *map(str, arguments), *(own or {}).get(index, [])]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            self.processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes))

    def ends(self) -> tuple[list[int], list[str], list[str]]:
        """Returns the statuses of all processes, and what they have said on standard output and on standard error."""
        said = [process.communicate(timeout=300) for process in self.processes]
        return [process.returncode for process in self.processes], *map(list, zip(*said, strict=True))

    def wait_for(self, folder: Path, parts: int) -> None:
        while len(list(folder.glob("part-*.parquet"))) < parts:
            assert all(process.poll() is None for process in self.processes)
            time.sleep(0.02)


@pytest.fixture(scope="module")
def real_run(tmp_path_factory) -> Path:
    """Returns a run of the real network, which processes of their own can load."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    small = ("--config.num_epochs=1", "--config.data.catalogue.num_images=200")
    command = ["fashion_jax.main", "--config", "configs/smoke.py", "--workdir", str(workdir), *small]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True, capture_output=True)
    return workdir


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Returns a folder of 331 images, some of them broken: no multiple of a batch."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(331):
        if i in (3, 100, 101, 330):
            (folder / f"{i:04}.jpg").write_text("no image")
        elif i < 40:
            write_image(folder / f"{i:04}.jpg", (40, 40), seed=i)
        else:
            os.link(folder / f"{10 + i % 30:04}.jpg", folder / f"{i:04}.jpg")
    return folder


def options(run: Path, photos: Path, output: Path | str) -> list[object]:
    return ["--workdir", run, "--input", photos, "--output", output, "--batch-size=16"]


def alone(module: str, *arguments: object) -> str:
    """Returns what one process says, which must be of its own: conftest.py makes the networks of this one small."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 4])
def test_the_table_is_that_of_one_process(real_run, photos, tmp_path, count):
    for name, more in (("p.csv", ["--top-k=2"]), ("p.jsonl", ["--all-probabilities", "--embeddings"])):
        one, many = tmp_path / f"one-{name}", tmp_path / f"many-{name}"
        said = alone("fashion_jax.predict", *options(real_run, photos, one), *more)
        others = said.splitlines()[1:]  # the first line has the speed
        statuses, out, err = Command(count, "fashion_jax.predict", *options(real_run, photos, many), *more).ends()
        assert statuses == [0] * count and out[1:] == [""] * (count - 1), (out, err)
        assert many.read_bytes() == one.read_bytes()
        assert out[0].splitlines()[1:] == others and out[0].startswith(f"{many}: 327 predictions. ")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{kind}-{name}" for kind in ("one", "many") for name in ("p.csv", "p.jsonl")
    )


@pytest.mark.long
def test_a_folder_has_the_rows_of_one_process(real_run, photos, tmp_path):
    alone("fashion_jax.predict", *options(real_run, photos, tmp_path / "one.parquet"))
    statuses, out, err = Command(2, "fashion_jax.predict", *options(real_run, photos, f"{tmp_path}/parts/")).ends()
    assert statuses == [0, 0] and "complete: 331 rows" in out[0] and out[1] == "", (out, err)
    names = [path.name for path in (tmp_path / "parts").iterdir()]
    assert "_job.json" in names and all(name == "_job.json" or name.startswith("part-") for name in names)
    assert len(names) > 3, "each process has some parts"
    assert pq.read_table(tmp_path / "parts").equals(pq.read_table(tmp_path / "one.parquet"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "index", "statuses"),
    [
        (signal.SIGKILL, 1, ({75}, {-signal.SIGKILL})),
        (signal.SIGKILL, 0, ({-signal.SIGKILL}, {75, -signal.SIGABRT})),
        (signal.SIGTERM, 1, ({75}, {75})),
        (signal.SIGTERM, 0, ({75}, {75})),
    ],
    ids=["kill 1", "kill 0", "stop 1", "stop 0"],
)
def test_a_job_that_was_cut_off_goes_on(real_run, photos, tmp_path, number, index, statuses):
    one, many = tmp_path / "one.csv", tmp_path / "many.csv"
    longer = ["--input", *[photos] * 5]  # the same again, since a process must be caught while it predicts
    alone("fashion_jax.predict", *options(real_run, photos, one), *longer)
    job = Command(2, "fashion_jax.predict", *options(real_run, photos, many), *longer)
    folder = tmp_path / ".many.csv.parts"
    job.wait_for(folder, 3)
    began = time.monotonic()
    job.processes[index].send_signal(number)
    ended, out, err = job.ends()
    assert all(status in wanted for status, wanted in zip(ended, statuses, strict=True)), (ended, out, err)
    assert time.monotonic() - began < 60 and not many.exists()
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    assert len(before) >= 3
    ended, out, err = Command(2, "fashion_jax.predict", *options(real_run, photos, many), *longer).ends()
    assert ended == [0, 0] and many.read_bytes() == one.read_bytes(), (out, err)
    assert f"{many}: {6 * 327:,} predictions." in out[0] and not folder.exists()


@pytest.mark.long
def test_processes_that_differ_are_told(real_run, photos, tmp_path):
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    (fewer / "0000.jpg").unlink()
    table = tmp_path / "p.csv"
    for own, words in (
        (["--input", fewer], "number of inputs"),
        (["--decode=joint"], "decode"),
        (["--output", tmp_path / "other" / "p.csv"], "not see the files"),
        (["--workdir", tmp_path / "other"], str(tmp_path / "other")),
    ):
        (tmp_path / "other").mkdir(exist_ok=True)
        arguments = options(real_run, photos, table)
        job = Command(2, "fashion_jax.predict", *arguments, own={1: list(map(str, own))})
        statuses, out, err = job.ends()
        assert 0 not in statuses and words in err[0] and words in err[1] and out == ["", ""], (statuses, out, err)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(tmp_path / ".p.csv.parts")


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 4])
def test_an_evaluation_has_the_numbers_of_one_process(real_run, tmp_path, count):
    """The validation split has 40 images, which are two batches of 32: two processes of four have none left."""
    again = tmp_path / "again"
    again.symlink_to(real_run)
    arguments = ["--workdir", real_run, "--workdir", again]
    alone("fashion_jax.evaluate", *arguments, "--json", tmp_path / "one.json")
    statuses, out, err = Command(count, "fashion_jax.evaluate", *arguments, "--json", tmp_path / "many.json").ends()
    assert statuses == [0] * count and out[0] and not any(out[1:]), (out, err)
    one, many = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "many.json"))
    for a, b in zip(one, many, strict=True):
        a.pop("images_per_second"), b.pop("images_per_second")
    assert many == one
