"""Describes the page's section on the run: config, machine and commands."""

from __future__ import annotations

import shlex
import statistics
from typing import Any

from fashion_jax.command_line.formats import duration, rate
from fashion_jax.config.loading import flatten
from fashion_jax.report.contents import PageContents
from fashion_jax.report.timings import validation_seconds
from fashion_jax.workdir.paths import config_path


def run(contents: PageContents) -> dict[str, Any]:
    """Describes the config, the machine, and the commands to go on with."""
    environment = contents.environment
    return {
        "config": [(field, "" if value == "" else repr(value)) for field, value in flatten(contents.config).items()],
        "environment": [
            ("commit", environment.get("commit") or "not known: the code was no git checkout"),
            ("devices", contents.devices),
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
        "config_file": shlex.quote(str(config_path(contents.workdir))),
        "workdir": shlex.quote(str(contents.workdir)),
        "generated": contents.config.data.source == "catalogue",
        "planned": bool(contents.config.time_limit),
        "command": contents.command,
        "throughput": _throughput(contents),
    }


def _throughput(contents: PageContents) -> list[tuple[str, str]]:
    """Says in words how fast the run was, and what a prediction costs."""
    timings, cost = [line["timing"] for line in contents.lines], contents.cost
    waits = [timing["data_wait_fraction"] for timing in timings if "data_wait_fraction" in timing]
    speed = contents.training_rate
    rows = [] if speed is None else [("training", f"{speed:,.0f} images/s (median of the epochs)")]
    rows += [("waiting for images", f"{statistics.median(waits):.1%} of that time")] if waits else []
    times = {"training": contents.training_seconds, "validation": validation_seconds(contents.lines)}
    for name, seconds in times.items():
        rows.append((f"{name} in all", f"{duration(seconds)} {'hours' if seconds >= 3600 else 'minutes'}"))
    if cost:
        if cost["images_per_second"] is not None:
            rows.append(("measuring", f"{rate(cost['images_per_second'])} images/s, reading them included"))
        rows.append(("parameters", f"{cost['parameters']:,}"))
        rows.append(("operations", f"{cost['flops_per_image'] / 1e6:,.1f} MFLOP an image"))
    return rows
