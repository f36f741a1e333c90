"""Checks and measures the trainer on an accelerator: python -m benchmarks.accelerator [--part check|speed].

It needs jax, flax, optax, numpy, ml_collections and absl alone. The results are written after every item.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accelerator.items import PARTS, Item
from benchmarks.accelerator.supervisor import PART_SECONDS, run_items
from benchmarks.accelerator.tables import line, speed_table
from benchmarks.command import create_parser, parse
from fashion_jax.command_line import run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.errors import RunError, UserError


def main(arguments: list[str] | None = None) -> int:
    """Checks and measures as the arguments say; returns the exit status, 1 if an item has failed."""
    return run_command(_run, arguments)


def _run(arguments: list[str]) -> None:
    flags = _parse(arguments)
    parts = [flags.part] if flags.part else list(PARTS)
    chosen = _chosen(parts, flags.items)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that the worker is ended too
    try:
        result = measure(chosen, flags.sizes, flags.seconds, flags.json)
    finally:
        signal.signal(signal.SIGTERM, before)
    if "speed" in result["parts"]:
        print(speed_table(result["parts"]["speed"]["items"]))
    entries = {name: entry for part in result["parts"].values() for name, entry in part["items"].items()}
    if failed := [name for name, entry in entries.items() if entry["status"] == "failed"]:
        raise RunError(f"{len(failed)} of {len(entries)} items have failed: {', '.join(failed)}.")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = create_parser(
        "accelerator",
        "[--part check|speed] [--items NAME ...] [--sizes full|tiny] [--seconds N]",
        "Checks the trainer on an accelerator, then measures its speed. Without --part it does both.",
        config=None,
    )
    parser.add_argument("--part", choices=PARTS, help="do only this part")
    parser.add_argument("--items", metavar="NAME", nargs="+", help="do only the items whose names begin so")
    parser.add_argument(
        "--sizes",
        choices=("full", "tiny"),
        default="full",
        help="tiny: small networks and images, to try the command on a CPU (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds", metavar="N", type=int, default=PART_SECONDS, help="the time of a part (default: %(default)s)"
    )
    flags, _ = parse(parser, arguments, seconds=1)
    return flags


def _chosen(parts: Sequence[str], prefixes: list[str] | None) -> dict[str, tuple[Item, ...]]:
    """Returns part -> its items whose names begin with one of the prefixes, for the parts that have some.

    Raises:
        UserError: a prefix names no item.
    """
    for prefix in prefixes or ():
        if not any(item.name.startswith(prefix) for part in parts for item in PARTS[part]):
            names = ", ".join(item.name for part in parts for item in PARTS[part])
            raise UserError(f"--items has {prefix}, which names no item: there are {names}.")
    begin = tuple(prefixes) if prefixes else ""
    chosen = {part: tuple(item for item in PARTS[part] if item.name.startswith(begin)) for part in parts}
    return {part: items for part, items in chosen.items() if items}


def measure(chosen: dict[str, tuple[Item, ...]], sizes: str, seconds: float, path: Path | None) -> dict[str, Any]:
    """Does the chosen items of each part; returns what --json writes, and writes it to `path` after every change."""
    result: dict[str, Any] = {"benchmark": "accelerator", "sizes": sizes, "parts": {}}
    for part, items in chosen.items():
        entries = {item.name: {"status": "skipped", "why": "It was not reached."} for item in items}
        result["parts"][part] = {"seconds": 0.0, "items": entries}
    for part, items in chosen.items():
        _do_part(part, items, sizes, seconds, result, path)
    return result


def _do_part(
    part: str, items: Sequence[Item], sizes: str, seconds: float, result: dict[str, Any], path: Path | None
) -> None:
    """Does the items of a part, fills in their results, and prints a line for each."""
    began, entries, shown = time.monotonic(), result["parts"][part]["items"], set()

    def changed() -> None:
        result["parts"][part]["seconds"] = time.monotonic() - began
        if path:
            write_json(path, result)
        for name, entry in entries.items():
            if "seconds" in entry and name not in shown:
                shown.add(name)
                print(line(name, entry), flush=True)

    result.update(run_items(items, sizes, seconds, entries, changed))
    changed()


if __name__ == "__main__":
    sys.exit(main())
