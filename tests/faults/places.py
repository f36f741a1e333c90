"""Work directories with odd names, that move, or in which something is planted."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.lab import STEPS, Fault, Lab, Try, end_of, is_sentence, refused, steps

_NAMES = {
    "brackets": "run [v2]",
    "a backslash": "run\\v2",
    "a star": "run*",
    "braces": "run {a,b}",
    "blanks": "  my  run ",
    "a quote": 'it\'s "mine"',
    "per cent": "100%d %s",
    "a dollar": "$HOME",
    "a tilde": "~root",
    "decomposed accents": "cafe\u0301",
    "another script": "服装 ردا",
    "a line break": "a\nb",
    "a dash": "-run",
    "180 characters": "r" * 180,
    "bytes that are no text": os.fsdecode(b"run\xff"),
}


def _odd_name(name: str, folder: str, lab: Lab) -> Iterator[Try]:
    """Trains, stops, resumes, evaluates and predicts in an oddly named directory; all must be as under a plain name."""
    workdir = lab.folder / "place" / folder
    command = lab.train(workdir)
    command.until(lambda: max(command.steps(), default=0) >= 15)
    command.process.send_signal(15)
    stopped = command.wait()
    again, same = lab.finish(workdir)
    reader = lab.command("evaluate", "--workdir", workdir) if same else again
    is_right = same and stopped in (0, 75) and reader.process.returncode == 0
    only = os.listdir(lab.folder / "place") == [folder]
    message = f"{stopped}, {again.process.returncode}: {again.sentence() or reader.sentence() or 'the same end'}"
    yield Try(name, is_right and only, message.encode("utf-8", "replace").decode())


ODD_NAMES: list[Fault] = [functools.partial(_odd_name, name, folder) for name, folder in _NAMES.items()]

Move = Callable[[Path], Path]  # moves the work directory in mid-run; returns its new place


def _moved(name: str, move: Move, lab: Lab) -> Iterator[Try]:
    """Moves the directory; the run must stop at its next save, create nothing in the old place, and resume."""
    workdir = lab.folder / "place" / "run"
    command = lab.train(workdir)
    command.until(lambda: max(command.steps(), default=0) >= 5)
    now = move(workdir)
    status, said = command.wait(), command.sentence()
    is_told = status == 1 and "run" in said and is_sentence(said)
    left = steps(workdir) if now != workdir else []
    shutil.rmtree(workdir, ignore_errors=True) if now != workdir and not workdir.is_symlink() else None
    _, same = lab.finish(now)
    yield Try(name, is_told and same and not left, f"{status}: {said}", max(STEPS - max(steps(now), default=0), 0))


def _rename(workdir: Path) -> Path:
    return workdir.rename(workdir.with_name("moved"))


def _rename_parent(workdir: Path) -> Path:
    return workdir.parent.rename(workdir.parent.with_name("elsewhere")) / workdir.name


def _remove(workdir: Path) -> Path:
    shutil.rmtree(workdir, ignore_errors=True)
    return workdir


def _replace(workdir: Path) -> Path:
    moved = _rename(workdir)
    workdir.mkdir()
    return moved


def _remove_checkpoints(workdir: Path) -> Path:
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)
    return workdir


MOVED: list[Fault] = [
    functools.partial(_moved, name, move)
    for name, move in (
        ("renamed", _rename),
        ("its parent renamed", _rename_parent),
        ("removed", _remove),
        ("renamed, and a new folder in its place", _replace),
    )
]


def _planted(name: str, where: str, lab: Lab) -> Iterator[Try]:
    """Plants a link in a run that resumes; the link's target must not change, and the run is refused or ends well."""
    workdir, target = lab.copy(at=20), lab.folder / "target"
    target.write_text("precious")
    (workdir / where).unlink(missing_ok=True)
    (workdir / where).symlink_to(target)
    command = lab.train(workdir)
    status, said = command.wait(), command.sentence()
    is_right = (status == 0 and end_of(workdir) == end_of(lab.whole)) or (status in (1, 2) and name in said)
    untouched = target.read_text() == "precious"
    yield Try(
        f"{name}: a link", untouched and is_right, f"{status}: {said or 'the same end'}; target untouched: {untouched}"
    )


