"""The sections of the report page: each a function from a run to what its template shows."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np

from fashion_jax import metrics
from fashion_jax.config import flatten
from fashion_jax.config_combinations import best_metric
from fashion_jax.hierarchy import UNKNOWN
from fashion_jax.report import charts
from fashion_jax.report.contents import PageContents, class_names
from fashion_jax.report.figures import file_stem
from fashion_jax.report.thumbnails import thumbnail
from fashion_jax.writers import duration

METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "auroc": "AUROC", "loss": "loss"}

_MAX_CONFUSIONS = 10
_MAX_SHEET = 40
_MAX_PER_CLASS = 4
_MAX_ERRORS = 24
_MAX_IDS = 10  # of images left out, per reason


def header(contents: PageContents) -> dict[str, Any]:
    """Name, result in a sentence, and the key figures of each level."""
    line = contents.best_line
    timings = [line["timing"] for line in contents.lines]
    seconds = sum(timing.get("train_seconds", 0) + timing.get("validation_seconds", 0) for timing in timings)
    unknown = any((contents.validation.labels[level] == UNKNOWN).any() for level in contents.taxonomy.levels)
    return {
        "levels": [_level_figures(contents, level) for level in contents.taxonomy.levels],
        "images": len(contents.validation),
        "training_images": len(contents.train),
        "unknown": unknown,
        "epoch": line["epoch"],
        "epochs": contents.config.num_epochs,
        "metric": best_metric(contents.config),
        "model": contents.config.model.name,
        "devices": _devices(contents),
        "time": duration(seconds),
    }


def _level_figures(contents: PageContents, level: str) -> dict[str, Any]:
    line, heads = contents.best_line, contents.config.model.heads
    values = {
        split: {name: line.get(f"{split}/{level}/{name}") for name in METRICS} for split in ("train", "validation")
    }
    accuracies = [values[split]["accuracy"] for split in ("train", "validation")]
    counts = contents.counts(contents.validation, level)
    frequent = int(contents.counts(contents.train, level).argmax())
    return {
        "level": level,
        "classes": contents.taxonomy.num_classes(level),
        "derived": bool(heads) and level not in heads,
        **values,
        "gap": None if None in accuracies else accuracies[0] - accuracies[1],
        "frequent": class_names(contents.taxonomy, level)[frequent],
        "frequent_share": counts[frequent] / counts.sum() if counts.sum() else None,
    }


def curves(contents: PageContents) -> dict[str, Any]:
    """Every metric of every level against the epoch."""
    epochs = [line["epoch"] for line in contents.lines]
    best = epochs.index(contents.best_line["epoch"])
    rows = []
    for level in contents.taxonomy.levels:
        row = []
        for name in ("loss", "accuracy", "macro_f1", "auroc"):
            values = {split: _series(contents, f"{split}/{level}/{name}") for split in ("train", "validation")}
            row.append((METRICS[name], values["validation"][best], charts.curves(epochs, values, best)))
        rows.append((level, row))
    return {"rows": rows, "epoch": epochs[best], "size": (charts.WIDTH, charts.HEIGHT)}


def _series(contents: PageContents, key: str) -> np.ndarray:
    """float64 [lines], NaN for what is missing, None or infinite."""
    values = np.array([line.get(key) for line in contents.lines], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def confusions(contents: PageContents) -> dict[str, Any]:
    """The confusion matrix of each level, and what is confused most often."""
    levels = []
    for level in contents.taxonomy.levels:
        names = class_names(contents.taxonomy, level)
        predicted = np.argmax(contents.log_probs[level], axis=1)
        counts = metrics.confusion_matrix(contents.validation.labels[level], predicted, len(names))
        wrong = counts - np.diag(np.diagonal(counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_CONFUSIONS]
        pairs = [divmod(int(k), len(names)) for k in order if wrong.flat[k]]
        levels.append(
            {
                "level": level,
                "names": names,
                "images": int(counts.sum()),
                "matrix": charts.matrix(counts, names),
                "wrong": int(wrong.sum()),
                "pairs": [(names[i], names[j], int(counts[i, j]), int(counts[i].sum())) for i, j in pairs],
                "file": f"confusion_{file_stem(level)}.png",
            }
        )
    return {"levels": levels[::-1]}


def classes(contents: PageContents) -> dict[str, Any]:
    """The scores of each class, the weakest first."""
    levels = []
    for level in contents.taxonomy.levels:
        names = class_names(contents.taxonomy, level)
        scores = metrics.per_class(contents.log_probs[level], contents.validation.labels[level])
        trained = contents.counts(contents.train, level).tolist()
        rows = [
            {"name": name, **row, "training": count} for name, row, count in zip(names, scores, trained, strict=True)
        ]
        rows.sort(key=lambda row: np.nan_to_num(row["f1"], nan=np.inf))
        nested = level != contents.taxonomy.levels[0]
        levels.append({"level": level, "rows": rows, "nested": nested, "file": f"classes_{file_stem(level)}.csv"})
    return {"levels": levels[::-1]}


def images(contents: PageContents) -> dict[str, Any]:
    """Images from training, as many of each class, or of as many classes, as there is room for."""
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


def errors(contents: PageContents) -> dict[str, Any]:
    """The validation images whose wrong class at the finest level is the surest."""
    finest = contents.taxonomy.levels[-1]
    names, labels = class_names(contents.taxonomy, finest), contents.validation.labels[finest]
    log_probs = np.asarray(contents.log_probs[finest], np.float64)
    predicted = log_probs.argmax(1)
    wrong = np.flatnonzero((labels != UNKNOWN) & (predicted != labels))
    worst = wrong[np.argsort(-log_probs.max(1)[wrong], kind="stable")][:_MAX_ERRORS]
    shots = [
        {
            "true": names[labels[i]],
            "predicted": names[predicted[i]],
            "probability": float(np.exp(log_probs[i, predicted[i]])),
            "true_probability": float(np.exp(log_probs[i, labels[i]])),
            "id": contents.validation.ids[i],
            "picture": thumbnail(contents.validation.picture(i)),
        }
        for i in worst
    ]
    return {"shots": shots, "level": finest, "wrong": len(wrong), "known": int((labels != UNKNOWN).sum())}


def data(contents: PageContents) -> dict[str, Any]:
    """What was trained and validated on, and what was left out."""
    summary = contents.dataset.summary(contents.config.batch_size)
    splits = [
        {
            "name": name,
            "images": split["images"],
            "classes": [sum(count > 0 for count in split["classes"][level].values()) for level in split["classes"]],
            "unknown": [split["unknown_labels"][level] for level in split["classes"]],
        }
        for name, split in summary["splits"].items()
    ]
    return {
        "levels": contents.taxonomy.levels,
        "splits": splits,
        "left_over": summary["splits"]["train"]["left_over_per_epoch"],
        "drawn": ", ".join(contents.config.rare_classes.draw),
        "left_out": [(reason, len(ids), ids[:_MAX_IDS]) for reason, ids in summary["left_out"].items()],
        "source": contents.config.data.source,
    }


def run(contents: PageContents) -> dict[str, Any]:
    """The config, the machine, and how to go on from here."""
    environment = contents.environment
    return {
        "config": [(field, "" if value == "" else repr(value)) for field, value in flatten(contents.config).items()],
        "environment": [
            ("commit", environment.get("commit") or "not known: the code was no git checkout"),
            ("devices", _devices(contents)),
            ("processes", environment.get("processes")),
            ("python", environment.get("python")),
            ("platform", environment.get("platform")),
            *environment.get("packages", {}).items(),
        ],
        "commit": (environment.get("commit") or "").removesuffix("-dirty"),
        "changed": (environment.get("commit") or "").endswith("-dirty"),
        "config_file": shlex.quote(str(contents.workdir / "config.json")),
        "workdir": shlex.quote(str(contents.workdir)),
        "generated": contents.config.data.source == "catalogue",
    }


def _devices(contents: PageContents) -> str:
    """Such as "8 × NVIDIA H100"."""
    devices = list(contents.environment.get("devices", []))
    return ", ".join(
        f"{devices.count(kind)} × {kind}" if devices.count(kind) > 1 else kind for kind in dict.fromkeys(devices)
    )
