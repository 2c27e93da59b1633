"""What the model leaves unexplained: residuals, and where the counts ask for more light."""

from __future__ import annotations

import numpy as np

from skyfold.dataspace import BLOCK, Projection
from skyfold.layers import Layer, Observation, projection_layers
from skyfold.plotting import histogram, lines
from skyfold.plotting import projections as along
from skyfold.report.folder import RunFolder
from skyfold.report.markup import SIGMA, Html, chart, note, section
from skyfold.report.stills import span, still
from skyfold.shades import colours

STOPS = ",".join(
    f"rgb({r},{g},{b})" for r, g, b, _ in colours("sigma")(np.linspace(0, 1, 11), bytes=True)
)
SIGMA_BAR = (
    f'<div class="bar"><div style="background:linear-gradient(to right,{STOPS})"></div>'
    f"<span>\N{MINUS SIGN}5{SIGMA}</span><span>0</span><span>+5{SIGMA}</span></div>"
)
LONGEST_LINE = 5000  # bins; a longer line is a smear


def residuals(run: RunFolder) -> Html:
    """Return the residuals of each observation, and how they scatter."""
    shown = [_residual(seen) for seen in run.observations]
    if run.projections:
        shown.append(_projections(run.projections))
    if not run.observations:
        return section("What is left", *shown)
    remark = note(
        "A histogram narrower than the curve means that the model has followed noise; wings mean "
        "that it has missed something."
    )
    return section("What is left", *shown, remark) if shown else Html()


def _projections(projections: list[Projection]) -> str:
    """Return counts, expectation and residual along every axis, summed over all others."""
    told = note(
        "The counts form no image: here they are summed over all axes but one. Bars are the root "
        "of the counts; a residual that wanders shows what the model cannot make."
    )
    binned = [p for p in projections if p.axis.nside is None and p.axis.size > 1]
    drawn = chart(along(binned), "counts and expectation along the axes", "wide") if binned else ""
    maps = [
        still(layer, span(layer), SIGMA_BAR if layer.kind == "sigma" else "")
        for projection in projections
        if projection.axis.nside is not None
        for layer in projection_layers(projection)
    ]
    return f'{told}{drawn}<div class="three">{"".join(maps)}</div>'


def _residual(seen: Observation) -> str:
    layer = seen.telling
    values = layer.values[..., ::BLOCK, ::BLOCK] if layer is seen.blocks else layer.values
    known = values[np.isfinite(values)]
    spread = float(np.sqrt(np.mean(known**2))) if known.size else float("nan")
    told = f"spread {spread:.2f}{SIGMA}"
    drawn = chart(histogram(values), f"histogram of residuals, {told}")
    bars = f"<figure>{drawn}<figcaption>Histogram <span>{told}</span></figcaption></figure>"
    if layer.flat.ndim == 1:
        line = chart(lines([[layer]]), "residual of each bin, in sigma") if is_line(layer) else ""
        return f'<div class="pair">{line}{bars}</div>'
    picture = still(layer, "blue: too few counts, red: too many, grey: masked", SIGMA_BAR)
    return f'<div class="pair">{picture}{bars}</div>'


def significance(run: RunFolder) -> Html:
    """Return the map of what the counts say of each value alone, if there is one."""
    layer = run.significance
    if layer is None or layer.flat.ndim != 2:
        return Html()
    told = note(
        "What the counts say of each value alone. Of a sky that was fitted this is only what the "
        "fit has left: zero or less at the maximum of the likelihood. There are as many tests as "
        f"pixels, so some beyond 4{SIGMA} are noise."
    )
    caption = "blue: less light is asked for, red: more, grey: no counts in reach"
    drawn = still(layer, caption, SIGMA_BAR)
    pair = f'<div class="pair">{drawn}<div>{told}</div></div>'
    return section("Where more light is asked for", pair)


def is_line(layer: Layer) -> bool:
    """Return whether a layer is a line that can be drawn."""
    return layer.flat.ndim == 1 and layer.flat.size <= LONGEST_LINE
