"""Odd and broken image files, with the pixels that each should have or the words that say why there are none."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 32
EXIF_TURNS = {  # orientation -> what a camera that was held so has done to the upright picture
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[::-1],
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[:, ::-1],
}


def picture() -> np.ndarray:
    """A smooth gradient that no flip or turn leaves as it is; smooth, so that JPEG changes little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([40 + 6 * x, 50 + 7 * y, 200 - 3 * x - 2 * y], axis=-1).astype(np.uint8)


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Noise of several sizes, as busy as a photograph."""
    generator = np.random.default_rng(seed)
    parts = [generator.normal(0, 60, (max(height // n, 1), max(width // n, 1), 3)) for n in (1, 4, 32)]
    sizes = [
        np.asarray(Image.fromarray((p + 128).clip(0, 255).astype(np.uint8)).resize((width, height))) for p in parts
    ]
    return Image.fromarray(np.mean(sizes, axis=0).astype(np.uint8))


def on_white() -> tuple[np.ndarray, np.ndarray]:
    """The picture with a white block, and the same with an alpha channel that hides another colour there."""
    pixels = np.dstack([picture(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    pixels[4:10, 3:20] = (9, 1, 1, 0)
    return np.where(pixels[..., 3:] == 0, np.uint8(255), pixels[..., :3]), pixels


def drawing() -> np.ndarray:
    """int [height, width], of four colours of which the last is white."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return ((x // 8 + y // 5) % 4).astype(np.uint8)


PALETTE = np.array([[200, 30, 20], [10, 160, 60], [0, 0, 90], [255, 255, 255]], np.uint8)


