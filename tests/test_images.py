"""What an image may be in Python: every form gives the pixels of its lossless file, or an error in words."""

import io
import itertools
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fashion_jax.data.decoding.decode import decode
from fashion_jax.data.decoding.limits import Undecodable
from fashion_jax.data.sources.inputs import Input
from fashion_jax.serving.images import decoded_ahead, each_image, name_of, to_canvas

CANVAS = (24, 20)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 33, 4), np.uint8)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "a.png").write_bytes(png(Image.fromarray(PIXELS[..., :3])))
    return tmp_path / "a.png"


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., :3], PIXELS[..., 0], PIXELS[..., :1]], ids=np.shape)
def test_an_array_has_the_pixels_of_its_lossless_file(pixels, resize):
    expected = decode(png(Image.fromarray(pixels.squeeze())), CANVAS, resize)
    assert expected.shape == (*CANVAS, 3)
    np.testing.assert_array_equal(to_canvas(pixels, CANVAS, resize), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_of_pillow_has_the_pixels_of_its_lossless_file(mode):
    image = Image.fromarray(PIXELS)
    image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256) if mode == "I;16" else image.convert(mode)
    if mode == "P":
        image = image.convert("RGB").convert("P")
        image.info["transparency"] = 3
    np.testing.assert_array_equal(to_canvas(image, CANVAS, "crop"), decode(png(image), CANVAS, "crop"))


def test_every_form_of_a_file_has_the_same_pixels(file):
    data = file.read_bytes()
    forms = [str(file), file, data, bytearray(data), memoryview(data), Image.open(file), Input("name", str(file))]
    for form in forms:
        np.testing.assert_array_equal(to_canvas(form, CANVAS, "crop"), decode(data, CANVAS, "crop"))


def test_an_opened_photograph_is_turned_upright():
    image, exif = Image.fromarray(PIXELS[..., :3]), Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    turned = decode(file.getvalue(), CANVAS, "crop")
    np.testing.assert_array_equal(to_canvas(Image.open(file), CANVAS, "crop"), turned)
    assert (turned != to_canvas(image, CANVAS, "crop")).any()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("nothing.jpg", "no such file"),
        ("", "no such file"),
        ("a\0b", "NUL"),
        ("~\0b", "NUL"),
        (b"", "no bytes"),
        (b"text", "no image of the kinds"),
        (Path("."), "folder"),
        (Input("name", "", "known before"), "known before"),
        (None, "None"),
        (float("nan"), "nan"),
        (3, "int"),
        ({"a": 1}, "dict"),
        (PIXELS / 255, "float64 [40, 33, 4]"),
        (np.zeros((3, 40, 33), np.uint8), "[3, 40, 33]"),
        (np.zeros((0, 33), np.uint8), "33 x 0"),
        (np.zeros((1, 1000, 3), np.uint8), "1000 x 1"),
        (np.broadcast_to(np.uint8(0), (8000, 7000, 3)), "56,000,000"),
        (Image.new("I", (40, 40)), "convert it to RGB"),
        (Image.open(io.BytesIO(png(Image.fromarray(PIXELS))[:600])), "damaged"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_image_has_a_reason(broken, said):
    with pytest.raises(Undecodable) as refused:
        to_canvas(broken, CANVAS, "crop")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("images", "count"),
    [
        ("a.jpg", 1),
        (Path("a.jpg"), 1),
        (b"data", 1),
        (Image.fromarray(PIXELS), 1),
        (Input("name", "a.jpg"), 1),
        (PIXELS, 1),
        (PIXELS[..., 0], 1),
        (PIXELS[None, ..., :3], 1),
        (np.array(["a.jpg", "b.jpg"]), 2),
        (("a.jpg", PIXELS), 2),
        (iter("ab"), 2),
        ([], 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_single_image_is_one_of_a_list(images, count):
    assert len(list(each_image(images))) == count


@pytest.mark.parametrize("images", [3, None, {"a.jpg": 1}, pa.table({"image": ["a.jpg"]})], ids=str)
def test_what_has_no_images_is_refused(images):
    with pytest.raises(TypeError, match="images is of type"):
        each_image(images)


def test_a_column_of_a_table_is_read(file):
    column = pa.chunked_array([[str(file), None], ["b.png"]])
    (decoded,) = decoded_ahead(each_image(column), CANVAS, "crop", 8)
    assert decoded.names == [str(file), "", "b.png"]
    assert [*decoded.indices] == [0] and [*decoded.errors] == [1, 2]
    assert len(decoded.canvases) == 1
    (decoded,) = decoded_ahead(each_image(pa.array([file.read_bytes()])), CANVAS, "crop", 8)
    assert not decoded.errors and decoded.names == [""]


def test_images_are_decoded_at_most_two_batches_ahead():
    taken = itertools.count()
    endless = (PIXELS for _ in taken)
    batches = decoded_ahead(endless, CANVAS, "crop", 3)
    for _ in range(4):
        assert next(batches).canvases.shape == (3, *CANVAS, 3)
    batches.close()
    assert next(taken) <= 3 * (4 + 2)


def test_the_last_batch_is_padded_unless_it_is_the_only_one():
    (only,) = decoded_ahead([PIXELS] * 2 + [None], CANVAS, "crop", 4)
    assert [len(only.canvases), *only.indices] == [2, 0, 1]
    first, last = decoded_ahead([None] + [PIXELS] * 4, CANVAS, "crop", 4)
    assert (len(first.canvases), len(first.indices)) == (4, 3)
    assert (len(last.canvases), len(last.indices)) == (4, 1)
    assert not last.canvases[1:].any()
    (behind,) = decoded_ahead([PIXELS] * 2, CANVAS, "crop", 4, are_first=False)
    assert (len(behind.canvases), len(behind.indices)) == (4, 2), "as it would be behind others"


def test_an_error_of_the_callers_iterator_is_the_callers():
    def images():
        yield PIXELS
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        list(decoded_ahead(images(), CANVAS, "crop", 1))


def test_threads_may_share_an_opened_image(file):
    image, found = Image.open(file), []
    expected = to_canvas(file, CANVAS, "crop")
    threads = [threading.Thread(target=lambda: found.append(to_canvas(image, CANVAS, "crop"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all((pixels == expected).all() for pixels in found)


def test_only_paths_have_names():
    assert [name_of(x) for x in ("a.jpg", Path("b.jpg"), Input("c", "d"), b"", PIXELS)] == [
        "a.jpg",
        "b.jpg",
        "c",
        "",
        "",
    ]
