"""Pictures of the multi-scale prior: its hyper-priors, and the levels of an image.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from skyfold.drawing import draw_image, draw_sky
from skyfold.errors import ConfigError
from skyfold.geometry import Geometry, Grid
from skyfold.multiscale import Tree, tree_of
from skyfold.plotting import Picture
from skyfold.sampling.laws.strengths import HalfCauchy, HyperPrior, Lira, log_density
from skyfold.sampling.posterior.chain_drawing import colour
from skyfold.skymap import layout
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

CURVES = (Lira(), Lira(1, 0.02, 1), HalfCauchy())
DECADES = (1e-3, 1e3)  # of alpha
TIMES = 4.0  # an even share: where the colours of split proportions end
SMALL = 320  # pixels of a whole sky, one of several


def density(prior: HyperPrior) -> Callable[[Array], Array]:
    """Return the density of a strength alpha > 0."""

    def of(alpha: Array) -> Array:
        found: Array = np.exp(log_density(prior.terms, np.asarray(alpha, dtype=float)))
        return found

    return of


def hyper_priors(*priors: HyperPrior) -> Figure:
    """Return a figure of what is known of a strength alpha before counts are seen.

    The probability of each factor e of alpha is drawn, so that equal areas are equal probabilities
    on the logarithmic axis.

    Parameters
    ----------
    priors
        Densities to compare; by default LIRA's, its choice for faint diffuse light, half-Cauchy.
    """
    figure = Picture(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    alpha = np.geomspace(*DECADES, 601)
    for i, prior in enumerate(priors or CURVES):
        axes.plot(alpha, alpha * density(prior)(alpha), color=colour(i), label=named(prior))
    axes.set(xscale="log", xlim=DECADES, xlabel="alpha", ylabel="probability per factor e")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize="small")
    return figure


def named(prior: HyperPrior) -> str:
    """Return the name of a hyper-prior with its numbers."""
    if isinstance(prior, HalfCauchy):
        return f"half-Cauchy of scale {prior.scale:g}"
    return f"LIRA, kap = ({prior.kap1:g}, {prior.kap2:g}, {prior.kap3:g})"


def decomposition(values: Any, geometry: Geometry | None = None, upward: bool = True) -> Figure:
    """Return a figure of an image on all scales, as the multi-scale prior sees it.

    Above the sums over the blocks of each level, below the share of each block in the one around
    it: red has more than its share of the pixels, blue less. The prior of LIRA is one of shares.

    Parameters
    ----------
    values
        Shape ``(y, x)``, or that of the geometry, perhaps with a unit; energies are added.
    geometry
        Where the values live; a grid by default.
    upward
        Whether the first row of an image is at the bottom.

    Raises
    ------
    ConfigError
        If the values have another shape, are negative or all zero, or have no scales.
    """
    unit, image = str(getattr(values, "unit", "")), np.asarray(getattr(values, "value", values))
    geometry = Grid(image.shape) if geometry is None else geometry
    if image.shape != geometry.shape:
        raise ConfigError(f"the image has shape {image.shape}, its geometry {geometry.shape}")
    if not (np.all(image >= 0) and np.any(image > 0)):
        raise ConfigError("shares are those of positive light: the image has none, or values < 0")
    tree = tree_of(geometry)
    sky = isinstance(geometry, Sphere)
    if sky or image.ndim > 2:
        image = image.sum(axis=1, keepdims=True) if sky else image.sum(axis=0)
    sums, pixels = tree.sums(image), tree.sums(np.ones_like(image))
    if tree.splits == 0:
        raise ConfigError("a single pixel has no scales")
    wide, high = (3.0, 1.55) if sky else _size(image.shape)
    size = (max(wide * tree.splits + 0.7, 4.0), 2 * (high + 0.3))
    figure = Picture(figsize=size, layout="constrained")
    panels = figure.subplots(2, tree.splits, squeeze=False)
    for level, (above, below) in enumerate(panels.T):
        _draw(above, sums[level], "sky", level, geometry, upward)
        shares = _draw(below, _shares(tree, sums, level, pixels), "sigma", level, geometry, upward)
        shares.set_norm(LogNorm(1 / TIMES, TIMES))
        above.set_title(_title(level, geometry), fontsize="small")
    for axes, text in zip(
        panels[:, 0], (f"sums [{unit}]" if unit else "sums", "shares"), strict=True
    ):
        axes.text(
            -0.06, 0.5, text, transform=axes.transAxes, rotation=90, ha="right", va="center",
            fontsize="small",
        )  # fmt: skip
    bar = figure.colorbar(shares, ax=list(panels[1]), aspect=12, pad=0.01, extend="min")
    bar.set_ticks([1 / TIMES, 0.5, 1, 2, TIMES], labels=["1/4", "1/2", "even", "2", "4"])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize="small")
    return figure


def _size(shape: tuple[int, ...]) -> tuple[float, float]:
    """Return width and height of a panel in inches."""
    ny, nx = (1, *shape)[-2:]
    return 1.9, float(np.clip(1.9 * ny / nx, 0.7, 3.8))


def _shares(tree: Tree, sums: list[Array], level: int, pixels: list[Array]) -> Array:
    """Return the share of each node in its parent, over its share of the pixels."""
    parent, places = tree.down(sums[level + 1], level), tree.down(pixels[level + 1], level)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(parent > 0, sums[level] / parent * (places / pixels[level]), np.nan)


def _draw(
    axes: Axes, nodes: Array, kind: str, level: int, geometry: Geometry, upward: bool
) -> AxesImage:
    """Draw the nodes of a level, each as large as the pixels below it."""
    if isinstance(geometry, Sphere):
        nside = geometry.nside // 2**level
        draw_sky(axes, layout(nodes, nside, True, SMALL)[0], kind=kind, bar=False)
        return axes.images[0]
    nodes = nodes.reshape((1, *nodes.shape)[-2:])
    draw_image(axes, nodes, kind=kind, upward=upward, bar=False)
    ny, nx = (1, *geometry.shape)[-2:]
    x, y = 2**level * nodes.shape[1] - 0.5, (2**level * nodes.shape[0] if ny > 1 else 1) - 0.5
    image = axes.images[0]
    image.set_extent((-0.5, x, -0.5, y) if upward else (-0.5, x, y, -0.5))
    axes.set(xlim=(-0.5, nx - 0.5), xticks=[], yticks=[], aspect="equal" if ny > 1 else "auto")
    axes.set_ylim((-0.5, ny - 0.5) if upward else (ny - 0.5, -0.5))
    return image


def _title(level: int, geometry: Geometry) -> str:
    """Return what the nodes of a level are."""
    if isinstance(geometry, Sphere):
        return f"level {level}: nside {geometry.nside // 2**level}"
    if level == 0:
        return "level 0: pixels"
    times = "\N{MULTIPLICATION SIGN}"
    along = min(len(geometry.shape), 2)
    return f"level {level}: {f' {times} '.join([str(2**level)] * along)} pixels"
