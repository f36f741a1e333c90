"""One decoder for every kind of file: the same picture in every encoding has the same pixels."""

import io
import multiprocessing
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from fashion_jax.data.batches.chosen_images import decode_files, decode_paths
from fashion_jax.data.decoding import decode as decoding
from fashion_jax.data.decoding.decode import contents, decode, fit, in_parallel, to_rgb
from fashion_jax.data.decoding.jpeg_header import read_header
from fashion_jax.data.decoding.limits import Undecodable
from fashion_jax.data.decoding.pillow import decode_jpeg_by_pillow
from tests.zoo import EXIF_TURNS, chunk, encoded, exact, exif, lossy, photo, picture, write_zoo

WHOLE = (10_000, 10_000)  # more than any image has, so that none is decoded at a reduced scale


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Returns the folder, and the expected content of each file."""
    folder = tmp_path_factory.mktemp("zoo") / "files"
    return folder, write_zoo(folder)


@pytest.mark.parametrize("name", exact())
def test_a_lossless_file_has_exactly_the_picture_s_pixels(name):
    data, expected = exact()[name]
    np.testing.assert_array_equal(to_rgb(data, WHOLE), expected)


@pytest.mark.parametrize("name", lossy())
def test_a_lossy_file_has_nearly_the_picture_s_pixels(name):
    data, expected = lossy()[name]
    found = to_rgb(data, WHOLE)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 8


@pytest.mark.parametrize(("marker", "is_plain"), [(0xC0, True), (0xC2, True), (0xC3, False), (0xCB, False)])
def test_rare_kinds_of_frames_go_to_pillow(marker, is_plain):
    data = bytearray(encoded(Image.new("RGB", (6, 4)), "JPEG"))
    data[data.index(b"\xff\xc0") + 1] = marker
    assert read_header(bytes(data))[:3] == (4, 6, is_plain)


def test_a_header_that_is_cut_off_is_none():
    data = encoded(Image.new("RGB", (6, 4)), "JPEG")
    assert read_header(data)[:3] == (4, 6, True)
    assert read_header(data[:20]) is None and read_header(b"") is None


def test_broken_files_fail_and_the_reason_is_named(zoo):
    folder, expected = zoo
    for name, words in expected.items():
        if isinstance(words, str):
            with pytest.raises(Undecodable, match=re.escape(words)), contents(str(folder / name)) as data:
                decode(data, (8, 8), "stretch")


def test_files_are_decoded_in_order_and_broken_ones_left_out(tmp_path):
    files = [str(tmp_path / f"{i}.png") for i in range(5)]
    for i, file in enumerate(files):
        Image.new("RGB", (6, 4), (40 * i,) * 3).save(file)
    (tmp_path / "1.png").write_bytes(b"no image")
    batches = list(decode_files(files, (4, 6), "stretch", 2))
    assert [indices.tolist() for indices, _ in batches] == [[0], [2, 3], [4]]
    assert [canvases[:, 0, 0, 0].tolist() for _, canvases in batches] == [[0, 0], [80, 120], [160, 0]]
    indices, canvases = decode_paths(files, (4, 6), "stretch")
    assert indices.tolist() == [0, 2, 3, 4] and canvases.shape == (4, 4, 6, 3)
    assert not list(decode_files([], (4, 6), "stretch", 2))


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_the_same_picture_has_the_same_canvas(resize):
    """Whichever way it is decoded, it is resized in one place."""
    names = ["rgb.png", "rgb16.png", "turned.png", "top_down.bmp", "rgb.webp", "animated.webp", "turned.tif"]
    canvases = [decode(exact()[name][0], (10, 11), resize) for name in names]
    for canvas in canvases[1:]:
        np.testing.assert_array_equal(canvas, canvases[0])


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_jpegs_have_the_pixels_that_pillow_gives_them(mode, options):
    data = encoded(photo(61, 83).convert(mode), "JPEG", quality=85, **options)
    np.testing.assert_array_equal(to_rgb(data, WHOLE), decode_jpeg_by_pillow(data, read_header(data), 1))


def test_plain_jpegs_are_not_decoded_by_pillow(monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(decoding, "decode_jpeg_by_pillow", refuse)
    for data in (encoded(photo(40, 30), "JPEG", exif=exif(1)), lossy()["grey.jpg"][0], lossy()["progressive.jpg"][0]):
        to_rgb(data, WHOLE)
    with pytest.raises(AssertionError):
        to_rgb(lossy()["turned6.jpg"][0], WHOLE)


@pytest.mark.parametrize("place", ["before the pixels", "after the pixels"])
@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2 << 20))),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 << 20))),
        chunk(b"tEXt", b"Comment\0x")[:-4] + b"\0\0\0\0",
        chunk(b"pHYs", b"\0"),
        chunk(b"gAMA", b""),
    ],
    ids=["large profile", "large text", "wrong checksum", "cut off", "empty"],
)
def test_what_stands_beside_the_pixels_of_a_png_does_no_harm(extra, place):
    data, expected = exact()["rgb.png"]
    at = data.index(b"IDAT" if place == "before the pixels" else b"IEND") - 4
    np.testing.assert_array_equal(to_rgb(data[:at] + extra + data[at:], WHOLE), expected)


@pytest.mark.filterwarnings("ignore:.*fork")  # Python 3.12 and JAX warn of problems that do not occur here
def test_a_fork_decodes_with_threads_of_its_own():
    assert in_parallel(abs, [-1]) == [1]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(in_parallel, (abs, [-2])).get(timeout=300) == [2]


def test_bytes_too_many_do_no_harm():
    """Libjpeg warns about such bytes, which some cameras write."""
    data = encoded(photo(40, 30), "JPEG")
    np.testing.assert_array_equal(to_rgb(data[:-2] + b"xx" + data[-2:], WHOLE), to_rgb(data, WHOLE))


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_jpeg_is_the_upright_one(orientation, byte_order):
    """The image is decoded at full and at reduced scale, with either byte order of the tag."""
    data = photo(160, 120)
    tag = exif(orientation)
    tag.endian = "<" if byte_order == "little" else ">"
    upright = encoded(data, "JPEG", quality=90, subsampling=0)
    turned = encoded(data, "JPEG", quality=90, subsampling=0, exif=tag.tobytes())
    back = {6: 8, 8: 6}.get(orientation, orientation)
    for least in ((1000, 1000), (50, 50)):
        expected = EXIF_TURNS[back](to_rgb(upright, least)).astype(int)
        found = to_rgb(turned, least)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 2


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_avif_is_the_upright_one(orientation):
    data = encoded(EXIF_TURNS[orientation](picture()), "AVIF", quality=98, exif=exif(orientation))
    found = to_rgb(data, WHOLE)
    assert found.shape == picture().shape and np.abs(found.astype(int) - picture()).max() <= 8


def test_a_jpeg_is_decoded_at_the_smallest_scale_that_is_enough():
    data = encoded(photo(800, 1000), "JPEG", quality=90)
    shapes = {least: to_rgb(data, least).shape[:2] for least in ((800, 1000), (400, 501), (400, 500), (150, 9), (1, 1))}
    assert list(shapes.values()) == [(800, 1000), (800, 1000), (400, 500), (200, 250), (100, 125)]
    full = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    expected = decode(encoded(full, "PNG"), (64, 64), "stretch").astype(int)
    difference = np.abs(decode(data, (64, 64), "stretch") - expected)
    assert difference.mean() < 1 and difference.max() <= 6


def test_colors_at_half_the_size_are_repeated_only_where_resizing_smooths_them():
    shapes = photo(40, 53).resize((533, 400), Image.Resampling.BICUBIC)
    data = encoded(shapes, "JPEG", quality=90, subsampling=2)
    whole = to_rgb(data, WHOLE)
    np.testing.assert_array_equal(to_rgb(data, (2 * 200, 2 * 356)), whole)
    assert (to_rgb(data, (2 * 200, 2 * 355)) != whole).any()
    smoothed = decode(data, (266, 355), "stretch").astype(int)
    difference = np.abs(smoothed - fit(whole, (266, 355), "stretch"))
    assert difference.mean() < 1 and difference.max() <= 6
