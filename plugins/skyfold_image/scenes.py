"""Skies and pictures drawn by formulas, for the demos and tutorials: their truth is known exactly.

Every scene is a function of pixel coordinates, so that it can be drawn on the field that the data
cover and on what lies beyond its edges.
"""

from __future__ import annotations

import numpy as np

from skyfold.geometry import FWHM_PER_SIGMA
from skyfold.vector import Array

GLYPHS = {  # seven rows of five pixels, the top row first
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "K": "10001 10010 10100 11000 10100 10010 10001",
    "Y": "10001 10001 01010 00100 00100 00100 00100",
    "F": "11111 10000 10000 11110 10000 10000 10000",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "D": "11110 10001 10001 10001 10001 10001 11110",
}


def gauss(y: Array, x: Array, fwhm: float, ratio: float = 1.0, angle: float = 0.0) -> Array:
    """Return an elliptical Gaussian around the origin whose sum over unit pixels is one.

    Parameters
    ----------
    y, x
        Pixel coordinates.
    fwhm
        Full width at half maximum along the first axis, in pixels.
    ratio
        Width across, relative to that along.
    angle
        Angle of the first axis from x towards y, in radians.
    """
    sigma = fwhm / FWHM_PER_SIGMA
    along, across = _turned(y, x, angle)
    radius2 = (along**2 + (across / ratio) ** 2) / sigma**2
    image: Array = np.exp(-0.5 * radius2) / (2 * np.pi * ratio * sigma**2)
    return image


def moffat(y: Array, x: Array, fwhm: float, beta: float) -> Array:
    """Return a Moffat profile around the origin, a core with wings ``r ** (-2 beta)``, sum one."""
    alpha = 0.5 * fwhm / np.sqrt(2 ** (1 / beta) - 1)
    image: Array = (beta - 1) / (np.pi * alpha**2) * (1 + (x**2 + y**2) / alpha**2) ** -beta
    return image


def spiral_galaxy(y: Array, x: Array) -> Array:
    """Return a tilted galaxy around the origin: bulge, disc, two arms; about 75 pixels long."""
    along, across = _turned(y, x, 0.5)
    across = across / 0.6
    radius = np.hypot(along, across)
    centre = np.exp(-((radius / 8) ** 2))
    winding = 2 * np.arctan2(across, along) - 4.5 * np.log1p(radius / 4)
    disc = np.exp(-radius / 15) * ((1 + 0.75 * np.cos(winding)) * (1 - centre) + centre)
    image: Array = disc + 6 * np.exp(-1.7 * (radius / 3) ** 0.6)
    return image


def landscape(y: Array, x: Array, shape: tuple[int, int]) -> Array:
    """Return a photograph's scene in linear light, from black 0 to white 1, y upwards.

    A graded sky with a sun, hills in shadow, a star of spokes that get finer towards its centre,
    and letters.

    Parameters
    ----------
    y, x
        Pixel coordinates.
    shape
        Shape (y, x) of the frame that the scene fills.
    """
    ny, nx = shape
    across, up = x / nx, y / ny
    picture = 0.25 + 0.35 * up
    picture[np.hypot(x - 0.89 * nx, y - 0.84 * ny) < 0.08 * ny] = 0.95
    hills = 0.32 + 0.06 * np.sin(9 * across) + 0.02 * np.sin(31 * across + 1)
    picture = np.where(up < hills, 0.01 + 0.10 * across, picture)

    dy, dx = y - 0.67 * ny, x - 0.2 * nx
    spokes = np.where(np.cos(14 * np.arctan2(dy, dx)) > 0, 0.9, 0.05)
    picture = np.where(np.hypot(dy, dx) < 0.24 * ny, spokes, picture)
    for size, left, bottom, ink in (
        (2, 0.42, 0.68, 0.04),
        (1, 0.42, 0.55, 0.04),
        (2, 0.5, 0.1, 0.4),
    ):
        inked = _text("SKYFOLD", size, y - round(bottom * ny), x - round(left * nx))
        picture = np.where(inked, ink, picture)
    return picture


def _text(text: str, size: int, y: Array, x: Array) -> Array:
    """Return where the letters are inked; the origin is their lower left corner."""
    letters = [np.array([list(row) for row in GLYPHS[c].split()]) == "1" for c in text]
    gap = np.zeros((7, 1), dtype=bool)
    ink = np.hstack([part for letter in letters for part in (letter, gap)])[::-1]
    row, column = np.floor_divide(y, size).astype(int), np.floor_divide(x, size).astype(int)
    inside = (row >= 0) & (row < 7) & (column >= 0) & (column < ink.shape[1])
    inked: Array = inside & ink[np.clip(row, 0, 6), np.clip(column, 0, ink.shape[1] - 1)]
    return inked


def _turned(y: Array, x: Array, angle: float) -> tuple[Array, Array]:
    """Return coordinates along and across an axis."""
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return along, across
