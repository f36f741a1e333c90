"""The program in the card of an export, run with the packages of its runtime alone."""

import os
import subprocess
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fashion_jax as fj
from fashion_jax import export
from fashion_jax.data.decoding.decode import decode
from fashion_jax.serving.exports.card_lines import PACKAGES, python_lines
from tests.shop import write_image

# Runs the card's program for each photo, in one process: what each printed is a line of class names.
_DRIVER = """
import contextlib, io, sys
from pathlib import Path

program = Path("card.md").read_text(encoding="utf-8").split("```python\\n")[1].split("```")[0]
for photo in Path(sys.argv[1]).read_text().splitlines():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(program.replace("photo.jpg", photo), {})
    print("|".join(line.split(" ", 1)[1].rsplit(" ", 1)[0] for line in out.getvalue().splitlines()), flush=True)
"""


def opened_by_lines(name: str, photo: Path, canvas: tuple[int, int], resize: str) -> np.ndarray:
    """Returns the pixels that the program of a format gives to its model."""
    lines = python_lines(name, canvas, resize).split("model = ")[0].replace("photo.jpg", str(photo))
    found: dict[str, Any] = {}
    exec(lines.replace("import onnxruntime\n", ""), found)
    return np.asarray(found["image"], np.float32)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("name", ["onnx", "savedmodel"])  # the others open images as ONNX's program does
@pytest.mark.parametrize("size", [(90, 60), (40, 90), (1600, 8), (8, 1600)])  # the last two are as long as a run takes
def test_the_program_fits_an_image_as_the_run(name, resize, size, tmp_path):
    canvas, photo = (48, 40), tmp_path / "photo.png"
    write_image(photo, seed=0)
    with Image.open(photo) as opened:
        opened.resize(size, Image.Resampling.BICUBIC).save(photo)
    pixels, expected = opened_by_lines(name, photo, canvas, resize), decode(photo.read_bytes(), canvas, resize)
    assert pixels.shape == expected.shape and np.abs(pixels - expected).mean() < 4


@pytest.mark.parametrize(("name", "transparent"), [("onnx", None), ("onnx", 30000), ("savedmodel", None)])
def test_the_program_reads_grey_of_16_bits_as_the_run(name, transparent, tmp_path):
    canvas, photo = (40, 48), tmp_path / "photo.png"
    grey = np.linspace(0, 60000, 40 * 48).reshape(canvas).astype(np.uint16)
    grey[10:20] = 30000
    Image.fromarray(grey).save(photo, transparency=transparent)
    pixels, expected = opened_by_lines(name, photo, canvas, "stretch"), decode(photo.read_bytes(), canvas, "stretch")
    pixels = np.broadcast_to(pixels, expected.shape)  # TensorFlow's is repeated when it goes into the model
    assert np.abs(pixels - expected).max() <= 1 and (expected[15, 15, 0] == 255) == (transparent is not None)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", ["onnx", "savedmodel"])
def test_the_program_turns_an_image_as_its_exif_says(name, kind, order, tmp_path):
    canvas, photo = (40, 40), tmp_path / "photo"
    image = Image.linear_gradient("L").resize((40, 40)).convert("RGB")
    image.paste("red", (0, 0, 20, 10))
    for turn in range(1, 9):
        exif = Image.Exif()
        exif.endian, exif[0x0112] = order, turn
        image.save(photo, kind, exif=exif)
        pixels, expected = (
            opened_by_lines(name, photo, canvas, "stretch"),
            decode(photo.read_bytes(), canvas, "stretch"),
        )
        assert np.abs(pixels - expected).mean() < 4, turn


@pytest.mark.long
@pytest.mark.parametrize("name", PACKAGES)
def test_the_program_runs_with_its_packages_alone(name, finished_run, catalogue_cache, tmp_path):
    folder = tmp_path / "export"
    assert export.main(["--workdir", str(finished_run), "--output", str(folder), "--format", name]) == 0
    (images,) = Path(catalogue_cache).glob("catalogue-*-1000-0/images")
    photos = sorted(map(str, images.iterdir()))[:100]
    (tmp_path / "photos.txt").write_text("\n".join(photos))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[name].split()], check=True)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    done = subprocess.run(
        [python, "-c", _DRIVER, tmp_path / "photos.txt"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()
    expected = ["|".join(answer.classes.values()) for answer in fj.load(folder).predict(photos)]
    assert sum(a == b for a, b in zip(found, expected, strict=True)) >= 0.99 * len(photos)
