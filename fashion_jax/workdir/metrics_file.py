"""Writes metrics.jsonl, a line per epoch, and the same scalars as TensorBoard events."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from fashion_jax.atomic import append_line, read_bytes, write_text
from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json
from fashion_jax.workdir.paths import metrics_path
from fashion_jax.workdir.place import Place
from fashion_jax.workdir.reading import reading


class MetricsFile:
    """metrics.jsonl: a line per epoch; values that are not finite are null."""

    def __init__(self, path: Path, last_step: int, writes: bool = True):
        """Opens the file and cuts off the lines after last_step, and a half-written line.

        Only one of several processes writes; the others keep the lines in memory. Raises a UserError if an earlier line
        is damaged.
        """
        self._path, self._writes = path, writes
        text = _read(path)
        parsed = [_from_json(path, i, line) for i, line in enumerate(text.split(b"\n")[:-1], 1)]
        self.lines: list[dict[str, Any]] = parsed
        self._cut_after(last_step, text)

    def cut_after(self, step: int) -> None:
        """Cuts off the lines of later steps, which a run that has gone back will write again."""
        self._cut_after(step, _read(self._path) if self._writes else b"")

    def _cut_after(self, last_step: int, text: bytes) -> None:
        self.lines = [line for line in self.lines if line["step"] <= last_step]
        kept = "".join(_to_json(line) + "\n" for line in self.lines)
        if self._writes and kept.encode() != text:
            write_text(self._path, kept)

    def append(self, line: dict[str, Any]) -> None:
        """Appends a line and waits until it is on disk."""
        self.lines.append(json.loads(_to_json(line)))
        if not self._writes:
            return
        append_line(self._path, _to_json(line))


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Reads the lines of a run's metrics, none if there is no file; raises a UserError if a line is damaged."""
    return MetricsFile(metrics_path(workdir), sys.maxsize, writes=False).lines


class EventWriter:
    """Writes TensorBoard events through clu; opened late because clu imports TensorFlow."""

    def __init__(self, directory: Path):
        from clu import metric_writers

        self._place = Place(directory)  # TensorFlow opens no path that is not UTF-8
        self._writer = metric_writers.SummaryWriter(str(self._place.path))

    def write(self, line: dict[str, Any]) -> None:
        scalars = {k: v for k, v in line.items() if isinstance(v, int | float) and k not in ("epoch", "step")}
        scalars |= {f"timing/{k}": v for k, v in line["timing"].items()}
        self._writer.write_scalars(line["step"], {k: v for k, v in scalars.items() if math.isfinite(v)})
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
        self._place.close()


def _read(path: Path) -> bytes:
    with reading(path):
        try:
            return read_bytes(path)
        except FileNotFoundError:
            return b""


def _from_json(path: Path, number: int, text: bytes) -> dict[str, Any]:
    try:
        line = parse_json(text)
        if not isinstance(line["step"], int):
            raise TypeError("step is not a number")
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"Line {number} of {path} is damaged ({error}): restore it, or take it out.") from error
    return line


def _to_json(line: dict[str, Any]) -> str:
    return json.dumps(
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}, ensure_ascii=False
    )
