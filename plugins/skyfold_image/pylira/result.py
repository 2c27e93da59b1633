"""What a deconvolution found: images, traces, plots, and the FITS file that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import ConfigError, DataError, require
from skyfold.sampling.chains.diagnostics import LEAST_ESS, diagnose, worst
from skyfold.vector import Array
from skyfold_image.pylira.utils.io import NO_PARAMETERS, TraceFile

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class LIRADeconvolverResult:
    """Draws from the posterior of an image, and their mean and standard deviation.

    Fluxes are per unit of exposure.

    Parameters
    ----------
    config
        Options of the deconvolver, and its ``random_seed``.
    posterior_mean, posterior_std
        Mean and standard deviation after burn-in, shape (y, x).
    parameter_trace
        One row per iteration: the iteration, log-posterior and its change, origin of the tree,
        alpha of each level, total, and normalisation of the background where that was fitted.
    image_trace
        The image of every iteration, burn-in included: shape (iterations, y, x).
    wcs
        Celestial coordinates.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        posterior_mean: Array | None = None,
        posterior_std: Array | None = None,
        parameter_trace: Table | None = None,
        image_trace: Array | TraceFile | None = None,
        wcs: WCS | None = None,
    ) -> None:
        self._config, self._wcs = dict(config), wcs
        self._mean, self._std = posterior_mean, posterior_std
        self._parameter_trace, self._image_trace = parameter_trace, image_trace

    def __str__(self) -> str:
        ny, nx = self.posterior_mean.shape
        total, draws = self.posterior_mean.sum(), self.n_iter_max - self.n_burn_in
        told = {
            "image": f"{nx} x {ny} pixels, total flux {total:.6g}",
            "draws": f"{draws} after {self.n_burn_in} of burn-in",
            "mixing": self._said or "not known",
            **self.config,
        }
        lines = [f"    {key:21}: {value}" for key, value in told.items()]
        return "\n".join([type(self).__name__, "-" * len(type(self).__name__), "", *lines])

    @property
    def config(self) -> dict[str, Any]:
        """Options of the deconvolver, and its seed."""
        return self._config

    @property
    def config_table(self) -> Table:
        """The configuration as a table of one row."""
        from astropy.table import Table

        return Table({key: [value] for key, value in self.config.items() if value is not None})

    @property
    def wcs(self) -> WCS | None:
        """Celestial coordinates of the image, where the data had any."""
        return self._wcs

    @property
    def n_burn_in(self) -> int:
        """Iterations before the images count."""
        return int(self.config["n_burn_in"])

    @property
    def n_iter_max(self) -> int:
        """All iterations."""
        return int(self.config["n_iter_max"])

    @property
    def posterior_mean(self) -> Array:
        """Mean image after burn-in."""
        return self.posterior_mean_from_trace if self._mean is None else self._mean

    @property
    def posterior_std(self) -> Array:
        """Standard deviation of each pixel after burn-in."""
        return self.posterior_std_from_trace if self._std is None else self._std

    @property
    def posterior_mean_from_trace(self) -> Array:
        """Mean of the images of the trace after burn-in."""
        mean: Array = np.mean(self.image_trace[self.n_burn_in :], axis=0, dtype=float)
        return mean

    @property
    def posterior_std_from_trace(self) -> Array:
        """Standard deviation of the images of the trace after burn-in."""
        std: Array = np.std(self.image_trace[self.n_burn_in :], axis=0, dtype=float)
        return std

    @cached_property
    def image_trace(self) -> Array:
        """The image of every iteration, shape (iterations, y, x).

        Raises
        ------
        DataError
            If the result was reduced to mean and standard deviation.
        """
        if isinstance(self._image_trace, TraceFile):
            return self._image_trace.read()
        if self._image_trace is None:
            raise DataError("there is no image trace: the result was reduced to mean and std")
        return self._image_trace

    @property
    def parameter_trace(self) -> Table:
        """One row per iteration.

        Raises
        ------
        DataError
            If the result was made without it.
        """
        if self._parameter_trace is None:
            raise DataError("there is no parameter trace: the result was made without it")
        return self._parameter_trace

    @property
    def has_image_trace(self) -> bool:
        """Whether the result was not reduced to mean and standard deviation."""
        return self._image_trace is not None

    @property
    def has_parameter_trace(self) -> bool:
        """Whether the result was made with its parameter trace."""
        return self._parameter_trace is not None

    @cached_property
    def _mixing(self) -> dict[str, Any]:
        """The parameter, or brightest pixel, of the smallest effective sample size."""
        draws: dict[str, Array] = {}
        if self.has_parameter_trace:
            names = [n for n in self.parameter_trace.colnames if n not in NO_PARAMETERS]
            draws = {name: np.asarray(self.parameter_trace[name], float) for name in names}
        if self.has_image_trace:
            x, y = self._pixel(None)
            draws[f"pixel x {x}, y {y}"] = np.asarray(self.image_trace[:, y, x], float)
        if not draws:
            return {}
        table = np.stack(list(draws.values()), axis=-1)[None, self.n_burn_in :]
        return worst(list(draws), diagnose(table, np.zeros(1)))

    @property
    def _said(self) -> str:
        """How well the chain has mixed, in words."""
        if "ess" not in self._mixing:
            return ""
        ess, name = self._mixing["ess"], self._mixing["ess_of"]
        return f"ESS {ess:.0f} for {name}, should be {LEAST_ESS:.0f}"

    @property
    def doubts(self) -> list[str]:
        """What speaks against the draws, in a sentence each; nothing if all is well.

        Of one chain there are effective sample sizes (ESS) alone. Whether it got stuck only the
        result of another ``random_state`` can tell.
        """
        if not self._said or self._mixing["ess"] >= LEAST_ESS:
            return []
        times = ceil(LEAST_ESS / max(self._mixing["ess"], 1.0))
        total = self.n_burn_in + times * (self.n_iter_max - self.n_burn_in)
        return [
            f"{self._said}: draw at least {times} times as many (n_iter_max {total}), and compare "
            "with another random_state: one chain cannot tell whether it got stuck"
        ]

    def reduce_to_mean_std(self) -> LIRADeconvolverResult:
        """Return the result without its image trace, which takes most of the room."""
        return LIRADeconvolverResult(
            self.config,
            self.posterior_mean,
            self.posterior_std,
            self._parameter_trace,
            wcs=self.wcs,
        )

    def write(self, filename: str | Path, overwrite: bool = False, format: str = "fits") -> None:
        """Write a FITS file.

        Its units: the mean image (PRIMARY), ``POSTERIOR_STD``, ``PARAMETER_TRACE``,
        ``IMAGE_TRACE`` unless the result was reduced, and ``CONFIG``.

        Raises
        ------
        FileError
            If the file exists and ``overwrite`` is false, or cannot be written.
        ConfigError
            If the format is another than ``fits``.
        """
        from skyfold_image.pylira.utils.io import write_to_fits

        _require_fits(format)
        write_to_fits(self, filename, overwrite)

    @classmethod
    def read(cls, filename: str | Path, format: str = "fits") -> LIRADeconvolverResult:
        """Read a file that `write` or Pylira wrote; its image trace stays on disk until needed.

        Raises
        ------
        FileError
            If there is no such file, or it is no result.
        """
        from skyfold_image.pylira.utils.io import read_from_fits

        _require_fits(format)
        return cls(**read_from_fits(filename))

    def plot_pixel_traces_region(
        self,
        center_pix: Sequence[int],
        radius_pix: float = 0,
        figsize: tuple[float, float] = (16, 6),
        **kwargs: Any,
    ) -> Figure:
        """Draw the mean image beside the trace of a pixel and of its neighbours.

        Parameters
        ----------
        center_pix
            The pixel, (x, y).
        radius_pix
            Distance within which neighbours are drawn.
        figsize
            Size in inches.
        **kwargs
            Go to ``imshow``.
        """
        from skyfold_image.pylira.utils.plot import beside

        figure, axes, traces = beside(self.posterior_mean, self.wcs, figsize, **kwargs)
        if radius_pix:
            from matplotlib.patches import Circle

            axes.add_patch(Circle((center_pix[0], center_pix[1]), radius_pix, fc="none", ec="w"))
        self.plot_pixel_trace_neighbours(center_pix, radius_pix, ax=traces)
        self.plot_pixel_trace(center_pix, ax=traces)
        return figure

    def plot_pixel_trace(self, center_pix: Sequence[int] | None = None, **kwargs: Any) -> Axes:
        """Draw one pixel (x, y), the brightest by default; see `utils.plot.plot_pixel_trace`."""
        from skyfold_image.pylira.utils.plot import plot_pixel_trace

        kwargs.setdefault("config", self.config)
        return plot_pixel_trace(self.image_trace, self._pixel(center_pix), **kwargs)

    def plot_pixel_trace_neighbours(
        self, center_pix: Sequence[int] | None = None, radius_pix: float = 0, **kwargs: Any
    ) -> Axes:
        """Draw the pixels around one; see `utils.plot.plot_pixel_trace_neighbours`."""
        from skyfold_image.pylira.utils.plot import plot_pixel_trace_neighbours

        return plot_pixel_trace_neighbours(
            self.image_trace, self._pixel(center_pix), radius_pix, **kwargs
        )

    def plot_posterior_mean(self, from_image_trace: bool = False, **kwargs: Any) -> Figure:
        """Draw mean and standard deviation side by side; keywords go to ``imshow``."""
        from skyfold_image.pylira.utils.plot import images

        mean, std = self.posterior_mean, self.posterior_std
        if from_image_trace:
            mean, std = self.posterior_mean_from_trace, self.posterior_std_from_trace
        return images({"posterior mean": mean, "posterior std": std}, self.wcs, **kwargs)

    def plot_parameter_traces(self, **kwargs: Any) -> Figure:
        """Draw each parameter against the iteration; see `utils.plot.plot_parameter_traces`."""
        from skyfold_image.pylira.utils.plot import plot_parameter_traces

        return plot_parameter_traces(self.parameter_trace, self.config, **kwargs)

    def plot_parameter_distributions(self, **kwargs: Any) -> Figure:
        """Draw the posterior of each parameter; see `utils.plot.plot_parameter_distributions`."""
        from skyfold_image.pylira.utils.plot import plot_parameter_distributions

        return plot_parameter_distributions(self.parameter_trace, self.config, **kwargs)

    def plot_image_trace_animation(
        self,
        ax: Axes | None = None,
        interval: int = 20,
        repeat: bool = True,
        n_frames: int | None = None,
        cumulative: bool = False,
        label_dxy: tuple[float, float] = (20, 10),
        **kwargs: Any,
    ) -> FuncAnimation:
        """Show the images one after the other; see `utils.animation.image_trace_animation`."""
        from skyfold_image.pylira.utils.animation import image_trace_animation

        return image_trace_animation(
            self.image_trace, ax, interval, repeat, n_frames, cumulative, label_dxy, **kwargs
        )

    def plot_image_trace_interactive(self, **kwargs: Any) -> Any:
        """Show the image of the iteration that a slider chooses, in a notebook.

        Raises
        ------
        MissingExtraError
            If ipywidgets is not installed.
        """
        widgets = require("ipywidgets", "tutorials")

        def show(iteration: int) -> None:
            import matplotlib.pyplot as plt

            plt.imshow(self.image_trace[iteration], **{"origin": "lower", **kwargs})
            plt.colorbar()
            plt.show()

        slider = widgets.IntSlider(min=0, max=len(self.image_trace) - 1, description="iteration")
        return widgets.interactive(show, iteration=slider)

    def _pixel(self, center_pix: Sequence[int] | None) -> Sequence[int]:
        """Return the pixel asked for, (x, y), or the brightest one."""
        if center_pix is not None:
            return center_pix
        y, x = np.unravel_index(np.argmax(self.posterior_mean), self.posterior_mean.shape)
        return int(x), int(y)


def _require_fits(format: str) -> None:
    if format != "fits":
        raise ConfigError(f"format {format!r} is unknown; there is fits")
