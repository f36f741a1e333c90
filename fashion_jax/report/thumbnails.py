"""Makes small pictures of images to embed in a page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SIZE = 112  # pixels on the longer side: sharp at 80 px on a phone's screen
_QUALITY = 78


def thumbnail(file: str | io.BytesIO) -> str | None:
    """Returns an image file (its path or content) as a data URI of a JPEG, or None if it cannot be read.

    It is shown as training sees it: without transparency, and not rotated by the camera's EXIF orientation.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            image.draft("RGB", (2 * SIZE, 2 * SIZE))  # decodes a large JPEG at a reduced scale
            small = image.convert("RGB")
        return data_uri(small)
    except Exception:  # Pillow raises nearly anything on a damaged file, and the page can do without the image
        return None


def data_uri(image: Image.Image) -> str:
    """Returns the data URI of an RGB image, which is shrunk to SIZE if it is larger."""
    image.thumbnail((SIZE, SIZE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
