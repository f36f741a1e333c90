"""Apparel: the cut, length and ornament of each item are random."""

from __future__ import annotations

import numpy as np

from fashion_jax.data.catalogue.canvas import Canvas, curve, ellipse, shade


def _sleeves(canvas: Canvas, shoulder: float, length: float, width: float) -> None:
    """Draws a pair of sleeves from the shoulders (y = -0.7); the length is 0.3 (short) to 1.3 (long)."""
    spread = canvas.between(0.15, 0.5) if length < 0.7 else canvas.between(0.08, 0.3)
    hand = np.array([shoulder + length * np.sin(spread + 0.15), -0.66 + length * np.cos(spread)])
    across = np.array([width / 2, 0])
    outline = [(shoulder - 0.12, -0.74), (shoulder, -0.68), hand + across - (0, 0.03), hand - across]
    canvas.fill([*outline, (shoulder - 0.08, -0.3)], cut=0.06, both=True)
    if canvas.chance(0.4):
        canvas.line([hand + across - (0, 0.06), hand - across - (0, 0.03)], 0.05, canvas.trim, both=True)


def _torso(canvas: Canvas, shoulder: float, chest: float, hem: float, length: float) -> None:
    """Draws the body of a garment from the neck to y = length."""
    neck = canvas.between(0.13, 0.2)
    half = [(neck, -0.82), (shoulder, -0.7), (chest, -0.25), (hem, length)]
    canvas.fill([*half, *[(-x, y) for x, y in reversed(half)]], cut=0.05)


def _neckline(canvas: Canvas, kind: int) -> None:
    """Draws the opening of a top: 0 round, 1 pointed, 2 a collar with a row of buttons, 3 a polo collar."""
    inside = shade(canvas.base, 0.45)
    width = canvas.between(0.15, 0.21)
    if kind == 0:
        canvas.fill(ellipse(0, -0.82, width, canvas.between(0.1, 0.2), 0, 180), inside)
        canvas.line(ellipse(0, -0.82, width + 0.02, 0.19, 0, 180), 0.04, canvas.trim)
        return
    depth = canvas.between(-0.62, -0.4)
    canvas.fill([(width, -0.84), (0, depth), (-width, -0.84)], inside)
    if kind == 1:
        canvas.line([(width, -0.84), (0, depth), (-width, -0.84)], 0.04, canvas.trim)
        return
    canvas.fill([(0.08, -0.9), (width + 0.05, -0.8), (0.17, -0.58), (0, -0.74)], shade(canvas.base, 1.15), both=True)
    bottom = 0.75 if kind == 2 else -0.3
    canvas.line([(0, depth), (0, bottom)], 0.05, shade(canvas.base, 0.8))
    for y in np.arange(depth + 0.08, bottom, 0.2):
        canvas.fill(ellipse(0, y, 0.028, 0.028), canvas.accent)


def topwear(canvas: Canvas) -> None:
    shoulder, length = canvas.between(0.42, 0.52), canvas.between(0.55, 0.85)
    _sleeves(canvas, shoulder, *((canvas.between(1.05, 1.3), 0.2) if canvas.chance(0.35) else (0.5, 0.3)))
    _torso(canvas, shoulder, canvas.between(0.38, 0.46), canvas.between(0.38, 0.5), length)
    _neckline(canvas, int(canvas.rng.choice(4, p=[0.4, 0.15, 0.3, 0.15])))
    if canvas.chance(0.3):
        canvas.fill(ellipse(0, -0.15, canvas.between(0.1, 0.24), canvas.between(0.08, 0.2)), canvas.accent)
        canvas.line([(-0.18, 0.12), (0.18, 0.12)], 0.05, canvas.accent)


def outerwear(canvas: Canvas) -> None:
    shoulder, length = canvas.between(0.46, 0.56), canvas.between(0.6, 0.95)
    _sleeves(canvas, shoulder, canvas.between(1.1, 1.3), canvas.between(0.22, 0.3))
    _torso(canvas, shoulder, canvas.between(0.44, 0.52), canvas.between(0.42, 0.56), length)
    opening, depth = canvas.between(0.0, 0.14), canvas.between(-0.5, 0.1)
    if opening > 0.05:
        inner = [(0.16, -0.83), (opening, depth), (opening, length), (-opening, length), (-opening, depth)]
        canvas.fill([*inner, (-0.16, -0.83)], canvas.accent)
    else:
        canvas.line([(0, -0.75), (0, length)], 0.05, canvas.metal)
    lapel = [(0.12, -0.92), (0.27, -0.79), (0.3, -0.5), (opening, depth)]
    canvas.fill([*lapel, (0.1, -0.7)], shade(canvas.base, canvas.between(0.8, 1.2)), both=True)
    if canvas.chance(0.7):
        canvas.line([(0.18, 0.42), (0.36, 0.3)], 0.05, shade(canvas.base, 0.55), both=True)
    if canvas.chance(0.3):
        canvas.line([(-0.42, length - 0.05), (0.42, length - 0.05)], 0.08, canvas.trim)


