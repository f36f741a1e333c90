"""Makes the pictures that a page embeds: images that open in full, and small ones that only stand in a table."""

from __future__ import annotations

import base64
import contextlib
import io
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SMALL = 112  # pixels on the longer side of a small picture: sharp at 80 px on a phone's screen
LARGE = 480  # pixels on the longer side of an image that opens in full
_LEAST = 16  # pixels on the longer side, below which a picture is not shrunk further
_QUALITY = 78
_CHARACTERS_PER_PIXEL = 0.2  # of a photo's data URI at this quality


def thumbnail(file: str | io.BytesIO, max_characters: int) -> str | None:
    """Returns an image file (its path or content) as a data URI of a JPEG, or None if it cannot be decoded.

    It is shown as training sees it: upright, and on white where it is transparent. Its longer side has at most LARGE
    pixels, or fewer if the data URI would have more than `max_characters`.
    """
    from PIL import Image

    from fashion_jax.data.decoding.decode import contents, to_rgb
    from fashion_jax.data.decoding.limits import Undecodable

    side = max(min(LARGE, math.isqrt(int(max_characters / _CHARACTERS_PER_PIXEL))), _LEAST)
    opened = contents(file) if isinstance(file, str) else contextlib.nullcontext(file.getvalue())
    try:
        with opened as data:
            pixels = to_rgb(data, (side, side))
    except Undecodable:  # the page can do without the image
        return None
    image = Image.fromarray(pixels)
    uri = data_uri(image, side)
    while len(uri) > max_characters and max(image.size) > _LEAST:
        side = max(int(max(image.size) * min(0.95 * math.sqrt(max_characters / len(uri)), 0.95)), _LEAST)
        uri = data_uri(image, side)
    return uri


def data_uri(image: Image.Image, side: int = SMALL) -> str:
    """Returns the data URI of an RGB image, which is shrunk in place if its longer side has more than `side` pixels."""
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
