"""Writes the page that compares runs: scores, tests of their differences, curves, classes, cost and settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.command_line.formats import UNDEFINED, duration
from fashion_jax.config.combinations import LEVEL_METRICS, METRIC_TITLES
from fashion_jax.config.loading import flatten, image_shape
from fashion_jax.report.contents import PageContents, class_names
from fashion_jax.report.figures import charts
from fashion_jax.report.figures.curves import series
from fashion_jax.report.file_names import compared_class_file
from fashion_jax.report.rendering import Section, percent, write_html
from fashion_jax.report.sections.classes import MAX_ROWS
from fashion_jax.report.sections.scores import (
    METRICS,
    TREE_METRICS,
    Estimate,
    Metric,
    cell,
    decode_estimates,
    level_estimates,
)
from fashion_jax.scoring.assessment import PATH
from fashion_jax.scoring.tree_decoding import DEFAULT_DECODE
from fashion_jax.serving.table_files import write_csv

_RARITY = (
    Metric("head", "Accuracy, frequent classes", "on images of classes with many training images (head)", percent),
    Metric("middle", "Accuracy, middle classes", "on images of classes between head and tail", percent),
    Metric("tail", "Accuracy, rare classes", "on images of classes with few training images (tail)", percent),
)
_COLORS = 6  # of curves in a chart; further runs reuse them
_UNLIKELY = 0.05  # p-value below which a difference is called significant
_SIMILAR = 1e-12  # scores that differ by less are equal
_MAX_VALUE = 60  # characters shown of a config's value

Runs = Sequence[PageContents]


def write_comparison(path: Path, runs: Runs) -> None:
    """Writes the page of at least two runs measured on a split, and tables of levels with many classes beside it.

    The other runs are compared with the first.
    """
    write_classes(path.parent, runs)
    described = [(section, section.describe(runs)) for section in SECTIONS]
    write_html(
        path,
        "compare.html",
        runs=[{"name": run.name, "workdir": str(run.workdir), "letter": letter(i)} for i, run in enumerate(runs)],
        split=runs[0].split_name,
        images=[len(run.split) for run in runs],
        sections=[(section, data) for section, data in described if data is not None],
    )


def letter(i: int) -> str:
    """Returns the letter by which the page calls run i: A, B, ..., Z, A2, ..."""
    return chr(ord("A") + i % 26) + (str(i // 26 + 1) if i >= 26 else "")


def _shared_levels(runs: Runs) -> list[str]:
    """Returns the levels that at least two runs have."""
    counts = Counter(level for run in runs for level in run.taxonomy.levels)
    return [level for level, count in counts.items() if count > 1]


def scores(runs: Runs) -> dict[str, Any]:
    """Describes every score of every run, level by level, and over the tree by the best way to decode it."""
    same = all(list(run.split.ids) == list(runs[0].split.ids) and not run.comparison.relabeled_images for run in runs)
    tables = []
    for level in reversed(_shared_levels(runs)):
        found = [_estimates_at(run, level) for run in runs]
        metrics_told = [metric for metric in (*METRICS, *_RARITY) if any(_value(metric, x) is not None for x in found)]
        classes = [run.taxonomy.classes[level] for run in runs if level in run.taxonomy.levels]
        has_same_classes = all(names == classes[0] for names in classes)
        counts = [run.train_counts(level) for run in runs if level in run.taxonomy.levels]
        has_same_counts = has_same_classes and all(np.array_equal(x, counts[0]) for x in counts)
        rows = [
            _row(metric, found, same and (has_same_counts if metric in _RARITY else has_same_classes))
            for metric in metrics_told
        ]
        marks = {"has_same_classes": has_same_classes, "has_same_counts": has_same_counts}
        tables.append({"level": level, "rows": rows, **marks})
    decodes = [decode_estimates(run.assessment.decodes[DEFAULT_DECODE]) for run in runs]
    has_trees = all(len(run.taxonomy.levels) > 1 for run in runs)
    same_tree = same and all(run.taxonomy == runs[0].taxonomy for run in runs)
    trees = [_row(metric, decodes, same_tree) for metric in TREE_METRICS] if has_trees else []
    return {"tables": tables, "trees": trees, "decode": DEFAULT_DECODE, "same": same}


def _estimates_at(run: PageContents, level: str) -> dict[str, Estimate]:
    """Returns the estimates of a run at a level; none if the run does not have the level."""
    return level_estimates(run.assessment.levels[level]) if level in run.taxonomy.levels else {}


def _value(metric: Metric, estimates: Mapping[str, Estimate]) -> float | None:
    return estimates.get(metric.key, Estimate()).value


def _row(metric: Metric, found: Sequence[Mapping[str, Estimate]], marked: bool) -> dict[str, Any]:
    values = np.array([_value(metric, x) for x in found], np.float64) * metric.better
    best = np.isclose(values, np.nanmax(values), rtol=0, atol=_SIMILAR) if np.isfinite(values).any() else values > 0
    only = best if marked and best.sum() < len(values) else np.zeros_like(best)  # if all are equal, none is marked
    return {"metric": metric, "cells": [(*cell(metric, x), bool(b)) for x, b in zip(found, only, strict=True)]}


def tests(runs: Runs) -> dict[str, Any]:
    """Describes whether each further run differs from the first on the images and at the levels that both have."""
    return {"pairs": [_tested(runs[0], run, letter(i)) for i, run in enumerate(runs[1:], 1)], "unlikely": _UNLIKELY}


def _tested(first: PageContents, second: PageContents, name: str) -> dict[str, Any]:
    found = second.comparison
    if not found.tests:
        return {"letter": name, "rows": [], "why": f"{name} {found.untested}."}
    finest = [level for level in found.tests if level != PATH][-1]
    path = "whole path" if first.taxonomy == second.taxonomy else f"path to {finest}"
    rows = [
        {"name": path if level == PATH else level, "verdict": _verdict(test, name), **test}
        for level, test in found.tests.items()
    ]
    return {"letter": name, "rows": rows, "images": found.tested_images, "relabeled": found.relabeled_images}


def _verdict(test: Mapping[str, Any], name: str) -> str:
    if not test["p_value"] < _UNLIKELY:
        return "not significant"
    return f"{name if test['difference'] > 0 else 'A'} is better"


def seeds(runs: Runs) -> dict[str, Any] | None:
    """Describes how far the scores of runs that differ only in the seed lie apart; None if there are no such runs."""
    groups = [run.over_seeds for run in runs if run.over_seeds]
    told = [metric for metric in METRICS if metric.key in LEVEL_METRICS]
    tables = [
        {
            "letters": [letter(i) for i in group.runs],
            "seeds": group.seeds,
            "same_images": group.same_images,
            "levels": [
                (level, [(metric, scores[metric.key]["mean"], scores[metric.key]["std"]) for metric in told])
                for level, scores in reversed(group.levels.items())
            ],
        }
        for group in groups
    ]
    return {"groups": tables} if tables else None


def curves(runs: Runs) -> dict[str, Any] | None:
    """Describes a chart per validation metric with the curves of all runs over epochs."""
    if not any(run.lines for run in runs):
        return None
    levels = []
    for level in _shared_levels(runs):
        having = [(i, run) for i, run in enumerate(runs) if run.lines and level in run.taxonomy.levels]
        row = []
        for metric, title in METRIC_TITLES.items():
            drawn = {
                f"run{i % _COLORS} number{i}": (
                    np.array([line["epoch"] for line in run.lines], float),
                    series(run.lines, f"validation/{level}/{metric}"),
                )
                for i, run in having
            }
            row.append((title, charts.overlay(drawn)))
        steadiness = [(letter(i), run.variability(level)) for i, run in having]
        levels.append((level, row, steadiness))
    return {"levels": levels, "legend": [(f"run{i % _COLORS}", letter(i)) for i in range(len(runs))]}


def classes(runs: Runs) -> dict[str, Any] | None:
    """Describes the F1 of each class in every run, largest change first, at levels whose classes all runs share."""
    levels = [
        {
            "level": level,
            "rows": rows[:MAX_ROWS],
            "classes": len(rows),
            "nested": level != runs[0].taxonomy.levels[0],
            "file": compared_class_file(level),
        }
        for level, rows in _class_rows(runs).items()
    ]
    return {"levels": levels, "letters": [letter(i) for i in range(len(runs))]} if levels else None


def write_classes(directory: Path, runs: Runs) -> None:
    """Writes a table for each level with too many classes for the page: F1 in every run, and training images."""
    columns = ("class", *(f"f1_{letter(i)}" for i in range(len(runs))), "training_images")
    for level, rows in _class_rows(runs).items():
        if len(rows) > MAX_ROWS:
            table = ([row["path"], *row["f1"], row["training"]] for row in rows)
            write_csv(directory / compared_class_file(level), columns, table)


def _class_rows(runs: Runs) -> dict[str, list[dict[str, Any]]]:
    """Returns level -> its classes, largest change of F1 first; the finest level comes first."""
    shared = [runs[0].taxonomy.common(run.taxonomy) for run in runs]
    shared_levels = [taxonomy.levels for taxonomy in shared if taxonomy is not None]
    if len(shared_levels) < len(shared):
        return {}
    found = {}
    for level in reversed(min(shared_levels, key=len)):
        names, trained = class_names(runs[0].taxonomy, level), runs[0].train_counts(level).tolist()
        f1 = np.array([[row["f1"] for row in run.class_scores[level]] for run in runs])
        change = f1[1:] - f1[0]
        largest = np.nan_to_num(np.abs(change), nan=-1).max(0)
        found[level] = [
            {
                "name": names[k],
                "path": runs[0].taxonomy.classes[level][k],
                "f1": f1[:, k].tolist(),
                "change": change[:, k].tolist(),
                "training": trained[k],
            }
            for k in np.argsort(-largest, kind="stable")
        ]
    return found


def cost(runs: Runs) -> dict[str, Any]:
    """Describes what each run costs, beside its scores at the finest level."""
    return {"rows": [_cost(run, letter(i)) for i, run in enumerate(runs)]}


def _cost(run: PageContents, name: str) -> dict[str, Any]:
    finest = run.taxonomy.levels[-1]
    height, width = image_shape(run.config)
    return {
        "letter": name,
        "model": run.config.model.name,
        "image_size": f"{height} × {width}",
        "pixels": height * width,
        "epochs": len(run.lines),
        "accuracy": run.assessment.levels[finest].scores["accuracy"],
        "training_rate": run.training_rate,
        "time": duration(run.training_seconds),
        "devices": run.devices,
        **{key: run.cost.get(key) for key in ("parameters", "flops_per_image", "images_per_second")},
    }


def settings(runs: Runs) -> dict[str, Any]:
    """Describes the config fields in which the runs differ, and the command that makes the page again."""
    configs = [flatten(run.config) for run in runs]
    fields = list(dict.fromkeys(field for config in configs for field in config))
    missing = object()
    rows = []
    for field in fields:
        values = [config.get(field, missing) for config in configs]
        if any(value != values[0] for value in values):
            rows.append((field, [UNDEFINED if value is missing else repr(value)[:_MAX_VALUE] for value in values]))
    commits = [(run.environment.get("commit") or "not known")[:12] for run in runs]
    letters = [letter(i) for i in range(len(runs))]
    return {"rows": [*rows, ("commit of the code", commits)], "letters": letters, "command": runs[0].command}


SECTIONS = (
    Section("compare_scores", "Side by side", scores),
    Section("compare_tests", "Do they differ?", tests),
    Section("compare_seeds", "Over seeds", seeds),
    Section("compare_classes", "Class by class", classes),
    Section("compare_curves", "Training", curves),
    Section("compare_cost", "Cost", cost),
    Section("compare_settings", "Settings", settings),
)
