"""What lies over a picture on the page: marks, and of a whole sky the lines of its grid."""

from __future__ import annotations

from html import escape

import numpy as np

from skyfold.layers import Layer
from skyfold.report.markup import Html
from skyfold.skymap import MERIDIANS, PARALLELS, meridian, project


def overlay(layer: Layer) -> Html:
    """Return the marks of a layer, with the grid of a whole sky; nothing where there is neither."""
    if not layer.frame:
        return _circles(layer)
    lines = [meridian(lon) for lon in MERIDIANS]
    lines += [project(np.array([-179.999, 179.999]), np.array([lat, lat])) for lat in PARALLELS]
    paths = "".join(
        "M" + "L".join(f"{100 * a:.1f} {-50 * b:.1f}" for a, b in zip(x, y, strict=True))
        for x, y in lines
    )
    named = [(lon, 0, f"{lon % 360}\N{DEGREE SIGN}") for lon in MERIDIANS]
    named += [
        (0, lat, f"{lat:+d}\N{DEGREE SIGN}".replace("-", "\N{MINUS SIGN}"))
        for lat in PARALLELS
        if lat
    ]
    labels = "".join(f"<i {_at(lon, lat)}>{name}</i>" for lon, lat, name in named)
    marks = "".join(
        f'<b class="mark{" left" if project(np.array(lon), np.array(lat))[0] > 0.2 else ""}" '
        f"{_at(lon, lat)}><span>{escape(name)}</span></b>"
        for lon, lat, name in layer.marks
    )
    dark = " dark" if layer.kind == "sigma" else ""
    return Html(
        f'<div class="grid{dark}"><svg viewBox="-100 -50 200 100" aria-hidden="true">'
        f'<path d="{paths}"/></svg>{labels}{marks}</div>'
    )


def _circles(layer: Layer) -> Html:
    """Return the marks of an image: x and y in pixels from where the first one begins."""
    height, width = layer.flat.shape
    marks = "".join(
        f'<b class="mark{" left" if x > 0.8 * width else ""}" style="left:{100 * x / width:.2f}%;'
        f'top:{100 * ((1 - y / height) if layer.upward else y / height):.2f}%">'
        f"<span>{escape(name)}</span></b>"
        for x, y, name in layer.marks
    )
    dark = " dark" if layer.kind == "sigma" else ""
    return Html(f'<div class="grid{dark}">{marks}</div>' if marks else "")


def _at(lon: float, lat: float) -> str:
    """Return the style that puts something in its place."""
    x, y = project(np.array(lon), np.array(lat))
    return f'style="left:{50 + 50 * float(x):.2f}%;top:{50 - 50 * float(y):.2f}%"'
