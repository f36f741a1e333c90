"""Whether a JPEG or PNG says that it is to be turned, by the segments in front of its pixels."""

from __future__ import annotations

import numpy as np

_ORIENTATION = 0x0112  # the tag of EXIF
_SIZES = {1: 1, 3: 2, 4: 4}  # bytes of a value, by its type
_START_OF_SCAN, _END, _EXIF = 0xDA, 0xD9, 0xE1
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length


def may_be_turned(data: bytes) -> np.bool_:
    """Whether a JPEG has an EXIF orientation other than upright, or a PNG has EXIF at all."""
    return np.bool_(_is_turned_jpeg(data) if data.startswith(b"\xff\xd8") else _has_exif_png(data))


def _is_turned_jpeg(data: bytes) -> bool:
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in (_START_OF_SCAN, _END):
            return False
        if marker == 0xFF or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        size = int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : place + 2 + size]
        if marker == _EXIF and body.startswith(b"Exif\0\0") and _orientation(body[6:]) != 1:
            return True
        place += 2 + max(size, 2)
    return False


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


def _has_exif_png(data: bytes) -> bool:
    place = 8
    while place + 8 <= len(data):
        if data[place + 4 : place + 8] == b"eXIf":
            return True
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return False