def encoded(pixels: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def png16(values: np.ndarray, color_type: int, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits; extra chunks stand before the pixels."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    data = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def palette_image(transparent: bool = False) -> Image.Image:
    """The drawing; where transparent, white is a hole in it whose hidden colour is black."""
    image = Image.frombytes("P", (WIDTH, HEIGHT), drawing().tobytes())
    colors = PALETTE.copy()
    colors[3] = 0 if transparent else 255
    image.putpalette(colors.tobytes())
    return image


def bmp_rle8() -> bytes:
    rows = b""
    for row in drawing()[::-1]:
        rows += b"".join(bytes([8, row[x]]) for x in range(0, WIDTH, 8)) + b"\0\0"
    rows += b"\0\1"
    colors = np.pad(PALETTE[:, ::-1], [(0, 0), (0, 1)]).tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(rows), 0, 0, 4, 4)
    start = 14 + len(header) + len(colors)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + colors + rows


def bmp_top_down() -> bytes:
    data = bytearray(encoded(picture()[::-1], "BMP"))
    data[22:26] = struct.pack("<i", -HEIGHT)
    return bytes(data)


def cmyk_jpeg(pixels: np.ndarray) -> bytes:
    ink = np.dstack([255 - pixels, np.zeros((HEIGHT, WIDTH), np.uint8)])
    return encoded(Image.fromarray(ink, "CMYK"), "JPEG", quality=97, subsampling=0)


def without_adobe(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xee")
    return jpeg[:start] + jpeg[start + 16 :]


def ycck_jpeg(pixels: np.ndarray) -> bytes:
    """Pillow writes no YCCK: its components are written as if they were ink, and the marker is changed."""
    ycc = np.asarray(Image.fromarray(255 - pixels).convert("YCbCr"))
    stored = np.dstack([ycc, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    jpeg = bytearray(encoded(Image.fromarray(255 - stored, "CMYK"), "JPEG", quality=97, subsampling=0))
    jpeg[jpeg.index(b"Adobe") + 11] = 2
    return bytes(jpeg)


def exact() -> dict[str, tuple[bytes, np.ndarray]]:
    """Lossless files: name -> content, pixels."""
    rgb, grey = picture(), picture()[..., 0]
    white, alpha = on_white()
    greys = np.repeat(grey[..., None], 3, axis=2)
    drawn, bits = PALETTE[drawing()], drawing() < 2
    other = Image.fromarray(255 - rgb)
    grey_hole = np.where(grey == 40, 255, greys[..., 0])[..., None].repeat(3, axis=2)
    rgb_hole = np.where((rgb == rgb[5, 6]).all(-1, keepdims=True), np.uint8(255), rgb)
    return {
        "rgb.png": (encoded(rgb, "PNG"), rgb),
        "grey.png": (encoded(grey, "PNG"), greys),
        "rgb16.png": (png16(rgb * np.uint16(257), 2), rgb),
        "grey16.png": (png16(grey * np.uint16(257), 0), greys),
        "grey16_hole.png": (png16(grey * np.uint16(257), 0, chunk(b"tRNS", struct.pack(">H", 40 * 257))), grey_hole),
        "rgb16_hole.png": (
            png16(rgb * np.uint16(257), 2, chunk(b"tRNS", struct.pack(">HHH", *(int(v) * 257 for v in rgb[5, 6])))),
            rgb_hole,
        ),
        "rgb_hole.png": (encoded(rgb, "PNG", transparency=tuple(map(int, rgb[5, 6]))), rgb_hole),
        "bits.png": (encoded(Image.fromarray(bits), "PNG"), np.where(bits[..., None], 255, 0).repeat(3, axis=2)),
        "palette.png": (encoded(palette_image(), "PNG"), drawn),
        "palette_hole.png": (encoded(palette_image(True), "PNG", transparency=3), drawn),
        "palette_alpha.png": (encoded(palette_image(True), "PNG", transparency=b"\xff\xff\xff\0"), drawn),
        "alpha.png": (encoded(alpha, "PNG"), white),
        "turned.png": (encoded(EXIF_TURNS[6](rgb), "PNG", exif=exif(6)), rgb),
        "still.gif": (encoded(palette_image(), "GIF"), drawn),
        "hole.gif": (encoded(palette_image(True), "GIF", transparency=3), drawn),
        "animated.gif": (encoded(palette_image(), "GIF", save_all=True, append_images=[other]), drawn),
        "rgb.bmp": (encoded(rgb, "BMP"), rgb),
        "top_down.bmp": (bmp_top_down(), rgb),
        "rle.bmp": (bmp_rle8(), drawn),
        "rgb.webp": (encoded(rgb, "WEBP", lossless=True), rgb),
        "alpha.webp": (encoded(alpha, "WEBP", lossless=True, exact=True), white),
        "animated.webp": (encoded(rgb, "WEBP", lossless=True, save_all=True, append_images=[other]), rgb),
        "turned.webp": (encoded(EXIF_TURNS[8](rgb), "WEBP", lossless=True, exif=exif(8).tobytes()), rgb),
        "rgb.tif": (encoded(rgb, "TIFF", compression="tiff_lzw"), rgb),
        "grey16.tif": (encoded(Image.fromarray(grey * np.uint16(257)), "TIFF"), greys),
        "turned.tif": (encoded(EXIF_TURNS[3](rgb), "TIFF", tiffinfo={0x0112: 3}), rgb),
        "picture_by_no_name": (encoded(rgb, "PNG"), rgb),
    }


def lossy() -> dict[str, tuple[bytes, np.ndarray]]:
    """Name -> content, and pixels that are nearly so."""
    rgb, grey = picture(), picture()[..., :1].repeat(3, axis=2)
    files = {f"turned{k}.jpg": (jpeg(turn(rgb), exif=exif(k)), rgb) for k, turn in EXIF_TURNS.items()}
    return files | {
        "rgb.jpg": (jpeg(rgb), rgb),
        "progressive.jpg": (jpeg(rgb, progressive=True), rgb),
        "grey.jpg": (jpeg(grey[..., 0]), grey),
        "trailing.jpg": (jpeg(rgb) + b"more", rgb),
        "cmyk.jpg": (cmyk_jpeg(rgb), rgb),
        "cmyk_without_adobe.jpg": (without_adobe(cmyk_jpeg(rgb)), rgb),
        "ycck.jpg": (ycck_jpeg(rgb), rgb),
        "lossy.webp": (encoded(rgb, "WEBP", quality=95), rgb),
        "rgb.avif": (encoded(rgb, "AVIF", quality=98), rgb),
    }


def jpeg(pixels: np.ndarray, **options) -> bytes:
    return encoded(pixels, "JPEG", quality=97, subsampling=0, **options)


def broken() -> dict[str, tuple[bytes, str]]:
    """Name -> content, words of the reason."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    cut_jpeg, cut_png = jpeg(noise), encoded(noise, "PNG")
    return {
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (b"no image at all, but long enough", "no image of the kinds JPEG, PNG"),
        "cut.jpg": (cut_jpeg[: len(cut_jpeg) // 2], "the JPEG image is damaged"),
        "start.jpg": (cut_jpeg[:12], "the JPEG image is damaged"),
        "cut.png": (cut_png[: len(cut_png) // 2], "the PNG image is damaged"),
        "start.png": (cut_png[:12], "the PNG image is damaged"),
        "cut.gif": (encoded(palette_image(), "GIF")[:60], "the GIF image is damaged"),
        "cut.webp": (encoded(noise, "WEBP", lossless=True)[:100], "the WebP image is damaged"),
        "cut.bmp": (encoded(noise, "BMP")[:200], "the BMP image is damaged"),
        "cut.tif": (encoded(noise, "TIFF")[:200], "the TIFF image is damaged"),
        "float.tif": (encoded(Image.fromarray(noise[..., 0].astype(np.float32)), "TIFF"), "the TIFF image is damaged"),
        "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "a HEIC image, which"),
        "bomb.png": (bomb(), "400,000,000 pixels, more than 50,000,000"),
        "bomb.gif": (b"GIF89a" + struct.pack("<HHBBB", 9000, 9000, 0, 0, 0) + b"\x2c" + bytes(20), "81,000,000 pixels"),
        "strip.png": (encoded(np.zeros((1, 5000), np.uint8), "PNG"), "a strip of 5000 x 1 pixels"),
    }


def bomb() -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def write_zoo(folder: Path) -> dict[str, np.ndarray | str]:
    """Writes all files; name -> what is expected of it: exact pixels, or words of the reason; of lossy ones, pixels."""
    folder.mkdir(parents=True)
    contents = exact() | lossy() | broken()
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    os.link(folder / "rgb.png", os.fsencode(folder) + b"/\xff\xfe.png")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    expected = {name: result for name, (_, result) in contents.items()}
    special = {"pipe.jpg": "no regular file", "folder.jpg": "this is a folder", "missing.jpg": "no such file"}
    return expected | special | {os.fsdecode(b"\xff\xfe.png"): picture()}
