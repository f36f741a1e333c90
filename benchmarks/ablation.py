"""Trains variants of a config and measures each against the first: python -m benchmarks.ablation STUDY.json."""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from benchmarks.command import create_parser, origin, parse
from benchmarks.kept_runs import fields_of, merged, read_kept
from fashion_jax.command_line import Overrides, run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.config.loading import flatten, load_config, load_run_config
from fashion_jax.errors import STOP_SIGNALS, RunError, UserError
from fashion_jax.json_text import parse_json
from fashion_jax.report.timings import training_seconds, validation_seconds
from fashion_jax.workdir.environment import commit
from fashion_jax.workdir.metrics_file import read_metrics
from fashion_jax.workdir.paths import config_path, page_path, report_path
from fashion_jax.workdir.run_identity import read_environment
from fashion_jax.workdir.start import PLANNED

# Fields that a run finds for itself, or that change neither its weights nor what is measured.
_OWN_FIELDS = {
    *("data.path", "data.cache_dir", "data.cache", "model.normalization"),
    *("log_every_steps", "watchdog_minutes", "checkpoint.every_steps", "checkpoint.keep"),
}


class Run(NamedTuple):
    """A variant of a study with one seed: the fields that are set, and the directory in which it is trained."""

    variant: str
    seed: int
    overrides: Overrides
    workdir: Path


def main(arguments: list[str] | None = None) -> int:
    """Trains and measures as the arguments say; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    flags, overrides = _parse(arguments)
    study = read_study(flags.study)
    runs = list(runs_of(study, overrides, flags.workdirs / flags.study.stem))
    for run in runs:
        check_fields(run, study["config"])
    wanted = {(run.variant, run.seed): fields_of(dict(run.overrides)) for run in runs}
    kept = read_kept(flags.json, wanted)
    elsewhere = {(run["variant"], run["seed"]) for run in kept}
    for run in runs:
        if flags.train and ((run.variant, run.seed) not in elsewhere or config_path(run.workdir).exists()):
            fields = [f"--config.{field}={value}" for field, value in run.overrides]
            _call("fashion_jax.main", "--config", study["config"], "--workdir", str(run.workdir), *fields)
    found = merged(list(wanted), kept, measured(complete_runs(runs), runs[0].variant))
    if not found or found[0]["variant"] != runs[0].variant:
        raise UserError(f"No run of {runs[0].variant!r}, the first variant, is complete: leave out --no-train.")
    print(table(found))
    if flags.json:
        write_json(flags.json, {"benchmark": "ablation", "study": study, **origin(), "runs": found})
    if flags.plot:
        draw(found, flags.plot)


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    usage = "STUDY.json [--workdirs DIR] [--no-train] [--plot FILE.png] [--config.FIELD=VALUE ...]"
    description = "Trains variants of a config and measures each against the first, on the validation split."
    parser = create_parser("ablation", usage, description, config=None)
    parser.add_argument("study", metavar="STUDY.json", type=Path, help="such as benchmarks/studies/fine_tuning.json")
    parser.add_argument("--workdirs", metavar="DIR", type=Path, default=Path("runs"), help="default: %(default)s")
    parser.add_argument("--plot", metavar="FILE.png", type=Path, help="where to draw accuracy over compute")
    parser.add_argument("--no-train", dest="train", action="store_false", help="measure only what is complete")
    parser.set_defaults(config=None)  # the study names it
    flags, overrides = parse(parser, arguments)
    if seed := dict(overrides).get("seed"):
        raise UserError(f"--config.seed is {seed}, but a study names its seeds: change {flags.study}.")
    return flags, overrides


def read_study(path: Path) -> dict[str, Any]:
    """Reads a study: `config` (a file), `seeds`, and `overrides` and `variants` (name -> overrides) as field -> text.

    Raises:
        UserError: the file cannot be read, or lacks one of these.
    """
    try:
        study = parse_json(path.read_text(encoding="utf-8"))
        return {name: study[name] for name in ("config", "seeds", "overrides", "variants")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"The study {str(path)!r} cannot be read ({error}): see benchmarks/README.md.") from error


def runs_of(study: dict[str, Any], overrides: Overrides, folder: Path) -> Iterator[Run]:
    """Yields the runs of a study, variant by variant; the overrides of the command line are applied to all of them."""
    for variant, own in study["variants"].items():
        for seed in study["seeds"]:
            fields = {**study["overrides"], **own, "seed": str(seed), **dict(overrides)}
            yield Run(variant, seed, list(fields.items()), folder / f"{variant}_seed{seed}")


def check_fields(run: Run, config: str) -> None:
    """Checks that what is in the directory of a run has the fields of its variant; see `_OWN_FIELDS`.

    Raises:
        UserError: it was trained with others, which it would go on with, or be taken for the variant.
    """
    path = config_path(run.workdir)
    if not path.exists():
        return
    wanted, found = flatten(load_config(config, run.overrides)), flatten(load_run_config(path))
    planned = PLANNED if wanted["time_limit"] else ()
    for field in sorted(wanted.keys() - _OWN_FIELDS - {*planned}):
        if wanted[field] != found[field]:
            raise UserError(
                f"{run.workdir} was trained with {field}={found[field]!r}, but {run.variant!r} has {wanted[field]!r}: "
                "remove that directory, or name other --workdirs."
            )


def _call(module: str, *arguments: str, output: int | None = None) -> None:
    """Runs a command of the project; raises a RunError if it fails or is stopped.

    A signal that stops this process stops the command, and is waited for: a training saves a checkpoint first.
    """
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=output)

    def stop(number: int, _: object) -> None:
        if number not in (signal.SIGINT, signal.SIGHUP):  # which come from the terminal, to both processes
            process.send_signal(number)

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if status:
        raise RunError(f"{module} ended with status {status}, as it says above. What is trained is kept.")


def complete_runs(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs that are complete."""
    return [run for run in runs if page_path(report_path(run.workdir)).exists()]


