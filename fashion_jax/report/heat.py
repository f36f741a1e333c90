"""From Grad-CAM's maps to the pictures of the galleries: a few images of a split, decoded as the model sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.config import image_shape
from fashion_jax.report.contents import Explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_collections import ConfigDict
    from PIL import Image

    from fashion_jax.data.dataset import Split

    GradCam = Callable[[np.ndarray, Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
    Overlay = Callable[[np.ndarray, np.ndarray], np.ndarray]


def explainer(grad_cam: GradCam, overlay: Overlay, split: Split, config: ConfigDict) -> Explain:
    """What shows where the model looked at images of a split.

    Args:
        grad_cam: images uint8 [n, height, width, 3] and level -> int [n] to level -> heat maps [n, height, width].
        overlay: an image uint8 [height, width, 3] and its heat map to such an image.
        split: of the images.
        config: of the run.
    """

    def explain(rows: Sequence[int], classes: Mapping[str, np.ndarray]) -> dict[str, list[Image.Image | None]]:
        from PIL import Image

        from fashion_jax.data.pipeline import decode_rows

        indices, images = decode_rows(split, rows, config, image_shape(config))
        heats = grad_cam(images, {level: ids[indices] for level, ids in classes.items()}) if len(indices) else {}
        pictures: dict[str, list[Any]] = {level: [None] * len(rows) for level in classes}
        for level, maps in heats.items():
            for index, image, heat in zip(indices.tolist(), images, maps, strict=True):
                pictures[level][index] = Image.fromarray(overlay(image, heat))
        return pictures

    return explain
