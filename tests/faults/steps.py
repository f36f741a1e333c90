"""Folders of checkpoints that do not contain what their names say: copied, renamed, exchanged, another run's."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.lab import STEPS, Fault, Lab, Try, end_of, is_sentence, told

Harm = Callable[[Path, Lab], None]


def _not_believed(name: str, harm: Harm, words: Sequence[str], lab: Lab) -> Iterator[Try]:
    """Checks that the run is refused in a sentence, or comes to the same end and reports what it has skipped."""
    workdir = lab.copy()
    harm(workdir / "checkpoints", lab)
    command = lab.train(workdir)
    status, said = command.wait(), told(command) if command.process.returncode == 0 else command.sentence()
    is_right = is_sentence(said) and (status in (1, 2) or (status == 0 and end_of(workdir) == end_of(lab.whole)))
    is_told = any(word in said for word in words) or not words
    yield Try(name, is_right and is_told, f"{status}: {said}", STEPS - command.started_at() if status == 0 else 0)


def _evaluated(name: str, harm: Harm, lab: Lab) -> Iterator[Try]:
    """Checks that evaluate refuses the run in a sentence, or prints the metrics of a genuine step."""
    workdir = lab.copy()
    right = lab.command("evaluate", "--workdir", workdir, "--checkpoint=latest", f"--json={lab.folder / 'right.json'}")
    harm(workdir / "checkpoints", lab)
    command = lab.command("evaluate", "--workdir", workdir, "--checkpoint=latest")
    status, said = command.process.returncode, command.sentence()
    is_same = _metrics(command.stdout()) == _metrics(right.stdout())
    is_passed_over = "cannot be used" in command.stderr() or "passed over" in command.stderr()
    is_right = status in (1, 2) or (status == 0 and (is_same or is_passed_over))
    yield Try(f"evaluate: {name}", is_right and is_sentence(said), f"{status}: {said or 'the same metrics'}")


def _metrics(stdout: str) -> list[str]:
    """Returns the lines of a table without times."""
    return [line for line in stdout.splitlines() if "images/s" not in line][:6]


def _move(a: str, b: str) -> Harm:
    return lambda folder, lab: (folder / a).rename(folder / b)


def _copy(a: str, b: str) -> Harm:
    return lambda folder, lab: shutil.copytree(folder / a, folder / b)


def _exchange(folder: Path, lab: Lab) -> None:
    one, other = sorted(int(name) for name in os.listdir(folder) if name.isdigit())[-2:]
    (folder / str(one)).rename(folder / "aside")
    (folder / str(other)).rename(folder / str(one))
    (folder / "aside").rename(folder / str(other))


def _link(name: str, target: str) -> Harm:
    return lambda folder, lab: (folder / name).symlink_to(folder / target)


def _file(name: str) -> Harm:
    return lambda folder, lab: (folder / name).write_text("a file")


def _of_another_seed(folder: Path, lab: Lab) -> None:
    other = lab.folder / "other"
    command = lab.train(other, {"seed": 7})
    assert command.wait() == 0, command.stderr()
    shutil.rmtree(folder / str(STEPS))
    shutil.copytree(other / "checkpoints" / str(STEPS), folder / str(STEPS))


def _of_a_shorter_run(folder: Path, lab: Lab) -> None:
    other = lab.folder / "other"
    command = lab.train(other, {"num_epochs": 4, "learning_rate": 0.02})
    assert command.wait() == 0, command.stderr()
    shutil.copytree(other / "checkpoints" / "40", folder / "40")


def _linked_newest(folder: Path, lab: Lab) -> None:
    elsewhere = lab.folder / "elsewhere"
    (folder / str(STEPS)).rename(elsewhere)
    (folder / str(STEPS)).symlink_to(elsewhere)


_HARMS: dict[str, tuple[Harm, Sequence[str]]] = {
    "copied to a later step": (_copy("30", "1000"), ("1000",)),
    "copied to an odd step": (_copy("30", "33"), ("33",)),
    "renamed to a later step": (_move("30", "35"), ("35",)),
    "renamed to an earlier step": (_move("30", "5"), ("5",)),
    "two exchanged": (_exchange, ("30", "25", "20")),
    "another seed's step": (_of_another_seed, ("30",)),
    "another run's later step": (_of_a_shorter_run, ("40",)),
    "a name with a zero": (_copy("30", "0100"), ("0100",)),
    "a name with a sign": (_copy("30", "+40"), ()),
    "a name in other digits": (_copy("30", "４０"), ()),
    "a link to a step": (_link("40", "30"), ("40",)),
    "a link that leads nowhere": (_link("40", "nothing"), ("40",)),
    "the newest is a link": (_linked_newest, ()),
    "a file instead of a step": (_file("40"), ("40",)),
    "an empty folder": (lambda folder, lab: (folder / "40").mkdir(), ("40",)),
}

STEP_FOLDERS: list[Fault] = [
    *(functools.partial(_not_believed, name, harm, words) for name, (harm, words) in _HARMS.items()),
    *(
        functools.partial(_evaluated, name, _HARMS[name][0])
        for name in ("copied to a later step", "two exchanged", "another seed's step", "a file instead of a step")
    ),
]
