"""Writes the predictions of many inputs as the parts of a folder, so that several processes share the work.

A part holds the rows of consecutive inputs, and says in its metadata which they are. It appears whole or not at all,
and is never written again. So a job that was killed goes on, and readers of Parquet take the folder for one table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fashion_jax.atomic import read_text, remove_temporaries, unreadable, write_text
from fashion_jax.data.sources.inputs import Input
from fashion_jax.data.sources.walk import JOB
from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json
from fashion_jax.serving.table_files import write_table
from fashion_jax.serving.tally import Tally

if TYPE_CHECKING:
    from fashion_jax.serving.answers import Answer
    from fashion_jax.serving.prediction_table import PredictionTable

PART_SIZE = 10_000  # rows: a million are a hundred files, and a kill costs seconds to minutes

PART = b"fashion_jax.part"  # key of the schema's metadata

_COUNTS = b"fashion_jax.counts"  # key of the file's metadata, which are written at its end

_READ = 1024  # rows of a part that are read at once

_NAME = re.compile(r"part-(\d{6,})\.parquet")

# Gives an answer for each input of a part, in order.
Answered = Callable[["Part", Iterable[Input]], Iterator["Answer"]]


class Shard(NamedTuple):
    """The share of a process in a job: every total-th part from the number-th on."""

    number: int = 1
    total: int = 1

    def has(self, part: int) -> bool:
        """Whether a part, counted from 0, is this shard's."""
        return part % self.total == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


@dataclasses.dataclass(frozen=True)
class Part:
    """Consecutive inputs, whose rows are a file.

    Attributes:
        number: from 0.
        first: index of its first input.
        count: how many inputs it has.
        digest: of their names and order, SHA-256.
        is_done: whether its file has their rows.
        grows_from: the rows of its file if that has only the first of them.
    """

    number: int
    first: int
    count: int
    digest: str
    is_done: bool = False
    grows_from: int = 0

    @property
    def name(self) -> str:
        """The name of its file; names sort as their rows do."""
        return f"part-{self.number:06}.parquet"


class _Stored(NamedTuple):
    """What the file of a part says about it."""

    rows: int
    digest: str
    settings: str


def is_parts_folder(output: str) -> bool:
    """Whether an output, as a user has named it, is a folder of parts."""
    return output.endswith("/") or os.path.isdir(output)


def part_size_in(folder: Path, wanted: int | None, usual: int = PART_SIZE) -> int:
    """Returns the size of the parts: what is wanted, else that of the job in the folder, else `usual`.

    Raises:
        UserError: the job in the folder has parts of another size, or the folder has other files.
    """
    job = _read_job(folder)
    if job is None:
        _check_is_free(folder)
        return wanted or usual
    size = int(job["part_size"])
    if wanted not in (None, size):
        raise UserError(
            f"--part-size is {wanted:,}, but {folder} has parts of {size:,} rows: leave it out, or name another "
            "--output."
        )
    return size


def digest_of_inputs(inputs: Iterable[Input]) -> tuple[int, str]:
    """Returns the number of inputs, and the SHA-256 of their names and order."""
    digests = _digests((item.name for item in inputs), 0)
    return digests.names, digests.whole


def find_parts(inputs: Iterable[Input], folder: Path, size: int) -> list[Part]:
    """Divides inputs into parts, and finds out which of them the folder has.

    Args:
        inputs: all inputs of the job.
        folder: of the job; it need not exist.
        size: inputs of a part.

    Raises:
        UserError: a part in the folder has the rows of other inputs.
    """
    stored = dict(_stored_parts(folder))
    names, parts = (item.name for item in inputs), []
    for number in itertools.count():
        there = stored.get(number)
        digests = _digests(itertools.islice(names, size), there.rows if there else 0)
        if not digests.names:
            break
        part = Part(number, number * size, digests.names, digests.whole)
        if there and there.digest not in (digests.whole, digests.of_first or None):
            raise _changed(folder / part.name, part)
        is_done = there is not None and there.digest == part.digest
        grows_from = there.rows if there and not is_done else 0  # inputs were added behind those of the last part
        parts.append(dataclasses.replace(part, is_done=is_done, grows_from=grows_from))
    if surplus := [number for number in stored if number >= len(parts)]:
        raise UserError(
            f"{folder} has {Part(min(surplus), 0, 0, '').name}, but the inputs make only {len(parts):,} parts of "
            f"{size:,}: name all inputs again, or another --output."
        )
    return parts


