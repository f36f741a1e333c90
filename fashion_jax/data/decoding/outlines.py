"""Reads the headers of PNG, GIF, BMP, TIFF and WebP images before Pillow opens them.

Pillow reads more than the pixels need (profiles, comments, tables of any length), and some of its readers allocate
memory for the whole image at once. So the size is read here, and everything that the pixels do not need is left out.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Callable
from typing import NamedTuple

from fashion_jax.data.decoding.jpeg_header import orientation_of
from fashion_jax.data.decoding.limits import Undecodable, check_cost, check_scans, check_size

BAND_PIXELS = 500_000  # pixels of a large image whose colors are converted at a time
_PER_PIXEL_OF_BAND = 20  # bytes, at most
_MAX_BLOCKS = 100_000  # of a PNG or a GIF
_MAX_FIELDS = 1000  # of a TIFF
_MAX_VALUES = 100_000  # of a field of a TIFF, such as the offsets of its strips
_MAX_RLE_PIXELS = 4_000_000  # of a BMP: Pillow decodes run lengths in Python

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # color type -> channels
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_BYTES = (1, 2, 6, 7)  # types whose values Pillow keeps as bytes, however many there are
_TIFF_PLACES = (273, 279, 324, 325)  # tags of the offsets and lengths of strips and tiles
_TIFF_BELOW = (34665, 34853, 40965)  # tags of nested directories: EXIF, GPS, interoperability
_TIFF_FORMATS = {1: "B", 6: "b", 3: "H", 8: "h", 4: "I", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}


class Outline(NamedTuple):
    """The size of an image, what Pillow needs to decode it, and what that costs.

    Attributes:
        height: in pixels, before the image is turned upright.
        width: in pixels, before the image is turned upright.
        data: the bytes that Pillow reads.
        orientation: EXIF orientation if Pillow does not apply it; 1 is upright.
        memory: bytes that decoding takes, the resulting pixels included.
    """

    height: int
    width: int
    data: bytes
    orientation: int
    memory: int


def read_outline(kind: str, data: bytes) -> Outline:
    """Reads the outline of a PNG, GIF, BMP, TIFF or WebP.

    Raises:
        Undecodable: decoding it would take too much memory or time.
        IndexError, ValueError, struct.error: it is damaged.
    """
    return _READERS[kind](data)


def outline_of(
    kind: str, size: tuple[int, int], data: bytes, per_pixel: int, memory: int = 0, raw: int = 0, orientation: int = 1
) -> Outline:
    """Checks size and cost, and returns the outline.

    The memory per pixel is per_pixel for Pillow, 3 for the result, and 4 more to turn the image upright.
    """
    height, width = size
    check_size(height, width)
    turned = 0 if orientation == 1 else 4
    memory += (per_pixel + turned + 3) * height * width + _PER_PIXEL_OF_BAND * min(height * width, BAND_PIXELS)
    check_cost(kind, height, width, memory, raw)
    return Outline(height, width, data, orientation, memory)


def _png(data: bytes) -> Outline:
    """Reads a PNG, leaving out chunks that the pixels do not need: Pillow would refuse it if they are damaged or
    large.
    """
    parts, place, orientation, header, count, name = [data[:8]], 8, 1, b"", 0, b""
    while place < len(data) and name != b"IEND":
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        name = data[place + 4 : place + 8]
        if name == b"eXIf":
            orientation = orientation_of(data[place + 8 : end - 4])
        elif name == b"IHDR" and not header:
            header = data[place + 8 : place + 21]
            parts.append(data[place:end])
        elif (name[:1].isupper() and name != b"IHDR") or name == b"tRNS":
            parts.append(data[place:end])
        place, count = end, count + 1
        if count > _MAX_BLOCKS:
            raise Undecodable(f"the PNG image has more than {_MAX_BLOCKS:,} chunks")
    width, height, bits, color = struct.unpack_from(">IIBB", header)
    raw = height * math.ceil(width * bits * _PNG_CHANNELS.get(color, 4) / 8)
    return outline_of("PNG", (height, width), b"".join(parts), 4, raw=raw, memory=len(data), orientation=orientation)


def _gif(data: bytes) -> Outline:
    """Reads a GIF, leaving out comments and the like, which Pillow joins at quadratic cost."""
    place = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    head, control, count = data[:place], b"", 0
    while data[place] != 0x2C:  # the first frame
        start, place = place, place + 1
        if data[start] == 0x3B:
            raise ValueError("it ends without a frame")
        if data[start] == 0x21:
            place += 1
            while size := data[place]:
                place, count = place + 1 + size, count + 1
            place += 1
            if data[start + 1] == 0xF9:  # transparency
                control = data[start:place]
        count += 1
        if count > _MAX_BLOCKS:
            raise Undecodable(f"the GIF image has more than {_MAX_BLOCKS:,} blocks in front of its pixels")
    left, top, *frame = struct.unpack_from("<4H", data, place + 1)
    sizes = zip(struct.unpack_from("<2H", data, 6), (left, top), frame, strict=True)
    width, height = (max(canvas, start + size) for canvas, start, size in sizes)
    return outline_of("GIF", (height, width), head + control + data[place:], 4, memory=len(data))


def _bmp(data: bytes) -> Outline:
    if int.from_bytes(data[14:18], "little") == 12:
        (width, height, _, bits), compression = struct.unpack_from("<4H", data, 18), 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    if compression in (1, 2) and width * height > _MAX_RLE_PIXELS:
        raise Undecodable(
            f"the BMP image is compressed by run lengths and has {width * height:,} pixels, more than "
            f"{_MAX_RLE_PIXELS:,}"
        )
    return outline_of("BMP", (height, width), data, 4, raw=height * math.ceil(width * bits / 8))


def _tiff(data: bytes) -> Outline:
    order, big = ("<" if data[:2] == b"II" else ">"), data[2] == 43
    if data[3] == 43:
        raise ValueError("Pillow reads no BigTIFF of this order")
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    fields = _fields(data, start, order, big)
    width, height = fields[256][1], fields[257][1]
    check_size(height, width)
    if 322 in fields:
        tile_width, tile_height = fields[322][1], fields[323][1]
    else:
        tile_width, tile_height = width, min(fields.get(278, (1, height))[1], height)
    if min(tile_width, tile_height) < 1:
        raise ValueError("its tiles have no size")
    across, down = math.ceil(width / tile_width), math.ceil(height / tile_height)
    bits = fields.get(258, (1, 1))
    if max(bits[1:]) == 12:
        raise Undecodable("the TIFF image has values of 12 bits, which are not supported: convert it to 8 or 16 bits")
    if max(bits[1:]) == 16 and fields.get(262, (1, 1))[1] == 0:
        raise Undecodable("the TIFF image has 16-bit values where 0 is white, which is not supported: convert it")
    samples = max(fields.get(277, (1, 1))[1], bits[0])
    planes = samples if fields.get(284, (1, 1))[1] == 2 else 1
    if any(fields.get(tag, (0,))[0] > across * down * planes for tag in (273, 324)):
        raise ValueError("it has more strips or tiles than its pixels need")
    padded, pixel = across * down * tile_width * tile_height, samples * max(bits[1:]) / 8
    check_cost("TIFF", height, width, 0, math.ceil(padded * pixel))
    if fields.get(259, (1, 1))[1] in (6, 7):  # JPEG, of which a strip or tile is one each
        _check_jpegs(data, fields, tile_width * tile_height)
    buffer = math.ceil(tile_width * tile_height * max(pixel, 4)) if fields.get(259, (1, 1))[1] != 1 else 0
    is_turned = fields.get(274, (1, 1))[1] != 1  # Pillow turns the image itself
    return outline_of("TIFF", (height, width), data, 5 if is_turned else 4, memory=buffer)


def _check_jpegs(data: bytes, fields: dict[int, tuple[int, ...]], pixels: int) -> None:
    """Checks the scans of the JPEGs inside of a TIFF, one for each strip or tile of so many pixels."""
    places, sizes = (fields.get(a, fields.get(b, (0,))) for a, b in ((273, 324), (279, 325)))  # of the older form: none
    if sum(sizes[1:]) > 4 * len(data):
        raise ValueError("its strips or tiles lie over each other")
    scans = sum(data.count(b"\xff\xda", at, at + size) for at, size in zip(places[1:], sizes[1:], strict=True))
    if scans > places[0] > 0:
        check_scans("TIFF", scans, pixels, places[0])


def check_exif(tiff: bytes) -> None:
    """Checks the EXIF tables that Pillow reads as a whole.

    Raises:
        Undecodable: they claim to be much larger than the file.
    """
    order = "<" if tiff[:2] == b"II" else ">"
    with contextlib.suppress(struct.error):
        _fields(tiff, struct.unpack_from(order + "I", tiff, 4)[0], order, False)


def _fields(data: bytes, start: int, order: str, big: bool, depth: int = 0) -> dict[int, tuple[int, ...]]:
    """Returns tag -> number of values and the first values, for the integer fields in a directory of a TIFF.

    Also checks the directories below it: Pillow copies every value of all of them, wherever it is said to be.
    """
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    if count > _MAX_FIELDS:
        raise Undecodable(f"the TIFF image or its EXIF has {count:,} fields, more than {_MAX_FIELDS:,}")
    start, entry, inline, offset = (start + 8, 20, 8, "Q") if big else (start + 2, 12, 4, "I")
    fields, total = {}, 0
    for place in range(start, start + entry * count, entry):
        tag, kind, number = struct.unpack_from(order + "HH" + offset, data, place)
        size = number * _TIFF_SIZES.get(kind, 0)
        total += size
        if total > len(data) or (kind not in _TIFF_BYTES and number > _MAX_VALUES):
            raise Undecodable(
                f"the field {tag} of the TIFF image or its EXIF has {number:,} values, more than the file or than "
                f"{_MAX_VALUES:,}"
            )
        if tag in fields:
            raise ValueError(f"it has the field {tag} twice, of which readers take one or the other")
        at = place + entry - inline
        if size > inline:
            (at,) = struct.unpack_from(order + offset, data, at)
        if kind in _TIFF_FORMATS and number:
            few = number if tag in _TIFF_PLACES else min(number, 8)
            fields[tag] = number, *struct.unpack_from(f"{order}{few}{_TIFF_FORMATS[kind]}", data, at)
    for tag in _TIFF_BELOW if depth < 2 else ():
        if tag in fields:
            with contextlib.suppress(struct.error):
                _fields(data, fields[tag][1], order, big, depth + 1)
    return fields


def _webp(data: bytes) -> Outline:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return outline_of("WebP", (height, width), data, 20, memory=len(data), orientation=_webp_orientation(data))


def _webp_orientation(data: bytes) -> int:
    place, count = 12, 0
    while place + 8 <= len(data) and count < _MAX_BLOCKS and data[12:16] == b"VP8X":
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if data[place : place + 4] == b"EXIF":
            exif = data[place + 8 : place + 8 + size]
            return orientation_of(exif.removeprefix(b"Exif\0\0"))
        place += 8 + size + size % 2
        count += 1
    return 1


_READERS: dict[str, Callable[[bytes], Outline]] = {"PNG": _png, "GIF": _gif, "BMP": _bmp, "TIFF": _tiff, "WebP": _webp}
