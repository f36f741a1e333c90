"""Writes metrics.jsonl, a line per epoch, and the same scalars and more as TensorBoard events."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.atomic import append_line, read_bytes, write_text
from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json
from fashion_jax.workdir.open_directory import OpenDirectory
from fashion_jax.workdir.paths import events_path, metrics_path
from fashion_jax.workdir.reading import reading


class MetricsFile:
    """metrics.jsonl: a line per epoch; values that are not finite are null."""

    def __init__(self, path: Path, lines: Sequence[dict[str, Any]], writes: bool = True):
        """Makes the file hold exactly these lines; one that does already is not touched.

        Args:
            path: of the file.
            lines: what `read_lines` has returned for the step that the run goes on from.
            writes: whether the file may be changed: only one of several processes writes, the others keep the lines.
        """
        self._path, self._writes = path, writes
        self.lines: list[dict[str, Any]] = [*lines]
        self._rewrite()

    def cut_after(self, step: int) -> None:
        """Cuts off the lines of later steps, which a run that has gone back will write again."""
        self.lines = [line for line in self.lines if line["step"] <= step]
        self._rewrite()

    def append(self, line: dict[str, Any]) -> None:
        """Appends a line and waits until it is on disk."""
        self.lines.append(json.loads(_to_json(line)))
        if self._writes:
            append_line(self._path, _to_json(line))

    def _rewrite(self) -> None:
        text = "".join(_to_json(line) + "\n" for line in self.lines)
        if self._writes and text.encode() != _read(self._path):
            write_text(self._path, text)


def read_lines(path: Path, last_step: int | None = None) -> list[dict[str, Any]]:
    """Reads the lines of a metrics.jsonl: none if there is no file, and not a half-written last one.

    Args:
        path: of the file.
        last_step: of the checkpoint in use, after which lines do not count; all do if it is None.

    Raises:
        UserError: a line is damaged, or the file cannot be read.
    """
    lines = [_from_json(path, i, line) for i, line in enumerate(_read(path).split(b"\n")[:-1], 1)]
    return [line for line in lines if last_step is None or line["step"] <= last_step]


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Reads the lines of a run's metrics; see `read_lines`."""
    return read_lines(metrics_path(workdir))


_DIAGNOSTICS = ("auroc_tied_mass", "gradient_norm", "update_norm", "skipped_updates")


class EventWriter:
    """Writes TensorBoard events through clu; opened late because clu imports TensorFlow.

    Training and validation are two runs with the same tags, so that TensorBoard draws both on one chart. A resumed run
    adds files to the same folders and goes on in the same charts.
    """

    def __init__(self, workdir: Path):
        from clu import metric_writers

        self._held = OpenDirectory(workdir)  # TensorFlow opens no path that is not UTF-8
        folder = events_path(self._held.path)
        self._writers = {split: metric_writers.SummaryWriter(str(folder / split)) for split in ("train", "validation")}

    def write_config(self, step: int, config: str) -> None:
        """Writes the config of a start, given as JSON, as a text at the step where the start begins."""
        code = textwrap.indent(config, "    ")  # in Markdown, which TensorBoard shows
        self._writers["train"].write_texts(step, {"config": code})
        self._writers["train"].flush()

    def write_step(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the scalars of a training step, each as step/NAME; TensorFlow puts them on disk within two minutes."""
        self._writers["train"].write_scalars(step, _finite({f"step/{name}": x for name, x in scalars.items()}))

    def write_epoch(self, line: Mapping[str, Any]) -> None:
        """Writes the scalars of a line of metrics.jsonl; train/NAME and validation/NAME both become NAME."""
        scalars: dict[str, dict[str, Any]] = {split: {} for split in self._writers}
        for name, value in line.items():
            split = "validation" if name.startswith("validation/") else "train"
            if name not in ("epoch", "step", "timing"):
                scalars[split][_tag(name.removeprefix(f"{split}/"))] = value
        scalars["train"] |= {f"timing/{name}": value for name, value in line["timing"].items()}
        for split, writer in self._writers.items():
            writer.write_scalars(line["step"], _finite(scalars[split]))
            writer.flush()

    def write_images(self, step: int, images: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Writes images: train and validation -> name -> uint8 [height, width, 3]."""
        for split, writer in self._writers.items():
            writer.write_images(step, images[split])
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._held.close()


def _tag(name: str) -> str:
    """Returns the tag of a value; TensorBoard opens its first groups, so that diagnostics are in one of the last."""
    return f"training_diagnostics/{name}" if name.endswith(_DIAGNOSTICS) else name


def _finite(scalars: Mapping[str, Any]) -> dict[str, float]:
    """Returns those scalars that a chart can show."""
    return {name: value for name, value in scalars.items() if isinstance(value, int | float) and math.isfinite(value)}


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
