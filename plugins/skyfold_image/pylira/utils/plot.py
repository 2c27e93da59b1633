"""Plots of data, traces and hyper-priors, drawn with pyplot: `plt.show` shows them in scripts.

This module imports matplotlib: import it where it is used, not at the top of other modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from skyfold.errors import DataError
from skyfold.sampling.posterior.chain_drawing import SPIKY_TAIL, span
from skyfold.vector import Array
from skyfold_image.pylira.utils.io import NO_PARAMETERS
from skyfold_image.pylira.utils.priors import f_hyperprior_lira

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_HEIGHT, WIDTH = 3.2, 14.0  # inches
TRACE, MEAN = "tab:blue", "tab:orange"
SPIKY = "logPost"


def plot_example_dataset(
    data: Mapping[str, Any], figsize: tuple[float, float] = (12, 7), **kwargs: Any
) -> Figure:
    """Draw every image of a data set; keywords go to ``imshow``."""
    shown = {k.replace("_", " "): value for k, value in data.items() if np.ndim(value) == 2}
    return images(shown, figsize=figsize, columns=3, **kwargs)


def images(
    named: Mapping[str, Array],
    wcs: WCS | None = None,
    figsize: tuple[float, float] = (12, 5),
    columns: int = 2,
    **kwargs: Any,
) -> Figure:
    """Draw images by title, each with a colour bar; keywords go to ``imshow``."""
    figure = plt.figure(figsize=figsize, layout="constrained")
    across = min(len(named), columns)
    cells = figure.add_gridspec(-(-len(named) // across), across)
    for i, (title, image) in enumerate(named.items()):
        _draw_image(figure, cells[divmod(i, across)], title, image, wcs, **kwargs)
    return figure


def beside(
    image: Array, wcs: WCS | None, figsize: tuple[float, float], **kwargs: Any
) -> tuple[Figure, Axes, Axes]:
    """Return a figure of an image beside empty axes for traces, and both axes."""
    figure = plt.figure(figsize=figsize, layout="constrained")
    cells = figure.add_gridspec(1, 2, width_ratios=[1, 1.6])
    axes = _draw_image(figure, cells[0], "posterior mean", image, wcs, **kwargs)
    return figure, axes, figure.add_subplot(cells[1])


def plot_parameter_traces(
    parameter_trace: Table,
    config: Mapping[str, Any] | None = None,
    figsize: tuple[float, float] | None = None,
    ncols: int = 3,
    **kwargs: Any,
) -> Figure:
    """Draw each parameter against the iteration, with mean and 1 sigma after burn-in.

    Parameters
    ----------
    parameter_trace
        One row per iteration.
    config
        Tells ``n_burn_in``; none by default.
    figsize
        Size in inches; by the number of panels by default.
    ncols
        Panels side by side.
    **kwargs
        Go to ``plot``.
    """
    figure, panels = _panels(parameter_trace, ncols, figsize)
    for name, (axes, values) in panels.items():
        _draw_trace(axes, values, _burn_in(config), **kwargs)
        if name == SPIKY:
            axes.set_ylim(*span(values[_burn_in(config) // 2 :], SPIKY_TAIL))
        axes.set(title=name, xlabel="iteration")
    return figure


def plot_parameter_distributions(
    parameter_trace: Table,
    config: Mapping[str, Any] | None = None,
    figsize: tuple[float, float] | None = None,
    ncols: int = 3,
    **kwargs: Any,
) -> Figure:
    """Draw a histogram of each parameter after burn-in, of as many bins as the root of the draws.

    Parameters
    ----------
    parameter_trace, config, figsize, ncols
        See `plot_parameter_traces`.
    **kwargs
        Go to ``hist``.
    """
    figure, panels = _panels(parameter_trace, ncols, figsize)
    for name, (axes, values) in panels.items():
        values = values[_burn_in(config) :]
        values = values[np.isfinite(values)]
        style: dict[str, Any] = {"bins": max(int(np.sqrt(values.size)), 1)}
        if name == SPIKY:
            style["range"] = span(values, SPIKY_TAIL)
            axes.set_xlim(*style["range"])
        axes.hist(values, **{**style, **kwargs})
        _mark_mean(axes.axvline, axes.axvspan, values)
        axes.set(title=name, ylabel="draws")
    return figure


def plot_pixel_trace(
    image_trace: Array,
    center_pix: Sequence[int],
    ax: Axes | None = None,
    config: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw one pixel against the iteration, with its mean and 1 sigma after burn-in.

    Parameters
    ----------
    image_trace
        Shape (iterations, y, x).
    center_pix
        The pixel, (x, y).
    ax
        Where to draw; the current axes by default.
    config
        Tells ``n_burn_in``; none by default.
    **kwargs
        Go to ``plot``.

    Raises
    ------
    DataError
        If the image has no such pixel.
    """
    axes = plt.gca() if ax is None else ax
    x, y = _inside(center_pix, image_trace)
    _draw_trace(axes, image_trace[:, y, x], _burn_in(config), **kwargs)
    axes.set(xlabel="iteration", ylabel="flux", title=f"pixel x {x}, y {y}")
    return axes


