"""Runs the commands in processes of their own, and inspects what they leave."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.faults.forked import Forked, start_server
from tests.small_trunks import SHRINK_RESNET10

ROOT = Path(__file__).parent.parent.parent
EVERY = 5  # steps between checkpoints
STEPS = 30  # 3 epochs of 10 steps
UNFORESEEN = "UNFORESEEN"  # begins a sentence that nobody wrote
TIMEOUT = 600  # seconds, of any wait; long, for machines that have other work to do


@dataclasses.dataclass
class Try:
    """The outcome of one fault.

    Attributes:
        name: of the fault, unique within its kind.
        survived: the run came to the same end as without the fault, or stopped as it should and said why.
        message: what the command said.
        lost: steps of work that had to be done again.
    """

    name: str
    survived: bool
    message: str = ""
    lost: int = 0


Fault = Callable[["Lab"], Iterator[Try]]


@dataclasses.dataclass(frozen=True)
class Options:
    """How a command is started.

    Attributes:
        before: Python lines that run first.
        variables: environment variables.
        limits: number of a resource -> limit.
        is_fresh: whether it has an interpreter of its own.
        is_plain: whether that interpreter does nothing else first, and so trains the net in its real size.
        shell: a line of bash in which "$@" stands for the fresh command.
    """

    before: str = ""
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limits: Mapping[int, int] = dataclasses.field(default_factory=dict)
    is_fresh: bool = False
    is_plain: bool = False
    shell: str = ""


class Command:
    """A command of the package in a process of its own: forked, or with an interpreter of its own."""

    def __init__(self, lab: Lab, module: str, arguments: Sequence[object], workdir: Path | None = None, **options):
        """Starts the command.

        Args:
            lab: the lab it belongs to.
            module: the command's module.
            arguments: the command's arguments.
            workdir: the directory that it trains in, if it trains.
            options: the fields of Options.
        """
        self.workdir, self.began = workdir, time.monotonic()
        self.out, self.err = (lab.folder / f"{name}{len(lab.commands)}" for name in ("out", "err"))
        arguments, options = [str(argument) for argument in arguments], Options(**options)
        if options.is_fresh or options.shell:
            self.process = self._start_fresh(lab, module, arguments, options)
        else:
            forked = {"before": options.before, "variables": dict(options.variables), "limits": dict(options.limits)}
            self.process = Forked(module, arguments, **forked, out=self.out, err=self.err)
        lab.commands.append(self)

    def _start_fresh(self, lab: Lab, module: str, arguments: list[str], options: Options) -> subprocess.Popen:
        run = f"import runpy\nrunpy.run_module({module!r}, run_name='__main__')"
        before = options.before if options.is_plain else f"{SHRINK_RESNET10}\n{options.before}"
        command = [sys.executable, "-c", f"{before}\n{run}", *arguments]
        if options.shell:
            command = ["bash", "-c", options.shell, "bash", *command]
        # JAX warns of a fork that runs Python code, so that there is none where no limit has to be set
        first = functools.partial(_limit, options.limits) if options.limits else None
        environment = lab.environment | dict(options.variables)
        with self.out.open("w") as out, self.err.open("w") as err:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=err, preexec_fn=first)

    def until(self, condition: Callable[[], object], then: float = 0) -> bool:
        """Waits for a condition and then some seconds more; returns False if the process ended first."""
        while not condition():
            if self.process.poll() is not None or time.monotonic() > self.began + TIMEOUT:
                return False
            time.sleep(0.001)
        time.sleep(then)
        return self.process.poll() is None

    def wait(self) -> int:
        try:
            return self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(TIMEOUT)

    def stdout(self) -> str:
        return self.out.read_text(errors="replace") if self.out.exists() else ""

    def stderr(self) -> str:
        return self.err.read_text(errors="replace") if self.err.exists() else ""

    def sentence(self) -> str:
        """Returns the last line of stderr, marked if it was not written for this case."""
        text = self.stderr()
        last = (text.strip().splitlines() or [""])[-1]
        return f"{UNFORESEEN}: {last}" if "Traceback" in text or "with --verbose to see where" in last else last

    def started_at(self) -> int:
        """Returns the step from which the command resumed."""
        text = self.stdout()
        return int(text.split("after step ")[1].split()[0]) if "Resuming" in text else 0

    def has_saved(self) -> bool:
        """Returns whether the command has said where it starts, and saved a step since."""
        begun = any(word in self.stdout() for word in ("Training ", "Resuming "))
        return begun and max(self.steps(), default=0) > self.started_at()

    def steps(self) -> list[int]:
        """The checkpoints on disk."""
        return steps(self.workdir)

    def is_saving(self) -> bool:
        return any("orbax-checkpoint-tmp" in name for name in _names(self.workdir / "checkpoints"))

    def is_reporting(self) -> bool:
        return any("report" in name and "tmp" in name for name in _names(self.workdir))


class Lab:
    """A folder, and the run without faults that all others are compared with."""

    def __init__(self, folder: Path):
        self.folder, self.whole = folder, folder / "whole"
        self.commands: list[Command] = []
        self.fields: dict[str, object] = {
            "data.cache_dir": folder / "cache",
            "data.catalogue.num_images": 200,
            "batch_size": 16,
            "num_epochs": 3,
            "checkpoint.every_steps": EVERY,
        }
        self.environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
            "PYTHONUNBUFFERED": "1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "TF_ENABLE_ONEDNN_OPTS": "0",
        }
        start_server(self.environment)

    def at(self, name: str) -> Lab:
        """Returns the same lab with a folder of its own, for one fault."""
        lab = copy.copy(self)
        lab.folder, lab.commands = self.folder / name, []
        lab.folder.mkdir(parents=True)
        return lab

    def with_fields(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Returns the fields of the run without faults with others; files have no fields of the catalogue."""
        both = {**self.fields, **fields}
        is_drawn = both.get("data.source", "catalogue") == "catalogue" and "data.path" not in both
        return {name: x for name, x in both.items() if is_drawn or not name.startswith("data.catalogue.")}

    def train(
        self, workdir: Path, fields: Mapping[str, object] = {}, flags: Sequence[object] = (), **options
    ) -> Command:
        """Trains as in the run without faults, in another place or with other fields."""
        fields = [f"--config.{field}={value}" for field, value in self.with_fields(fields).items()]
        arguments = ["--config", "configs/smoke.py", f"--workdir={workdir}", *flags, *fields]
        return Command(self, "fashion_jax.main", arguments, workdir, **options)

    def finish(self, workdir: Path, fields: Mapping[str, object] = {}, **options) -> tuple[Command, bool]:
        """Trains to the end; returns the command and whether it ended bit for bit like the run without faults."""
        command = self.train(workdir, fields, **options)
        return command, command.wait() == 0 and end_of(workdir) == end_of(self.whole)

    def command(self, name: str, *arguments: object, **options) -> Command:
        """Runs another command to its end."""
        command = Command(self, f"fashion_jax.{name}", arguments, **options)
        command.wait()
        return command

    def copy(self, at: int = STEPS, name: str = "run") -> Path:
        """Copies the run without faults as it was after saving step `at`, without its report."""
        workdir = self.folder / name
        shutil.copytree(self.whole, workdir)
        shutil.rmtree(workdir / "report")
        for step in steps(workdir):
            if step > at:
                shutil.rmtree(workdir / "checkpoints" / str(step))
        return workdir

    def close(self) -> None:
        """Ends all commands that still run."""
        for command in self.commands:
            command.process.kill()
            command.wait()


