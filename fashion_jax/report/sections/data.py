"""Describes the page's section on the data: splits, images of each class, and the images left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from fashion_jax.report.contents import PageContents, class_names

_MAX_REASONS = 30  # reasons shown for leaving images out

_MAX_IDS = 10  # ids shown per reason

_BAR = 120  # length of the longest bar, in pixels

_MAX_BARS = 200  # classes shown, half of them the most frequent and half the rarest

_MAX_MERGED = 30  # merged rare classes shown by name

_MAX_OPEN = 70  # largest number of classes whose bars are shown at once


def data(contents: PageContents) -> dict[str, Any]:
    """Describes the data of training and measurement, and the images left out."""
    summary = contents.data
    left_out = sorted(summary.get("left_out", {}).items(), key=lambda item: -len(item[1]))
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
        "bars": [_bars(contents, level) for level in reversed(contents.taxonomy.levels)],
        "split": contents.split_name,
        "left_over": summary["splits"]["train"].get("left_over_per_epoch", 0),
        "drawn": ", ".join(contents.config.rare_classes.draw),
        "left_out": [(reason, len(ids), ids[:_MAX_IDS]) for reason, ids in left_out[:_MAX_REASONS]],
        "other_reasons": len(left_out[_MAX_REASONS:]),
        "merged": [
            (name, len(classes), [*classes.items()][:_MAX_MERGED])
            for name, classes in summary.get("merged", {}).items()
        ],
        "leaks": [(names, leak["images"]) for names, leak in summary.get("leaks", {}).items()],
        "source": contents.config.data.source,
    }


def _bars(contents: PageContents, level: str) -> dict[str, Any]:
    """Returns a bar for the training images of each class, most frequent first, and one for the measured images.

    With more than _MAX_BARS classes those in the middle are left out, after the first `gap`.
    """
    names = class_names(contents.taxonomy, level)
    trained, measured = contents.train_counts(level), contents.counts(level)
    longest = max(int(trained.max()), int(measured.max()), 1)
    order = np.argsort(-trained, kind="stable")
    few = len(order) <= _MAX_BARS
    shown = order if few else np.concatenate([order[: _MAX_BARS // 2], order[-_MAX_BARS // 2 :]])
    return {
        "level": level,
        "rows": [(names[k], _bar(trained[k], longest), _bar(measured[k], longest)) for k in shown],
        "classes": len(names),
        "gap": None if few else _MAX_BARS // 2,
        "open": len(names) <= _MAX_OPEN,
        "imbalance": _imbalance(trained[order]),
    }


def _bar(images: int, longest: int) -> tuple[int, float]:
    """Returns a number of images and the width of its bar in pixels, at least 1 unless there are no images."""
    return int(images), max(_BAR * int(images) / longest, float(images > 0))


def _imbalance(sorted_counts: np.ndarray) -> float | None:
    """Returns the ratio of the most frequent class's images to the rarest's, None if a class has no image."""
    return float(sorted_counts[0] / sorted_counts[-1]) if sorted_counts[-1] else None
