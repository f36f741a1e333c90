"""Disks that are full, read-only or failing, damaged files, and folders that somebody has tidied up."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.lab import STEPS, Fault, Lab, Try, flip, is_sentence, refused, told

_FAILING = """
import errno, os
def failing(real):
    def hooked(path, *arguments, **options):
        name = os.path.basename(os.fsdecode(path)) if not isinstance(path, int) else ""
        flags = arguments[0] if arguments and isinstance(arguments[0], int) else os.O_WRONLY
        if {target!r} in name and (real is os_mkdir or flags & (os.O_WRONLY | os.O_RDWR)):
            raise OSError({number}, os.strerror({number}), os.fspath(path))
        return real(path, *arguments, **options)
    return hooked
os_mkdir = os.mkdir
os.open, os.mkdir = failing(os.open), failing(os.mkdir)
"""


def _failing_file(number: int, target: str, lab: Lab) -> Iterator[Try]:
    """Lets every write to one of the run's files fail; once the disk works again, the run must come to the same end."""
    workdir = lab.folder / "run"
    command = lab.train(workdir, before=_FAILING.format(target=target, number=number))
    status, said = command.wait(), command.sentence()
    is_told = status in (1, 2) and target in said and os.strerror(number).lower() in said.lower()
    again, same = lab.finish(workdir)
    message = said if is_told and same else f"{status}: {said}; then {again.sentence() or 'the same end'} {same}"
    yield Try(target, is_told and same, message)


def _failing_save(number: int, lab: Lab) -> Iterator[Try]:
    """No folder of a checkpoint can be made; once the disk is well the run comes to the same end."""
    workdir = lab.folder / "run"
    command = lab.train(workdir, before=_FAILING.format(target="checkpoint-tmp", number=number))
    status, said = command.wait(), command.sentence()
    _, same = lab.finish(workdir)
    is_right = status == 1 and "checkpoint" in said and is_sentence(said) and same
    yield Try(f"checkpoints: {os.strerror(number)}", is_right, f"{status}: {said} {same}")


_FILES = ("config.json", "taxonomy.json", "data.json", "environment.json", "metrics.jsonl", "lock")
_LATE_FILES = ("validation.parquet", "calibration.json", "report")


def _full_from(step: int, is_freed: bool, lab: Lab) -> Iterator[Try]:
    """Fills a small disk from a step on; it is freed in time, or found full at the run's end."""
    name = f"full from step {step}, {'freed' if is_freed else 'and stays so'}"
    with _tmpfs(lab.folder / "small", 60) as folder:
        if folder is None:
            return
        workdir, ballast = folder / "run", folder / "ballast"
        command = lab.train(workdir)
        command.until(lambda: max(command.steps(), default=0) >= step)
        _fill(ballast)
        if is_freed:
            command.until(lambda: "failed" in command.stdout() + command.stderr(), 0.1)
            ballast.unlink(missing_ok=True)
        status, said = command.wait(), command.sentence()
        ballast.unlink(missing_ok=True)
        again, same = lab.finish(workdir)
        is_right = same and (status in (0, 1) if is_freed else status == 1 and is_sentence(said))
        yield Try(name, is_right, f"{status}: {said or told(command)} Then from step {again.started_at()} to the end.")


def _too_small(lab: Lab) -> Iterator[Try]:
    """Checks that too little room for two checkpoints is reported before the first step."""
    with _tmpfs(lab.folder / "small", 1) as folder:
        if folder is None:
            return
        command = lab.train(folder / "run")
        status, said = command.wait(), command.sentence()
        is_early = not list((folder / "run").glob("checkpoints/*"))
        yield Try("no room for two saves", status in (1, 2) and is_early and is_sentence(said), said)


def _file_size_limit(lab: Lab) -> Iterator[Try]:
    workdir = lab.folder / "run"
    command = lab.train(workdir, limits={resource.RLIMIT_FSIZE: 100_000})
    status, said = command.wait(), command.sentence()
    _, same = lab.finish(workdir)
    yield Try("a limit to a file's size", status == 1 and "checkpoint" in said and same, f"{status}: {said}")


DISK_FULL: list[Fault] = [
    *(functools.partial(_failing_file, errno.ENOSPC, name) for name in (*_FILES, *_LATE_FILES)),
    *(functools.partial(_full_from, step, freed) for step, freed in ((5, True), (5, False), (20, True), (25, False))),
    _too_small,
    _file_size_limit,
]
FAILING_DISK: list[Fault] = [
    *(functools.partial(_failing_file, errno.EIO, name) for name in ("metrics.jsonl", "taxonomy.json", *_LATE_FILES)),
    *(functools.partial(_failing_save, number) for number in (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES)),
]


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