def _in_the_way(name: str, plant: Callable[[Path], None], kind: str, lab: Lab) -> Iterator[Try]:
    """Puts something of another kind where the run writes; it must be reported before training, or replaced."""
    workdir = lab.copy(at=20)
    _clear(workdir / name)
    plant(workdir / name)
    command = lab.train(workdir)
    status, said = command.wait(), command.sentence()
    is_early = max(steps(workdir), default=0) <= 20
    is_right = (status == 0 and end_of(workdir) == end_of(lab.whole)) or (
        status in (1, 2) and name in said and is_early
    )
    yield Try(f"{name}: {kind}", is_right and is_sentence(said), f"{status}: {said or 'the same end'}")


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _empty_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


PLANTED: list[Fault] = [
    *(
        functools.partial(_planted, name, name)
        for name in ("lock", "metrics.jsonl", "config.json", "environment.json", "calibration.json", "data.json")
    ),
    *(
        functools.partial(_in_the_way, name, plant, kind)
        for name, plant, kind in (
            ("report", lambda path: path.write_text("mine"), "a file"),
            ("report", _empty_link, "a link"),
            ("predictions", lambda path: path.write_text("mine"), "a file"),
            ("predictions", _empty_link, "a link"),
            ("metrics.jsonl", Path.mkdir, "a folder"),
            ("lock", Path.mkdir, "a folder"),
            ("lock", os.mkfifo, "a pipe"),
            ("metrics.jsonl", os.mkfifo, "a pipe"),
            ("calibration.json", Path.mkdir, "a folder"),
            ("checkpoints", lambda path: path.write_text("mine"), "a file"),
            ("taxonomy.json", Path.mkdir, "a folder"),
        )
    ),
]


def _no_workdir(name: str, make: Callable[[Lab], Path], words: Sequence[str], lab: Lab) -> Iterator[Try]:
    workdir = make(lab)
    before = sorted(os.listdir(lab.folder))
    result = refused(name, lab.train(workdir), words)
    left = [
        path for path in sorted(os.listdir(lab.folder)) if path not in before and not path.startswith(("out", "err"))
    ]
    yield Try(name, result.survived and not left, result.message + (f" left: {left}" if left else ""))


def _linked(path: Path) -> Path:
    path.symlink_to("nowhere/at/all")
    return path


def _made(path: Path, text: str = "mine") -> Path:
    path.write_text(text)
    return path


NO_WORKDIR: list[Fault] = [
    functools.partial(_no_workdir, "a file", lambda lab: _made(lab.folder / "mine"), ["mine"]),
    functools.partial(_no_workdir, "below a file", lambda lab: _made(lab.folder / "mine") / "run", ["mine"]),
    functools.partial(_no_workdir, "a link that leads nowhere", lambda lab: _linked(lab.folder / "mine"), ["mine"]),
    functools.partial(_no_workdir, "a name too long", lambda lab: lab.folder / ("r" * 300), ["rrr"]),
    functools.partial(_no_workdir, "below /proc", lambda lab: Path("/proc/run"), ["/proc/run"]),
]


def complete_without_page(lab: Lab) -> Iterator[Try]:
    """Checks that a run whose page was removed is not called complete: the page is written again."""
    workdir = lab.copy()
    command, same = lab.finish(workdir)
    yield Try("the page removed", same, command.stdout().strip().splitlines()[-1])


def empty_page(lab: Lab) -> Iterator[Try]:
    """Checks that a run whose report folder lacks a page is not called complete."""
    workdir = lab.copy()
    (workdir / "report").mkdir()
    command, same = lab.finish(workdir)
    yield Try("an empty report folder", same, command.stdout().strip().splitlines()[-1])


PAGES: list[Fault] = [complete_without_page, empty_page]
