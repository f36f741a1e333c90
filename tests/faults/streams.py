"""Standard output that is closed, full, no longer read, or of another encoding."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from tests.faults.lab import Command, Fault, Lab, Try, end_of

_SHELLS = {
    "closed": 'exec "$@" >&-',
    "read no more": 'set -o pipefail; "$@" | head -n 1',
    "full": 'exec "$@" > /dev/full',
    "both closed": 'exec "$@" >&- 2>&-',
    "stderr full": 'exec "$@" 2> /dev/full',
}
_ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict"}


def _trained(name: str, lab: Lab) -> Iterator[Try]:
    workdir = lab.folder / "run"
    command = lab.train(workdir, shell=_SHELLS[name])
    status = command.wait()
    is_right = status == 0 and end_of(workdir) == end_of(lab.whole)
    yield Try(f"train: {name}", is_right, f"{status}: {command.sentence() or 'the same end'}")


def _read(module: str, name: str, lab: Lab) -> Iterator[Try]:
    """Checks that evaluate and predict write their files and end with 0, as they do with a reader."""
    output = lab.folder / "out.json" if module == "evaluate" else lab.folder / "out.csv"
    command = Command(lab, f"fashion_jax.{module}", _flags(module, lab, output), shell=_SHELLS[name])
    status = command.wait()
    is_written = output.is_file() and output.stat().st_size > 100
    yield Try(f"{module}: {name}", status == 0 and is_written, f"{status}: {command.sentence() or 'written'}")


def _flags(module: str, lab: Lab, output: Path) -> list[object]:
    if module == "evaluate":
        return ["--workdir", lab.whole, "--json", output]
    images = next((lab.whole.parent / "cache").rglob("images"))
    return ["--workdir", lab.whole, "--input", images, "--output", output]


def _in_ascii(lab: Lab) -> Iterator[Try]:
    """Uses a work directory and classes beyond ASCII on a terminal that knows only ASCII."""
    workdir = lab.folder / "rün"
    command = lab.train(workdir, is_fresh=True, variables=_ASCII)
    status = command.wait()
    yield Try("train: ASCII", status == 0 and end_of(workdir) == end_of(lab.whole), f"{status}: {command.sentence()}")
    reader = lab.command("evaluate", "--workdir", workdir, is_fresh=True, variables=_ASCII)
    yield Try("evaluate: ASCII", reader.process.returncode == 0, f"{reader.process.returncode}: {reader.sentence()}")


LOST_OUTPUT: list[Fault] = [
    *(functools.partial(_trained, name) for name in _SHELLS),
    *(functools.partial(_read, module, name) for module in ("evaluate", "predict") for name in list(_SHELLS)[:3]),
    _in_ascii,
]
