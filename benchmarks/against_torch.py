"""Runs all comparisons with PyTorch, with a table and a plot: python -m benchmarks.against_torch [CASE ...].

Each case is that of `python -m benchmarks.train_step --twin torch`. The table and the plot show every case measured
into the same folder.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.command import create_parser, parse
from benchmarks.twin import measure_with_twin
from fashion_jax.atomic import write_text
from fashion_jax.command_line import run_command
from fashion_jax.command_line.output_files import folder_of_flag, write_json
from fashion_jax.config.loading import load_config
from fashion_jax.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Case(NamedTuple):
    """A comparison: a config with an image size and a batch size, for training or for inference."""

    title: str
    config: str
    image_size: int
    batch_size: int
    train: bool = True


CASES = {
    "resnet34_64px": Case("ResNet-34 train step, 64 px", "configs/mtl.py", 64, 32),
    "resnet34_128px": Case("ResNet-34 train step, 128 px", "configs/mtl.py", 128, 32),
    "resnet34_224px": Case("ResNet-34 train step, 224 px", "configs/mtl.py", 224, 16),
    "vgg16_64px": Case("VGG-16 train step, 64 px", "configs/direct.py", 64, 32),
    "inference_64px": Case("ResNet-34 inference, 64 px", "configs/mtl.py", 64, 64, train=False),
    "inference_224px": Case("ResNet-34 inference, 224 px", "configs/mtl.py", 224, 16, train=False),
}


def main(arguments: list[str] | None = None) -> int:
    """Measures the cases that the arguments name; returns the exit status."""
    return run_command(_compare, arguments)


def _compare(arguments: list[str]) -> None:
    usage, description = "[CASE ...] [--steps N] [--output DIR]", "Measures our steps and PyTorch's in turns."
    parser = create_parser("against_torch", usage, description, config=None)
    parser.add_argument("cases", metavar="CASE", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--steps", metavar="N", type=int, default=8, help="turns of each (default: %(default)s)")
    parser.add_argument("--output", metavar="DIR", type=Path, default=Path("benchmarks/results"), help="%(default)s")
    flags, _ = parse(parser, arguments, steps=1)
    if unknown := [name for name in flags.cases if name not in CASES]:
        raise UserError(f"There is no case {unknown[0]!r}: name some of {', '.join(CASES)}.")
    with folder_of_flag("--output", flags.output):
        for name in flags.cases or CASES:
            write_json(_file(flags.output, name), _measured_apart(CASES[name], flags.steps))
            print(CASES[name].title, flush=True)
    results = {name: json.loads(path.read_text()) for name in CASES if (path := _file(flags.output, name)).exists()}
    write_text(flags.output / "against_torch.md", table(results))
    draw(results, flags.output / "against_torch.png")
    print(table(results))
    if flags.json:
        write_json(flags.json, results)


def _measured_apart(case: Case, steps: int) -> dict[str, Any]:
    """Measures a case in a process of its own, so that its peak of memory is not that of the cases before it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure, case, steps).result()


def _measure(case: Case, steps: int) -> dict[str, Any]:
    overrides = [("image_size", str(case.image_size)), ("batch_size", str(case.batch_size)), ("eval_flip", "false")]
    return measure_with_twin(load_config(case.config, overrides), steps, warmup=1, train=case.train)


def _file(folder: Path, name: str) -> Path:
    return folder / f"against_torch_{name}.json"


def table(results: dict[str, dict[str, Any]]) -> str:
    """Returns a Markdown table of results, keyed by the name of the case."""
    lines = ["| | fashion_jax | of the peak | PyTorch | ratio | commit |", "| --- " * 6 + "|"]
    for name, result in results.items():
        case, twin = CASES[name], result["twin"]
        theirs = twin["seconds"][twin["best"]]["median"]
        cells = [
            f"{case.title}, batch {case.batch_size}",
            f"{1000 * result['step_seconds']['median']:.0f} ms",
            f"{result['mfu']:.0%}",
            f"{1000 * theirs:.0f} ms ({twin['best']})",
            f"{twin['ratio']:.2f}×",
            (result["commit"] or "")[:12],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draws two bars for each result: our images per second relative to PyTorch's, and the share of the peak."""
    from matplotlib.figure import Figure

    titles = [f"{CASES[name].title}, batch {CASES[name].batch_size}" for name in results]
    figure = Figure(figsize=(9, 0.8 + 0.45 * len(results)), layout="constrained")
    against_torch, of_peak = figure.subplots(ncols=2, sharey=True)
    ratios = [result["twin"]["ratio"] for result in results.values()]
    shares = [result["mfu"] for result in results.values()]
    _bars(against_torch, titles, ratios, "%.2f×", "images per second, as a multiple\nof PyTorch's best eager mode")
    _bars(of_peak, titles, shares, "{:.0%}", "FLOP/s of the plain operations,\nas a share of a large matrix product's")
    against_torch.invert_yaxis()
    figure.savefig(path, dpi=150)


def _bars(axes: Axes, titles: list[str], values: list[float], label: str, title: str) -> None:
    behind_text = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.bar_label(axes.barh(titles, values, color="#3b6ea5"), fmt=label, padding=3, bbox=behind_text)
    axes.axvline(1, color="black", linewidth=1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(0, 1.2 * max([1, *values]))
    axes.set_xlabel(title)


if __name__ == "__main__":
    sys.exit(main())
