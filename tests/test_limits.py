"""Small files that would cost much memory or time: each is refused in a sentence, before Pillow or libjpeg sees it."""

import base64
import io
import re
import struct
import threading
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image, JpegImagePlugin

from fashion_jax.data.decoding import jpeg_header, outlines, pillow
from fashion_jax.data.decoding.decode import contents, decode, to_rgb
from fashion_jax.data.decoding.jpeg_header import cost_of, read_header
from fashion_jax.data.decoding.limits import DECODING, FILES, MAX_BYTES, MAX_MEMORY, MAX_PIXELS, Room, Undecodable
from fashion_jax.report.thumbnails import thumbnail
from tests.zoo import chunk, encoded, exact, exif, photo, picture

CANVAS = (32, 32)
PNG_START = b"\x89PNG\r\n\x1a\n"


def jpeg(height=48, width=64, mode="RGB", **options) -> bytes:
    return encoded(Image.new(mode, (width, height)), "JPEG", **options)


def with_size(data: bytes, height: int, width: int, frame: int = 0xC0) -> bytes:
    """A JPEG that says it has another size."""
    at = data.index(bytes([0xFF, frame])) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def with_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG whose last scan stands there so many times more."""
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


def png(width: int, height: int, bits: int, color: int, extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    return PNG_START + header + extra + chunk(b"IDAT", zlib.compress(bytes(500))) + chunk(b"IEND", b"")


def directory(fields: list[tuple[int, int, int, int]]) -> bytes:
    """A directory of a TIFF: (tag, type, number, value or place)."""
    return struct.pack("<H", len(fields)) + b"".join(struct.pack("<HHII", *field) for field in fields) + bytes(4)


def tiff(*fields: tuple[int, int, int, int], rest: bytes = b"", bits: int = 8, white: int = 1) -> bytes:
    start = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, bits), (259, 3, 1, 8), (262, 3, 1, white), (277, 3, 1, 1)]
    return (b"II*\0\x08\0\0\0" + directory(start + list(fields))).ljust(400, b"\0") + rest


def claims(count: int, size: int) -> list[tuple[int, int, int, int]]:
    """So many fields of so many bytes, all at the start of the file."""
    return [(30000 + i, 7, size, 0) for i in range(count)]


TILE = {"long": 4, "signed": 9}
COSTLY = {
    "webp of 34 bytes": (webp(b"VP8L", b"\x2f\xfe\xbf\xff\x0f" + bytes(9)), "268,402,689 pixels"),
    "webp with a large canvas": (webp(b"VP8X", bytes(4) + b"\xfe\x3f\0\xfe\x3f\0"), "268,402,689 pixels"),
    "webp that takes much memory": (webp(b"VP8X", bytes(4) + b"\x57\x1b\0\x57\x1b\0"), "MB of memory to decode"),
    "png of 16 bits": (png(7000, 7000, 16, 6), "392 MB once it is unpacked"),
    "bmp of run lengths": (
        b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 7000, -7000, 1, 8, 1) + bytes(20),
        "run lengths and has 49,000,000 pixels",
    ),
    **{
        f"tiff with a {name} tile": (tiff((322, kind, 1, 20000), (323, kind, 1, 20000)), "400 MB once it is unpacked")
        for name, kind in TILE.items()
    },
    "tiff of 12 bits": (tiff(bits=12), "values of 12 bits"),
    "tiff of 16 bits where 0 is white": (tiff(bits=16, white=0), "where 0 is white"),
    "tiff with one field twice": (tiff((322, 4, 1, 20000), (322, 4, 1, 64)), "damaged"),
    "tiff with more strips than rows": (tiff((273, 4, 90000, 8), (278, 4, 1, 63), rest=bytes(360_000)), "damaged"),
    "tiff with fields over each other": (tiff(*claims(20, 90), rest=bytes(900)), "values, more than the file"),
    "tiff with many fields": (b"II*\0\x08\0\0\0" + directory(claims(2000, 1)), "2,000 fields, more than 1,000"),
    "tiff with exif over itself": (
        tiff((34665, 4, 1, 400), rest=directory(claims(20, 900)) + bytes(900)),
        "values, more than the file",
    ),
    "avif with exif over itself": (
        encoded(picture(), "AVIF", exif=b"II*\0\x08\0\0\0" + directory(claims(900, 9000))),
        "values, more than the file",
    ),
    "jpeg of 101 scans": (with_scans(jpeg(progressive=True), 95), r"\d+ scans of 3,072 pixels each, more than 100"),
    "jpeg whose scans are large": (
        with_size(with_scans(jpeg(progressive=True), 30), 6000, 8000, 0xC2),
        r"scans of 48,000,000 pixels each.* 800,000,000",
    ),
    "tiff whose jpeg has many scans": (
        tiff((273, 4, 1, 400), (279, 4, 1, 3000), rest=with_scans(jpeg(progressive=True), 200)).replace(
            struct.pack("<HHII", 259, 3, 1, 8), struct.pack("<HHII", 259, 3, 1, 7)
        ),
        "scans of 4,096 pixels each",
    ),
    "jpeg of many pixels": (with_size(jpeg(), 65000, 65000), "4,225,000,000 pixels, more than 200,000,000"),
    "jpeg of many segments": (jpeg()[:2] + b"\xff\xfe\0\2" * 3000 + jpeg()[2:], "more than 2,000 segments"),
    "jpeg of much padding": (jpeg()[:2] + b"\xff" * 3000 + jpeg()[2:], "more than 2,000 segments"),
}


@pytest.mark.parametrize("name", COSTLY)
def test_what_costs_much_is_refused_before_it_is_decoded(name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("it is decoded")

    for module, function in (
        *((Image.Image, "load"), (JpegImagePlugin.JpegImageFile, "load")),
        *((simplejpeg, "decode_jpeg"), (Image.core, "new")),
    ):
        monkeypatch.setattr(module, function, refuse)
    data, words = COSTLY[name]
    with pytest.raises(Undecodable, match=words):
        decode(data, CANVAS, "stretch")


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_file_of_countless_blocks_is_refused(kind, monkeypatch):
    data, expected = exact()["rgb.png" if kind == "PNG" else "hole.gif"]
    block = chunk(b"tEXt", b"a\0") if kind == "PNG" else b"!\xfe\1a\0"
    at = 33 if kind == "PNG" else data.index(b"!\xf9")
    monkeypatch.setattr(outlines, "_MAX_BLOCKS", 50)
    np.testing.assert_array_equal(to_rgb(data[:at] + block * 10 + data[at:], CANVAS), expected)
    with pytest.raises(Undecodable, match=r"more than 50 (chunks|blocks)"):
        to_rgb(data[:at] + block * 60 + data[at:], CANVAS)


def test_a_frame_of_a_gif_that_is_larger_than_the_image_counts():
    head = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
    with pytest.raises(Undecodable, match="81,000,000 pixels"):
        to_rgb(head + b"," + struct.pack("<4HB", 0, 0, 9000, 9000, 0) + b"\x08\2\4\1\0;", CANVAS)


def test_a_second_header_of_a_png_is_not_read():
    data, expected = exact()["rgb.png"]
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 6000, 6000, 8, 2, 0, 0, 0))
    np.testing.assert_array_equal(to_rgb(data[:33] + second + data[33:], CANVAS), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_that_lies_over_itself_costs_nothing(kind, monkeypatch):
    """Pillow would copy each of its fields: none of it is handed on."""
    data = b"II*\0\x08\0\0\0" + directory([(0x0112, 3, 1, 6), *claims(900, 60_000)])
    monkeypatch.setattr(Image.Exif, "load", lambda *_: pytest.fail("Pillow reads it"))
    image = photo(40, 30)
    found = to_rgb(encoded(image, kind, exif=b"Exif\0\0" + data), (99, 99))
    assert found.shape == (30, 40, 3)  # turned by it all the same


@pytest.mark.parametrize("options", [{}, {"exif": exif(6)}], ids=["plain", "turned"])
def test_a_phone_s_photograph_of_50_megapixels_is_decoded_at_an_eighth(options):
    data = jpeg(6144, 8160, "L", **options)
    assert to_rgb(data, (128, 128)).shape[:2] == ((1020, 768) if options else (768, 1020))


@pytest.mark.parametrize(("height", "width"), [(6144, 8160), (12240, 16320)])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("turned", [1, 6])
def test_whether_a_jpeg_is_decoded_does_not_depend_on_what_is_wanted(height, width, progressive, turned):
    """Training can use every file that passes the check, with any canvas."""
    data = with_size(jpeg(progressive=progressive, exif=exif(turned)), height, width, 0xC2 if progressive else 0xC0)
    header, answers = read_header(data), []
    for least in ((1, 1), (128, 128), (4096, 4096), (20000, 20000)):
        try:
            ratio, memory = cost_of(data, header, least)
        except Undecodable as error:
            answers.append(str(error))
            continue
        assert -(-height // ratio) * -(-width // ratio) <= MAX_PIXELS and memory <= MAX_MEMORY
        answers.append("good")
    assert len(set(answers)) == 1 and (answers[0] == "good") == (height == 6144 or not progressive)


@pytest.mark.parametrize("turned", [1, 3, 6, 8])
def test_a_turned_jpeg_is_decoded_as_small_as_the_upright_one(turned):
    shape = (1024, 256) if turned >= 5 else (256, 1024)
    data = with_size(jpeg(exif=exif(turned)), *shape, 0xC0)
    assert cost_of(data, read_header(data), (256, 64))[0] == 1
    assert cost_of(data, read_header(data), (64, 256))[0] == 4


def test_scans_are_counted_and_pictures_inside_of_a_description_are_not():
    thumbnail = with_scans(jpeg(progressive=True), 200)
    data = jpeg(progressive=True)
    inside = data[:2] + b"\xff\xed" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail + data[2:]
    assert len(inside) - len(data) < 65536 and inside.count(b"\xff\xda") > 200
    assert to_rgb(inside, CANVAS).shape == (48, 64, 3)
    assert jpeg_header._scans(data, read_header(data)) == data.count(b"\xff\xda") > 1
    assert jpeg_header._scans(jpeg(), read_header(jpeg())) == 1


@pytest.mark.parametrize("name", exact())
def test_a_large_image_is_converted_in_bands_to_the_same_pixels(name, monkeypatch):
    monkeypatch.setattr(pillow, "BAND_PIXELS", 100)
    data, expected = exact()[name]
    np.testing.assert_array_equal(to_rgb(data, (10_000, 10_000)), expected)


def test_threads_share_the_room():
    room, used, most = Room(100), [], threading.Semaphore(0)

    def work(count):
        with room.of(count):
            used.append(room._used)
            most.acquire(timeout=0.01)

    threads = [threading.Thread(target=work, args=(count,)) for count in (40, 70, 30, 1000, 60, 10) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert len(used) == 18 and max(used) <= 100 and room._used == 0


def test_an_image_holds_its_room_until_it_is_resized(monkeypatch, tmp_path):
    held = []
    monkeypatch.setattr("fashion_jax.data.decoding.decode.fit", lambda *_: held.append((DECODING._used, FILES._used)))
    path = tmp_path / "a.png"
    path.write_bytes(exact()["rgb.png"][0])
    with contents(str(path)) as data:
        decode(data, CANVAS, "stretch")
    (decoding, files), (height, width) = held[0], picture().shape[:2]
    assert decoding >= 7 * height * width and files == len(data)
    assert DECODING._used == FILES._used == 0


def test_all_files_and_images_at_once_take_less_than_a_gigabyte():
    assert MAX_BYTES + MAX_MEMORY < 1_000_000_000


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(Undecodable, match=re.escape("more than 256 MiB")), contents(str(tmp_path / "a.png")):
        pass


@pytest.mark.parametrize("name", COSTLY)
def test_the_page_shows_no_thumbnail_of_them(name, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("Pillow opens it"))
    if not name.startswith("avif"):
        assert thumbnail(io.BytesIO(COSTLY[name][0]), 10_000) is None


def test_a_thumbnail_is_what_training_sees(tmp_path):
    """Upright, and white where it is transparent."""
    for name in ("turned.png", "alpha.png"):
        data, expected = exact()[name]
        (tmp_path / name).write_bytes(data)
        for file in (str(tmp_path / name), io.BytesIO(data)):
            with Image.open(io.BytesIO(base64.b64decode(thumbnail(file, 10_000).partition(",")[2]))) as shown:
                assert np.abs(np.asarray(shown).astype(int) - expected).mean() < 12
    assert thumbnail(str(tmp_path / "none.jpg"), 10_000) is None
