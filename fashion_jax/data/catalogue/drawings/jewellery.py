"""Accessories of metal and stones. Brooches and earrings share a flower and are deliberately hard to tell apart."""

from __future__ import annotations

import numpy as np

from fashion_jax.data.catalogue.canvas import Canvas, curve, ellipse, shade


def _jewel(canvas: Canvas, x: float, y: float, radius: float, petals: int) -> None:
    """Draws a metal flower with stones around (x, y), which brooches and earrings share."""
    for angle in np.arange(petals) * 2 * np.pi / petals:
        px, py = x + 0.62 * radius * np.cos(angle), y + 0.62 * radius * np.sin(angle)
        canvas.fill(ellipse(px, py, 0.38 * radius, 0.38 * radius), canvas.metal)
        canvas.fill(ellipse(px, py, 0.2 * radius, 0.2 * radius), canvas.base)
    canvas.fill(ellipse(x, y, 0.42 * radius, 0.42 * radius), canvas.accent)
    canvas.fill(ellipse(x - 0.1 * radius, y - 0.1 * radius, 0.12 * radius, 0.12 * radius), shade(canvas.accent, 1.6))


def brooches(canvas: Canvas) -> None:
    petals = int(canvas.rng.integers(5, 9))
    if canvas.chance(0.5):
        canvas.line([(-0.75, 0.6), (0.75, -0.6)], 0.05, canvas.metal)
    if canvas.chance(0.4):
        for x in (-0.25, 0, 0.25):
            canvas.line([(x / 2, 0.2), (x, 0.8)], 0.03, canvas.metal)
            canvas.fill(ellipse(x, 0.82, 0.08, 0.1), canvas.accent)
    _jewel(canvas, 0, 0, canvas.between(0.5, 0.68), petals)


def earrings(canvas: Canvas) -> None:
    petals, gap = int(canvas.rng.integers(5, 9)), canvas.between(0.4, 0.55)
    kind = canvas.rng.choice(4, p=[0.3, 0.3, 0.28, 0.12])
    for x in (-gap, gap) if kind < 3 else (0,):
        if kind == 0:
            canvas.line(ellipse(x, 0, 0.36, 0.5), canvas.between(0.06, 0.1), canvas.metal)
            canvas.fill(ellipse(x, -0.5, 0.07, 0.07), canvas.accent)
        else:
            radius = 0.36 if kind < 3 else 0.55
            y = 0 if kind == 1 else 0.25
            if kind != 1:
                canvas.line(curve([(x, y), (x, -0.6), (x + 0.12, -0.75), (x + 0.2, -0.5)]), 0.045, canvas.metal)
            _jewel(canvas, x, y, radius, petals)


def necklaces(canvas: Canvas) -> None:
    width, depth = canvas.between(0.45, 0.75), canvas.between(0.8, 1.15)
    chain = ellipse(0, -0.7, width, depth, -20, 200)
    if canvas.chance(0.5):
        canvas.line(chain, 0.045, canvas.metal)
    else:
        for x, y in chain[::2]:
            canvas.fill(ellipse(x, y, 0.055, 0.055), canvas.base)
    y = depth - 0.6
    if canvas.chance(0.6):
        _jewel(canvas, 0, y, canvas.between(0.18, 0.28), 6)
    else:
        canvas.fill([(0, y - 0.15), (0.13, y + 0.05), (0, y + 0.25), (-0.13, y + 0.05)], canvas.accent)


def watches(canvas: Canvas) -> None:
    strap, radius = canvas.between(0.15, 0.26), canvas.between(0.32, 0.46)
    colour = canvas.metal if canvas.chance(0.4) else canvas.base
    band = [(strap, -0.2), (strap * 0.8, -0.95), (-strap * 0.8, -0.95), (-strap, -0.2)]
    for sign in (1, -1):
        canvas.fill(np.array(band) * (1, sign), colour)
    for y in np.arange(0.5, 0.95, 0.1):
        for sign in (1, -1):
            canvas.line([(-strap * 0.8, sign * y), (strap * 0.8, sign * y)], 0.025, shade(colour, 0.65))
    canvas.fill([(radius, -0.06), (radius + 0.1, -0.05), (radius + 0.1, 0.05), (radius, 0.06)], canvas.metal)
    case = (
        ellipse(0, 0, radius, radius)
        if canvas.chance(0.7)
        else np.array([(1, -1), (1, 1), (-1, 1), (-1, -1)]) * radius * 0.9
    )
    canvas.fill(case, canvas.metal)
    face = (245, 245, 240) if canvas.chance(0.5) else canvas.accent
    canvas.fill(case * 0.8, face)
    hands = (20, 20, 25) if sum(face) > 380 else (240, 240, 240)
    for angle in np.arange(12) * np.pi / 6:
        canvas.line(np.array([(np.cos(angle), np.sin(angle))]) * radius * np.array([[0.62], [0.72]]), 0.03, hands)
    for length in (0.35, 0.55):
        angle = canvas.between(0, 2 * np.pi)
        canvas.line([(0, 0), (radius * length * np.cos(angle), radius * length * np.sin(angle))], 0.04, hands)
