"""Small pictures of the images, to put inside a page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SIZE = 112  # pixels of the longer side: sharp at 80 px on a screen of a phone
_QUALITY = 78


def thumbnail(file: str | io.BytesIO) -> str | None:
    """An image file (its path, or its content) as a data URI of a JPEG, None where it cannot be read.

    As the training sees it: without transparency, and not turned by what the camera noted.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            image.draft("RGB", (2 * SIZE, 2 * SIZE))  # a large JPEG is decoded at a fraction of its size
            small = image.convert("RGB")
        return data_uri(small)
    except Exception:  # Pillow's readers raise nearly anything on a damaged file, and a page needs no image
        return None


def data_uri(image: Image.Image) -> str:
    """A picture of an RGB image, which is made smaller where it is larger than SIZE."""
    image.thumbnail((SIZE, SIZE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
