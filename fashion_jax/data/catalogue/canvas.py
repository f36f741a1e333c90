"""The drawing board of the generated catalogue: the parts of an item, its fabric, and the photograph of it.

Lengths are in units of the item: it fills about -1 to 1 in x (right) and y (down), and a random pose maps it to
pixels. Parts are drawn FACTOR times too large and averaged down, which smooths their edges.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 80  # height and width of an image, in pixels

FACTOR = 3

_GRID = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).astype(np.float32)  # x and y of pixels

_METALS = ((212, 175, 80), (192, 194, 200), (205, 150, 125), (120, 115, 110))

Colour = tuple[int, int, int]

Points = Sequence[tuple[float, float]] | np.ndarray


def shade(colour: Colour, factor: float) -> Colour:
    """Makes the colour darker (factor below 1) or lighter (above 1, towards white)."""
    if factor <= 1:
        return _colour(v * factor for v in colour)
    return _colour(255 - (255 - v) * (2 - min(factor, 2)) for v in colour)


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360) -> np.ndarray:
    """Returns points [n, 2] of an arc around (x, y), in degrees clockwise from the right; by default the full
    circle.
    """
    angle = np.radians(np.linspace(start, stop, 36))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def curve(points: Points, steps: int = 8) -> np.ndarray:
    """Returns points [n, 2] of a smooth open curve through all given points (Catmull-Rom)."""
    p = np.asarray(points, float)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    spline = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.concatenate([spline.reshape(-1, 2), p[-2:-1]])


def ribbon(points: Points, width: float, end_width: float | None = None) -> np.ndarray:
    """Returns the outline [n, 2] of a band along a smooth curve; its width changes to end_width along the way."""
    spine = curve(points)
    tangent = np.gradient(spine, axis=0)
    normal = tangent[:, ::-1] * (-1, 1) / (np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9)
    half = np.linspace(width, width if end_width is None else end_width, len(spine))[:, None] / 2
    return np.concatenate([spine + half * normal, (spine - half * normal)[::-1]])


def rounded(points: Points, cut: float) -> np.ndarray:
    """Cuts the corners of a closed outline (Chaikin): by `cut` of each edge at first, then more finely."""
    p = np.asarray(points, float)
    for share in (cut, 0.25) if cut else ():
        after = np.roll(p, -1, axis=0)
        p = np.stack([p + share * (after - p), after + share * (p - after)], axis=1).reshape(-1, 2)
    return p


class Canvas:
    """One photograph being made. Its colours, fabric and pose are drawn from rng before any part is added."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.base, self.accent = _random_colour(rng), _random_colour(rng)
        self.metal = _METALS[rng.integers(len(_METALS))]
        self.trim = shade(self.base, rng.choice([0.55, 0.75, 1.4])) if rng.random() < 0.6 else self.accent
        self._matrix, self._offset = _random_pose(rng)
        self._x, self._y = self._coordinates()  # item coordinates of each pixel, float32 [SIZE, SIZE]
        self._cloth = self._weave()
        size = (SIZE * FACTOR, SIZE * FACTOR)
        self._ink, self._mask = Image.new("RGB", size, self.base), Image.new("L", size)
        self._pen, self._mask_pen = ImageDraw.Draw(self._ink), ImageDraw.Draw(self._mask)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def fill(self, points: Points, colour: Colour | None = None, cut: float = 0.0, both: bool = False) -> None:
        """Adds a closed part in the printed fabric or in one colour; if `both` is set, its mirror image too."""
        outline = rounded(points, cut)
        for sign in (1, -1) if both else (1,):
            pixels = self._pixels(outline * (sign, 1))
            if colour is None:
                part = Image.new("L", self._ink.size)
                ImageDraw.Draw(part).polygon(pixels, fill=255)
                self._ink.paste(self._cloth, mask=part)
            else:
                self._pen.polygon(pixels, fill=colour)
            edge = shade(self.base if colour is None else colour, 0.68)
            self._pen.line([*pixels, pixels[0]], fill=edge, width=2)
            self._mask_pen.polygon(pixels, fill=255)

    def line(self, points: Points, width: float, colour: Colour, both: bool = False) -> None:
        """Adds a line through the points; its width is in units of the item."""
        pixel_width = max(1, round(width * self._unit))
        for sign in (1, -1) if both else (1,):
            pixels = self._pixels(np.asarray(points, float) * (sign, 1))
            self._pen.line(pixels, fill=colour, width=pixel_width, joint="curve")
            self._mask_pen.line(pixels, fill=255, width=pixel_width, joint="curve")

    def photograph(self) -> np.ndarray:
        """Renders the item on a background, lit, with its shadow, partly hidden and noisy: uint8 [SIZE, SIZE, 3]."""
        rng = self.rng
        ink = np.asarray(self._ink.reduce(FACTOR), np.float32)
        mask_image = self._mask.reduce(FACTOR)
        mask = np.asarray(mask_image, np.float32)[..., None] / 255
        soft = np.asarray(mask_image.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 4))), np.float32)[..., None] / 255
        shift = rng.integers(-4, 5), rng.integers(0, 6)
        shadow = np.roll(soft, (shift[1], shift[0]), axis=(0, 1)) * rng.uniform(0, 0.45)
        lit = ink * (self._light() * (1 + rng.uniform(0, 0.35) * (soft - 0.8)))
        image = _background(rng) * (1 - shadow) * (1 - mask) + lit * mask
        _hide(rng, image)
        gain = np.float32(rng.uniform(0.82, 1.08) * (1 + rng.uniform(-0.05, 0.05, 3)))
        noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(1, 4)
        return np.clip(image * gain + noise, 0, 255).astype(np.uint8)

    @property
    def _unit(self) -> float:
        """Enlarged pixels per unit of length."""
        (a, b), (c, d) = self._matrix
        return float(np.sqrt(abs(a * d - b * c))) * FACTOR

    def _pixels(self, points: np.ndarray) -> list[tuple[float, float]]:
        (a, b), (c, d) = self._matrix
        x, y = points[:, 0], points[:, 1]
        pixels = np.stack([a * x + b * y + self._offset[0], c * x + d * y + self._offset[1]], axis=1) * FACTOR
        return list(map(tuple, pixels.tolist()))

    def _coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        (a, b), (c, d) = self._matrix.tolist()  # inverted by hand: BLAS threads would cost more than they save
        x, y = _GRID[..., 0] + (0.5 - float(self._offset[0])), _GRID[..., 1] + (0.5 - float(self._offset[1]))
        determinant = a * d - b * c
        return x * (d / determinant) - y * (b / determinant), y * (a / determinant) - x * (c / determinant)

    def _light(self) -> np.ndarray:
        """Returns the brightness [SIZE, SIZE, 1] over the item: light from one side, and folds."""
        x, y = self._x, self._y
        side, down = self.rng.uniform(-0.16, 0.16, 2).tolist()
        angle, depth = self.rng.uniform(-0.7, 0.7), self.rng.uniform(0, 0.13)
        along = x * math.cos(angle) + y * math.sin(angle)
        folds = np.sin(self.rng.uniform(5, 11) * along + 1.5 * np.sin(3 * y + self.rng.uniform(0, 6)))
        return (1 + side * x + down * y + depth * folds)[..., None]

    def _weave(self) -> Image.Image:
        """Returns the fabric, enlarged and in the item's pose: plain, striped, checked, dotted, faded or flowered."""
        kind = self.rng.choice(6, p=[0.66, 0.11, 0.07, 0.06, 0.06, 0.04])
        size = (SIZE * FACTOR, SIZE * FACTOR)
        if kind == 0:
            return Image.new("RGB", size, self.base)
        share = _PRINTS[kind - 1](self.rng, self._x, self._y)[..., None]
        base, accent = np.array(self.base, np.float32), np.array(self.accent, np.float32)
        cloth = base + share * (accent - base)
        return Image.fromarray(cloth.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)


