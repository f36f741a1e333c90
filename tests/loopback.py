"""Starts the command as several processes on loopback, which train a run together."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from tests.conftest import PATIENT, ROOT
from tests.small_trunks import SHRINK_RESNET10


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_all(
    workdir: Path,
    fields: Mapping[str, object],
    *,
    count: int = 2,
    before: str = "",
    devices: int = 2,
    flags: tuple[str, ...] = (),
    output: int | IO[str] = subprocess.PIPE,
) -> list[subprocess.Popen]:
    """Starts processes that train configs/smoke.py on a small resnet10.

    Args:
        workdir: of the run.
        fields: of the config, and their values.
        count: of processes.
        before: Python lines that are run before the command.
        devices: of each process.
        flags: of the command, besides these.
        output: where what the processes print goes.
    """
    port = free_port()
    program = f"{SHRINK_RESNET10}\n{before}\nimport runpy\nrunpy.run_module('fashion_jax.main', run_name='__main__')"
    command = [sys.executable, "-c", program, "--config", "configs/smoke.py", "--workdir", str(workdir), *flags]
    command += ["--distributed"] if count > 1 else []
    command += [f"--config.{field}={value}" for field, value in fields.items()]
    variables = {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(count),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {PATIENT}",
    }
    return [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | variables | {"JAX_PROCESS_ID": str(index)},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(count)
    ]
