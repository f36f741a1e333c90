"""Image files and archives that are small but demand much, or that are not what they seem."""

from __future__ import annotations

import functools
import io
import json
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests import zoo
from tests.faults.lab import Command, Fault, Lab, Try, refused
from tests.faults.shop import LABELS, Look, shop_fields

_MOST_MEGABYTES, _MOST_SECONDS = 1000, 2.0
_GREEN = (0, 128, 0)


def _png(
    width: int, height: int, color_type: int, depth: int = 8, extra: bytes = b"", rows: int | None = None
) -> bytes:
    """A PNG of zeros, which are compressed a thousandfold; only the first rows are there where `rows` is given."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    count = height if rows is None else rows
    packed = zlib.compressobj()
    row = bytes(1 + -(-width * channels * depth // 8))
    data = b"".join(packed.compress(row) for _ in range(count)) + packed.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = zoo.chunk(b"IHDR", header) + extra + zoo.chunk(b"IDAT", data) + zoo.chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _webp(width: int, height: int) -> bytes:
    """The header of a lossless WebP, and hardly more."""
    bits = (width - 1) | (height - 1) << 14
    data = b"\x2f" + struct.pack("<I", bits) + b"\0" * 9
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _tiff(width: int, height: int, tile: int = 0, samples: int = 3) -> bytes:
    """A TIFF of one strip or tile that holds a few bytes."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 2), (277, samples)]
    tags += [(322, tile), (323, tile), (324, 8), (325, 100)] if tile else [(273, 8), (278, height), (279, 100)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags))
    return b"II*\0" + struct.pack("<I", 108) + bytes(100) + struct.pack("<H", len(tags)) + entries + bytes(4)


