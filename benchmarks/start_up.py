"""Measures how long a training takes to start: python -m benchmarks.start_up [--json FILE].

It measures in separate processes: --help, a wrong config, importing the libraries, and the time from the command to the
first steps, with an empty and with a filled compilation cache. The data are generated before.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.command import create_parser, origin, parse
from fashion_jax.command_line import Overrides, run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.errors import RunError

# What a training loads before its first step.
_STACK = "import fashion_jax.training.train, clu.metric_writers, tensorflow"
_MAIN = [sys.executable, "-m", "fashion_jax.main"]
_LIMIT = 600  # seconds
LIMITS = {"help": 1.5, "config_error": 1.5}
MORE_THAN_IMPORT = {"first_step_cold": 10.0, "first_step_cached": 5.0}


def main(arguments: list[str] | None = None) -> int:
    """Measures as the arguments say; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    parser = create_parser("start_up", "", "Measures the time from the command to the first steps.", "configs/smoke.py")
    flags, overrides = parse(parser, arguments)
    result = measure(flags.config, overrides)
    print(table(result))
    if flags.json:
        write_json(flags.json, result)


def measure(config: str, overrides: Overrides) -> dict[str, Any]:
    """Measures the seconds of each; returns what --json writes."""
    fields = [f"--config.{field}={value}" for field, value in overrides]
    with tempfile.TemporaryDirectory() as folder:
        variables = os.environ | {"JAX_COMPILATION_CACHE_DIR": f"{folder}/compiled"}
        variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
        train = [*_MAIN, "--config", config, *fields, "--config.log_every_steps=1", "--workdir"]
        seconds = {
            "help": _seconds([*_MAIN, "--help"], 0),
            "config_error": _seconds([*_MAIN, "--config", config, "--config.batch_size=0"], 2),
        }
        _until_steps(
            [*train, f"{folder}/warm"], variables | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
        )  # generates the data
        seconds["import"] = _seconds([sys.executable, "-c", _STACK], 0)
        seconds["first_step_cold"] = _until_steps([*train, f"{folder}/cold"], variables)
        seconds["first_step_cached"] = _until_steps([*train, f"{folder}/cached"], variables)
    return {"benchmark": "start_up", "config": config, "seconds": seconds, **origin()}


def _seconds(command: list[str], status: int) -> float:
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT)
    if done.returncode != status:
        raise RunError(f"{' '.join(command)} ends with {done.returncode}, not {status}: {done.stderr.strip()[-300:]}")
    return time.monotonic() - began


def _until_steps(command: list[str], variables: dict[str, str]) -> float:
    """Returns the seconds until the progress line appears, which on a terminal follows the first two steps."""
    terminal, inside = pty.openpty()
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=inside, stderr=inside, env=variables)
    os.close(inside)
    try:
        text = b""
        while b" img/s" not in text:
            left = began + _LIMIT - time.monotonic()
            if left <= 0 or not select.select([terminal], [], [], left)[0]:
                raise RunError(f"No step within {_LIMIT} s: {' '.join(command)}")
            try:
                text += os.read(terminal, 4096)
            except OSError as error:  # the terminal is closed: the process has ended
                raise RunError(f"No step: {text.decode(errors='replace').strip()[-300:]}") from error
        return time.monotonic() - began
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(terminal)


def table(result: dict[str, Any]) -> str:
    """Formats the result in a few lines, with the target of each."""
    seconds = result["seconds"]
    limits = LIMITS | {name: seconds["import"] + more for name, more in MORE_THAN_IMPORT.items()}
    return "\n".join(
        f"{name:<18} {value:6.2f} s" + (f"  (at most {limits[name]:.2f})" if name in limits else "")
        for name, value in seconds.items()
    )


if __name__ == "__main__":
    sys.exit(main())
