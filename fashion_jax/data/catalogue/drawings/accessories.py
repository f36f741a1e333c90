"""Accessories of fabric, leather and glass that are worn or carried."""

from __future__ import annotations

import numpy as np

from fashion_jax.data.catalogue.canvas import Canvas, curve, ellipse, ribbon, shade


def bags(canvas: Canvas) -> None:
    (_handbag, _backpack)[int(canvas.chance(0.3))](canvas)


def _handbag(canvas: Canvas) -> None:
    top, bottom = canvas.between(0.45, 0.75), canvas.between(0.55, 0.85)
    upper, lower = canvas.between(-0.25, 0.05), canvas.between(0.55, 0.85)
    rise, reach = canvas.between(0.4, 0.7), canvas.between(0.25, 0.42)
    canvas.line(ellipse(0, upper + 0.05, reach, rise, 180, 360), canvas.between(0.05, 0.1), canvas.trim)
    canvas.fill([(top, upper), (bottom, lower), (-bottom, lower), (-top, upper)], cut=0.08)
    if canvas.chance(0.5):
        flap = [(top, upper), (top * 0.9, upper + 0.35), (0, upper + 0.48), (-top * 0.9, upper + 0.35), (-top, upper)]
        canvas.fill(flap, shade(canvas.base, 0.85), cut=0.08)
        canvas.fill(ellipse(0, upper + 0.42, 0.07, 0.06), canvas.metal)
    else:
        canvas.line([(-top, upper + 0.07), (top, upper + 0.07)], 0.05, canvas.metal)
        canvas.line([(reach, upper), (reach, upper + 0.2)], 0.07, canvas.trim, both=True)


def _backpack(canvas: Canvas) -> None:
    width, top = canvas.between(0.42, 0.55), canvas.between(-0.8, -0.65)
    canvas.line(ellipse(0, top + 0.05, 0.15, 0.16, 180, 360), 0.07, canvas.trim)
    canvas.line(curve([(width - 0.08, top + 0.2), (width + 0.2, 0), (width - 0.05, 0.6)]), 0.1, canvas.trim, both=True)
    canvas.fill([(width, top), (width + 0.05, 0.8), (-width - 0.05, 0.8), (-width, top)], cut=0.16)
    canvas.line(ellipse(0, 0.1, width - 0.05, 0.7, 190, 350), 0.04, canvas.metal)
    pocket = [(width - 0.1, 0.1), (width - 0.06, 0.68), (-width + 0.06, 0.68), (-width + 0.1, 0.1)]
    canvas.fill(pocket, canvas.trim, cut=0.1)
    canvas.line([(-width + 0.14, 0.22), (width - 0.14, 0.22)], 0.03, canvas.metal)


def belts(canvas: Canvas) -> None:
    width = canvas.between(0.13, 0.22)
    bend = canvas.between(0.3, 0.75)
    if canvas.chance(0.5):
        rx, ry = canvas.between(0.6, 0.85), canvas.between(0.35, 0.6)
        canvas.fill(ribbon(ellipse(0, 0, rx, ry, -60, 80), width))
        canvas.fill(ribbon(ellipse(0, 0, rx, ry, 70, 310), width))
        x, y = rx * np.cos(np.radians(75)), ry
    else:
        canvas.fill(ribbon([(-0.95, bend), (-0.45, -bend), (0.3, -bend * 0.6), (0.95, bend)], width))
        x, y = -0.95, bend
    canvas.line(
        [(x - 0.15, y - 0.17), (x + 0.15, y - 0.17), (x + 0.15, y + 0.17), (x - 0.15, y + 0.17), (x - 0.15, y - 0.17)],
        0.07,
        canvas.metal,
    )
    canvas.line([(x - 0.15, y), (x + 0.12, y)], 0.05, canvas.metal)


