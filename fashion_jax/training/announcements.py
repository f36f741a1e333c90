"""Writes the first lines of a run, which say what is trained on what, and the last ones, which say what came of it."""

from __future__ import annotations

import collections
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from fashion_jax.command_line import typed_command
from fashion_jax.command_line.formats import UNDEFINED, gibibytes, percent
from fashion_jax.config.combinations import METRIC_TITLES
from fashion_jax.data.batches.cache_mode import free_memory
from fashion_jax.data.dataset import Split
from fashion_jax.devices.host import usable_processors
from fashion_jax.taxonomy import Taxonomy


def device_text(mesh: Mesh) -> str:
    """Describes the devices of a mesh and their memory; on CPUs the memory that is free on this host."""
    devices = list(mesh.devices.flat)
    if devices[0].platform == "cpu":
        cores = usable_processors()
        text = "CPU" if len(devices) == 1 else f"{len(devices)} CPU devices"
        return f"{text}, {cores} core{'' if cores == 1 else 's'}, {gibibytes(free_memory())} of memory free"
    kinds = collections.Counter(device.device_kind for device in devices)
    text = ", ".join(f"{count} × {kind}" for kind, count in kinds.items())
    limit = _memory_limit(mesh.local_devices[0])
    return f"{text}, {gibibytes(limit)} of memory each" if limit else text


def _memory_limit(device: jax.Device) -> int:
    """Returns the bytes that JAX may use on a device; 0 if it does not say."""
    return (device.memory_stats() or {}).get("bytes_limit", 0)


def first_rows(mesh: Mesh, splits: Mapping[str, Split], taxonomy: Taxonomy, steps: str, page: Path) -> Iterator[str]:
    """Yields the rows below the first line of a run; `steps` says how many there are."""
    purposes = {"train": "for training", "validation": "for validation"}
    images = ", ".join(f"{len(split):,} {purposes.get(name, f'for {name}')}" for name, split in splits.items())
    yield f"  device   {device_text(mesh)}"
    yield f"  images   {images}"
    yield f"  classes  {', '.join(f'{taxonomy.num_classes(level):,} {level}' for level in taxonomy.levels)}"
    yield f"  steps    {steps}"
    yield f"  page     {page}, at the end"


def score_rows(levels: Sequence[str], line: Mapping[str, Any]) -> Iterator[str]:
    """Yields a small table of the validation metrics of every level, from a line of metrics.jsonl."""
    first = max(len("level"), *map(len, levels))
    yield f"  {'level'.ljust(first)}" + "".join(f"  {title:>8}" for title in METRIC_TITLES.values())
    for level in levels:
        cells = [_score(name, line.get(f"validation/{level}/{name}")) for name in METRIC_TITLES]
        yield f"  {level.ljust(first)}" + "".join(f"  {cell:>8}" for cell in cells)


def _score(name: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return percent(value) if name == "accuracy" else f"{value:.4f}"


def predict_line(workdir: Path, validation: Split) -> str:
    """Returns a command that predicts an image of the validation split, or PHOTO.jpg if these are no files."""
    picture = validation.picture(0)
    image = "PHOTO.jpg"
    if isinstance(picture, str):
        near = os.path.relpath(picture)
        image = picture if near.startswith(os.pardir) else near
    inputs = ("--workdir", str(workdir), "--input", image, "--output", "predictions.csv")
    return typed_command("predict", *inputs)
