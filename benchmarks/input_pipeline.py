"""Measures images per second of the input: python -m benchmarks.input_pipeline [--size WxH] [--canvas N] [--json FILE].

It times decoding alone (the bound), the trainer's pipeline, and torchvision's ImageFolder with PyTorch's DataLoader,
each in its own process and in turns, over the same JPEG files.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import create_parser, origin, parse
from benchmarks.input_contenders import BATCH_SIZE, DATALOADER_WORKERS
from fashion_jax.command_line import run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.errors import RunError, UserError, how_to_install

_PAUSE = 1.0  # seconds between two turns: the pipeline decodes a few batches ahead of the last that it was asked for
_QUALITY = 90  # of the JPEG files that are written


def main(arguments: list[str] | None = None) -> int:
    """Measures as the arguments say; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    flags = _parse(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.images
        if not folder:
            folder = Path(temporary)
            write_photographs(folder / "a", flags.number, flags.size)
        result = measure(folder, flags.canvas, flags.cache, flags.rounds)
    result["files"] = str(flags.images.name) if flags.images else f"{flags.size[0]}x{flags.size[1]}, made"
    print(table(result))
    if flags.json:
        write_json(flags.json, result)


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the flags; --size as (width, height)."""
    usage = "[--images DIR] [--size WxH] [--number N] [--canvas N] [--cache none|host] [--rounds N]"
    parser = create_parser("input_pipeline", usage, __doc__.split("\n\n")[1], config=None)
    parser.add_argument("--images", metavar="DIR", type=Path, help="with JPEG files in subfolders; else they are made")
    parser.add_argument("--size", metavar="WxH", default="400x533", help="of those made (default: %(default)s)")
    parser.add_argument("--number", metavar="N", type=int, default=1024, help="of those made (default: %(default)s)")
    parser.add_argument("--canvas", metavar="N", type=int, default=224, help="resized to (default: %(default)s)")
    parser.add_argument("--cache", choices=("none", "host"), default="none", help="of the pipeline, then from epoch 2")
    parser.add_argument("--rounds", metavar="N", type=int, default=5, help="epochs of each (default: %(default)s)")
    flags, _ = parse(parser, arguments, number=BATCH_SIZE, canvas=1, rounds=1)
    if not (size := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", flags.size)):
        raise UserError(f"--size is {flags.size!r}, but must be a width and a height in pixels, such as 400x533.")
    flags.size = int(size[1]), int(size[2])
    if flags.images and len(list(flags.images.glob("*/*.jp*g"))) < BATCH_SIZE:
        raise UserError(f"--images is {str(flags.images)!r}, whose subfolders have fewer than {BATCH_SIZE} JPEG files.")
    return flags


def write_photographs(folder: Path, number: int, size: tuple[int, int]) -> None:
    """Writes JPEG files of (width, height): soft shapes under a little noise, as costly to decode as photographs."""
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(number):
        shapes = Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(shapes) + rng.normal(0, 4, (size[1], size[0], 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.jpg", quality=_QUALITY)


def measure(folder: Path, canvas: int, cache: str, rounds: int) -> dict[str, Any]:
    """Times the contenders in turns over the images in folder's subfolders; returns what --json writes.

    Each contender goes over the images once before it is timed.

    Raises:
        RunError: a contender fails.
    """
    names = ["decoding", "pipeline"]
    if importlib.util.find_spec("torch") and importlib.util.find_spec("torchvision"):
        names += [f"dataloader-{workers}" for workers in DATALOADER_WORKERS]
    with ExitStack() as stack:
        command = [sys.executable, "-m", "benchmarks.input_contenders"]
        contenders = {
            name: stack.enter_context(
                subprocess.Popen(
                    [*command, name, str(folder), str(canvas), cache],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for name in names
        }  # fmt: skip
        epochs = []
        for _ in range(1 + rounds):
            rates = {}
            for name, process in contenders.items():
                rates[name] = _epoch(name, process)
                time.sleep(_PAUSE)
            epochs.append(rates)
    return {
        "benchmark": "input_pipeline",
        "images": epochs[0]["decoding"]["images"],
        "canvas": canvas,
        "cache": cache,
        "batch_size": BATCH_SIZE,
        **origin(),
        "images_per_second": {name: _rates([epoch[name] for epoch in epochs[1:]]) for name in names},
        "peak_mib": {name: round(epochs[-1][name]["peak_mib"]) for name in names},
    }


def table(result: dict[str, Any]) -> str:
    """Formats the result in a few lines."""
    rates = result["images_per_second"]
    lines = [f"{result['images']} JPEG files ({result['files']}) to {result['canvas']} px, cache {result['cache']}"]
    for name, rate in rates.items():
        spread = f"{rate['min']:,.0f} to {rate['max']:,.0f}"
        memory = f"{result['peak_mib'][name]:,} MiB at most"
        lines.append(f"{name:<13} {rate['median']:>10,.0f} images/s ({spread}), {memory}")
    ours = rates["pipeline"]["median"]
    lines.append(f"pipeline / decoding    {ours / rates['decoding']['median']:.2f}")
    loaders = [rate["median"] for name, rate in rates.items() if name.startswith("dataloader")]
    if loaders:
        lines.append(f"pipeline / DataLoader  {ours / max(loaders):.2f} (its best number of workers)")
    else:
        lines.append(f"DataLoader is not measured: {how_to_install('benchmarks')}.")
    return "\n".join(lines)


def _epoch(name: str, contender: subprocess.Popen) -> dict[str, float]:
    """Lets a contender go over the images once; returns its answer."""
    try:
        contender.stdin.write("\n")
        contender.stdin.flush()
        return json.loads(contender.stdout.readline())
    except (OSError, ValueError) as error:
        raise RunError(f"{name} has failed: what it wrote above says why.") from error


def _rates(epochs: list[dict[str, float]]) -> dict[str, float]:
    low, median, high = np.percentile([x["images"] / x["seconds"] for x in epochs], [0, 50, 100]).tolist()
    return {"min": low, "median": median, "max": high}


if __name__ == "__main__":
    sys.exit(main())