def _many_scans(count: int, size: int = 6000) -> bytes:
    """A progressive JPEG whose last scan stands there many times."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), _GREEN).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def _phone() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8160, 6144), _GREEN).save(file, "JPEG", quality=60)
    return file.getvalue()


def _jpeg_of(width: int, height: int) -> bytes:
    data = bytearray(zoo.encoded(Image.new("RGB", (64, 64), _GREEN), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _gif(frames: int) -> bytes:
    data = zoo.encoded(Image.new("P", (3000, 3000)), "GIF")
    start = data.index(b"\x2c" + bytes(4) + struct.pack("<HH", 3000, 3000))
    return data[:start] + data[start:-1] * frames + data[-1:]


def _zeros(megabytes: int) -> bytes:
    packed = zlib.compressobj()
    return b"".join(packed.compress(bytes(1 << 20)) for _ in range(megabytes)) + packed.flush()


def _text_chunk(megabytes: int) -> bytes:
    return zoo.chunk(b"zTXt", b"Comment\0\0" + _zeros(megabytes))


def _profile(megabytes: int) -> bytes:
    return zoo.chunk(b"iCCP", b"p\0\0" + _zeros(megabytes))


_FILES: dict[str, Callable[[], bytes]] = {
    "WebP of a few bytes, 16383 x 16383": lambda: _webp(16383, 16383),
    "WebP of a few bytes, 7000 x 7000": lambda: _webp(7000, 7000),
    "transparent PNG, 7000 x 7000": lambda: _png(7000, 7000, 6),
    "PNG with a transparent colour, 7000 x 7000": lambda: _png(7000, 7000, 2, extra=zoo.chunk(b"tRNS", bytes(6))),
    "PNG of 16 bits, 7000 x 7000": lambda: _png(7000, 7000, 6, 16, rows=100),
    "grey PNG with alpha, 7071 x 7071": lambda: _png(7071, 7071, 4),
    "PNG with 200 MB of text": lambda: _png(64, 64, 2, extra=_text_chunk(200)),
    "PNG with a profile of 200 MB": lambda: _png(64, 64, 2, extra=_profile(200)),
    "PNG of 2 billion pixels": lambda: _png(65000, 32000, 0, 1, rows=10),
    "TIFF with a huge tile": lambda: _tiff(64, 64, tile=30000),
    "TIFF of 60000 x 60000": lambda: _tiff(60000, 60000),
    "TIFF of 7000 x 7000, cut off": lambda: _tiff(7000, 7000),
    "JPEG of 101 scans": lambda: _many_scans(101, 2000),
    "JPEG of 400 scans, 6000 x 6000": lambda: _many_scans(400),
    "JPEG of 65000 x 65000": lambda: _jpeg_of(65000, 65000),
    "JPEG of 7000 x 7000, cut off": lambda: _jpeg_of(7000, 7000),
    "GIF of 100 frames": lambda: _gif(100),
    "an empty file": lambda: b"",
    "a web page": lambda: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
}


def _costly(name: str, lab: Lab) -> Iterator[Try]:
    """Refused or decoded, within 1 GB and 2 s of CPU."""
    path = lab.folder / "image"
    path.write_bytes(_FILES[name]())
    command = Command(lab, "tests.faults.decode_one", [path])
    status = command.wait()
    if status:
        yield Try(name, False, f"{status}: {command.stderr()[-300:]}")
        return
    cost = json.loads(command.stdout())
    cheap = cost["megabytes"] < _MOST_MEGABYTES and cost["seconds"] < _MOST_SECONDS
    said = cost["error"] or "decoded"
    yield Try(
        name, cheap, f"{path.stat().st_size:,} bytes: {said}; {cost['megabytes']:.0f} MB, {cost['seconds']:.2f} s"
    )


def _photo_of_a_phone(lab: Lab) -> Iterator[Try]:
    """50.1 megapixels, which are decoded at an eighth: it passes."""
    path = lab.folder / "phone.jpg"
    path.write_bytes(_phone())
    command = Command(lab, "tests.faults.decode_one", [path])
    command.wait()
    cost = json.loads(command.stdout())
    is_right = not cost["error"] and np.allclose(cost["mean"], _GREEN, atol=3)
    yield Try("a phone's 8160 x 6144", is_right, f"{cost['error'] or 'decoded'}; {cost['seconds']:.2f} s")


HOSTILE_IMAGES: list[Fault] = [*(functools.partial(_costly, name) for name in _FILES), _photo_of_a_phone]


def _predicted(lab: Lab) -> Iterator[Try]:
    """predict on odd and broken files: a row for each, and the good ones as without the others."""
    images = lab.folder / "images"
    expected = zoo.write_zoo(images)
    wrong = [name for name, result in expected.items() if isinstance(result, str)]
    output = lab.folder / "out.jsonl"
    flags = ["--workdir", lab.whole, "--input", images, "--output", output, "--batch-size", 8]
    command = lab.command("predict", *flags)
    rows = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    failed = {Path(row["path"]).name for row in rows if row["error"]}
    for path in images.iterdir():
        if path.name in failed:
            path.rmdir() if path.is_dir() else path.unlink()
    lab.command("predict", *flags)
    again = [json.loads(line) for line in output.read_text().splitlines()]
    good = [row for row in rows if not row["error"]]
    pairs = zip(good, again, strict=False)
    same = len(good) == len(again) and all(_are_alike(a, b) for a, b in pairs)
    is_right = command.process.returncode == 0 and same and failed <= {*wrong, "\ufffd\ufffd.png"}
    yield Try("predict among broken files", is_right, f"{len(good)} predicted, {len(failed)} without; the same: {same}")


ODD_IMAGES: list[Fault] = [_predicted]


def _are_alike(a: dict[str, object], b: dict[str, object]) -> bool:
    """Whether two rows are equal but for the last digits of their probabilities, which other batches may change."""
    return a.keys() == b.keys() and all(
        abs(a[k] - b[k]) < 1e-4 if isinstance(a[k], float) and isinstance(b[k], float) else a[k] == b[k] for k in a
    )


def _zip(entries: Callable[[zipfile.ZipFile], object]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        rows = "".join(f"{i},{','.join(LABELS[i % 4])}\n" for i in range(40))
        archive.writestr("styles.csv", f"id,masterCategory,subCategory\n{rows}")
        for i in range(40):
            archive.writestr(f"images/{i}.png", zoo.encoded(Image.new("RGB", (8, 8), (i, 0, 0)), "PNG"))
        entries(archive)
    return file.getvalue()


def _bomb(archive: zipfile.ZipFile) -> None:
    with archive.open("images/1.jpg", "w") as file:
        for _ in range(200):
            file.write(bytes(1 << 20))


def _symlink(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("images/passwd.png")
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


def _many(archive: zipfile.ZipFile) -> None:
    for i in range(20000):
        archive.writestr(f"more/{i}.txt", b"")


_ARCHIVES: dict[str, Callable[[], bytes]] = {
    "a bomb": lambda: _zip(_bomb),
    "a path outside": lambda: _zip(lambda archive: archive.writestr("../../outside.png", b"x")),
    "an absolute path": lambda: _zip(lambda archive: archive.writestr("/tmp/faults_outside.png", b"x")),
    "a link": lambda: _zip(_symlink),
    "4,000 folders": lambda: _zip(lambda archive: archive.writestr("a/" * 4000 + "1.png", b"x")),
    "two files of one name": lambda: _zip(lambda archive: archive.writestr("images/1.png", b"other")),
    "20,000 empty files": lambda: _zip(_many),
    "cut off": lambda: _zip(lambda archive: None)[:-200],
    "no zip": lambda: b"PK\x03\x04" + bytes(1000),
}


def _archive(name: str, lab: Lab) -> Iterator[Try]:
    """It is read, or refused in a sentence that names it, within 10 s of CPU; nothing is written elsewhere."""
    place = lab.folder / "place"
    place.mkdir()
    (place / "shop.zip").write_bytes(_ARCHIVES[name]())
    fields = shop_fields(place / "shop.zip") | {"data.cache_dir": lab.folder / "cache"}
    look = Look(lab, fields, limits={resource.RLIMIT_CPU: 10})
    outside = [path for path in (lab.folder / "outside.png", Path("/tmp/faults_outside.png")) if path.exists()]
    is_right = (look.status == 0 or (look.status == 2 and "shop.zip" in look.said)) and not outside
    yield Try(name, is_right, f"{look.status}: {look.said or f'{len(look.labels)} images'}")


ARCHIVES: list[Fault] = [functools.partial(_archive, name) for name in _ARCHIVES]

_BRACKETS = "[" * 200_000
_DEEP = '{"a":' * 200_000
_JSON: dict[str, str] = {
    "200,000 brackets": _BRACKETS,
    "200,000 objects": _DEEP,
    "no JSON": "{",
    "a list": "[1, 2]",
    "a number of 10,000 digits": '{"levels": ' + "9" * 10_000 + "}",
    "no text": "\xff\xfe",
}


def _json_file(file: str, name: str, module: str, lab: Lab) -> Iterator[Try]:
    """A file of the run that is no JSON of its kind: a sentence that names it, or the command does without."""
    workdir = lab.copy()
    path = workdir / file
    path.write_bytes(_JSON[name].encode("latin-1"))
    images = next((lab.whole.parent / "cache").rglob("images"))
    if module == "main":
        command = lab.train(workdir)
    else:
        flags = ["--input", images, "--output", lab.folder / "out.csv"] if module == "predict" else []
        command = Command(lab, f"fashion_jax.{module}", ["--workdir", workdir, *flags])
    status = command.wait()
    if status == 0:
        yield Try(f"{file}, {module}: {name}", True, f"0: {command.sentence() or 'did without'}")
        return
    result = refused("", command, [file], status=status)
    yield Try(f"{file}, {module}: {name}", result.survived and status in (1, 2), result.message)


JSON: list[Fault] = [
    functools.partial(_json_file, file, name, module)
    for file, name, module in (
        ("config.json", "200,000 brackets", "main"),
        ("config.json", "200,000 objects", "predict"),
        ("config.json", "a list", "evaluate"),
        ("config.json", "no text", "predict"),
        ("taxonomy.json", "200,000 brackets", "evaluate"),
        ("taxonomy.json", "200,000 objects", "main"),
        ("taxonomy.json", "a number of 10,000 digits", "predict"),
        ("taxonomy.json", "a list", "predict"),
        ("calibration.json", "200,000 brackets", "predict"),
        ("calibration.json", "a list", "evaluate"),
        ("metrics.jsonl", "200,000 brackets", "evaluate"),
        ("metrics.jsonl", "200,000 objects", "main"),
        ("metrics.jsonl", "a list", "main"),
        ("data.json", "200,000 brackets", "main"),
        ("data.json", "a list", "evaluate"),
        ("environment.json", "200,000 brackets", "main"),
        ("environment.json", "a list", "main"),
        ("environment.json", "no text", "main"),
    )
]