def measured(runs: Sequence[Run], first: str) -> list[dict[str, Any]]:
    """Evaluates runs by `fashion_jax.evaluate`, each against the first variant with the same seed, if that is there."""
    found: list[tuple[Run, dict[str, Any]]] = []
    for together in _compared(runs, first):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "evaluation.json")
            named = [text for run in together for text in ("--workdir", str(run.workdir))]
            _call("fashion_jax.evaluate", *named, "--json", str(file), output=subprocess.DEVNULL)
            found += zip(together, parse_json(file.read_text(encoding="utf-8")), strict=True)
    # From here on jax holds the accelerators, which the commands above need.
    return [{**_summary(run, evaluation), "measured_at": commit()} for run, evaluation in found]


def _compared(runs: Sequence[Run], first: str) -> Iterator[list[Run]]:
    """Yields the runs that are evaluated together: those of a seed, or each alone if its first variant is missing."""
    for seed in dict.fromkeys(run.seed for run in runs):
        together = [run for run in runs if run.seed == seed]
        yield from [together] if together[0].variant == first else [[run] for run in together]


def _summary(run: Run, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Returns what the JSON says about a run, from what evaluate says about it."""
    config, lines = load_run_config(config_path(run.workdir), []), read_metrics(run.workdir)
    levels = {
        level: {name: scores[name] for name in ("accuracy", "macro_f1", "auroc", "tail", "ece", "calibrated")}
        for level, scores in evaluation["assessment"]["levels"].items()
    }
    return {
        "variant": run.variant,
        "seed": run.seed,
        "fields": fields_of(dict(run.overrides)),
        "commits": sorted({start["commit"] for start in read_environment(run.workdir).get("starts", [])}),
        "levels": levels,
        "tests": evaluation["tests"],
        "epochs": lines[-1]["epoch"],
        "training_flops": _training_flops(config, lines),
        "seconds": seconds(lines, config.batch_size),
        "parameters": evaluation["parameters"],
    }


def _training_flops(config: ConfigDict, lines: Sequence[dict[str, Any]]) -> float:
    """Returns the FLOPs of all training steps of a run, given the lines of its epochs."""
    from benchmarks.compiled_step import training_flops

    steps = lines[-1]["step"]
    early = max((line["step"] for line in lines if line["epoch"] <= config.progressive.epochs), default=0)
    flops = training_flops(config) * (steps - early)
    if early:
        flops += training_flops(config, progressive=True) * early
    return flops * config.batch_size


def seconds(lines: Sequence[dict[str, Any]], batch_size: int) -> float | None:
    """Returns the time of all epochs with their evaluation; None if no epoch has a speed."""
    training = training_seconds(lines, batch_size)
    return None if training is None else training + validation_seconds(lines)


_HEADINGS = (
    "variant",
    "seeds",
    "{level} accuracy",
    "difference",
    "macro-F1",
    "tail",
    "calibrated ECE",
    "FLOPs",
    "time",
)


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Returns the results at the finest level as a Markdown table: a row per variant, with means over its seeds.

    The difference to the first variant is that of the runs that were evaluated together with it. FLOPs and time are
    those of the training relative to the first variant's, with the seeds that both have; the time is left out if not
    all of these were evaluated together, since they may have been trained on different machines.
    """
    finest = list(runs[0]["levels"])[-1]
    first = [run for run in runs if run["variant"] == runs[0]["variant"]]
    rows = [[heading.format(level=finest) for heading in _HEADINGS], ["---"] * len(_HEADINGS)]
    for variant in dict.fromkeys(run["variant"] for run in runs):
        own = [run for run in runs if run["variant"] == variant]
        rows.append([variant, str(len(own)), *_scores(own, finest), *_costs(own, first)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _scores(runs: Sequence[dict[str, Any]], level: str) -> list[str]:
    """Returns the cells of a variant's accuracy, its difference to the first variant, macro-F1, tail and ECE."""

    def mean(name: str, form: str) -> str:
        values = [run["levels"][level][name] for run in runs]
        return "" if None in values else format(statistics.fmean(values), form)

    tests = [run["tests"][level] for run in runs if level in (run["tests"] or {})]
    difference = _difference(tests)
    if 0 < len(tests) < len(runs):
        difference += f", {len(tests)} of {len(runs)} seeds"
    errors = [(run["levels"][level]["calibrated"] or run["levels"][level])["ece"] for run in runs]
    ece = f"{statistics.fmean(errors):.3f}"
    return [mean("accuracy", ".2%"), difference, mean("macro_f1", ".3f"), mean("tail", ".1%"), ece]


def _difference(tests: Sequence[dict[str, Any]]) -> str:
    """Returns the difference in points: of one seed with its 95 % interval, of several their mean ± deviation."""
    points = [100 * test["difference"] for test in tests]
    if len(points) > 1:
        return f"{statistics.fmean(points):+.2f} ± {statistics.stdev(points):.2f}"
    bounds = [100 * bound for test in tests for bound in test["interval"]]
    return f"{points[0]:+.2f} ({bounds[0]:+.2f} to {bounds[1]:+.2f})" if tests else ""


def _costs(runs: Sequence[dict[str, Any]], first: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the cells of a variant's FLOPs and time, relative to those of the runs of the first variant."""
    by_seed = {run["seed"]: run for run in first}
    both = [(run, by_seed[run["seed"]]) for run in runs if run["seed"] in by_seed]
    timed = [(a, b) for a, b in both if (a["tests"] or a is b) and None not in (a["seconds"], b["seconds"])]

    def ratio(name: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> str:
        own, others = (sum(run[name] for run in group) for group in zip(*pairs, strict=True))
        return f"{own / others:.2f} ×"

    times = ratio("seconds", timed) if len(timed) == len(runs) else ""
    return [ratio("training_flops", both or [(runs[0], first[0])]), times]


def draw(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws the accuracy of each variant at the finest level over its training FLOPs, of which the first variant has 1.

    Variants called NAME_at_COMPUTE, such as recipe_at_1 and recipe_at_0.25, are joined by a line with the label NAME.
    Bars are from the worst to the best seed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in curves(runs).items():
        compute, mean, low, high = np.array(sorted(points)).T
        axes.errorbar(compute, mean, (mean - low, high - mean), fmt="o-", capsize=3, markersize=4, label=name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g} ×")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"training FLOPs, relative to {runs[0]['variant']}")
    axes.set_ylabel(f"validation accuracy of {list(runs[0]['levels'])[-1]}, %")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def curves(runs: Sequence[dict[str, Any]]) -> dict[str, list[tuple[float, float, float, float]]]:
    """Returns name -> for each of its variants the relative compute, and the mean, least and greatest accuracy in %."""
    finest = list(runs[0]["levels"])[-1]
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for variant in dict.fromkeys(run["variant"] for run in runs):
        own = [run for run in runs if run["variant"] == variant]
        accuracies = [100 * run["levels"][finest]["accuracy"] for run in own]
        point = statistics.fmean(accuracies), min(accuracies), max(accuracies)
        compute = own[0]["training_flops"] / runs[0]["training_flops"]
        found.setdefault(variant.partition("_at_")[0], []).append((compute, *point))
    return found


if __name__ == "__main__":
    sys.exit(main())
