"""The lines of a card that classify a photo with an export, by the packages of its runtime alone."""

from __future__ import annotations

from fashion_jax.serving.exports.folder import MODELS
from fashion_jax.serving.exports.savedmodel import SIGNATURE
from fashion_jax.workdir.paths import TAXONOMY

PACKAGES = {  # format -> what the lines need
    "onnx": "numpy pillow onnxruntime",
    "savedmodel": "tensorflow",
    "stablehlo": "jax flatbuffers pillow",
    "tflite": "ai-edge-litert numpy pillow",
}

_IMPORTS = {
    "onnx": "import numpy as np\nimport onnxruntime\nfrom PIL import Image, ImageOps",
    "stablehlo": "import jax.export\nimport numpy as np\nfrom PIL import Image, ImageOps",
    "tflite": "import numpy as np\nfrom ai_edge_litert.interpreter import Interpreter\nfrom PIL import Image, ImageOps",
}

_RUNS = {
    "onnx": f"""\
model = onnxruntime.InferenceSession("{MODELS["onnx"]}")
names = [output.name for output in model.get_outputs()]
outputs = dict(zip(names, model.run(None, {{"images": np.asarray(image)[None]}})))""",
    "stablehlo": f"""\
model = jax.export.deserialize(bytearray(Path("{MODELS["stablehlo"]}").read_bytes()))
outputs = model.call(np.asarray(image)[None])""",
    "tflite": f"""\
model = Interpreter("{MODELS["tflite"]}").get_signature_runner()
outputs = model(images=np.asarray(image)[None])""",
}

_FITS = {  # by Pillow
    "stretch": "image = image.resize(({width}, {height}), Image.Resampling.BILINEAR)",
    "crop": "image = ImageOps.fit(image, ({width}, {height}), Image.Resampling.BILINEAR)",
    # ImageOps.pad fails for a strip of which less than a pixel would be left.
    "letterbox": """\
scale = min({width} / image.width, {height} / image.height)
fitted = image.resize([max(round(scale * length), 1) for length in image.size], Image.Resampling.BILINEAR)
image = Image.new("RGB", ({width}, {height}), "white")
image.paste(fitted, (({width} - fitted.width) // 2, ({height} - fitted.height) // 2))""",
}

_OPENED = """\
image = ImageOps.exif_transpose(Image.open("photo.jpg"))
if image.mode.startswith("I;16"):  # grey of 16 bits
    grey = np.asarray(image)
    grey = np.where(grey == image.info.get("transparency", -1), 255, grey >> 8)
    image = Image.fromarray(grey.astype(np.uint8))
image = image.convert("RGBA")
image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")"""

_TF_IMPORTS = """\
import json
import re
from pathlib import Path

import tensorflow as tf
"""

_TF_OPENED = r"""
data = tf.io.read_file("photo.jpg")
image = tf.cast(tf.io.decode_image(data, expand_animations=False), tf.float32)
if image.shape[2] in (2, 4):  # transparent: on white
    image = 255 + (image[..., :-1] - 255) * image[..., -1:] / 255
tag = rb"(?:Exif\0\0|eXIf|EXIF.{4})(?:II|MM).{,999}?(?:\x12\x01\x03\0\x01\0\0\0|\x01\x12\0\x03\0\0\0\x01\0)([\1-\10])"
exif = re.search(tag, data.numpy(), re.DOTALL)
turn = exif[1][0] if exif else 1
image = tf.image.rot90(image, (0, 0, 2, 2, 3, 3, 1, 1)[turn - 1])
image = image[:, ::-1] if turn in (2, 4, 5, 7) else image""".strip()

_TF_SCALED = """\
scale = {limit}({height} / image.shape[0], {width} / image.shape[1])
size = [max(round(scale * length), 1) for length in image.shape[:2]]
"""
_TF_FITS = {
    "stretch": "image = tf.image.resize(image, ({height}, {width}), antialias=True)",
    "crop": f"""\
{_TF_SCALED.replace("{limit}", "max")}image = tf.image.resize(image, size, antialias=True)
image = tf.image.resize_with_crop_or_pad(image, {{height}}, {{width}})""",
    "letterbox": f"""\
{_TF_SCALED.replace("{limit}", "min")}image = 255 - tf.image.resize(image, size, antialias=True)
image = 255 - tf.image.resize_with_crop_or_pad(image, {{height}}, {{width}})""",
}
_TF_RUN = f"""\
model = tf.saved_model.load("{MODELS["savedmodel"]}").signatures["{SIGNATURE}"]
image = tf.repeat(image, 3, 2) if image.shape[2] == 1 else image
outputs = model(images=tf.cast(tf.round(image), tf.uint8)[None])
outputs = {{name: values.numpy() for name, values in outputs.items()}}"""

_PRINTED = f"""\
classes = json.loads(Path("{TAXONOMY}").read_text(encoding="utf-8"))["classes"]
for level, k in zip(classes, outputs["path"][0]):
    if k >= 0:  # otherwise the class above has no children
        print(level, classes[level][k], outputs[level + "_probabilities"][0, k])"""


def python_lines(name: str, canvas: tuple[int, int], resize: str) -> str:
    """Returns a program that prints the classes of photo.jpg, to be run in the folder of an export.

    Args:
        name: the format.
        canvas: (height, width).
        resize: data.resize.
    """
    height, width = canvas
    if name == "savedmodel":
        fit = _TF_FITS[resize].format(height=height, width=width)
        parts = [_TF_IMPORTS, _TF_OPENED, fit, _TF_RUN, _PRINTED]
    else:
        fit = _FITS[resize].format(height=height, width=width)
        parts = ["import json\nfrom pathlib import Path\n", _IMPORTS[name] + "\n", _OPENED, fit, _RUNS[name], _PRINTED]
    return "\n".join(parts) + "\n"