def bottomwear(canvas: Canvas) -> None:
    waist, hip, length = canvas.between(0.28, 0.36), canvas.between(0.38, 0.46), canvas.between(0.75, 0.95)
    if canvas.chance(0.3):
        length = canvas.between(0.0, 0.25)
    ankle, spread = canvas.between(0.16, 0.3), canvas.between(0.0, 0.14)
    leg = [(0, -0.85), (waist, -0.85), (hip, -0.4), (ankle + 0.1 + spread, length), (0.05 + spread, length)]
    canvas.fill([*leg, (0, -0.25)], both=True)
    canvas.fill([(waist, -0.9), (waist + 0.01, -0.78), (-waist - 0.01, -0.78), (-waist, -0.9)], shade(canvas.base, 0.8))
    canvas.line([(0, -0.78), (0, -0.3)], 0.03, shade(canvas.base, 0.6))
    canvas.line([(waist - 0.14, -0.77), (hip - 0.04, -0.55)], 0.035, shade(canvas.base, 0.6), both=True)
    if canvas.chance(0.4):
        canvas.line([(hip - 0.05, -0.4), (ankle + 0.07 + spread, length)], 0.05, canvas.trim, both=True)


def dress(canvas: Canvas) -> None:
    bust, waist, hem = canvas.between(0.24, 0.3), canvas.between(0.19, 0.25), canvas.between(0.36, 0.75)
    middle, length = canvas.between(-0.3, -0.05), canvas.between(0.65, 0.98)
    if canvas.chance(0.5):
        _sleeves(canvas, 0.32, canvas.between(0.25, 0.5), 0.2)
        canvas.fill([(0.14, -0.84), (0.34, -0.72), (bust, -0.4), (-bust, -0.4), (-0.34, -0.72), (-0.14, -0.84)])
        _neckline(canvas, int(canvas.chance(0.5)))
    else:
        canvas.line([(0.17, -0.6), (0.14, -0.98)], 0.05, canvas.base, both=True)
    top = [(0.13, -0.62), (bust, -0.55), (waist, middle)]
    bodice = [(0, -0.52), *top, *[(-x, y) for x, y in reversed(top)]]
    canvas.fill(bodice)
    skirt = [(waist, middle), (waist + 0.6 * (hem - waist), middle + 0.5 * (length - middle)), (hem, length)]
    folds = [(x * hem, length + 0.05 * np.cos(9 * x)) for x in np.linspace(0.8, -0.8, 9)]
    canvas.fill([*skirt, *folds, *[(-x, y) for x, y in reversed(skirt)]])
    for x in (-0.5, -0.15, 0.2, 0.5):
        canvas.line([(x * waist, middle + 0.1), (x * hem, length)], 0.025, shade(canvas.base, 0.72))
    if canvas.chance(0.6):
        canvas.line([(-waist, middle), (waist, middle)], 0.08, canvas.trim)


def innerwear(canvas: Canvas) -> None:
    (_briefs, _bra, _vest)[canvas.rng.choice(3, p=[0.4, 0.35, 0.25])](canvas)


def _briefs(canvas: Canvas) -> None:
    side, low = canvas.between(-0.2, 0.3), canvas.between(0.45, 0.65)
    leg = curve([(0.75, side), (0.4, 0.25), (0.14, low)])
    canvas.fill([(0.72, -0.5), *leg, *(leg * (-1, 1))[::-1], (-0.72, -0.5)])
    canvas.line(leg, 0.05, canvas.trim, both=True)
    canvas.fill([(-0.73, -0.55), (0.73, -0.55), (0.73, -0.4), (-0.73, -0.4)], canvas.trim)
    if canvas.chance(0.5):
        canvas.line(curve([(-0.2, -0.4), (-0.16, 0.1), (0, low)]), 0.03, shade(canvas.base, 0.6), both=True)


