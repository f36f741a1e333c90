"""Reads the segments of a JPEG before its pixels, and computes what decoding it costs."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from fashion_jax.data.decoding.limits import (
    MAX_MEMORY,
    MAX_PIXELS,
    MAX_SCANNED_PIXELS,
    MAX_SCANS,
    Undecodable,
    check_cost,
    check_scans,
    check_shape,
)

JPEG = b"\xff\xd8\xff"  # the first bytes of a JPEG file
_RATIOS = (8, 4, 2, 1)  # decoding at 1 / ratio of the size

_BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
_ORIENTATION = 0x0112  # the EXIF tag
_SIZES = {1: 1, 3: 2, 4: 4}  # type -> bytes of a value
_START_OF_SCAN, _END, _EXIF = 0xDA, 0xD9, 0xE1
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_COMMON_FRAMES = {
    0xC0,
    0xC1,
    0xC2,
    0xC9,
    0xCA,
}  # baseline, extended and progressive; others are lossless or hierarchical
_PROGRESSIVE_FRAMES = {0xC2, 0xC6, 0xCA, 0xCE}
_ALONE = {0x00, 0x01, *range(0xD0, 0xD8)}  # markers without a length
_UNUSED = {*range(0xE1, 0xF0), 0xFE} - {0xEE}  # segments of applications, except Adobe's, which tells CMYK from RGB

_MAX_SEGMENTS = 2000  # before the pixels; a large color profile or description takes a few hundred
_MAX_ENTRIES = 1000  # entries of EXIF that are examined
_MAX_SOURCE_PIXELS = 200_000_000  # of an image that is decoded at a reduced scale
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # a marker; within pixels 0xFF is followed by a byte excluded here


class Header(NamedTuple):
    """The header of a JPEG.

    Attributes:
        height: in pixels.
        width: in pixels.
        is_plain: whether the JPEG has a common compression, 8 bits, no CMYK colors, and is upright.
        orientation: EXIF orientation; 1 is upright.
        kind: kind of compression, the marker of the frame.
        frame: content of the frame segment: bits, size, and the channels with their sampling factors.
        end: offset where the pixels begin.
    """

    height: int
    width: int
    is_plain: bool
    orientation: int = 1
    kind: int = 0xC0
    frame: bytes = b""
    end: int = 0


def read_header(data: bytes) -> Header | None:
    """Reads the header of a JPEG; returns None if it is truncated or damaged.

    Raises:
        Undecodable: it has too many segments.
    """
    frame, kind, orientation, end = b"", 0, 1, 2
    for marker, start, end in _segments(data):
        if marker in _START_OF_FRAME and not frame:
            frame, kind = data[start + 4 : end], marker
        elif marker == _EXIF and orientation == 1 and data.startswith(b"Exif\0\0", start + 4):
            orientation = orientation_of(data[start + 10 : end])
    if len(frame) < 6:
        return None
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    is_plain = kind in _COMMON_FRAMES and frame[0] == 8 and frame[5] < 4 and orientation == 1
    return Header(height, width, is_plain, orientation, kind, frame, end)


def needed(data: bytes, header: Header) -> bytes:
    """Returns a JPEG without the segments of applications: Pillow would read all of them, at any cost."""
    kept = [data[start:end] for marker, start, end in _segments(data) if marker not in _UNUSED]
    return b"".join([data[:2], *kept, data[header.end :]])


def cost_of(data: bytes, header: Header, least: tuple[int, int]) -> tuple[int, int]:
    """Returns the ratio by which a JPEG is decoded smaller, and the bytes of memory that this takes.

    The ratio is the largest that leaves `least` (height, width), or a larger one if that takes too much memory. So
    whether an image can be decoded does not depend on `least`.

    Raises:
        Undecodable: its size, its scans or the memory exceed a limit.
    """
    height, width, pixels = header.height, header.width, header.height * header.width
    check_shape(height, width)
    ratios = _RATIOS if header.kind in _COMMON_FRAMES else (1,)  # other frames have no reduced scales
    most = _MAX_SOURCE_PIXELS if len(ratios) > 1 else MAX_PIXELS
    if pixels > most:
        raise Undecodable(f"the image has {pixels:,} pixels, more than {most:,}")
    fixed = _coefficients(data, header) + len(data)
    per_pixel = 7 if header.orientation == 1 else 11  # bytes in Pillow, which decodes what libjpeg-turbo refuses

    if header.orientation >= 5:  # the image is turned by a quarter after it is decoded
        least = least[::-1]
    wanted = 1
    for ratio in ratios:
        if height // least[0] >= ratio and width // least[1] >= ratio:
            wanted = ratio
            break
    while True:
        decoded = -(-height // wanted) * -(-width // wanted)
        memory = fixed + per_pixel * decoded
        if (decoded <= MAX_PIXELS and memory <= MAX_MEMORY) or wanted == ratios[0]:
            break
        wanted *= 2
    check_cost("JPEG", height, width, memory)
    return wanted, memory


def _coefficients(data: bytes, header: Header) -> int:
    """Returns the bytes of a JPEG's coefficients, which are all kept in memory if it has several scans.

    Raises:
        Undecodable: it has too many scans, each of which passes over the whole image.
    """
    pixels, scans = header.height * header.width, _scans(data, header)
    check_scans("JPEG", scans, pixels)
    return int(2 * _samples(header.frame) * pixels) if scans > 1 or header.kind in _PROGRESSIVE_FRAMES else 0


def orientation_of(tiff: bytes) -> int:
    """Returns the orientation in the first directory of EXIF; 1 (upright) unless it is 2 to 8."""
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return 1
    start = int.from_bytes(tiff[4:8], order)
    for i in range(min(int.from_bytes(tiff[start : start + 2], order), _MAX_ENTRIES)):
        entry = tiff[start + 2 + 12 * i : start + 14 + 12 * i]
        if len(entry) < 12:
            return 1
        if int.from_bytes(entry[:2], order) == _ORIENTATION:
            size = _SIZES.get(int.from_bytes(entry[2:4], order), 2)
            value = int.from_bytes(entry[8 : 8 + size], order)
            return value if 2 <= value <= 8 else 1
    return 1


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """Returns (marker, start, end) of the segments before the pixels, in order."""
    found, place, last, count = [], 2, len(data) - 4, 0
    while place <= last and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in (_START_OF_SCAN, _END):
            break
        if marker == 0xFF or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
        else:
            end = place + 2 + max(data[place + 2] << 8 | data[place + 3], 2)
            found.append((marker, place, end))
            place = end
        count += 1
        if count > _MAX_SEGMENTS:
            raise Undecodable(f"the JPEG image has more than {_MAX_SEGMENTS:,} segments in front of its pixels")
    return found


def _samples(frame: bytes) -> float:
    """Returns the stored samples per pixel, over all channels."""
    factors = [(byte >> 4, byte & 15) for byte in frame[7::3][: frame[5]]]
    largest = max((a for a, _ in factors), default=1) * max((b for _, b in factors), default=1)
    return sum(a * b for a, b in factors) / max(largest, 1) if factors else 3.0


def _scans(data: bytes, header: Header) -> int:
    """Returns the number of scans; if only few are possible, thumbnails inside the file may be counted too."""
    first = b"\xff\xda" + data[header.end + 2 : header.end + 4] + header.frame[5:6]
    if header.kind not in _PROGRESSIVE_FRAMES and data.startswith(first, header.end):
        return 1  # the scan has all channels, and decoders ignore any other after it
    possible = data.count(b"\xff\xda")
    if possible <= MAX_SCANS and possible * header.height * header.width <= MAX_SCANNED_PIXELS:
        return possible
    scans, found = 0, _MARKER.search(data, header.end)
    while found and found[0] != b"\xff\xd9":
        scans += found[0] == b"\xff\xda"
        size = int.from_bytes(data[found.end() : found.end() + 2], "big")
        found = _MARKER.search(data, found.end() + size)
    return scans
