"""Two processes on loopback, run by the command, agree with one in float64: a small net, 5 steps (long: ResNet-34)."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from fashion_jax.config.loading import load_config
from fashion_jax.training.train import train_and_evaluate
from tests.conftest import ROOT
from tests.small_trunks import SHRINK_RESNET10


def overrides(name: str, cache_dir: str) -> dict[str, object]:
    return {
        "model.name": name,
        "dtype": "float64",
        "image_size": 32,
        "batch_size": 32,
        "num_epochs": 1,
        "data.catalogue.num_images": 200,
        "data.cache_dir": cache_dir,
    }


def start(index: int, port: int, workdir: Path, fields: dict[str, object], before: str = "") -> subprocess.Popen:
    environment = os.environ | {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(index),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    flags = [f"--config.{field}={value}" for field, value in fields.items()]
    program = f"{SHRINK_RESNET10}\n{before}\nimport runpy\nrunpy.run_module('fashion_jax.main', run_name='__main__')"
    command = [sys.executable, "-c", program, "--config", "configs/smoke.py", "--distributed", "--verbose"]
    return subprocess.Popen(
        [*command, "--workdir", str(workdir), *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_both(workdir: Path, fields: dict[str, object], before: str = "") -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [start(index, port, workdir, fields, before) for index in range(2)]


# The devices of the two processes in turn, as on a slice of TPUs.
INTERLEAVED = """
import jax, numpy as np
make_mesh = jax.make_mesh
jax.make_mesh = lambda *arguments, devices, **options: make_mesh(
    *arguments, devices=[devices[i] for i in (0, 2, 1, 3)], **options
)
"""


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("resnet10", ""),
        pytest.param("resnet10", INTERLEAVED, marks=pytest.mark.long),
        pytest.param("resnet34", "", marks=pytest.mark.long),
    ],
    ids=["resnet10", "resnet10 interleaved", "resnet34"],
)
def test_two_processes_train_as_one(tmp_path, catalogue_cache, name, before):
    fields = overrides(name, catalogue_cache)
    processes = start_both(tmp_path / "two", fields, before)
    config = load_config(str(ROOT / "configs" / "smoke.py"), [(k, str(v)) for k, v in fields.items()])
    with jax.enable_x64(True):
        (one,) = train_and_evaluate(config, tmp_path / "one", devices=jax.devices()[:1])
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    (two,) = map(json.loads, (tmp_path / "two" / "metrics.jsonl").read_text().splitlines())
    assert one["step"] == 5 and two.keys() == one.keys()
    for name in one.keys() - {"timing"}:
        assert two[name] == pytest.approx(one[name], rel=1e-8), name
    for column in ("main_probabilities", "sub_probabilities"):
        a, b = (
            np.array(pq.read_table(tmp_path / run / "predictions" / "validation.parquet")[column].to_pylist())
            for run in ("one", "two")
        )
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-14)  # 1e-44 is exp(-101): of it, 1e-8 is 1e-10 of the logit


@pytest.mark.long
def test_the_page_may_take_longer_than_jax_waits_for_the_last_process(tmp_path, catalogue_cache):
    slow = "import time; from fashion_jax.training import run_end as end; end._write_report = lambda *_: time.sleep(45)"
    processes = start_both(tmp_path / "run", overrides("resnet10", catalogue_cache) | {"dtype": "float32"}, slow)
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert (tmp_path / "run" / "report").is_dir()


SIGNAL_AT_SAVES = """
import os
from fashion_jax.workdir.checkpoints import store as checkpoint

def signalling(save):
    def send_and_save(self, step, state):
        if step in {steps} and int(os.environ["JAX_PROCESS_ID"]) in {processes}:
            os.kill(os.getpid(), {number})
        save(self, step, state)
    return send_and_save

checkpoint.Checkpoints.save = signalling(checkpoint.Checkpoints.save)
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "processes", "steps"),
    [
        (signal.SIGTERM, (1,), (8,)),
        (signal.SIGUSR1, (0,), (8,)),
        (signal.SIGUSR1, (0, 1), (8, 9, 10)),  # Slurm's --signal, to every task, and not once only
    ],
)
def test_a_signal_near_saves_stops_both_processes_after_the_same_step(
    tmp_path, catalogue_cache, number, processes, steps
):
    """Every step is saved; the signals come in the second epoch, where polls and steps have different numbers."""
    fields = {"dtype": "float32", "num_epochs": 200, "checkpoint.every_steps": 1}
    before = SIGNAL_AT_SAVES.format(steps=steps, processes=processes, number=int(number))
    started = start_both(tmp_path / "run", overrides("resnet10", catalogue_cache) | fields, before)
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [75, 75], outputs
    stopped = {re.search(r"Stopped by SIG\w+ after step (\d+), which is saved", output)[1] for output in outputs}
    assert len(stopped) == 1, outputs
    saved = [int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert max(saved) == int(*stopped) and not [path for path in (tmp_path / "run").glob("report*")]
