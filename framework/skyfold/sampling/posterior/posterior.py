"""What a sampler leaves behind: means, intervals, traces, and whether they can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.data import DataInterface
from skyfold.errors import ConfigError, DataError
from skyfold.model import Model
from skyfold.sampling.chains import diagnostics
from skyfold.sampling.laws.strengths import HyperPrior
from skyfold.sampling.posterior import images
from skyfold.sampling.posterior.images import Credible, field_of
from skyfold.sampling.posterior.shown import Shown
from skyfold.vector import Array, Vector

if TYPE_CHECKING:
    from astropy.table import QTable
    from astropy.units import Quantity

    from skyfold.regions import Region
    from skyfold.result import Result


@dataclass(frozen=True, eq=False, repr=False)
class Posterior(Shown):
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
    hyper
        Density of the strengths of each sky before counts are seen, where they are unknown.
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
    hyper: Mapping[str, HyperPrior] = field(default_factory=dict)

    def __repr__(self) -> str:
        kept = ", ".join(f"{name} {v.shape[1:]}" for name, v in self.kept.items())
        return (
            f"<Posterior: {self.chains} chains, {len(np.unique(self.origins))} origins, "
            f"{self.draws} draws each after {self.burn}; kept: {kept}>"
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
        number = next((each.shape[1] for each in self.kept.values()), 0)
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
        return self.kept[self.sky(component)]

    @property
    def mean(self) -> Quantity:
        """Posterior mean of the sky, from all draws, on the field that the data cover."""
        name = self.sky(None)
        return self.model.quantity(name)[field_of(self.model, name)]

    @property
    def std(self) -> Quantity:
        """Posterior standard deviation of the sky, from all draws, over all chains."""
        name = self.sky(None)
        return self._quantity(self.deviation(name), name)

    def deviation(self, component: str) -> Array:
        """Return the standard deviation of the values of a sky on the field; NaN of one draw."""
        field = (..., *field_of(self.model, component))
        means, spreads = self.means[component][field], self.spreads[component][field]
        return images.deviation(means, spreads, self.draws)

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
        name = self.sky(component)
        low, high = images.interval(self.drawn(name), level)
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

        name = self.sky(component)
        sums = Sums(self.data, self.model, name, find([region]))
        trace = self.sums(name, sums.functions)
        low, high = np.quantile(trace, images.tails(level), axis=(0, 1))
        mean = np.array([function.dot(self.model) for function in sums.functions])
        only = 0 if len(mean) == 1 else slice(None)
        unit = u.Unit(sums.unit)
        return Credible(*(values[..., only] * unit for values in (mean, low, high, trace)))

    def sums(self, component: str, functions: Sequence[Vector]) -> Array:
        """Return linear functions of each image kept, shape ``(chains, kept, functions)``."""
        field = field_of(self.model, component)
        weights = [function[component][field] for function in functions]
        return images.weighted_sums(self.drawn(component), weights)

    @cached_property
    def _figures(self) -> dict[str, Array]:
        return diagnostics.diagnose(self.table[:, self.burn :], self.origins)

    def diagnostics(self) -> QTable:
        """Return how well each parameter is known: mean, standard deviation, R-hat, ESS, ...

        What the columns mean, see `skyfold.sampling.chains.diagnostics.diagnose`.
        """
        return diagnostics.as_table(self.columns, self._figures)

    @property
    def doubts(self) -> list[str]:
        """What speaks against the draws, in a sentence each; nothing if all is well."""
        sweeps = self.table.shape[1]
        found = diagnostics.judge(self.columns, self._figures, self.origins, self.burn, sweeps)
        return diagnostics.doubts(found, self.seconds)

    @property
    def normalisation_errors(self) -> dict[str, float]:
        """Standard deviations of the normalisations that were drawn; none of less than two draws.

        Of a component of very many only the first is followed.
        """
        names = {n for n, c in self.model.components.items() if not c.geometry.sky}
        draws = self.table[:, self.burn :]
        return {
            name: float(draws[..., i].std())
            for i, name in enumerate(self.columns)
            if name.partition("[")[0] in names and draws.shape[1] > 1
        }

    def drawn(self, component: str) -> Array:
        """Return the images kept of a sky.

        Raises
        ------
        DataError
            If there are none yet.
        """
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

    def sky(self, name: str | None) -> str:
        """Return the name of a sky that was drawn; of the only one by default.

        Raises
        ------
        ConfigError
            If there is no such sky, or there are several and none is named.
        """
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
    from skyfold.sampling.laws.multiscale_law import MultiScale

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
        hyper={
            name: law.hyper
            for name, law in algorithm.laws.items()
            if isinstance(law, MultiScale) and law.hyper is not None
        },
    )
