"""Predicting many images with the real command: killed at any time it loses no row, and more images take no memory."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT
from tests.shop import write_image

pytestmark = pytest.mark.long

SOURCES = 50  # images, of which all others are links


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Returns a run of the real network: the one of conftest.py is too small for a process of its own."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    small = ("--config.num_epochs=1", "--config.data.catalogue.num_images=200")
    command = ["fashion_jax.main", "--config", "configs/smoke.py", "--workdir", str(workdir), *small]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True, capture_output=True)
    return workdir


def photos(folder: Path, count: int) -> Path:
    for i in range(SOURCES):
        write_image(folder.with_name("sources") / f"{i}.jpg", (40, 40), seed=i)
    folder.mkdir()
    for i in range(count):
        os.link(folder.with_name("sources") / f"{i % SOURCES}.jpg", folder / f"{i:06}.jpg")
    return folder


def start(run: Path, folder: Path, output: str, *options: str) -> subprocess.Popen:
    command = ["fashion_jax.predict", "--workdir", str(run), "--input", str(folder), "--output", output, *options]
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_a_job_that_is_killed_three_times_loses_no_row(run, tmp_path):
    folder, output = photos(tmp_path / "photos", 6000), tmp_path / "parts"
    generator = random.Random(0)
    for _ in range(3):
        known = len(list(output.glob("part*")))
        with start(run, folder, f"{output}/", "--part-size=500") as process:
            while process.poll() is None and len(list(output.glob("part*"))) <= known:
                time.sleep(0.05)
            time.sleep(generator.random())
            process.send_signal(signal.SIGKILL)
    with start(run, folder, f"{output}/", "--part-size=500") as process:
        said = process.communicate()[0].decode()
    assert process.returncode == 0 and "6,000 rows in 12 parts" in said
    assert not {"\r", "\x1b"} & set(said), "no control characters go to a pipe"
    assert pq.read_table(output)["path"].to_pylist() == [str(folder / f"{i:06}.jpg") for i in range(6000)]
    assert sorted(path.name for path in output.iterdir()) == ["_job.json", *(f"part-{i:06}.parquet" for i in range(12))]


@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "parts/"])
def test_more_images_take_no_more_memory(run, tmp_path, name):
    peaks = []
    for count in (2000, 12000):
        folder = photos(tmp_path / str(count) / "photos", count)
        with start(run, folder, f"{tmp_path}/{count}/{name}") as process:
            process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert status == 0
        peaks.append(usage.ru_maxrss / 1024)
    assert peaks[1] - peaks[0] < 50, f"{peaks} MiB"
