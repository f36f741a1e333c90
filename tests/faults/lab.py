"""What the faults are made with: the command in a process of its own, and a look at what it leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
EVERY = 5  # steps between checkpoints
STEPS = 75  # 3 epochs of 25 steps
TIMEOUT = 1200  # seconds, of any wait; long, for machines that have other work to do


@dataclasses.dataclass
class Try:
    """What became of one fault.

    Attributes:
        survived: the run came to the same end as if nothing had happened, or stopped as it should.
        lost: steps of work that had to be done again.
        message: what was said.
    """

    survived: bool
    lost: int | None = None
    message: str = ""


class Command:
    """python -m fashion_jax.main on the smoke config made small, or with Python lines run before it."""

    def __init__(
        self,
        lab: Lab,
        workdir: Path,
        fields: Mapping[str, object] = {},
        before: str = "",
        is_cold: bool = False,
        file_limit: int | None = None,
        variables: Mapping[str, str] = {},
        flags: tuple[str, ...] = (),
    ):
        program = f"{before}\nimport runpy, sys\nrunpy.run_module('fashion_jax.main', run_name='__main__')"
        arguments = ["--config", "configs/smoke.py", "--workdir", str(workdir), *flags]
        arguments += [f"--config.{field}={value}" for field, value in {**lab.fields, **fields}.items()]
        cache = lab.folder / ("cold" if is_cold else "compiled")
        if is_cold:
            shutil.rmtree(cache, ignore_errors=True)
        environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
            "PYTHONUNBUFFERED": "1",
        }
        limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit,) * 2)) if file_limit else None
        self.workdir, self.began = workdir, time.monotonic()
        self.out, self.err = (lab.folder / f"{name}{len(lab.commands)}" for name in ("out", "err"))
        lab.commands.append(self)
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments],
                cwd=ROOT,
                env=environment | dict(variables),
                stdout=out,
                stderr=err,
                text=True,
                preexec_fn=limit,
            )

    def until(self, condition: Callable[[], object], then: float = 0) -> bool:
        """Waits for a condition and some seconds more; False where the process ended first."""
        while not condition():
            if self.process.poll() is not None or time.monotonic() > self.began + TIMEOUT:
                return False
            time.sleep(0.002)
        time.sleep(then)
        return self.process.poll() is None

    def wait(self) -> int:
        try:
            return self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def stdout(self) -> str:
        return self.out.read_text()

    def stderr(self) -> str:
        return self.err.read_text()

    def sentence(self) -> str:
        """The last line of stderr; a traceback is no sentence."""
        text = self.stderr()
        return "TRACEBACK" if "Traceback" in text else (text.strip().splitlines() or [""])[-1]

    def started_at(self) -> int:
        """The step from which it went on."""
        text = self.stdout()
        return int(text.split("after step ")[1].split()[0]) if "after step " in text else 0

    def has_saved(self) -> bool:
        """Whether it has said where it starts, and saved a step since."""
        begun = any(word in self.stdout() for word in ("Training ", "Resuming "))
        return begun and max(self.steps(), default=0) > self.started_at()

    def steps(self) -> list[int]:
        """The checkpoints on disk."""
        folder = self.workdir / "checkpoints"
        names = os.listdir(folder) if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())


class Lab:
    """A folder, and the run without faults that all others are compared with."""

    def __init__(self, folder: Path):
        self.folder, self.commands = folder, []
        self.fields = {
            "data.cache_dir": folder / "catalogues",
            "data.catalogue.num_images": 500,
            "batch_size": 16,
            "checkpoint.every_steps": EVERY,
        }
        self.whole = folder / "whole"

    def run(self, workdir: Path, **options) -> Command:
        return Command(self, workdir, **options)

    def finish(self, workdir: Path, **options) -> tuple[Command, bool]:
        """Runs to the end; whether that is the end of the run without faults, to the last bit."""
        command = self.run(workdir, **options)
        status = command.wait()
        same = status == 0 and lines(workdir) == lines(self.whole) and digests(workdir) == digests(self.whole)
        return command, same

    def copy(self, name: str, at: int = STEPS) -> Path:
        """The run without faults, as it was when it had saved step `at`, without its report."""
        workdir = self.folder / name
        shutil.copytree(self.whole, workdir)
        shutil.rmtree(workdir / "report")
        for step in os.listdir(workdir / "checkpoints"):
            if step.isdigit() and int(step) > at:
                shutil.rmtree(workdir / "checkpoints" / step)
        return workdir


def lines(workdir: Path) -> list[dict]:
    """metrics.jsonl without timing."""
    path = workdir / "metrics.jsonl"
    read = map(json.loads, path.read_text().splitlines() if path.exists() else [])
    return [{k: v for k, v in line.items() if k != "timing"} for line in read]


def digests(workdir: Path, step: int = STEPS) -> dict | None:
    path = workdir / "checkpoints" / str(step) / "digests" / "metadata"
    return json.loads(path.read_text()) if path.exists() else None


def flip(path: Path, byte: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[byte % len(data)] ^= 1 << bit
    path.write_bytes(data)
