"""Footwear, drawn as a pair from above or as a single shoe from the side."""

from __future__ import annotations

import numpy as np

from fashion_jax.data.catalogue.canvas import Canvas, Colour, curve, ellipse, ribbon, shade


def _sole(canvas: Canvas, x: float, width: float, colour: Colour | None) -> None:
    """Draws a sole seen from above, toes up."""
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
