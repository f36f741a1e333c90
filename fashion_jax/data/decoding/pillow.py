"""Decodes with Pillow: all image formats and varieties except plain JPEGs."""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError, features

from fashion_jax.data.decoding.jpeg_header import Header, needed, orientation_of
from fashion_jax.data.decoding.limits import DecodingPlan, Undecodable
from fashion_jax.data.decoding.outlines import BAND_PIXELS, Outline, check_exif, outline_of, read_outline

_TURNS = {  # EXIF orientation -> the operation that turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STARTS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP"}
_STARTS |= dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0"), "TIFF")
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "HEIC")

_FORMATS: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in _STARTS.values()}  # format -> Pillow's readers
_FORMATS |= {"WebP": ("WEBP",), "AVIF": ("AVIF",), "HEIC": ("HEIF", "AVIF")}  # the brand mif1 may be either
# Pillow allocates pixels in blocks. The C library returns blocks above 32 MiB to the system at once; smaller ones would
# be kept by each thread, as many as its largest image needs.
Image.core.set_block_size(64 << 20)
_WITHOUT_WHITE = ("I", "F")  # Pillow's modes of 32-bit numbers
_LOADING = [threading.Lock() for _ in range(64)]  # two threads cannot load the same image at a time
_PER_PIXEL_OF_VIDEO = 16  # bytes: the planes of the video frame, at most 2 bytes each, and Pillow's pixels


def plan_by_pillow(data: bytes) -> DecodingPlan:
    """Plans the decoding of an image that is not a JPEG: upright, the first frame, on white.

    Raises:
        Undecodable: the file is no image, is damaged, or would take too much memory or time.
    """
    kind = kind_of(data)
    formats = [name for name in _FORMATS.get(kind, ()) if name in _available()]
    if not formats:
        raise Undecodable(_unidentified(kind))
    with _in_words(kind, formats):
        outline = _outline_by_pillow(kind, data, formats) if kind in ("AVIF", "HEIC") else read_outline(kind, data)
    return DecodingPlan(outline.memory, lambda: _decode(kind, formats, outline))


def _decode(kind: str, formats: list[str], outline: Outline) -> np.ndarray:
    with _in_words(kind, formats), Image.open(io.BytesIO(outline.data), formats=formats) as image:
        _check_announced(image, outline.height * outline.width)
        image.load()
        return _upright(image, outline.orientation)


def pixels_of(image: Image.Image) -> np.ndarray:
    """Converts an image that Pillow has opened or made to uint8 [height, width, 3], upright and on white.

    Raises:
        Undecodable: its file is damaged, or the value of white is not known, as for 32-bit numbers.
    """
    if image.mode in _WITHOUT_WHITE:
        raise Undecodable(f"the image's mode is {image.mode}, whose value of white is not known: convert it to RGB")
    with _in_words(image.format or image.mode), _LOADING[id(image) % len(_LOADING)]:
        image.load()
        return _upright(image, orientation_of(image.info.get("exif", b"").removeprefix(b"Exif\0\0")))


def decode_jpeg_by_pillow(data: bytes, header: Header, ratio: int) -> np.ndarray:
    """Decodes a JPEG to uint8 [height, width, 3], upright, at 1 / ratio of its size.

    Raises:
        Undecodable: it is damaged.
    """
    # Image.open would refuse a large image before it could be told to decode it at a reduced scale.
    with _in_words("JPEG"), JpegImagePlugin.JpegImageFile(io.BytesIO(needed(data, header))) as image:
        _check_announced(image, header.height * header.width)
        if ratio > 1:
            image.draft(None, (max(header.width // ratio, 1), max(header.height // ratio, 1)))
        image.load()
        return _upright(image, header.orientation)


@contextlib.contextmanager
def _in_words(kind: str, formats: Sequence[str] = ()) -> Iterator[None]:
    """Turns any exception of Pillow's readers into the reason why the image cannot be used."""
    try:
        yield
    except Undecodable:
        raise
    except Exception as error:
        is_other = isinstance(error, UnidentifiedImageError) and kind == "HEIC" and "HEIF" not in formats
        raise Undecodable(_unidentified(kind) if is_other else damaged(kind)) from error


def _outline_by_pillow(kind: str, data: bytes, formats: list[str]) -> Outline:
    """Returns the outline of an image whose size and EXIF Pillow reads without decoding it."""
    for found in re.finditer(rb"II\*\0|MM\0\*", data):
        check_exif(data[found.start() :])
    with Image.open(io.BytesIO(data), formats=formats) as image:
        orientation = orientation_of(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
        return outline_of(kind, image.size[::-1], data, _PER_PIXEL_OF_VIDEO, orientation=orientation)


def _check_announced(image: Image.Image, pixels: int) -> None:
    """Checks that Pillow finds no larger size than memory was reserved for, and a mode with a known white."""
    if image.width * image.height > pixels:
        raise ValueError("it says its size twice, and differently")
    if image.mode in _WITHOUT_WHITE:
        raise ValueError("the value of white is not known")


def kind_of(data: bytes) -> str:
    """Returns the format that the first bytes announce; "" if it is none that is known."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "")
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), "")


def damaged(kind: str) -> str:
    """Returns the reason given for an image that begins well but cannot be decoded."""
    return f"the {kind} image is damaged, cut off or of a variety that cannot be decoded"


def _available() -> list[str]:
    """Returns Pillow's readers for photographs; HEIF only if a plug-in is registered."""
    available = ["JPEG", "PNG", "GIF", "BMP", "TIFF"]
    available += [name.upper() for name in ("webp", "avif") if features.check(name)]
    return available + [name for name in ("HEIF",) if name in Image.OPEN]


def _unidentified(kind: str) -> str:
    if kind:
        return f"this is a {kind} image, which the Pillow installed here cannot read: convert it to JPEG or PNG"
    kinds = ", ".join(dict.fromkeys([*_STARTS.values(), "WebP", "AVIF"]))
    return f"this is no image of the kinds {kinds}"


def _upright(image: Image.Image, orientation: int) -> np.ndarray:
    turn = _TURNS.get(orientation)
    return _rgb(image if turn is None else image.transpose(turn))


def _rgb(image: Image.Image) -> np.ndarray:
    """Converts an image to uint8 [height, width, 3].

    A large image is converted band by band, since intermediate results take up to 20 bytes per pixel.
    """
    rows = max(BAND_PIXELS // max(image.width, 1), 1)
    if rows >= image.height:
        return _band(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = _band(image.crop((0, top, image.width, bottom)))
    return pixels


def _band(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = np.where(values == image.info.get("transparency", -1), 255, values >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    colors, white = image.convert("RGBA"), Image.new("RGB", image.size, "white")
    white.paste(colors, mask=colors)
    return np.asarray(white)
