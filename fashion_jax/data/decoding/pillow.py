"""Pixels by Pillow: of every kind and variety of image but plain JPEGs."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image, UnidentifiedImageError, features

MAX_PIXELS = 50_000_000  # of one image

MAX_ASPECT = 200  # the longer side over the shorter one: cut to a canvas, a line of pixels would be endless

_ORIENTATION = 0x0112  # the EXIF tag

_TURNS = {  # its value -> what sets the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_OPTIONAL = (b"tRNS", b"eXIf")  # chunks of a PNG, besides the critical ones: transparency and orientation

_LYING = (5, 6, 7, 8)  # height and width change places

_STARTS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP"}

_STARTS |= {b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF"}

_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "HEIC")


class Undecodable(ValueError):
    """Why an image cannot be used, in words."""


def decode_by_pillow(data: bytes, least: tuple[int, int]) -> np.ndarray:
    """The content of an image file to uint8 [height, width, 3]: upright, the first frame, on white.

    Args:
        data: of the file.
        least: (height, width) that a JPEG should have at least where it is decoded at a half, a quarter or an eighth
            of its size, as decoding.py does.

    Raises:
        Undecodable: it is no image, damaged, or would take too much memory.
    """
    kind = kind_of(data)
    try:
        with Image.open(io.BytesIO(_needed(data) if kind == "PNG" else data), formats=_formats()) as image:
            _check_size(*image.size)
            if image.format in ("JPEG", "MPO"):  # the latter: a camera's, with further pictures in it
                lying = _orientation(image) in _LYING
                image.draft(None, least if lying else least[::-1])
            image.load()
            turn = _TURNS.get(_orientation(image))
            return _rgb(image if turn is None else image.transpose(turn))
    except Undecodable:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_many(int(pixels[0])) from error
    except UnidentifiedImageError as error:
        raise Undecodable(_unidentified(kind)) from error
    except Exception as error:  # of whatever kind a damaged file makes Pillow's readers raise
        raise Undecodable(damaged(kind)) from error


def _needed(png: bytes) -> bytes:
    """A PNG without the chunks that pixels do not need, over whose damage or size Pillow would refuse it."""
    parts, place = [png[:8]], 8
    while place < len(png):
        end = place + 12 + int.from_bytes(png[place : place + 4], "big")
        name = png[place + 4 : place + 8]
        if name[:1].isupper() or name in _OPTIONAL:
            parts.append(png[place:end])
        place = end
    return b"".join(parts)


def kind_of(data: bytes) -> str:
    """The kind of image that the first bytes announce; "" where it is none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "")
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), "")


def damaged(kind: str) -> str:
    """What is said of an image that starts well, and then cannot be decoded."""
    return f"the {kind} image is damaged, cut off or of a variety that cannot be decoded"


def _formats() -> list[str]:
    """Of Pillow's readers, those for photographs; HEIC where a plug-in is registered."""
    formats = ["JPEG", "PNG", "GIF", "BMP", "TIFF"]
    formats += [name.upper() for name in ("webp", "avif") if features.check(name)]
    return formats + [name for name in ("HEIF",) if name in Image.OPEN]


def _unidentified(kind: str) -> str:
    readable = {"WebP": "WEBP", "HEIC": "HEIF"}.get(kind, kind) in _formats()
    if kind and not readable:
        return f"this is a {kind} image, which the Pillow installed here cannot read: convert it to JPEG or PNG"
    kinds = ", ".join(dict.fromkeys([*_STARTS.values(), "WebP", "AVIF"]))
    return damaged(kind) if kind else f"this is no image of the kinds {kinds}"


def _check_size(width: int, height: int) -> None:
    """Raises Undecodable where decoding the image would take too much memory."""
    if width * height > MAX_PIXELS:
        raise _too_many(width * height)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Undecodable(
            f"the image is a strip of {width} x {height} pixels: one side may be {MAX_ASPECT} x the other"
        )


def _too_many(pixels: int) -> Undecodable:
    return Undecodable(f"the image has {pixels:,} pixels, more than {MAX_PIXELS:,}")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 (upright) where there is none, where it is damaged, or where Pillow has used it up."""
    data = image.info.get("exif")
    if not data or image.format == "TIFF":
        return 1
    exif = Image.Exif()
    try:
        exif.load(data)
        return exif.get(_ORIENTATION, 1)
    except Exception:  # of whatever kind; the picture itself may be good
        return 1


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = np.where(values == image.info.get("transparency", -1), 255, values >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError("the value of white is not known")
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA"))
    color, alpha = pixels[..., :3], pixels[..., 3:].astype(np.uint16)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)  # on white; all below 65,536
