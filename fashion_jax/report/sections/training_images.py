"""Describes the page's section with images that the network is trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from fashion_jax.report.contents import PageContents, class_names

_MAX_SHEET = 40

_MAX_PER_CLASS = 4


def images(contents: PageContents) -> dict[str, Any] | None:
    """Shows up to _MAX_SHEET training images, the same number of each class, or one each of as many classes as fit."""
    if contents.train is None:
        return None
    finest = contents.taxonomy.levels[-1]
    names, labels = class_names(contents.taxonomy, finest), contents.train.labels[finest]
    chosen = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MAX_SHEET)).round().astype(int))
    each = min(_MAX_PER_CLASS, _MAX_SHEET // len(chosen))
    found = []
    for k in chosen.tolist():
        rows = np.flatnonzero(labels == k)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), each)).round().astype(int))]
        found += [(names[k], contents.train.ids[i], contents.album.show(("train", i))) for i in rows.tolist()]
    return {"images": found, "level": finest, "shown": len(chosen), "classes": len(names)}
