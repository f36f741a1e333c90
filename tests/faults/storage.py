"""Disks that are full, read-only or damaged, and folders in which somebody has tidied up."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.lab import STEPS, Lab, Try, flip


def bit_flips(lab: Lab) -> Iterator[Try]:
    """30 places in the newest checkpoint, restored in one process; then 3 through the command."""
    arguments = f"['', {str(lab.whole)!r}, {str(lab.folder / 'flips')!r}]"
    before = f"import runpy, sys; sys.argv = {arguments}\nsys.exit(runpy.run_module('tests.faults.restore')['main']())"
    command = lab.run(lab.folder / "unused", before=before)
    command.wait()
    results = [line.split("|") for line in command.stdout().splitlines() if line.startswith("FLIP")]
    for _, right, lost, name, *said in results:
        yield Try(right == "True", int(lost), f"{name}: {said[0] if said else 'no harm done'}")
    yield Try(len(results) == 30, None, f"{len(results)} of 30 restores came back {command.sentence()}")
    rng = random.Random(1)
    for attempt in range(3):
        workdir = lab.copy(f"flip{attempt}")
        files = [p for p in (workdir / "checkpoints" / str(STEPS)).rglob("*") if p.is_file() and p.stat().st_size > 999]
        flip(max(files, key=lambda p: p.stat().st_size), rng.randrange(10**6), rng.randrange(8))
        command, same = lab.finish(workdir)
        told = "cannot be used" in command.stdout()
        yield Try(same and told, STEPS - command.started_at(), _told(command.stdout()))


def tidied_checkpoints(lab: Lab) -> Iterator[Try]:
    """Truncated, missing and stray files in checkpoints/; all steps damaged; none left."""
    for name, harm in _HARMS.items():
        workdir = lab.copy(name.replace(" ", "_"))
        harm(workdir / "checkpoints")
        command, same = lab.finish(workdir)
        yield Try(same, STEPS - command.started_at(), f"{name}: {_told(command.stdout())}")
    workdir = lab.copy("all_damaged")
    for step in (workdir / "checkpoints").iterdir():
        shutil.rmtree(step / "state")
    command, _ = lab.finish(workdir)
    refused = command.process.returncode == 1 and "remove that folder" in command.sentence()
    yield Try(refused, None, command.sentence())


def _truncate(folder: Path) -> None:
    for path in (folder / str(STEPS) / "state").rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)


def _stray(folder: Path) -> None:
    for name in ("1000", "90.orbax-checkpoint-tmp", "notes"):
        (folder / name).mkdir()
    (folder / "80.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (folder / "2000").write_text("a file")
    (folder / str(STEPS) / "stray").write_text("x")


_HARMS = {
    "truncated files": _truncate,
    "no state": lambda folder: shutil.rmtree(folder / str(STEPS) / "state"),
    "no digests": lambda folder: shutil.rmtree(folder / str(STEPS) / "digests"),
    "damaged metadata": lambda folder: (folder / str(STEPS) / "_CHECKPOINT_METADATA").write_bytes(b"\xff{"),
    "stray files": _stray,
}


def disk_full(lab: Lab) -> Iterator[Try]:
    """A file-size limit below the size of a checkpoint; a small tmpfs where one may be mounted, freed or not."""
    workdir = lab.folder / "limited"
    command = lab.run(workdir, file_limit=1 << 20)
    status = command.wait()
    survived = status == 1 and "Saving a checkpoint failed" in command.sentence()
    yield Try(survived, None, f"file-size limit: {command.sentence()}")
    with _tmpfs(lab.folder / "small", 200) as folder:
        if folder is None:
            return
        workdir, ballast = folder / "run", folder / "ballast"
        command = lab.run(workdir)
        command.until(lambda: command.steps())
        _fill(ballast)
        command.until(lambda: "Saving a checkpoint failed" in command.stdout(), 2)
        ballast.unlink(missing_ok=True)
        status = command.wait()
        told = "Saving a checkpoint failed" in command.stdout()
        _, same = lab.finish(workdir)
        yield Try(told and same, 0, f"tmpfs, freed in time: {status}: {_told(command.stdout())}")
        shutil.rmtree(workdir)
        command = lab.run(workdir)
        command.until(lambda: command.steps())
        _fill(ballast)
        status = command.wait()
        said = command.sentence()
        ballast.unlink()
        again, same = lab.finish(workdir)
        yield Try(status == 1 and same, None, f"tmpfs, full: {said} Then from step {again.started_at()} to the end.")


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))


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


def read_only(lab: Lab) -> Iterator[Try]:
    """A work directory that cannot be written: a mount that is read-only, else one without the permission."""
    with _tmpfs(lab.folder / "frozen", 10) as folder:
        if folder is None:
            folder = lab.folder / "frozen"
            folder.chmod(0o500)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        command = lab.run(folder / "run")
        status = command.wait()
        yield Try(status == 2 and "cannot be written" in command.sentence(), 0, command.sentence())


def _told(stdout: str) -> str:
    """The lines about checkpoints, and where it went on."""
    words = ("cannot be used", "failed", "Resuming")
    return " / ".join(line for line in stdout.splitlines() if any(word in line for word in words))[:400]
