"""What a sampler leaves behind: means, intervals, traces, and whether they can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skyfold.data import DataInterface
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Geometry, Grid
from skyfold.model import Model
from skyfold.sampling import diagnostics
from skyfold.vector import Array, Vector

if TYPE_CHECKING:
    from astropy.table import QTable
    from astropy.units import Quantity

    from skyfold.regions import Region
    from skyfold.result import Result

BLOCK = 16_000_000  # values of draws that are in memory at a time


class Credible(NamedTuple):
    """The flux of a region: posterior mean, credible interval, and the draws behind them.

    Parameters
    ----------
    flux, low, high
        One value, or one for each energy.
    trace
        Shape ``(chains, kept)``, or ``(chains, kept, energies)``.
    """

    flux: Quantity
    low: Quantity
    high: Quantity
    trace: Quantity


@dataclass(frozen=True, eq=False, repr=False)
class Posterior:
    """Draws of several chains from a posterior.

    Parameters
    ----------
    data, model
        The data, and the model that is the mean of all draws.
    columns
        Names of the parameters.
    table
        Their values in every sweep, burn-in included, shape ``(chains, sweeps, columns)``.
    origins
        Number of the origin of each chain; chains of one origin share one posterior.
    burn
        Sweeps that do not count.
    thin
        Of the images after burn-in one of so many is kept, the first included.
    kept
        Images of each sky on the field that the data cover, float32, shape ``(chains, kept, ...)``.
    means, spreads
        Mean, and sum of squared differences to it, of all values of each chain after burn-in:
        shape ``(chains, ...)``.
    seconds
        How long the drawing took; 0 if that is not known.
    """

    data: DataInterface
    model: Model
    columns: tuple[str, ...]
    table: Array
    origins: Array
    burn: int
    thin: int
    kept: Mapping[str, Array]
    means: Vector
    spreads: Vector
    seconds: float = 0.0

    def __repr__(self) -> str:
        images = ", ".join(f"{name} {v.shape[1:]}" for name, v in self.kept.items())
        return (
            f"<Posterior: {self.chains} chains, {len(np.unique(self.origins))} origins, "
            f"{self.draws} draws each after {self.burn}; kept: {images}>"
        )

    @property
    def chains(self) -> int:
        """Number of chains."""
        return len(self.origins)

    @property
    def draws(self) -> int:
        """Sweeps of each chain after burn-in."""
        return int(max(self.table.shape[1] - self.burn, 0))

    @property
    def kept_sweeps(self) -> Array:
        """Sweeps that the images kept belong to, counted from 0, burn-in included."""
        number = next((images.shape[1] for images in self.kept.values()), 0)
        return self.burn + self.thin * np.arange(number)

    def parameter(self, name: str) -> Array:
        """Return the values of a parameter, burn-in included, shape ``(chains, sweeps)``.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        if name not in self.columns:
            raise ConfigError(f"no parameter {name!r}; there are {', '.join(self.columns)}")
        values: Array = self.table[:, :, self.columns.index(name)]
        return values

    def samples(self, component: str | None = None) -> Array:
        """Return the images kept of a sky, shape ``(chains, kept, ...)``, float32.

        They lie on the field that the data cover. Of a run folder they stay in their file until
        they are looked at.

        Raises
        ------
        ConfigError
            If the component is no sky that was drawn, or there are several and none is named.
        """
        return self.kept[self._sky(component)]

    @property
    def mean(self) -> Quantity:
        """Posterior mean of the sky, from all draws, on the field that the data cover."""
        name = self._sky(None)
        return self.model.quantity(name)[field_of(self.model, name)]

    @property
    def std(self) -> Quantity:
        """Posterior standard deviation of the sky, from all draws, over all chains."""
        name = self._sky(None)
        return self._quantity(self.deviation(name), name)

    def deviation(self, component: str) -> Array:
        """Return the standard deviation of the values of a sky on the field; NaN of one draw."""
        field = (..., *field_of(self.model, component))
        means, spreads = self.means[component][field], self.spreads[component][field]
        within = spreads.sum(axis=0)
        between = self.draws * np.sum((means - means.mean(axis=0)) ** 2, axis=0)
        free = self.chains * self.draws - 1
        deviation: Array = np.sqrt((within + between) / free) if free > 0 else within * np.nan
        return deviation

    def interval(self, level: float = 0.68, component: str | None = None) -> tuple[Any, Any]:
        """Return the bounds of the middle part of the draws of each value: a credible interval.

        Parameters
        ----------
        level
            Which part of the draws lies between them; as many lie below as above.
        component
            Name of the sky, where there are several.

        Returns
        -------
        low, high
            Quantities on the field that the data cover.

        Raises
        ------
        ConfigError
            If the level is not between 0 and 1.
        DataError
            If nothing was kept yet.
        """
        name = self._sky(component)
        samples = self._drawn(name)
        shape, images = samples.shape[2:], samples.reshape(*samples.shape[:2], -1)
        found = np.empty((2, images.shape[2]), samples.dtype)
        width = max(BLOCK // (samples.shape[0] * samples.shape[1]), 1)
        for begin in range(0, images.shape[2], width):
            part = np.moveaxis(images[:, :, begin : begin + width], 2, 0)
            together = part.reshape(len(part), -1)
            found[:, begin : begin + width] = np.quantile(together, tails(level), axis=1)
        low, high = found.reshape(2, *shape)
        return self._quantity(low, name), self._quantity(high, name)

    def region(
        self, region: str | Path | Region, level: float = 0.68, component: str | None = None
    ) -> Credible:
        """Return the flux of a region with its credible interval.

        Parameters
        ----------
        region
            What `skyfold.Result.errors` takes.
        level, component
            As for `interval`.

        Raises
        ------
        ConfigError
            If the region is none, or the level not between 0 and 1.
        DataError
            If nothing was kept yet.
        """
        from astropy import units as u

        from skyfold.region_files import find
        from skyfold.sums import Sums

        name = self._sky(component)
        sums = Sums(self.data, self.model, name, find([region]))
        trace = self.sums(name, sums.functions)
        low, high = np.quantile(trace, tails(level), axis=(0, 1))
        mean = np.array([function.dot(self.model) for function in sums.functions])
        only = 0 if len(mean) == 1 else slice(None)
        unit = u.Unit(sums.unit)
        return Credible(*(values[..., only] * unit for values in (mean, low, high, trace)))

    def sums(self, component: str, functions: Sequence[Vector]) -> Array:
        """Return linear functions of each image kept, shape ``(chains, kept, functions)``."""
        samples = self._drawn(component)
        images = samples.reshape(*samples.shape[:2], -1)
        field = field_of(self.model, component)
        weights = [function[component][field].ravel() for function in functions]
        places = np.flatnonzero(np.any(weights, axis=0))
        matrix = np.array(weights)[:, places].T
        found = np.empty((*images.shape[:2], len(functions)))
        for chain, own in enumerate(images):
            width = max(BLOCK // max(len(places), 1), 1)
            for begin in range(0, len(own), width):
                part = slice(begin, begin + width)
                found[chain, part] = own[part][:, places] @ matrix
        return found

    @cached_property
    def _figures(self) -> dict[str, Array]:
        return diagnostics.diagnose(self.table[:, self.burn :], self.origins)

    def diagnostics(self) -> QTable:
        """Return how well each parameter is known: mean, standard deviation, R-hat, ESS, ...

        What the columns mean, see `skyfold.sampling.diagnostics.diagnose`.
        """
        return diagnostics.as_table(self.columns, self._figures)

    @property
    def doubts(self) -> list[str]:
        """What speaks against the draws, in a sentence each; nothing if all is well."""
        found = diagnostics.judge(self.columns, self._figures, self.origins, self.burn, self.draws)
        return diagnostics.doubts(found, self.seconds)

    def _drawn(self, component: str) -> Array:
        samples = self.samples(component)
        if samples.shape[1] == 0:
            raise DataError(
                f"no draws of {component} yet: the run was ended within its burn-in of "
                f"{self.burn} sweeps; go on with skyfold resume"
            )
        return samples

    def _quantity(self, values: Array, name: str) -> Quantity:
        from astropy import units as u

        quantity: Quantity = values * u.Unit(self.model.components[name].unit)
        return quantity

    def _sky(self, name: str | None) -> str:
        if name is None and len(self.kept) == 1:
            return next(iter(self.kept))
        if name is None:
            raise ConfigError(f"there are {len(self.kept)} skies: {', '.join(self.kept)}; name one")
        if name not in self.kept:
            raise ConfigError(f"no images of {name!r} were drawn; there are {', '.join(self.kept)}")
        return name


def posterior_of(result: Result) -> Posterior:
    """Return the posterior that a sampler has drawn.

    Raises
    ------
    ConfigError
        If the result is not that of a sampler, or does not know its run.
    """
    from skyfold.algorithms.gibbs import Gibbs, GibbsState

    problem, state = result.problem, result.state
    if problem is None or not isinstance(state, GibbsState):
        raise ConfigError("this run drew nothing from the posterior; the method lira does")
    algorithm = problem.algorithm
    assert isinstance(algorithm, Gibbs)
    columns = algorithm.columns(state, result.data)
    nothing = np.zeros((algorithm.chains, 0, len(columns)))
    return Posterior(
        data=result.data,
        model=result.model,
        columns=columns,
        table=state.table if state.series else nothing,
        origins=algorithm.groups,
        burn=algorithm.burn,
        thin=algorithm.thin,
        kept=result.samples,
        means=state.mean,
        spreads=state.spread,
        seconds=result.trace[-1]["seconds"],
    )


def field_of(model: Model, component: str) -> tuple[Any, ...]:
    """Return the index of the part of a sky that the data cover."""
    geometry: Geometry = model.components[component].geometry
    field = geometry.field if isinstance(geometry, Grid) else None
    return field or ()


def tails(level: float) -> tuple[float, float]:
    """Return the quantiles between which the middle part of draws lies.

    Raises
    ------
    ConfigError
        If the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level {level:g}: an interval holds a part between 0 and 1, as 0.68")
    return (1 - level) / 2, (1 + level) / 2
