"""The images that chains pass through, one after the other: as a film, or turned by hand.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from skyfold.errors import ConfigError, require
from skyfold.plotting import Picture, draw_panel
from skyfold.sampling.posterior.planes import plane_of
from skyfold.vector import Array

if TYPE_CHECKING:
    from skyfold.sampling.posterior.posterior import Posterior

FRAMES = 200  # of a film; of more images some are left out
BRIGHTEST = 0.999  # quantile of the values that is shown as the brightest
Show = Callable[[int, int, bool], Any]


class Film(FuncAnimation):
    """An animation that shows itself in a notebook."""

    def _repr_html_(self) -> str:
        return str(self.to_jshtml())


def animation(
    posterior: Posterior,
    chain: int = 0,
    cumulative: bool = False,
    component: str | None = None,
    energy: int | None = None,
    frames: int = FRAMES,
    interval: int = 60,
) -> Film:
    """Return a film of the images that a chain passes through.

    It shows itself in a notebook; ``.save("chain.gif")`` writes it.

    Parameters
    ----------
    posterior
        The draws.
    chain
        Which chain, counted from 0.
    cumulative
        Whether to show the mean of all images so far instead of each image.
    component
        Name of the sky, where there are several.
    energy
        Which energy, counted from 0; all together by default.
    frames
        Number of images shown, spread evenly over all.
    interval
        Milliseconds from one to the next.

    Raises
    ------
    ConfigError
        If there is no such chain, sky or energy.
    """
    figure, show, number = _screen(posterior, component, energy)
    _require_chain(posterior, chain)
    places = np.unique(np.linspace(0, number - 1, min(frames, number)).astype(int))

    def draw(frame: int) -> Any:
        return show(chain, int(places[frame]), cumulative)

    return Film(figure, draw, frames=len(places), interval=interval, blit=False)


def slider(posterior: Posterior, component: str | None = None, energy: int | None = None) -> Any:
    """Return sliders for a notebook: the chain, the image, and whether to show the mean so far.

    Parameters
    ----------
    posterior, component, energy
        As for `animation`.

    Raises
    ------
    MissingExtraError
        If ipywidgets is not installed.
    """
    widgets = require("ipywidgets", "tutorials")
    figure, show, number = _screen(posterior, component, energy)

    def look(chain: int, image: int, mean: bool) -> Figure:
        show(chain - 1, image - 1, mean)
        return figure

    return widgets.interactive(
        look,
        chain=widgets.IntSlider(1, 1, posterior.chains, description="chain"),
        image=widgets.IntSlider(1, 1, number, description="image"),
        mean=widgets.Checkbox(False, description="mean so far"),
    )


def _screen(
    posterior: Posterior, component: str | None, energy: int | None
) -> tuple[Figure, Show, int]:
    """Return a figure, who shows an image of a chain on it, and how many images there are."""
    plane = plane_of(posterior, component, energy)
    samples, sweeps = plane.samples, posterior.kept_sweeps

    def laid(values: Array) -> Array:
        return plane.layer("", values).flat

    bright = float(np.quantile(samples[:, :: max(len(sweeps) // 20, 1)], BRIGHTEST))
    lit = np.clip(samples[0, 0], 0, bright)
    lit.flat[np.argmax(lit)] = bright  # so that colours and their bar are those of all images
    first = plane.layer("", lit, kind="sky")
    figure = Picture(figsize=(6.4, 4.2) if first.frame else (5.6, 4.6), layout="constrained")
    axes = draw_panel(figure, figure.add_gridspec(1, 1)[0], first)
    if first.flat.ndim != 2:
        raise ConfigError("the sky has one dimension: there is no image to show")
    drawn = axes.images[0]

    def show(chain: int, image: int, mean: bool) -> Any:
        values = samples[chain, : image + 1].mean(axis=0) if mean else samples[chain, image]
        drawn.set_data(laid(values))
        said = f"mean of {image + 1} images" if mean else f"sweep {sweeps[image]}"
        label = f", {plane.label}" if plane.label else ""
        axes.set_title(f"chain {chain + 1}, {said}{label}", fontsize="medium")
        return [drawn]

    show(0, 0, False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # worked out once, not for every image
    return figure, show, len(sweeps)


def _require_chain(posterior: Posterior, chain: int) -> None:
    if not 0 <= chain < posterior.chains:
        raise ConfigError(f"no chain {chain}: there are {posterior.chains}, counted from 0")
