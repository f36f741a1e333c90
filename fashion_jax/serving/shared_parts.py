"""Shares the parts of a job among processes that are connected, and makes one table of them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fashion_jax.command_line.formats import rate
from fashion_jax.command_line.output_files import output
from fashion_jax.data.sources.inputs import Input
from fashion_jax.devices.processes import decided, exchange
from fashion_jax.errors import RunError
from fashion_jax.serving.parts import PART_SIZE, Part, check_settings, find_parts, missing_parts, read_rows
from fashion_jax.serving.prediction_table import PredictionTable
from fashion_jax.serving.sharing import ProcessIndex, check_same
from fashion_jax.serving.table_files import write_table
from fashion_jax.serving.tally import Tally

_PARTS_EACH = 4  # of each process: a kill costs at most a quarter of its share
_SLOW = 90.0  # seconds until the last files of other machines appear; NFS keeps what it knows of a folder for 60


class PartsPlan(NamedTuple):
    """The parts of a job, in the view of all its processes.

    Attributes:
        parts: all of them.
        mine: those that this process has to predict.
        settings: the digest of what the answers depend on.
    """

    parts: Sequence[Part]
    mine: Sequence[Part]
    settings: str


def parts_beside(path: Path) -> Path:
    """Returns the folder of the parts of a table, which is hidden, so that it is no input where inputs are."""
    return path.with_name(f".{path.name}.parts")


def shared_part_size(count: int, processes: int, batch_size: int) -> int:
    """Returns a size of the parts of `count` inputs with which each of several processes has some.

    It is a multiple of the batch size, so that the inputs are computed in the batches of a single process.
    """
    batches = -(-count // batch_size)
    return max(min(batches // (_PARTS_EACH * processes), PART_SIZE // batch_size), 1) * batch_size


def agreed_part_size(size: int, count: int, place: ProcessIndex, batch_size: int) -> int:
    """Returns the size of the parts that process 0 goes by: `size`, or if that is 0 the `shared_part_size`."""
    return int(decided("part size", lambda: size or shared_part_size(count, place.count, batch_size)))


def share_of(parts: Sequence[Part], place: ProcessIndex) -> Sequence[Part]:
    """Returns the parts of a process: consecutive ones, as many as those of another one, or one more or less."""
    first, end = (len(parts) * index // place.count for index in (place.index, place.index + 1))
    return parts[first:end]


def plan_parts(inputs: Iterable[Input], folder: Path, settings: dict[str, Any], place: ProcessIndex) -> PartsPlan:
    """Divides the parts that are not done among the processes, which must have the same settings.

    Raises:
        UserError: settings differ between processes, or from those of the parts in the folder.
    """
    check_same({f"value of {name}": value for name, value in settings.items()})
    parts = find_parts(inputs, folder, settings["part_size"])
    digest = check_settings(folder, settings) if place.leads else ""
    digest = decided("settings", lambda: digest)  # nobody has written a part before all have looked for them
    missing = decided("missing parts", lambda: [part.number for part in parts if not part.is_done])
    return PartsPlan(parts, share_of([parts[number] for number in missing], place), digest)


def pace_of_all(tally: Tally) -> str:
    """Returns the images per second of all processes in words; it waits until all have predicted their share."""
    paces = exchange("predicted", [tally.count, tally.speed, tally.seconds], lambda paces: paces)
    busy = [(speed, seconds) for count, speed, seconds in paces if count]
    if not busy:
        return ""
    if all(speed for speed, _ in busy):
        return f"{rate(sum(speed for speed, _ in busy))} images/s"
    return f"Predicting took {max(seconds for _, seconds in busy):.1f} s"


def wait_for_parts(folder: Path, parts: Sequence[Part]) -> None:
    """Waits until this machine sees the parts that other ones have written.

    Raises:
        RunError: some do not appear.
    """
    deadline = time.monotonic() + _SLOW
    while missing := missing_parts(folder, parts):
        if time.monotonic() > deadline:
            raise RunError(
                f"{folder / missing[0].name} has been written, but is not there: run the same command again."
            )
        time.sleep(0.5)


def join_parts(path: Path, folder: Path, parts: Sequence[Part], table: PredictionTable) -> None:
    """Writes the table of the rows of all parts, and removes their folder."""
    with output(path) as file:
        write_table(file, table.columns, read_rows(folder, parts), table.metadata, suffix=path.suffix)
    shutil.rmtree(folder, ignore_errors=True)
