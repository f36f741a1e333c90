"""Describes the page's section that shows augmented training images."""

from __future__ import annotations

from typing import Any

from fashion_jax.report.augmented import DRAWS
from fashion_jax.report.contents import PageContents, class_names
from fashion_jax.report.thumbnails import data_uri


def augmentation(contents: PageContents) -> dict[str, Any] | None:
    """Shows training images of different classes, each as it is decoded and in several random draws of the preset."""
    from PIL import Image

    train, augmented = contents.train, contents.augmented
    if train is None:
        return None
    finest = contents.taxonomy.levels[-1]
    names, labels = class_names(contents.taxonomy, finest), train.labels[finest]
    shown = augmented and [
        (names[labels[row]], train.ids[row], [data_uri(Image.fromarray(picture)) for picture in pictures])
        for row, pictures in zip(augmented.rows, augmented.pixels, strict=True)
    ]
    return {"preset": contents.config.augment, "rows": shown, "draws": DRAWS}
