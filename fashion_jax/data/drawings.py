"""What each class of the generated catalogue looks like: one function per sub-category.

Every cut, length and ornament is drawn at random; colour, print, pose and background come with the canvas
and say nothing about the class.
"""

from __future__ import annotations

import numpy as np

from fashion_jax.data.canvas import Canvas, Colour, curve, ellipse, ribbon, shade

_LIPSTICKS: tuple[Colour, ...] = ((200, 30, 60), (225, 90, 120), (150, 25, 60), (235, 130, 110), (120, 40, 50))


def _sleeves(canvas: Canvas, shoulder: float, length: float, width: float) -> None:
    """A pair of sleeves from the shoulders (at y = -0.7), a length of 0.3 (short) to 1.3 (long)."""
    spread = canvas.between(0.15, 0.5) if length < 0.7 else canvas.between(0.08, 0.3)
    hand = np.array([shoulder + length * np.sin(spread + 0.15), -0.66 + length * np.cos(spread)])
    outline = [(shoulder - 0.12, -0.74), (shoulder, -0.68), hand + (width / 2, -0.03), hand - (width / 2, 0)]
    canvas.fill([*outline, (shoulder - 0.08, -0.3)], cut=0.06, both=True)
    if canvas.chance(0.4):
        canvas.line([hand + (width / 2, -0.06), hand - (width / 2, 0.03)], 0.05, canvas.trim, both=True)


def _torso(canvas: Canvas, shoulder: float, chest: float, hem: float, length: float) -> None:
    """A body of cloth from the neck to y = length."""
    neck = canvas.between(0.13, 0.2)
    half = [(neck, -0.82), (shoulder, -0.7), (chest, -0.25), (hem, length)]
    canvas.fill([*half, *[(-x, y) for x, y in reversed(half)]], cut=0.05)


def _neckline(canvas: Canvas, kind: int) -> None:
    """The opening of a top: 0 round, 1 pointed, 2 a collar with a row of buttons, 3 a polo's collar."""
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
    corners = np.array([(rx, -ry), (rx * 0.85, ry), (-rx * 0.85, ry), (-rx, -ry)]) + (x, 0)
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


def _jewel(canvas: Canvas, x: float, y: float, radius: float, petals: int) -> None:
    """A metal flower with stones around (x, y): what brooches and earrings have in common."""
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


def _sole(canvas: Canvas, x: float, width: float, colour: Colour | None) -> None:
    """A sole from above, toes up."""
    outline = [(0, -0.9), (0.8, -0.72), (1, -0.35), (0.72, 0.15), (0.8, 0.6), (0.5, 0.88), (-0.35, 0.9)]
    outline += [(-0.72, 0.6), (-0.68, 0.15), (-0.85, -0.3), (-0.7, -0.72), (0, -0.9)]
    canvas.fill(curve(np.array(outline) * (width * np.sign(x), 1) + (x, 0)), colour)


def flip_flops(canvas: Canvas) -> None:
    width, gap = canvas.between(0.26, 0.34), canvas.between(0.36, 0.44)
    for x in (-gap, gap):
        _sole(canvas, x, width, None)
        thong = (x, canvas.between(-0.58, -0.5))
        for side in (-1, 1):
            strap = curve([thong, (x + side * width * 0.5, -0.3), (x + side * width * 0.85, 0.1)])
            canvas.line(strap, 0.09, canvas.accent)
        canvas.fill(ellipse(*thong, 0.06, 0.06), shade(canvas.accent, 0.8))


def sandal(canvas: Canvas) -> None:
    (_flat_sandal, _heeled_sandal)[int(canvas.chance(0.5))](canvas)


def _flat_sandal(canvas: Canvas) -> None:
    width, gap = canvas.between(0.26, 0.34), canvas.between(0.36, 0.44)
    cross, band = canvas.chance(0.4), canvas.between(0.12, 0.18)
    for x in (-gap, gap):
        _sole(canvas, x, width, shade(canvas.base, 0.9))
        left, right = x - width * 0.95, x + width * 0.95
        if cross:
            canvas.line([(left, -0.5), (right, -0.1)], band, canvas.accent)
            canvas.line([(left, -0.1), (right, -0.5)], band, canvas.accent)
        else:
            for y in (-0.5, -0.22):
                canvas.line([(left, y), (right, y)], band, canvas.accent)
        canvas.line(ellipse(x, 0.4, width * 0.8, 0.2, 180, 360), band * 0.7, canvas.accent)


