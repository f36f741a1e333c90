"""Computes what a training on 1 to 1,024 chips needs: python -m benchmarks.scale [--json FILE] [--figure FILE].

It reads benchmarks/results, measures on this machine what each image costs besides its pixels, and computes the rest
from data sheets and stated assumptions. Nothing in it has run on an accelerator. docs/scale.md shows its tables.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.command import create_parser, origin, parse
from benchmarks.scale.goodput import daly_interval, expected_goodput, failures, simulated_goodput, young_interval
from benchmarks.scale.machines import MACHINES, Machine
from benchmarks.scale.model import IMAGE_SIZE, Kind, Step, cached_images, create_step, demand, scaling
from benchmarks.scale.report import draw, tables
from fashion_jax.command_line import run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.errors import RunError, UserError

RESULTS = Path(__file__).parent.parent / "results"

CHIPS = (1, 4, 16, 64, 256, 1024)
ASSUMED: dict[str, Any] = {
    "images_per_chip": 256,
    "fixed_batch": 4096,  # the largest of docs/recipes.md
    "hours_between_failures_per_chip": [50000, 5000, 500],  # 419 failures of 16,384 GPUs in 54 days; worse; spot
    "detection_seconds": 30.0,  # docs/clusters.md
    "scheduler_seconds": 120.0,
    "save_seconds_every_steps": 500,  # checkpoint.every_steps of configs/default.py
    "stat_seconds": 1e-3,  # on a network file system, of which 16 at a time
    "stats_at_a_time": 16,
    "dataset_images": 10**8,
    "auto_cache_share": 0.25,  # of the memory, see docs/data.md
    "storage_bytes_per_second": 200e6,  # of one writer of a checkpoint
    "failures_drawn": 20000,
    "seed": 0,
}


def main(arguments: list[str] | None = None) -> int:
    """Computes as the arguments say; returns the exit status."""
    return run_command(_run, arguments)


def _run(arguments: list[str]) -> None:
    parser = create_parser(
        "scale",
        "[--images N] [--files N] [--figure FILE]",
        "Computes what a training on 1 to 1,024 chips needs, from results, data sheets and a small measurement.",
        config=None,
    )
    parser.add_argument("--images", metavar="N", type=int, default=200_000, help="of the measured table (%(default)s)")
    parser.add_argument("--files", metavar="N", type=int, default=64, help="that are read (default: %(default)s)")
    parser.add_argument("--figure", metavar="FILE", type=Path, help="where to draw the images/s, as .png")
    flags, _ = parse(parser, arguments, images=1000, files=64)
    if flags.figure and (flags.figure.suffix != ".png" or not flags.figure.parent.is_dir()):
        raise UserError(f"--figure is {str(flags.figure)!r}, which is no .png in an existing folder: name another.")
    result = measure(flags.images, flags.files)
    print("\n\n".join(tables(result).values()))
    if flags.json:
        write_json(flags.json, result)
    if flags.figure:
        draw(result, flags.figure)


def measure(images: int, files: int) -> dict[str, Any]:
    """Measures what an image costs a process, and computes the rest; returns what --json writes."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale.per_image", str(images), str(files)], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise RunError("The measurement of a table has failed: what it wrote above says why.")
    return {"benchmark": "scale", **origin(), **compute(json.loads(done.stdout))}


def compute(per_image: dict[str, Any]) -> dict[str, Any]:
    """Computes everything else from what benchmarks.scale.per_image has measured and from the other results."""
    steps = {name: create_step(_result(machine.result)[0], machine) for name, machine in MACHINES.items()}
    kinds = _kinds(per_image)
    rates = {name: _scaling(step, MACHINES[name]) for name, step in steps.items()}
    alone = {name: rows["global"][0]["images_per_second_per_chip"] for name, rows in rates.items()}
    return {
        "assumed": ASSUMED,
        "per_image": per_image,
        "scaling": rates,
        "kinds": {name: dataclasses.asdict(kind) for name, kind in kinds.items()},
        "demand": {
            name: {kind: demand(alone[name], x, machine) for kind, x in kinds.items()}
            for name, machine in MACHINES.items()
        },
        "cached_images_per_host": {
            name: cached_images(machine, 3 * IMAGE_SIZE**2, ASSUMED["auto_cache_share"])
            for name, machine in MACHINES.items()
        },
        "data_set": _data_set(per_image),
        "goodput": _goodput(steps["v5e"], per_image),
    }