def is_sentence(said: str) -> bool:
    """Returns whether an output, if there is one, was written for this case."""
    return not said.startswith(UNFORESEEN)


def refused(name: str, command: Command, words: Sequence[str], status: int = 2) -> Try:
    """Checks that a command ended with this status and one sentence that contains all the words."""
    ended, said = command.wait(), command.sentence()
    has_words = all(word.lower() in said.lower() for word in words)
    is_right = ended == status and said != "" and is_sentence(said) and has_words
    return Try(name, is_right, said if is_right else f"{ended}: {said} {command.stderr()[-500:]}")


def told(command: Command) -> str:
    """Returns what a command has said besides its progress."""
    usual = (
        "  ",
        "epoch ",
        "Done.",
        "Training ",
        "step ",
        "Note: ",
        "Estimated ",
        "Corrected ",
        "Page: ",
        "To predict ",
    )
    lines = (command.stdout() + command.stderr()).splitlines()
    return " / ".join(line for line in lines if line.strip() and not line.startswith(usual))


def end_of(workdir: Path) -> tuple[object, ...]:
    """Returns the results of a run: metrics, the arrays of its last step, its predictions, whether it has a page."""
    predictions = workdir / "predictions" / "validation.parquet"
    digest = hashlib.sha256(predictions.read_bytes()).hexdigest() if predictions.is_file() else None
    return lines(workdir), digests(workdir), digest, (workdir / "report" / "index.html").is_file()


def lines(workdir: Path) -> list[dict]:
    """Returns metrics.jsonl without timing."""
    path = workdir / "metrics.jsonl"
    read = map(json.loads, path.read_text().splitlines() if path.exists() else [])
    return [{k: v for k, v in line.items() if k != "timing"} for line in read]


def steps(workdir: Path) -> list[int]:
    return sorted(int(name) for name in _names(workdir / "checkpoints") if name.isdigit())


def digests(workdir: Path, step: int = STEPS) -> dict | None:
    path = workdir / "checkpoints" / str(step) / "digests" / "metadata"
    found = json.loads(path.read_text()) if path.exists() else {}
    return found.get("arrays", found)


def flip(path: Path, byte: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[byte % len(data)] ^= 1 << bit
    path.write_bytes(data)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _limit(limits: Mapping[int, int]) -> None:
    for number, limit in limits.items():
        resource.setrlimit(number, (limit, limit))