@contextlib.contextmanager
def _tmpfs(folder: Path, mebibytes: int) -> Iterator[Path | None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _frozen(lab: Lab) -> Iterator[Try]:
    """Trains into a work directory on a read-only file system."""
    with _tmpfs(lab.folder / "frozen", 10) as folder:
        if folder is None:
            return
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield refused("a new run on a read-only disk", lab.train(folder / "run"), ["run", "Read-only"])


READ_ONLY: list[Fault] = [
    _frozen,
    *(functools.partial(_failing_file, errno.EROFS, name) for name in ("data.json", "metrics.jsonl", *_LATE_FILES)),
]


_FLIPS = 12


def _flipped(attempt: int, lab: Lab) -> Iterator[Try]:
    """Flips a bit of the newest checkpoint; the damage is reported or harmless, and the run comes to the same end."""
    rng = random.Random(attempt)
    workdir = lab.copy()
    files = sorted(p for p in (workdir / "checkpoints" / str(STEPS)).rglob("*") if p.is_file() and p.stat().st_size)
    if attempt < _FLIPS // 2:
        path = rng.choices(files, [p.stat().st_size for p in files])[0]
    else:
        path = files[attempt * len(files) // _FLIPS % len(files)]
    flip(path, rng.randrange(10**9), rng.randrange(8))
    command, same = lab.finish(workdir)
    name = f"{attempt}: {path.relative_to(workdir / 'checkpoints' / str(STEPS))}"
    yield Try(name, same, told(command) or "no harm done", STEPS - command.started_at())


BIT_FLIPS: list[Fault] = [functools.partial(_flipped, attempt) for attempt in range(_FLIPS)]


def _tidied(name: str, harm: Callable[[Path], None], lab: Lab) -> Iterator[Try]:
    workdir = lab.copy()
    harm(workdir / "checkpoints")
    command, same = lab.finish(workdir)
    yield Try(name, same, told(command), STEPS - command.started_at())


def _truncate(folder: Path) -> None:
    for path in (folder / str(STEPS) / "state").rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)


def _half_the_files(folder: Path) -> None:
    files = sorted(path for path in (folder / str(STEPS) / "state").rglob("*") if path.is_file())
    for path in files[::2]:
        path.unlink()


def _empty_the_files(folder: Path) -> None:
    for path in (folder / str(STEPS)).rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def _stray(folder: Path) -> None:
    for name in ("90.orbax-checkpoint-tmp", "notes"):
        (folder / name).mkdir()
    (folder / "80.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (folder / str(STEPS) / "stray").write_text("x")


def _without_manifest(folder: Path) -> None:
    for path in (folder / str(STEPS)).rglob("manifest.ocdbt"):
        path.unlink()


_HARMS: dict[str, Callable[[Path], None]] = {
    "truncated files": _truncate,
    "half of the files": _half_the_files,
    "empty files": _empty_the_files,
    "no state": lambda folder: shutil.rmtree(folder / str(STEPS) / "state"),
    "no digests": lambda folder: shutil.rmtree(folder / str(STEPS) / "digests"),
    "no manifest": _without_manifest,
    "damaged metadata": lambda folder: (folder / str(STEPS) / "_CHECKPOINT_METADATA").write_bytes(b"\xff{"),
    "the newest step removed": lambda folder: shutil.rmtree(folder / str(STEPS)),
    "stray files": _stray,
}


def _all_damaged(lab: Lab) -> Iterator[Try]:
    workdir = lab.copy()
    for step in (workdir / "checkpoints").iterdir():
        shutil.rmtree(step / "state")
    yield refused("all damaged", lab.train(workdir), ["checkpoints"], status=1)


def _all_removed(lab: Lab) -> Iterator[Try]:
    """Removes all checkpoints; the run begins anew or is refused in a sentence, but never does so silently."""
    workdir = lab.copy()
    shutil.rmtree(workdir / "checkpoints")
    command, same = lab.finish(workdir)
    is_refused = command.process.returncode in (1, 2) and is_sentence(command.sentence())
    yield Try("all removed", same or is_refused, command.sentence() or "began anew, to the same end", STEPS)


TIDIED: list[Fault] = [
    *(functools.partial(_tidied, name, harm) for name, harm in _HARMS.items()),
    _all_damaged,
    _all_removed,
]