def eyewear(canvas: Canvas) -> None:
    rx, ry, gap = canvas.between(0.3, 0.4), canvas.between(0.2, 0.34), canvas.between(0.06, 0.14)
    frame = canvas.metal if canvas.chance(0.4) else canvas.base
    glass = shade(canvas.accent, canvas.between(0.3, 0.8)) if canvas.chance(0.6) else (225, 232, 235)
    x = gap + rx
    square = canvas.chance(0.5)
    corners = np.array([(rx, -ry), (rx * 0.85, ry), (-rx * 0.85, ry), (-rx, -ry)]) + np.array([x, 0])
    lens = corners if square else ellipse(x, 0, rx, ry)
    canvas.line(curve([(x + rx, -0.1), (x + rx + 0.12, -0.4), (x + rx - 0.05, -0.6)]), 0.07, frame, both=True)
    canvas.fill(lens, glass, cut=0.2 if square else 0, both=True)
    rim = np.concatenate([lens, lens[:1]])
    canvas.line(rim, canvas.between(0.05, 0.11), frame, both=True)
    canvas.line(curve([(-gap, -0.05), (0, -0.12), (gap, -0.05)]), 0.07, frame)
    canvas.line([(x - 0.1, -ry * 0.5), (x + 0.05, -ry * 0.1)], 0.03, shade(glass, 1.6), both=True)


def headwear(canvas: Canvas) -> None:
    (_cap, _beanie, _hat)[canvas.rng.choice(3)](canvas)


def _cap(canvas: Canvas) -> None:
    canvas.fill([*ellipse(0, 0.15, 0.58, canvas.between(0.6, 0.75), 180, 360)])
    canvas.line(ellipse(0, 0.15, 0.2, 0.62, 180, 270), 0.025, shade(canvas.base, 0.65))
    canvas.fill(curve([(0.5, 0.12), (0.85, 0.2), (0.98, 0.38), (0.5, 0.32), (-0.3, 0.28), (-0.57, 0.15)]), canvas.trim)
    canvas.fill(ellipse(0, -0.5, 0.06, 0.04), canvas.accent)
    if canvas.chance(0.5):
        canvas.fill(ellipse(0.2, -0.15, 0.14, 0.13), canvas.accent)


def _beanie(canvas: Canvas) -> None:
    if canvas.chance(0.6):
        canvas.fill(ellipse(0, -0.72, 0.17, 0.17), canvas.accent)
    canvas.fill(ellipse(0, 0.3, 0.55, canvas.between(0.85, 1.0), 180, 360))
    canvas.fill([(0.6, 0.2), (0.58, 0.55), (-0.58, 0.55), (-0.6, 0.2)], canvas.trim, cut=0.06)
    for x in np.linspace(-0.5, 0.5, 9):
        canvas.line([(x, 0.24), (x, 0.52)], 0.02, shade(canvas.trim, 0.75))


def _hat(canvas: Canvas) -> None:
    brim = canvas.between(0.18, 0.3)
    canvas.fill(ellipse(0, 0.35, 0.95, brim), shade(canvas.base, 0.85))
    canvas.fill([(0.5, 0.32), (0.4, -0.45), (0.1, -0.4), (-0.1, -0.4), (-0.4, -0.45), (-0.5, 0.32)], cut=0.12)
    canvas.fill([(0.49, 0.32), (0.47, 0.1), (-0.47, 0.1), (-0.49, 0.32)], canvas.accent)


def scarves(canvas: Canvas) -> None:
    (_hanging_scarf, _knotted_scarf)[int(canvas.chance(0.5))](canvas)


def _fringe(canvas: Canvas, left: float, right: float, y: float) -> None:
    for x in np.linspace(left, right, 7):
        canvas.line([(x, y - 0.02), (x, y + 0.13)], 0.025, canvas.trim)


def _hanging_scarf(canvas: Canvas) -> None:
    width, low = canvas.between(0.16, 0.26), canvas.between(0.5, 0.8)
    shift = canvas.between(-0.3, 0.1)
    canvas.fill([(0.02, -0.85), (width * 2, -0.85), (width * 2, low + shift), (0.04, low + shift)])
    _fringe(canvas, 0.05, width * 2, low + shift)
    canvas.fill([(-width * 1.6, -0.85), (0.12, -0.85), (0.14, low), (-width * 1.6, low)])
    _fringe(canvas, -width * 1.6, 0.14, low)
    canvas.line([(-width * 1.6, low - 0.15), (0.13, low - 0.15)], 0.05, canvas.trim)


