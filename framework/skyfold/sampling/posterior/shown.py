"""What people look at after sampling: the pictures of a posterior as its methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from skyfold.errors import ConfigError
from skyfold.vector import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skyfold.regions import Region
    from skyfold.sampling.posterior.films import Film
    from skyfold.sampling.posterior.posterior import Posterior

MOST = 24  # parameters that are shown when none are named


class Shown:
    """Pictures of a posterior.

    They are matplotlib figures, which show themselves in a notebook and are written by
    ``.savefig``. Where there are several skies ``component`` names one; ``energy`` is the number of
    an energy, from 0, and without it all are added.
    """

    def plot(
        self, component: str | None = None, energy: int | None = None, level: float = 0.68
    ) -> Figure:
        """Return a figure of the counts, the posterior mean, and how well it is known."""
        from skyfold.sampling.posterior.pictures import overview

        return overview(self._own, component, energy, level)

    def plot_pixel(
        self,
        center: tuple[float, float],
        radius: float = 3,
        component: str | None = None,
        energy: int | None = None,
    ) -> Figure:
        """Return a figure with the trace of a pixel and those of the pixels around it.

        Parameters
        ----------
        center, radius
            x, y and radius in pixels, counted from 0; on a sphere longitude, latitude and radius in
            degrees.
        component, energy
            See `Shown`.
        """
        from skyfold.sampling.posterior.pictures import pixel_traces

        return pixel_traces(self._own, center, radius, component, energy)

    def plot_region(
        self,
        region: str | Path | Region,
        level: float = 0.68,
        component: str | None = None,
        energy: int | None = None,
    ) -> Figure:
        """Return a figure with the trace of the flux of a region, and its distribution.

        Parameters
        ----------
        region
            What `skyfold.Result.errors` takes, as ``core = circle(40, 52, 6)``.
        level
            Which part of the draws lies between the dotted lines.
        component, energy
            See `Shown`.
        """
        from skyfold.sampling.posterior.pictures import region_traces

        return region_traces(self._own, region, level, component, energy)

    def plot_traces(self, names: Sequence[str] | None = None) -> Figure:
        """Return a figure with the traces of parameters, chain by chain.

        Parameters
        ----------
        names
            Columns, or what several begin with, as ``sky.alpha``; by default all but blocks and
            single pixels, and of very many those that mix worst.
        """
        from skyfold.sampling.posterior.trace_pictures import traces

        table, found = self._parameters(names)
        return traces(table, found, self._own.burn, origins=self._own.origins)

    def plot_distributions(self, names: Sequence[str] | None = None, level: float = 0.68) -> Figure:
        """Return a figure with the distributions of parameters, beside what was known before.

        Parameters
        ----------
        names
            As for `plot_traces`.
        level
            Which part of the draws lies between the dotted lines.
        """
        from skyfold.sampling.posterior.prior_pictures import density
        from skyfold.sampling.posterior.trace_pictures import distributions

        table, found = self._counting(names)
        known = {
            name: density(self._own.hyper[sky])
            for name in found
            if (sky := name.partition(".alpha")[0]) in self._own.hyper and ".alpha" in name
        }
        burn, origins = self._own.burn, self._own.origins
        return distributions(table, found, burn, known, level, origins=origins)

    def plot_ranks(self, names: Sequence[str] | None = None) -> Figure:
        """Return a figure of how the draws of each chain rank among those of all of its origin.

        Parameters
        ----------
        names
            As for `plot_traces`.
        """
        from skyfold.sampling.posterior.trace_pictures import ranks

        table, found = self._counting(names)
        return ranks(table, found, self._own.burn, origins=self._own.origins)

    def plot_intervals(self, names: Sequence[str]) -> Figure:
        """Return a figure of means and credible intervals of parameters of one unit.

        Parameters
        ----------
        names
            As for `plot_traces`: ``["sky.pixel"]`` or ``["sky.block"]``, say.
        """
        from skyfold.sampling.posterior.trace_pictures import intervals

        return intervals(*self._counting(names), self._own.burn)

    def plot_mixing(self) -> Figure:
        """Return a figure of R-hat and effective sample sizes of all parameters, worst on top.

        Raises
        ------
        DataError
            If there are too few draws to tell.
        """
        from skyfold.sampling.posterior.trace_pictures import mixing

        self._require_draws()
        return mixing(self._own.diagnostics(), self._own.columns)

    def plot_scales(self, component: str | None = None, energy: int | None = None) -> Figure:
        """Return a figure of the posterior mean on all scales, as the multi-scale law sees it."""
        from astropy import units as u

        from skyfold.sampling.posterior.planes import plane_of
        from skyfold.sampling.posterior.prior_pictures import decomposition

        plane = plane_of(self._own, component, energy)
        mean = u.Quantity(plane.mean, plane.component.unit)
        return decomposition(mean, plane.component.geometry, plane.layer("", plane.mean).upward)

    def animate(
        self,
        chain: int = 0,
        cumulative: bool = False,
        component: str | None = None,
        energy: int | None = None,
        **options: Any,
    ) -> Film:
        """Return a film of the images of a chain; it shows itself in a notebook.

        Parameters
        ----------
        chain
            Which chain, counted from 0.
        cumulative
            Whether to show the mean of all images so far instead of each image.
        component, energy
            See `Shown`.
        options
            ``frames`` and ``interval``, see `skyfold.sampling.posterior.films.animation`.
        """
        from skyfold.sampling.posterior.films import animation

        return animation(self._own, chain, cumulative, component, energy, **options)

    def explore(self, component: str | None = None, energy: int | None = None) -> Any:
        """Return sliders for a notebook: the chain and the image.

        Raises
        ------
        MissingExtraError
            If ipywidgets is not installed.
        """
        from skyfold.sampling.posterior.films import slider

        return slider(self._own, component, energy)

    @property
    def _own(self) -> Posterior:
        return cast("Posterior", self)

    def _parameters(self, names: Sequence[str] | None) -> tuple[Array, list[str]]:
        """Return the parameters named, shape ``(chains, sweeps, parameters)``, and their names.

        Raises
        ------
        ConfigError
            If there is none of a name.
        """
        own = self._own
        if names is None:
            found = telling(own.columns, own.table, own.diagnostics())
        else:
            found = [column for name in names for column in _named(own.columns, name)]
        return own.table[:, :, [own.columns.index(name) for name in found]], found

    def _counting(self, names: Sequence[str] | None) -> tuple[Array, list[str]]:
        """Return what `_parameters` does, of which only the draws after burn-in are of use.

        Raises
        ------
        DataError
            If there are none yet.
        """
        self._require_draws()
        return self._parameters(names)

    def _require_draws(self) -> None:
        for sky in self._own.kept:
            self._own.drawn(sky)


def telling(columns: Sequence[str], table: Array, figures: Any, most: int = MOST) -> list[str]:
    """Return the parameters to show when none are named: no blocks, no pixels, nothing fixed.

    Parameters
    ----------
    columns, table
        Names and values, ``(chains, sweeps, columns)``.
    figures
        ``r_hat``, ``ess_bulk`` and ``ess_tail`` of each.
    most
        Of more than so many only those that mix worst.
    """
    from skyfold.sampling.posterior.trace_pictures import worst_first

    moving = np.any(table != table[:, :1], axis=(0, 1))
    main = [
        i
        for i, name in enumerate(columns)
        if moving[i] and name != "log_prior" and ".block[" not in name and ".pixel[" not in name
    ]
    if len(main) > most:
        order = worst_first(figures) or main  # nothing is known of few draws
        main = sorted([i for i in order if i in main][:most])
    return [columns[i] for i in main]


def _named(columns: Sequence[str], name: str) -> list[str]:
    found = [column for column in columns if column == name or column.startswith(f"{name}[")]
    if not found:
        raise ConfigError(f"no parameter {name!r}; there are {', '.join(columns)}")
    return found