def check_settings(folder: Path, settings: dict[str, Any]) -> str:
    """Writes the settings of a job to its folder, or compares them with those that are there; returns their digest.

    Args:
        folder: of the job; it exists.
        settings: name in words -> value, for all that an answer depends on, and "part_size".

    Raises:
        UserError: the folder has the predictions of another model or other settings.
    """
    settings = json.loads(json.dumps(settings))
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    job = _read_job(folder)
    if job is None:
        write_text(folder / JOB, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
        job = settings
    for name in settings | job:
        if job.get(name) != settings.get(name):
            raise UserError(
                f"{folder} has predictions with {name} {_shown(job.get(name))}, not {_shown(settings.get(name))} "
                f"({JOB} says so): name another --output, or predict as before."
            )
    for number, stored in _stored_parts(folder):
        if stored.settings != digest:  # its job.json has been replaced
            name = Part(number, 0, 0, "").name
            raise UserError(f"{folder / name} has predictions with other settings than {JOB} says: remove it.")
    return digest


def write_parts(
    folder: Path,
    parts: Sequence[Part],
    inputs: Iterable[Input],
    answered: Answered,
    table: PredictionTable,
    settings: str,
) -> None:
    """Writes the files of parts that are not done.

    Args:
        folder: of the job; it exists.
        parts: in order, of `find_parts`.
        inputs: all inputs of the job.
        answered: is called for the inputs of each part.
        table: arranges the answers.
        settings: the digest of `check_settings`.

    Raises:
        UserError: the inputs are not those that the parts were made of.
    """
    remaining, position = iter(inputs), 0
    for part in parts:
        skipped = part.first - position
        next(itertools.islice(remaining, skipped, skipped), None)
        position = part.first + part.count
        remove_temporaries(folder, part.name)
        told = {"first": part.first, "count": part.count, "digest": part.digest, "settings": settings}
        answers = _checked(part, itertools.islice(remaining, part.count), answered)
        counts = _Counts(table.labels)
        metadata = {**table.metadata, PART: json.dumps(told).encode()}
        rows = map(table.row, counts.of(answers))
        write_table(folder / part.name, table.columns, rows, metadata, counts.metadata)


def missing_parts(folder: Path, parts: Sequence[Part]) -> list[Part]:
    """Returns the parts whose rows are not in the folder, after other processes may have written theirs."""
    stored = dict(_stored_parts(folder))
    return [part for part in parts if part.number not in stored or stored[part.number].digest != part.digest]


def read_rows(folder: Path, parts: Iterable[Part]) -> Iterator[list[Any]]:
    """Yields the rows of parts, in order, with the cells that were written."""
    import pyarrow.parquet as pq

    for part in parts:
        with (folder / part.name).open("rb") as opened, pq.ParquetFile(opened) as file:
            for batch in file.iter_batches(_READ):
                yield from map(list, zip(*(column.to_pylist() for column in batch.columns), strict=True))


def add_counts(tally: Tally, folder: Path, parts: Iterable[Part]) -> None:
    """Adds to a tally the answers that parts hold; parts that earlier versions have written do not tell theirs."""
    import pyarrow.parquet as pq

    for part in parts:
        with (folder / part.name).open("rb") as file:
            told = (pq.read_metadata(file).metadata or {}).get(_COUNTS)
        if told:
            tally.add_counts(parse_json(told))


class _Counts:
    """Counts the answers of a part while they are written."""

    def __init__(self, labels: Mapping[str, Sequence[str]]):
        self._tally = Tally(labels, 1)

    def of(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Yields the answers, and counts them."""
        for answer in answers:
            self._tally.add(answer)
            yield answer

    def metadata(self) -> dict[bytes, bytes]:
        """Returns the counts for the file of the part."""
        return {_COUNTS: json.dumps(self._tally.to_json()).encode()}


def _checked(part: Part, inputs: Iterator[Input], answered: Answered) -> Iterator[Answer]:
    """Yields the answers for a part; raises a UserError at its end if its inputs have changed."""
    digest, count = hashlib.sha256(), 0

    def seen() -> Iterator[Input]:
        nonlocal count
        for item in inputs:
            _update(digest, item.name)
            count += 1
            yield item

    yield from answered(part, seen())
    if (count, digest.hexdigest()) != (part.count, part.digest):
        raise UserError(
            f"The inputs {part.first:,} to {part.first + part.count - 1:,} have changed since they were listed: run "
            "the same command again when no files are added or removed."
        )


class _Digests(NamedTuple):
    """The digests of some names and of the first of them, and how many they are."""

    whole: str
    of_first: str
    names: int


def _digests(names: Iterable[str], first: int) -> _Digests:
    digest, of_first, count = hashlib.sha256(), "", 0
    for count, name in enumerate(names, 1):
        _update(digest, name)
        if count == first:
            of_first = digest.hexdigest()
    return _Digests(digest.hexdigest(), of_first, count)


def _update(digest: Any, name: str) -> None:
    digest.update(name.encode("utf-8", "surrogateescape") + b"\0")


def _files(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yields the numbers and files of the parts in a folder, in order."""
    names = sorted(name for name in (os.listdir(folder) if folder.is_dir() else ()) if _NAME.fullmatch(name))
    for name in names:
        yield int(name[len("part-") : -len(".parquet")]), folder / name


def _stored_parts(folder: Path) -> Iterator[tuple[int, _Stored]]:
    """Yields the numbers of the parts in a folder, and what their files say; damaged ones are left out."""
    import pyarrow.parquet as pq

    for number, path in _files(folder):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError), path.open("rb") as file:
            told = parse_json(pq.read_schema(file).metadata[PART])
            yield number, _Stored(int(told["count"]), str(told["digest"]), str(told["settings"]))


def _read_job(folder: Path) -> dict[str, Any] | None:
    """Reads the settings of the job in a folder; None if it has none."""
    path = folder / JOB
    try:
        job = parse_json(read_text(path))
        if not int(job["part_size"]) > 0:
            raise ValueError("its part_size is no size")
        return dict(job)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise unreadable(path, error, "restore it, or name another --output") from error


def _check_is_free(folder: Path) -> None:
    """Checks that a folder without a job has nothing that would be read with its parts.

    Raises:
        UserError: it has.
    """
    names = sorted(name for name in (os.listdir(folder) if folder.is_dir() else ()) if name[0] not in "._")
    if names:
        raise UserError(
            f"--output is {str(folder)!r}, which has other files, such as {names[0]}, and no {JOB}: name an empty "
            "folder or a new one."
        )


def _changed(path: Path, part: Part) -> UserError:
    return UserError(
        f"{path} has the predictions of other files than those that are now the inputs {part.first:,} to "
        f"{part.first + part.count - 1:,}: name another --output, or remove this part and all behind it to "
        "predict them anew."
    )


def _shown(value: Any) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