def _knotted_scarf(canvas: Canvas) -> None:
    width, low = canvas.between(0.26, 0.4), canvas.between(0.6, 0.82)
    canvas.fill(ribbon(ellipse(0, -0.45, 0.36, 0.32), width))
    canvas.fill(ribbon([(0.02, -0.15), (0.16, 0.25), (0.2, low - 0.15)], width * 0.7, width))
    _fringe(canvas, 0.2 - width / 2, 0.2 + width / 2, low - 0.15)
    canvas.fill(ribbon([(-0.02, -0.15), (-0.1, 0.3), (-0.15, low)], width * 0.7, width))
    _fringe(canvas, -0.15 - width / 2, -0.15 + width / 2, low)
    canvas.fill(ellipse(0, -0.12, width * 0.6, 0.17))


def ties(canvas: Canvas) -> None:
    if canvas.chance(0.25):
        side = canvas.between(0.25, 0.4)
        canvas.fill([(0, -0.1), (0.75, -side), (0.72, side), (0, 0.1)], cut=0.07, both=True)
        canvas.fill([(0.13, -0.15), (0.13, 0.15), (-0.13, 0.15), (-0.13, -0.15)], shade(canvas.base, 0.85), cut=0.1)
        return
    blade, low = canvas.between(0.15, 0.26), canvas.between(0.75, 0.95)
    if canvas.chance(0.5):
        canvas.line(ellipse(0, -0.72, 0.3, 0.22, 150, 390), 0.1, shade(canvas.base, 0.8))
    canvas.fill([(0.06, -0.6), (blade, low - 0.22), (0, low), (-blade, low - 0.22), (-0.06, -0.6)])
    canvas.fill([(0.13, -0.85), (0.07, -0.55), (-0.07, -0.55), (-0.13, -0.85)], shade(canvas.base, 0.85))


def socks(canvas: Canvas) -> None:
    cuff, width = canvas.between(-0.85, -0.2), canvas.between(0.3, 0.38)
    for x in (-0.1, -0.42) if canvas.chance(0.7) else (-0.25,):
        leg = [(x, cuff), (x + width, cuff), (x + width, 0.28)]
        foot = curve([(x + 0.75, 0.4), (x + 0.95, 0.6), (x + 0.8, 0.78), (x + 0.3, 0.78), (x - 0.02, 0.66), (x, 0.3)])
        canvas.fill([*leg, *foot])
        canvas.line([(x, cuff + 0.06), (x + width, cuff + 0.06)], 0.12, canvas.trim)
        canvas.line(curve([(x + 0.72, 0.42), (x + 0.66, 0.6), (x + 0.74, 0.77)]), 0.03, shade(canvas.base, 0.65))
        canvas.line(curve([(x, 0.45), (x + 0.18, 0.52), (x + 0.2, 0.75)]), 0.03, shade(canvas.base, 0.65))


def wallets(canvas: Canvas) -> None:
    width, height = canvas.between(0.6, 0.9), canvas.between(0.38, 0.62)
    canvas.fill([(width, -height), (width, height), (-width, height), (-width, -height)], cut=0.05)
    inner = np.array([(1, -1), (1, 1), (-1, 1), (-1, -1), (1, -1)]) * (width - 0.08, height - 0.08)
    canvas.line(inner, 0.025, shade(canvas.base, 0.6))
    if canvas.chance(0.5):
        canvas.line([(0, -height), (0, height)], 0.035, shade(canvas.base, 0.5))
    if canvas.chance(0.6):
        y = canvas.between(-0.1, 0.1)
        canvas.fill(
            [(width + 0.03, y - 0.12), (width + 0.03, y + 0.12), (width - 0.35, y + 0.12), (width - 0.35, y - 0.12)],
            canvas.trim,
        )
        canvas.fill(ellipse(width - 0.24, y, 0.06, 0.06), canvas.metal)
    elif canvas.chance(0.5):
        canvas.line([(-width, -height + 0.16), (width, -height + 0.16)], 0.05, canvas.metal)
