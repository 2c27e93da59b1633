"""The PSF before and after, where it was restored too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skyfold.report.folder import RunFolder
from skyfold.report.markup import Html, chart, note, section

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def psf(run: RunFolder) -> Html:
    """Return the mean profiles of the PSF given and the PSF restored."""
    told = run.figures.get("psf", {})
    if "radius" not in told:
        return Html()
    drawn = chart(profiles(told), "brightness of the PSF against radius, before and after")
    text = note(
        f"Width at half maximum: given {told['fwhm_start']:.3g} pixels, restored "
        f"{told['fwhm']:.3g} pixels. The restored PSF is the extension PSF of the result, and can "
        "be given as the PSF of another run."
    )
    return section("The PSF", drawn, text)


def profiles(told: Mapping[str, Any]) -> Figure:
    """Return a figure of the PSF against radius, as `skyfold.algorithms.blind.Blind.figures`."""
    from skyfold.plotting import Picture
    from skyfold.shades import BLUE, RED

    figure = Picture(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.add_subplot()
    for name, colour in (("given", RED), ("restored", BLUE)):
        pairs = [(r, v) for r, v in zip(told["radius"], told[name], strict=True) if v > 0]
        axes.plot(*zip(*pairs, strict=True), ".-", color=colour, label=name, linewidth=1.2)
    axes.set(xlabel="radius in pixels", ylabel="light per pixel", yscale="log")
    axes.legend(frameon=False, fontsize="small")
    return figure
