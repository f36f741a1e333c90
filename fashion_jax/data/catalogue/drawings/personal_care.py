"""Cosmetics: bottles and lipsticks."""

from __future__ import annotations

import numpy as np

from fashion_jax.data.catalogue.canvas import Canvas, Colour, ellipse, shade

_LIPSTICKS: tuple[Colour, ...] = ((200, 30, 60), (225, 90, 120), (150, 25, 60), (235, 130, 110), (120, 40, 50))


def fragrance(canvas: Canvas) -> None:
    width, top = canvas.between(0.32, 0.55), canvas.between(-0.35, -0.05)
    neck, cap = canvas.between(0.1, 0.16), canvas.between(0.14, 0.24)
    canvas.fill([(neck, top - 0.15), (neck, top), (-neck, top), (-neck, top - 0.15)], canvas.metal)
    canvas.fill([(cap, top - 0.45), (cap, top - 0.12), (-cap, top - 0.12), (-cap, top - 0.45)], canvas.trim, cut=0.05)
    liquid = shade(canvas.base, 1.35)
    if canvas.chance(0.3):
        canvas.fill(ellipse(0, top + 0.5, width + 0.05, 0.52), liquid)
    else:
        canvas.fill([(width, top), (width, 0.85), (-width, 0.85), (-width, top)], liquid, cut=0.08)
    middle = (top + 0.9) / 2 + 0.03
    canvas.fill(
        [
            (width * 0.6, middle - 0.13),
            (width * 0.6, middle + 0.13),
            (-width * 0.6, middle + 0.13),
            (-width * 0.6, middle - 0.13),
        ],
        (245, 242, 235),
    )
    canvas.line([(-width * 0.4, middle), (width * 0.4, middle)], 0.04, canvas.accent)
    canvas.line([(-width * 0.8, top + 0.15), (-width * 0.8, middle)], 0.05, shade(liquid, 1.7))


def lips(canvas: Canvas) -> None:
    colour = _LIPSTICKS[canvas.rng.integers(len(_LIPSTICKS))] if canvas.chance(0.6) else canvas.accent
    width, join = canvas.between(0.16, 0.23), canvas.between(0.0, 0.2)
    tip = join - canvas.between(0.65, 0.8)
    canvas.fill(
        [
            (width * 0.72, join),
            (width * 0.72, tip),
            (0, tip - 0.14),
            (-width * 0.72, tip + 0.16),
            (-width * 0.72, join),
        ],
        colour,
        cut=0.08,
    )
    canvas.fill(
        [(width * 0.85, join - 0.3), (width * 0.85, join), (-width * 0.85, join), (-width * 0.85, join - 0.3)],
        canvas.metal,
    )
    canvas.fill([(width, join - 0.04), (width, 0.9), (-width, 0.9), (-width, join - 0.04)], canvas.base, cut=0.03)
    canvas.line([(-width * 0.6, join), (-width * 0.6, 0.85)], 0.04, shade(canvas.base, 1.5))
    if canvas.chance(0.35):
        x = canvas.rng.choice([-0.6, 0.6])
        canvas.fill(
            np.array([(width, -0.1), (width, 0.9), (-width, 0.9), (-width, -0.1)]) + np.array([x, 0]),
            canvas.base,
            cut=0.05,
        )


def nails(canvas: Canvas) -> None:
    width, top, cap = canvas.between(0.26, 0.4), canvas.between(0.05, 0.25), canvas.between(0.1, 0.16)
    canvas.fill([(cap * 0.8, -0.92), (cap, top), (-cap, top), (-cap * 0.8, -0.92)], canvas.trim, cut=0.03)
    body = [
        (cap + 0.03, top - 0.04),
        (width, top + 0.16),
        (width, 0.88),
        (-width, 0.88),
        (-width, top + 0.16),
        (-cap - 0.03, top - 0.04),
    ]
    canvas.fill(body, canvas.accent, cut=0.1)
    canvas.line([(-width * 0.65, top + 0.25), (-width * 0.65, 0.75)], 0.06, shade(canvas.accent, 1.6))
