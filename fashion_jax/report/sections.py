"""Sections of the report page: curves of training, training images, and the run itself."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fashion_jax.config import flatten
from fashion_jax.report import charts
from fashion_jax.report.contents import PageContents, class_names
from fashion_jax.report.thumbnails import thumbnail
from fashion_jax.scoring.scores import variability
from fashion_jax.writers import duration, rate

CURVES = {"loss": "loss", "accuracy": "accuracy", "macro_f1": "macro-F1", "auroc": "AUROC"}
_MAX_SHEET = 40
_MAX_PER_CLASS = 4


def curves(contents: PageContents) -> dict[str, Any] | None:
    """Every metric of every level against the epoch; None before the first has ended."""
    if not contents.lines:
        return None
    epochs = [line["epoch"] for line in contents.lines]
    best = epochs.index(contents.line["epoch"]) if contents.line else None
    rows = []
    for level in contents.taxonomy.levels:
        row = []
        for metric, title in CURVES.items():
            values = {split: series(contents.lines, f"{split}/{level}/{metric}") for split in ("train", "validation")}
            value = None if best is None else values["validation"][best]
            row.append((title, value, charts.curves(epochs, values, best)))
        rows.append((level, row))
    steadiness = [(level, variability(contents.lines, level)) for level in contents.taxonomy.levels]
    return {"rows": rows, "epoch": None if best is None else epochs[best], "steadiness": steadiness}


def series(lines: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """float64 [lines], NaN for what is missing, None or infinite."""
    values = np.array([line.get(key) for line in lines], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def images(contents: PageContents) -> dict[str, Any] | None:
    """Images from training, as many of each class, or of as many classes, as there is room for."""
    if contents.train is None:
        return None
    finest = contents.taxonomy.levels[-1]
    names, labels = class_names(contents.taxonomy, finest), contents.train.labels[finest]
    chosen = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MAX_SHEET)).round().astype(int))
    each = min(_MAX_PER_CLASS, _MAX_SHEET // len(chosen))
    shots = []
    for k in chosen.tolist():
        rows = np.flatnonzero(labels == k)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), each)).round().astype(int))]
        shots += [(names[k], contents.train.ids[i], thumbnail(contents.train.picture(i))) for i in rows]
    return {"shots": shots, "level": finest, "shown": len(chosen), "classes": len(names)}


def run(contents: PageContents) -> dict[str, Any]:
    """The config, the machine, and how to go on from here."""
    environment = contents.environment
    return {
        "config": [(field, "" if value == "" else repr(value)) for field, value in flatten(contents.config).items()],
        "environment": [
            ("commit", environment.get("commit") or "not known: the code was no git checkout"),
            ("devices", devices(contents)),
            ("processes", environment.get("processes")),
            ("python", environment.get("python")),
            ("platform", environment.get("platform")),
            *environment.get("packages", {}).items(),
        ],
        "commit": (environment.get("commit") or "").removesuffix("-dirty"),
        "changed": (environment.get("commit") or "").endswith("-dirty"),
        "changes": [
            (start["step"], change)
            for start in environment.get("starts", [])
            for change in start.get("changes", [])
            if "step" in start
        ],
        "config_file": shlex.quote(str(contents.workdir / "config.json")),
        "workdir": shlex.quote(str(contents.workdir)),
        "generated": contents.config.data.source == "catalogue",
        "command": contents.command,
        "throughput": _throughput(contents),
    }


def devices(contents: PageContents) -> str:
    """Such as "8 × NVIDIA H100"."""
    kinds = list(contents.environment.get("devices", []))
    times = {kind: kinds.count(kind) for kind in kinds}
    return ", ".join(f"{number} × {kind}" if number > 1 else kind for kind, number in times.items())


def _throughput(contents: PageContents) -> list[tuple[str, str]]:
    """How fast the run was, and what a prediction costs, in words."""
    timings, cost = [line["timing"] for line in contents.lines], contents.cost
    rates = [timing["images_per_second"] for timing in timings if "images_per_second" in timing]
    waits = [timing["data_wait_fraction"] for timing in timings if "data_wait_fraction" in timing]
    rows = [("training", f"{statistics.median(rates):,.0f} images/s (median of the epochs)")] if rates else []
    rows += [("waiting for images", f"{statistics.median(waits):.1%} of that time")] if waits else []
    for name, key in (("training in all", "train_seconds"), ("validation in all", "validation_seconds")):
        seconds = sum(timing.get(key, 0) for timing in timings)
        rows.append((name, f"{duration(seconds)} {'hours' if seconds >= 3600 else 'minutes'}"))
    if cost:
        if cost["images_per_second"] is not None:
            rows.append(("measuring", f"{rate(cost['images_per_second'])} images/s, reading them included"))
        rows.append(("parameters", f"{cost['parameters']:,}"))
        rows.append(("operations", f"{cost['flops_per_image'] / 1e6:,.1f} MFLOP an image"))
    return rows
