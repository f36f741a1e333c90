"""Formats the results: a line for each item as it ends, and a table of the speed in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_COLUMNS = ("", "images/s", "MFU", "memory", "compilation", "against PyTorch eager", "against torch.compile")


def line(name: str, entry: dict[str, Any]) -> str:
    """Returns the line of an item: its status, its time, and its numbers or the reason why there are none."""
    told = entry.get("why") or "; ".join(entry.get("exceeded", ())) or _numbers(entry)
    return f"{name:<38} {entry['status']:<8}{entry.get('seconds', 0):6.1f} s  {told}".rstrip()


def _numbers(entry: dict[str, Any]) -> str:
    """Returns the most telling numbers of an item in words."""
    if errors := entry.get("relative_errors"):
        return "; ".join(f"{name}: {_errors(error)}" for name, error in errors.items())
    told = [f"{mode} {_speed(entry[mode])}" for mode in ("step", "inference") if mode in entry]
    told += [f"{mode} {_ratio(entry[f'torch_{mode}'])}" for mode in ("step", "inference") if f"torch_{mode}" in entry]
    if "end_to_end" in entry:
        told.append(
            f"{entry['end_to_end']:,.0f} images/s with the input, {entry['step_only']:,.0f} without, waiting "
            f"{entry['data_wait_share']:.1%}"
        )
    elif "ratio" in entry:
        told.append(f"{entry['ratio']:.2f} × as fast with 8 steps per dispatch")
    return ", ".join(told)


def _errors(errors: Any) -> str:
    if isinstance(errors, float):
        return f"{errors:.1e}"
    return ", ".join(f"{kind} {error:.1e}" for kind, error in errors.items())


def _speed(found: dict[str, Any]) -> str:
    return f"{found['images_per_second']:,.0f} images/s" + (f" (MFU {found['mfu']:.1%})" if found["mfu"] else "")


def _ratio(found: dict[str, Any]) -> str:
    if "ratio" not in found:
        return f"without PyTorch ({found['skipped'].rstrip('.')})"
    return f"{found['ratio']:.2f} × PyTorch {found['variant']}"


def speed_table(items: dict[str, dict[str, Any]]) -> str:
    """Returns a Markdown table of the items of the part speed: a row for the step and the inference of each network.

    The columns of PyTorch state how many times as fast ours is, in turns.
    """
    rows = [f"| {' | '.join(cells)} |" for name, entry in items.items() for cells in _rows(name, entry, items)]
    return "\n".join([f"| {' | '.join(_COLUMNS)} |", "| --- " * len(_COLUMNS) + "|", *rows])


def _rows(name: str, entry: dict[str, Any], items: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
    for mode in ("step", "inference"):
        if mode not in entry:
            continue
        found, compiled = entry[mode], items.get(f"torch_compile_{name}", {})
        peak = found["memory"]["peak_bytes"]
        yield [
            f"{entry['model']}, {entry['image_size']} px, {entry['dtype']}, batch {entry['batch_size']}, {mode}",
            f"{found['images_per_second']:,.0f}",
            "-" if found["mfu"] is None else f"{found['mfu']:.1%}",
            "-" if peak is None else f"{peak / 1e9:.2f} GB",
            f"{found['compile_seconds']:.0f} s",
            *(_cell(other.get(f"torch_{mode}", {})) for other in (entry, compiled)),
        ]


def _cell(found: dict[str, Any]) -> str:
    return f"{found['ratio']:.2f} ×" if "ratio" in found else "-"
