"""Formats the result of benchmarks.scale as the Markdown tables of docs/scale.md, and draws it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale.machines import MACHINES
from benchmarks.scale.model import IMAGE_SIZE

_FEWEST_FOR_STATISTICS = 32  # images of a device, if its BatchNorm has statistics of its own (Goyal et al. 2017)
_COLORS = ("#3b6ea5", "#c1666b", "#48a078", "#8d6a9f", "#b8860b")


def tables(result: dict[str, Any]) -> dict[str, str]:
    """Returns name -> Markdown table of a result of benchmarks.scale."""
    return {
        "machines": _machines(),
        "speed": _speed(result),
        "fixed_batch": _fixed_batch(result),
        "demand": _demand(result),
        "data_set": _data_set(result),
        "goodput": _goodput(result["goodput"]),
    }


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def _size(name: str) -> str:
    """Returns a size in pixels such as 1000x1333 as a page shows it."""
    return " × ".join(f"{int(pixels):,}" for pixels in name.split("x"))


def _machines() -> str:
    rows = []
    for machine in MACHINES.values():
        chip = machine.chip
        rows.append(
            (
                machine.title,
                f"{chip.flops / 1e12:,.0f} TFLOP/s",
                f"{chip.memory_bandwidth / 1e9:,.0f} GB/s, {chip.memory_bytes >> 30} GiB",
                f"{chip.link_bandwidth / 1e9:,.0f} GB/s, up to {machine.slice_chips:,} chips",
                f"{machine.host_chips}",
                f"{machine.host_cores}, {machine.host_memory / 1e9:,.0f} GB",
                f"{machine.host_network * 8 / 1e9:,.0f} Gbit/s, {machine.hop_seconds * 1e6:.0f} µs",
            )
        )
    header = ("", "peak, bfloat16", "memory", "links of a chip", "chips per host", "vCPUs, memory", "network of a host")
    return _table(header, rows)


def _speed(result: dict[str, Any]) -> str:
    rows = []
    for name, modes in result["scaling"].items():
        for mode, found in modes.items():
            cells = [f"{row['images_per_second_per_chip']:,.0f} ({row['efficiency']:.0%})" for row in found]
            rows.append([MACHINES[name].title, mode, *cells])
    return _table(["", "`batch_norm`", *_chips(result)], rows)


def _fixed_batch(result: dict[str, Any]) -> str:
    most = result["assumed"]["fixed_batch"] / _FEWEST_FOR_STATISTICS  # devices
    rows = []
    for name, modes in result["scaling"].items():
        for mode, found in modes.items():
            cells = []
            for row in found:
                rate = row["fixed_batch_images_per_second_per_chip"] * row["chips"]
                sound = mode == "global" or row["chips"] <= most
                cells.append(f"{rate:,.0f} ({row['fixed_batch_efficiency']:.0%})" if sound else "–")
            rows.append([MACHINES[name].title, mode, *cells])
    return _table(["", "`batch_norm`", *_chips(result)], rows)


def _chips(result: dict[str, Any]) -> list[str]:
    counts = [row["chips"] for row in result["scaling"]["v5e"]["global"]]
    return [f"{count:,} chip{'s' if count > 1 else ''}" for count in counts]


def _demand(result: dict[str, Any]) -> str:
    rows = []
    for name, kinds in result["demand"].items():
        rate = result["scaling"][name]["global"][0]["images_per_second_per_chip"]
        for kind, asked in kinds.items():
            rows.append(
                (
                    MACHINES[name].title,
                    f"{rate:,.0f}",
                    f"prepared, {IMAGE_SIZE} px" if kind == "records" else f"JPEG {_size(kind)}",
                    f"{asked['cores']:.1f} ({asked['cores_share']:.0%})",
                    f"{asked['bytes_per_second'] / 1e9:.2f} GB/s ({asked['network_share']:.0%})",
                    f"{1024 * asked['bytes_per_second'] / 1e12:.2f} TB/s",
                )
            )
    header = ("", "images/s per chip", "stored as", "cores per chip", "storage per chip", "of 1,024 chips")
    return _table(header, rows)


def _data_set(result: dict[str, Any]) -> str:
    found, cores = result["data_set"], 16
    check = {size: seconds / cores / 3600 for size, seconds in found["check_core_seconds"].items()}
    rows = [
        ("memory of each process that stays in use", f"{found['kept_bytes'] / 1e9:.1f} GB"),
        ("memory of each process while it starts, at the peak", f"{found['peak_bytes'] / 1e9:.0f} GB"),
        ("start of each process: table, splits, digests, lists", f"{_duration(found['start_seconds'])}"),
        (
            "size and time of every file on a network file system, which the processes divide",
            _duration(found["stat_seconds"]),
        ),
        *(
            (f"first check of the files, JPEG {_size(size)}, {cores} cores in all", f"{hours:.1f} h")
            for size, hours in check.items()
        ),
        ("order of an epoch, computed slice by slice", f"{_duration(found['order_seconds_per_epoch'])} per epoch"),
        ("`images.parquet` of the run", f"{found['images_parquet_bytes'] / 1e9:.1f} GB"),
        *(
            (f"storage, {f'prepared at {IMAGE_SIZE} px' if size == 'records' else 'JPEG ' + _size(size)}",
             f"{size_bytes / 1e12:.1f} TB")
            for size, size_bytes in found["bytes"].items()
        ),
    ]  # fmt: skip
    return _table(("for 100,000,000 images", ""), rows)


def _goodput(goodput: dict[str, Any]) -> str:
    rows = []
    for row in goodput["rows"]:
        cells = [
            f"{row[f'{size}_{name}']['simulated']:.1%}" for size in ("small", "huge") for name in ("default", "daly")
        ]
        rows.append(
            (
                f"{row['hours_per_chip']:,} h",
                f"{row['chips']:,}",
                _duration(row["mean_seconds"]),
                f"{_duration(row['default_seconds'])}, {_duration(row['daly_seconds'])}",
                *cells,
            )
        )
    header = (
        "between failures of a chip",
        "chips",
        "between failures of the run",
        "between saves: default, best",
        "goodput, default",
        "best",
        "10⁸ files, default",
        "best",
    )
    return _table(header, rows)


def _duration(seconds: float) -> str:
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (100 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}" if seconds / unit >= 10 else f"{seconds / unit:.1f} {name}"
    return f"{seconds / 86400:,.0f} days"


def draw(result: dict[str, Any], path: Path) -> None:
    """Draws images/s over the number of chips, with 256 images on each chip and with a fixed batch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(ncols=2, sharey=True)
    assumed = result["assumed"]
    titles = f"{assumed['images_per_chip']} images on each chip", f"{assumed['fixed_batch']:,} images in all"
    for axis, start, title in zip(axes, ("", "fixed_batch_"), titles, strict=True):
        for color, (name, modes) in zip(_COLORS, result["scaling"].items(), strict=True):
            rows = modes["global"]
            chips = [row["chips"] for row in rows]
            rates = [row["chips"] * row[f"{start}images_per_second_per_chip"] for row in rows]
            axis.loglog(chips, rates, "o-", color=color, label=MACHINES[name].title, markersize=4)
            axis.loglog(chips, [n * rates[0] for n in chips], ":", color=color, linewidth=1)
        axis.set_xticks(chips, [f"{n:,}" for n in chips])
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlabel(f"chips, {title}, global BatchNorm")
    axes[0].set_ylabel("computed images/s in all")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)