def _heeled_sandal(canvas: Canvas) -> None:
    heel = canvas.between(0.0, 0.6)
    top = 0.6 - heel
    sole = curve([(-0.8, top), (-0.45, top + 0.05), (0.1, 0.55), (0.85, 0.6)])
    canvas.fill([(-0.82, top), (-0.55, top + 0.05), (-0.66, 0.72), (-0.8, 0.72)], canvas.trim)
    canvas.fill(ribbon(sole, 0.14), canvas.trim)
    canvas.line(curve([(0.35, 0.55), (0.55, 0.3), (0.8, 0.55)]), 0.12, canvas.base)
    canvas.line(curve([(0.05, 0.5), (0.25, 0.2), (0.6, 0.5)]), 0.1, canvas.base)
    canvas.line(
        curve([(-0.8, top), (-0.72, top - 0.35), (-0.3, top - 0.45), (-0.25, top - 0.2), (-0.7, top - 0.25)]),
        0.09,
        canvas.base,
    )


def shoes(canvas: Canvas) -> None:
    (_sneaker, _boot, _pump)[canvas.rng.choice(3, p=[0.55, 0.2, 0.25])](canvas)


def _sneaker(canvas: Canvas) -> None:
    collar = canvas.between(-0.35, -0.15)
    upper = [(-0.88, collar), (-0.6, collar + 0.1), (-0.25, collar), (0.1, 0.02), (0.6, 0.2), (0.9, 0.42), (0.88, 0.6)]
    canvas.fill([*curve(upper), (-0.9, 0.6), (-0.92, 0.2)])
    canvas.fill(curve([(0.55, 0.2), (0.9, 0.42), (0.88, 0.58), (0.5, 0.58), (0.5, 0.4)]), canvas.trim)
    canvas.fill(
        [(-0.95, 0.5), (0.95, 0.5), (0.93, 0.68), (-0.93, 0.68)],
        (240, 240, 238) if canvas.chance(0.6) else canvas.accent,
        cut=0.04,
    )
    for t in (0, 0.3, 0.6, 0.9):
        canvas.line(
            [(-0.18 + 0.5 * t, collar + 0.14 + t * 0.3), (-0.02 + 0.5 * t, collar + 0.04 + t * 0.3)],
            0.05,
            (240, 240, 240),
        )
    if canvas.chance(0.6):
        canvas.line(curve([(-0.6, 0.2), (-0.2, 0.35), (0.35, 0.15)]), 0.1, canvas.accent)


def _boot(canvas: Canvas) -> None:
    top = canvas.between(-0.9, -0.5)
    upper = [(-0.15, top), (-0.12, -0.1), (0.1, 0.12), (0.6, 0.28), (0.8, 0.45), (0.8, 0.62)]
    canvas.fill([(-0.68, top), *curve(upper), (-0.72, 0.62), (-0.64, 0.1)])
    canvas.fill(
        [(-0.74, 0.6), (0.84, 0.6), (0.82, 0.72), (-0.3, 0.72), (-0.34, 0.85), (-0.72, 0.85)], shade(canvas.trim, 0.7)
    )
    canvas.line([(-0.66, top + 0.06), (-0.16, top + 0.06)], 0.08, canvas.trim)


def _pump(canvas: Canvas) -> None:
    heel = canvas.between(0.15, 0.65)
    top = 0.6 - heel
    canvas.fill([(-0.85, top - 0.1), (-0.62, top + 0.1), (-0.7, 0.72), (-0.78, 0.72)], canvas.trim)
    low = curve([(-0.6, top + 0.12), (-0.1, 0.45), (0.4, 0.68), (0.95, 0.68)])
    canvas.fill(
        [*curve([(0.95, 0.66), (0.7, 0.42), (0.3, 0.28), (-0.2, top + 0.1), (-0.85, top - 0.35)]), (-0.88, top), *low]
    )


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
            np.array([(width, -0.1), (width, 0.9), (-width, 0.9), (-width, -0.1)]) + (x, 0), canvas.base, cut=0.05
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


DRAWINGS = {
    "Bags": bags,
    "Belts": belts,
    "Bottomwear": bottomwear,
    "Brooches": brooches,
    "Dress": dress,
    "Earrings": earrings,
    "Eyewear": eyewear,
    "Flip Flops": flip_flops,
    "Fragrance": fragrance,
    "Headwear": headwear,
    "Innerwear": innerwear,
    "Lips": lips,
    "Loungewear and Nightwear": loungewear,
    "Nails": nails,
    "Necklaces": necklaces,
    "Outerwear": outerwear,
    "Sandal": sandal,
    "Saree": saree,
    "Scarves": scarves,
    "Shoes": shoes,
    "Socks": socks,
    "Ties": ties,
    "Topwear": topwear,
    "Wallets": wallets,
    "Watches": watches,
}