def _scaling(step: Step, machine: Machine) -> dict[str, list[dict[str, float]]]:
    """Returns batch_norm -> scaling; with local BatchNorm only the collectives of gradients and metrics are left."""
    counts = _result("aot_v5e_2x2_local")[0]["counts"]
    local = dataclasses.replace(
        step, collectives=counts["collectives"], collective_bytes=float(counts["collective_bytes"])
    )
    sizes = ASSUMED["images_per_chip"], ASSUMED["fixed_batch"]
    return {
        mode: [scaling(x, machine, chips, *sizes) for chips in CHIPS]
        for mode, x in (("global", step), ("local", local))
    }


def _result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _kinds(per_image: dict[str, Any]) -> dict[str, Kind]:
    """Returns the kinds of images: JPEGs at the rates of benchmarks.input_pipeline, on two cores, and records."""
    found = {}
    for size, photographs in per_image["photographs"].items():
        rate = _result(f"input_{size}")["images_per_second"]["pipeline"]["median"]
        found[size] = Kind(f"JPEG {size}", rate / 2, photographs["bytes"])
    records = per_image["records"]
    return found | {"records": Kind(f"prepared, {IMAGE_SIZE} px", 1 / records["read_seconds"], records["bytes"])}


def _data_set(per_image: dict[str, Any]) -> dict[str, Any]:
    """Returns what a process needs for a data set of ASSUMED["dataset_images"] images, apart from pixels."""
    count, seconds = ASSUMED["dataset_images"], per_image["seconds"]
    check = {size: x["check_seconds"] * count for size, x in per_image["photographs"].items()}
    return {
        "kept_bytes": sum(per_image["kept_bytes"].values()) * count,
        "peak_bytes": per_image["peak_bytes"] * count,
        "images_parquet_bytes": per_image["images_parquet_bytes"] * count,
        "start_seconds": sum(seconds.values()) * count,
        "order_seconds_per_epoch": per_image["order_seconds"] * count,
        "stat_seconds": ASSUMED["stat_seconds"] / ASSUMED["stats_at_a_time"] * count,
        "check_core_seconds": check,
        "bytes": {size: x["bytes"] * count for size, x in per_image["photographs"].items()}
        | {"records": per_image["records"]["bytes"] * count},
    }


def _goodput(step: Step, per_image: dict[str, Any]) -> dict[str, Any]:
    """Returns what saving costs, and the goodput of v5e chips for failure rates, numbers of chips and intervals."""
    saving, state = _result("saving"), _result("aot_v5e_2x2_global")[0]["aliased_bytes"]
    data, hours = _data_set(per_image), ASSUMED["hours_between_failures_per_chip"]
    return {
        "save_seconds": saving["save_seconds"],
        "in_the_loop_seconds": saving["in_the_loop_seconds"],
        "checkpoint_bytes": state,
        "write_seconds": state / ASSUMED["storage_bytes_per_second"],
        "rows": [_goodput_row(step, data, x, chips, saving["save_seconds"]) for x in hours for chips in CHIPS[2:]],
    }


def _goodput_row(step: Step, data: dict[str, Any], hours: int, chips: int, cost: float) -> dict[str, Any]:
    """Returns the goodput of a small data set and of a huge one, with saves by default and with the best interval."""
    machine, mean = MACHINES["v5e"], hours * 3600 / chips
    row = scaling(step, machine, chips, ASSUMED["images_per_chip"], ASSUMED["fixed_batch"])
    seconds = ASSUMED["images_per_chip"] / row["images_per_second_per_chip"]
    every = {"default": ASSUMED["save_seconds_every_steps"] * seconds, "daly": daly_interval(mean, cost)}
    small = ASSUMED["detection_seconds"] + ASSUMED["scheduler_seconds"]
    small += _result("start_up")["seconds"]["first_step_cached"]
    stats = data["stat_seconds"] * machine.host_chips / chips  # the processes divide the files
    restarts = {"small": small, "huge": small + data["start_seconds"] + stats}
    gaps = failures(mean, ASSUMED["failures_drawn"], ASSUMED["seed"])
    goodputs = {
        f"{size}_{name}": {
            "simulated": simulated_goodput(gaps, x, cost, restart),
            "expected": expected_goodput(mean, x, cost, restart),
        }
        for size, restart in restarts.items()
        for name, x in every.items()
    }
    described = {"hours_per_chip": hours, "chips": chips, "restart_seconds": restarts, "mean_seconds": mean}
    described |= {f"{name}_seconds": x for name, x in every.items()} | {"young_seconds": young_interval(mean, cost)}
    return described | goodputs


if __name__ == "__main__":
    sys.exit(main())
