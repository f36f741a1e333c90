"""Draws heat maps over an upload: what in the image speaks for its classes (Grad-CAM)."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Mapping

import numpy as np

from fashion_jax.data.decoding.decode import decode
from fashion_jax.serving.grad_cam import create_grad_cam, overlay
from fashion_jax.taxonomy import UNKNOWN
from fashion_jax.workdir.trained import Trained

_SHOWN_SIZE = 384  # pixels, about, on the longer side of a picture


class HeatMaps:
    """Draws the heat maps of a run; thread-safe."""

    def __init__(self, trained: Trained):
        self._trained = trained
        self._compute = create_grad_cam(trained, batch_size=1)
        self._lock = threading.Lock()

    def draw(self, content: bytes, classes: Mapping[str, str]) -> dict[str, str]:
        """Returns level -> a JPEG as a data URL, the image under the heat map of its class.

        Args:
            content: of an image file.
            classes: level -> name of the class to explain; a level below a class without children is absent.

        Raises:
            Undecodable: the content is no image that can be decoded.
        """
        trained, resize = self._trained, self._trained.config.data.resize
        names = trained.taxonomy.classes
        ids = {
            level: np.array([names[level].index(classes[level]) if level in classes else UNKNOWN])
            for level in trained.taxonomy.levels
        }
        canvas = decode(content, trained.canvas, resize)
        with self._lock:
            heats = self._compute(canvas[None], ids)
        scale = max(_SHOWN_SIZE // max(trained.canvas), 1)
        picture = decode(content, (scale * trained.canvas[0], scale * trained.canvas[1]), resize)
        return {level: _data_url(overlay(picture, heats[level][0])) for level in classes}


def _data_url(pixels: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