def _stripe(position: np.ndarray, share: float) -> np.ndarray:
    """Returns 1 within a stripe that takes the given share of each unit, and 0 outside, with soft edges."""
    return np.clip(0.5 + 6 * (share / 2 - np.abs(position % 1 - 0.5)), 0, 1)


def _stripes(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle = rng.choice([0, np.pi / 2, np.pi / 2, np.pi / 4])
    return _stripe(rng.uniform(2.5, 6) * (x * np.cos(angle) + y * np.sin(angle)), rng.uniform(0.2, 0.55))


def _checks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rate, share = rng.uniform(2.5, 5), rng.uniform(0.25, 0.5)
    return (_stripe(rate * x, share) + _stripe(rate * y, share)) * 0.45


def _dots(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rate, radius = rng.uniform(3, 5.5), rng.uniform(0.22, 0.34)
    row = np.floor(rate * y)
    distance = np.hypot((rate * x + 0.5 * (row % 2)) % 1 - 0.5, rate * y - row - 0.5)
    return np.clip((radius - distance) * 8 + 0.5, 0, 1)


def _faded(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + rng.uniform(-0.6, 0.6) * y + rng.uniform(-0.3, 0.3) * x, 0, 1)


def _flowers(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, b, c, d = rng.uniform(5, 12, 4)
    return np.clip(3 * (np.sin(a * x + 2 * np.sin(b * y)) * np.sin(c * y + 2 * np.sin(d * x)) - 0.25), 0, 1)


_PRINTS = (_stripes, _checks, _dots, _faded, _flowers)


def _colour(values: Iterable[float]) -> Colour:
    red, green, blue = map(int, values)
    return red, green, blue


def _random_colour(rng: np.random.Generator) -> Colour:
    """Draws a colour of clothes: greys, black and white are as frequent as bright colours."""
    value, saturation = rng.uniform(0.12, 0.92), rng.uniform(0, 0.9) ** 1.4
    hue = np.abs((rng.random() * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return _colour(255 * value * (1 - saturation * (1 - v)) for v in np.clip(hue, 0, 1))


def _random_pose(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws a matrix [2, 2] and offset [2] from item units to pixels: rotated, sheared, mirrored, scaled and moved."""
    angle = rng.normal(0, 0.06) if rng.random() < 0.96 else rng.uniform(-0.5, 0.5)
    scale = SIZE / 2 * rng.uniform(0.75, 1.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[rng.choice([-1, 1]) * rng.uniform(0.9, 1.08), rng.uniform(-0.07, 0.07)], [0, 1]])
    return scale * turn @ shear, SIZE / 2 + (SIZE / 2 - scale * 0.85) * rng.uniform(-1, 1, 2)


def _background(rng: np.random.Generator) -> np.ndarray:
    """Draws a background, float [SIZE, SIZE, 3]: white, plain, fading, or a wall above a floor."""
    one, two = (255 - 0.6 * (255 - np.array(_random_colour(rng), np.float32)) for _ in range(2))
    x, y = _GRID.transpose(2, 0, 1) / np.float32(SIZE)
    kind = rng.choice(4, p=[0.86, 0.06, 0.05, 0.03])
    if kind == 0:
        return np.full((SIZE, SIZE, 3), rng.uniform(225, 255), np.float32)
    if kind == 1:
        return np.broadcast_to(one, (SIZE, SIZE, 3))
    if kind == 2:
        share = np.clip(rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y + 0.5, 0, 1)
        return one + share[..., None] * 0.6 * (two - one)
    horizon = rng.uniform(0.5, 0.9) + rng.uniform(-0.1, 0.1) * x
    return np.where((y > horizon)[..., None], one, one + 0.5 * (two - one))


def _hide(rng: np.random.Generator, image: np.ndarray) -> None:
    """Covers a corner, a strip or a spot in one image of sixteen, in place."""
    if rng.random() > 0.06:
        return
    x, y = _GRID.transpose(2, 0, 1) - rng.uniform(0, SIZE, (2, 1, 1)).astype(np.float32)
    reach, angle = rng.uniform(0.05, 0.13) * SIZE, rng.uniform(0, np.pi)
    across = np.abs(x * np.cos(angle) + y * np.sin(angle))
    along = np.abs(y * np.cos(angle) - x * np.sin(angle))
    shape = (np.hypot(x, y), np.maximum(across, along), across * 2)[rng.integers(3)]
    image[shape < reach] = _random_colour(rng)
