"""SIGKILL at random moments of the real command, which is then run again until it is done."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.run_files import digests, without_timing

pytestmark = pytest.mark.long

STEPS = 75  # 3 epochs of 25 steps


def start(workdir: Path, cache_dir: str, compiled: Path | None) -> subprocess.Popen:
    fields = {
        "data.cache_dir": cache_dir,
        "data.catalogue.num_images": 500,
        "batch_size": 16,
        "checkpoint.every_steps": 5,
        "augment": "light",
    }
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    if compiled:
        environment |= {"JAX_COMPILATION_CACHE_DIR": str(compiled)}
    command = [sys.executable, "-m", "fashion_jax.main", "--config", "configs/smoke.py", "--workdir", str(workdir)]
    flags = [f"--config.{field}={value}" for field, value in fields.items()]
    return subprocess.Popen([*command, *flags], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("warm", [False, True], ids=["cold cache", "warm cache"])
def test_killed_five_times_is_bit_identical(tmp_path, catalogue_cache, warm):
    compiled = tmp_path / "compiled" if warm else None
    began = time.monotonic()
    assert start(tmp_path / "whole", catalogue_cache, compiled).wait() == 0
    duration = time.monotonic() - began
    moments = random.Random(0)
    for _ in range(5):
        process = start(tmp_path / "killed", catalogue_cache, compiled)
        time.sleep(duration * moments.uniform(0.2, 0.9))
        process.kill()
        process.wait()
    assert start(tmp_path / "killed", catalogue_cache, compiled).wait() == 0
    assert without_timing(tmp_path / "killed") == without_timing(tmp_path / "whole")
    assert len(without_timing(tmp_path / "killed")) == 3
    assert digests(tmp_path / "killed", STEPS) == digests(tmp_path / "whole", STEPS)
