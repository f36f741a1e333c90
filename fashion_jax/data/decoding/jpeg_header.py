"""What a JPEG says of itself, by the segments in front of its pixels."""

from __future__ import annotations

from typing import NamedTuple

JPEG = b"\xff\xd8\xff"  # how its files begin

_ORIENTATION = 0x0112  # the tag of EXIF

_SIZES = {1: 1, 3: 2, 4: 4}  # bytes of a value, by its type

_START_OF_SCAN, _END, _EXIF = 0xDA, 0xD9, 0xE1

_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}

_COMMON_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # baseline, extended and progressive; others are lossless or in layers

_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length


class Header(NamedTuple):
    """Of a JPEG: its size in pixels, and whether it is a common one of 8 bits, not CMYK, and not to be turned."""

    height: int
    width: int
    is_plain: bool


def read_header(data: bytes) -> Header | None:
    """The header of a JPEG; None where it is cut off or damaged."""
    place, frame, is_common, turned = 2, b"", False, False
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in (_START_OF_SCAN, _END):
            break
        if marker == 0xFF or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        size = int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : place + 2 + size]
        if marker in _START_OF_FRAME and not frame:
            frame, is_common = body, marker in _COMMON_FRAMES
        elif marker == _EXIF and body.startswith(b"Exif\0\0"):
            turned = turned or _orientation(body[6:]) != 1
        place += 2 + max(size, 2)
    if len(frame) < 6:
        return None
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    return Header(height, width, is_common and frame[0] == 8 and frame[5] < 4 and not turned)


def _orientation(tiff: bytes) -> int:
    """The value of the tag in the first directory, 1 (upright) where there is none of 2 to 8."""
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return 1
    start = int.from_bytes(tiff[4:8], order)
    for i in range(int.from_bytes(tiff[start : start + 2], order)):
        entry = tiff[start + 2 + 12 * i : start + 14 + 12 * i]
        if len(entry) < 12:
            return 1
        if int.from_bytes(entry[:2], order) == _ORIENTATION:
            size = _SIZES.get(int.from_bytes(entry[2:4], order), 2)
            value = int.from_bytes(entry[8 : 8 + size], order)
            return value if 2 <= value <= 8 else 1
    return 1