def _bra(canvas: Canvas) -> None:
    drop = canvas.between(0.25, 0.45)
    canvas.line(curve([(0.4, -0.15), (0.42, -0.6), (0.3, -0.9)]), 0.06, canvas.trim, both=True)
    canvas.fill([(0.1, 0.15), (0.85, -0.05), (0.88, 0.1), (0.7, drop), (0.1, 0.35)], shade(canvas.base, 0.9), both=True)
    cup = curve([(0.04, 0.15), (0.35, -0.3), (0.7, -0.08), (0.72, 0.2), (0.42, drop + 0.1), (0.06, 0.3), (0.04, 0.15)])
    canvas.fill(cup, both=True)
    canvas.line(curve([(0.06, 0.3), (0.42, drop + 0.1), (0.72, 0.2)]), 0.03, shade(canvas.base, 0.6), both=True)
    canvas.fill(ellipse(0, 0.2, 0.06, 0.04), canvas.accent)


def _vest(canvas: Canvas) -> None:
    width, length = canvas.between(0.34, 0.42), canvas.between(0.6, 0.85)
    half = [(0.22, -0.9), (0.31, -0.9), *curve([(0.3, -0.6), (0.32, -0.4), (width, -0.3)]), (width, length)]
    scoop = curve([(-0.22, -0.9), (-0.17, -0.6), (0, -0.48), (0.17, -0.6), (0.22, -0.9)])
    canvas.fill([*half, *[(-x, y) for x, y in reversed(half)], *scoop])
    canvas.line(scoop, 0.035, canvas.trim)


def saree(canvas: Canvas) -> None:
    border, hem = canvas.accent, canvas.between(0.36, 0.52)
    _sleeves(canvas, 0.27, canvas.between(0.3, 0.42), 0.15)
    canvas.fill([(0.12, -0.8), (0.3, -0.7), (0.2, -0.3), (-0.2, -0.3), (-0.3, -0.7), (-0.12, -0.8)], shade(border, 0.9))
    canvas.fill([(0.2, -0.35), (0.27, -0.05), (hem, 0.93), (-hem, 0.93), (-0.27, -0.05), (-0.2, -0.35)])
    for x in np.linspace(-0.14, 0.16, 5):
        canvas.line([(x * 0.6, -0.15), (x * 1.6, 0.9)], 0.025, shade(canvas.base, 0.65))
    canvas.line([(-hem, 0.88), (hem, 0.88)], canvas.between(0.08, 0.14), border)
    drape = curve([(0.24, 0.1), (0.05, -0.3), (-0.2, -0.78)])
    far = canvas.between(0.0, 0.5)
    canvas.fill(
        [*drape, (-0.34, -0.72), (-0.45, far), (-0.28, far + 0.05), *curve([(-0.22, -0.3), (0.0, 0.1), (0.26, 0.25)])]
    )
    canvas.line(drape, 0.06, border)
    canvas.line([(-0.45, far), (-0.28, far + 0.05)], 0.1, border)


def loungewear(canvas: Canvas) -> None:
    (_robe, _pyjamas)[int(canvas.chance(0.5))](canvas)


def _robe(canvas: Canvas) -> None:
    length = canvas.between(0.75, 0.98)
    _sleeves(canvas, 0.42, canvas.between(0.8, 1.0), canvas.between(0.3, 0.38))
    _torso(canvas, 0.42, 0.36, canvas.between(0.42, 0.52), length)
    canvas.fill([(0.16, -0.84), (0, -0.15), (-0.16, -0.84)], shade(canvas.base, 0.45))
    canvas.line([(0.17, -0.86), (-0.04, -0.05), (-0.1, length)], 0.1, canvas.trim)
    canvas.line([(-0.17, -0.86), (0.02, -0.1)], 0.1, canvas.trim)
    canvas.line([(-0.38, -0.02), (0.38, -0.02)], 0.11, canvas.accent)
    canvas.line([(0.05, 0), (0.12, canvas.between(0.35, 0.6))], 0.06, canvas.accent)


def _pyjamas(canvas: Canvas) -> None:
    canvas.fill([(0, 0), (0.26, 0), (0.34, 0.95), (0.08, 0.95), (0, 0.35)], both=True)
    canvas.line([(0.08, 0.93), (0.34, 0.93)], 0.05, canvas.trim, both=True)
    half = [(0.12, -0.88), (0.32, -0.8), (0.34, 0.12)]
    long = canvas.chance(0.6)
    arm = [(0.62, 0.05), (0.46, 0.1)] if long else [(0.56, -0.42), (0.4, -0.34)]
    canvas.fill([(0.28, -0.82), (0.36, -0.76), *arm, (0.3, -0.45)], both=True)
    canvas.fill([*half, *[(-x, y) for x, y in reversed(half)]])
    canvas.fill([(0.12, -0.88), (0, -0.6), (-0.12, -0.88)], shade(canvas.base, 0.45))
    canvas.line([(0.14, -0.89), (0, -0.6), (0, 0.12)], 0.04, canvas.trim)
    canvas.line([(-0.14, -0.89), (0, -0.6)], 0.04, canvas.trim)
