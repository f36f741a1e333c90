"""Makes small pictures of images to embed in a page."""

from __future__ import annotations

import base64
import contextlib
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SIZE = 112  # pixels on the longer side: sharp at 80 px on a phone's screen
_QUALITY = 78


def thumbnail(file: str | io.BytesIO) -> str | None:
    """Returns an image file (its path or content) as a data URI of a JPEG, or None if it cannot be decoded.

    It is shown as training sees it: upright, and on white where it is transparent.
    """
    from PIL import Image

    from fashion_jax.data.decoding.decode import contents, to_rgb
    from fashion_jax.data.decoding.limits import Undecodable

    opened = contents(file) if isinstance(file, str) else contextlib.nullcontext(file.getvalue())
    try:
        with opened as data:
            pixels = to_rgb(data, (2 * SIZE, 2 * SIZE))
    except Undecodable:  # the page can do without the image
        return None
    return data_uri(Image.fromarray(pixels))


def data_uri(image: Image.Image) -> str:
    """Returns the data URI of an RGB image, which is shrunk to SIZE if it is larger."""
    image.thumbnail((SIZE, SIZE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