def plot_pixel_trace_neighbours(
    image_trace: Array,
    center_pix: Sequence[int],
    radius_pix: float = 1,
    cmap: str = "Greys",
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw the pixels around one, darker the nearer they are.

    Parameters
    ----------
    image_trace, center_pix, ax
        See `plot_pixel_trace`.
    radius_pix
        Distance from the centre within which pixels are drawn.
    cmap
        Name of the colours.
    **kwargs
        Go to ``plot``.

    Raises
    ------
    DataError
        If the image has no such pixel.
    """
    axes = plt.gca() if ax is None else ax
    x, y = _inside(center_pix, image_trace)
    rows, columns = np.indices(image_trace.shape[1:])
    distance = np.hypot(rows - y, columns - x)
    colours = plt.get_cmap(cmap)
    for row, column in np.argwhere((distance > 0) & (distance <= radius_pix)):
        shade = colours(0.8 - 0.6 * distance[row, column] / radius_pix)
        style = {"color": shade, "lw": 0.8, **kwargs}
        axes.plot(image_trace[:, row, column], **style)
    axes.set(xlabel="iteration", ylabel="flux")
    return axes


def plot_hyperpriors_lira(
    figsize: tuple[float, float] = (12, 4),
    ncols: int = 2,
    alphas: Array | None = None,
    ms_al_kap1: Any = 0,
    ms_al_kap2: Any = 1000,
    ms_al_kap3: Any = 3,
    **kwargs: Any,
) -> Figure:
    """Draw the hyper-prior of alpha: in one panel as it is, in the next with a log scale.

    Parameters
    ----------
    figsize
        Size in inches.
    ncols
        Panels side by side.
    alphas
        Where to draw it; 0 to 0.3 by default.
    ms_al_kap1, ms_al_kap2, ms_al_kap3
        Its parameters; lists of equal length draw several curves.
    **kwargs
        Go to ``plot``.
    """
    alphas = np.linspace(0.001, 0.3, 300) if alphas is None else np.asarray(alphas)
    figure, panels = _grid(2, ncols, figsize)
    for kappas in np.broadcast(ms_al_kap1, ms_al_kap2, ms_al_kap3):
        density = f_hyperprior_lira(alphas, *kappas)
        label = ", ".join(f"{kappa:g}" for kappa in kappas)
        for axes in panels:
            axes.plot(alphas, density, label=f"({label})", **kwargs)
    panels[1].set_yscale("log")
    for axes in panels:
        axes.set(xlabel="alpha", ylabel="density, not normalised")
        axes.legend(title="kap1, kap2, kap3")
    return figure


def densities(observed: Array, nulls: Sequence[Array], figsize: tuple[float, float]) -> Figure:
    """Draw the densities of log10 of draws: observed, those of each null set, and all of these."""
    from scipy.stats import gaussian_kde

    figure, (axes,) = _grid(1, 1, figsize)
    curves: list[tuple[Array, dict[str, Any]]] = [(n, {"color": "0.75", "lw": 0.8}) for n in nulls]
    curves.append(
        (np.concatenate(nulls), {"color": "black", "ls": "--", "label": "all replicates"})
    )
    curves.append((observed, {"color": TRACE, "lw": 2, "label": "observed"}))
    for draws, style in curves:
        values = np.log10(draws[draws > 0])
        if values.size > 1 and np.ptp(values) > 0:
            place = np.linspace(values.min(), values.max(), 300)
            axes.plot(place, gaussian_kde(values)(place), **style)
    axes.set(xlabel="log10 xi", ylabel="density")
    axes.legend()
    return figure


def _panels(
    parameter_trace: Table, columns: int, figsize: tuple[float, float] | None
) -> tuple[Figure, dict[str, tuple[Axes, Array]]]:
    """Return a figure, and for each parameter worth drawing its panel and its values."""
    names = [name for name in parameter_trace.colnames if name not in NO_PARAMETERS]
    figure, panels = _grid(len(names), columns, figsize)
    values = [np.asarray(parameter_trace[name], dtype=float) for name in names]
    return figure, dict(zip(names, zip(panels, values, strict=True), strict=True))


def _grid(
    panels: int, columns: int, figsize: tuple[float, float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure and that many panels, row by row."""
    rows = -(-panels // columns)
    figsize = figsize or (WIDTH, ROW_HEIGHT * rows)
    figure, grid = plt.subplots(rows, columns, figsize=figsize, squeeze=False, layout="constrained")
    for axes in grid.flat[panels:]:
        axes.remove()
    return figure, list(grid.flat[:panels])


def _draw_image(
    figure: Figure, cell: Any, title: str, image: Array, wcs: WCS | None, **kwargs: Any
) -> Axes:
    axes: Axes = figure.add_subplot(cell, projection=wcs)
    figure.colorbar(axes.imshow(image, **{"origin": "lower", **kwargs}), ax=axes, shrink=0.8)
    axes.set_title(title)
    return axes


def _burn_in(config: Mapping[str, Any] | None) -> int:
    return int((config or {}).get("n_burn_in", 0))


def _inside(center_pix: Sequence[int], image_trace: Array) -> tuple[int, int]:
    """Return x and y of a pixel that the image has."""
    x, y = (int(place) for place in center_pix)
    _, ny, nx = image_trace.shape
    if not (0 <= x < nx and 0 <= y < ny):
        raise DataError(f"center_pix x {x}, y {y} lies outside the image of {nx} x {ny} pixels")
    return x, y


def _draw_trace(axes: Axes, values: Array, burn_in: int, **kwargs: Any) -> None:
    style = {"color": TRACE, "lw": 0.9, **kwargs}
    iteration = np.arange(values.size)
    axes.plot(iteration[: burn_in + 1], values[: burn_in + 1], **{**style, "alpha": 0.35})
    axes.plot(iteration[burn_in:], values[burn_in:], **style)
    _mark_mean(axes.axhline, axes.axhspan, values[burn_in:])


def _mark_mean(line: Any, span: Any, values: Array) -> None:
    """Mark mean and standard deviation of the values that are finite."""
    values = values[np.isfinite(values)]
    if not values.size:
        return
    mean, std = values.mean(dtype=float), values.std(dtype=float)
    line(mean, color=MEAN)
    span(mean - std, mean + std, color=MEAN, alpha=0.2)
