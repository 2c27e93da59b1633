"""The significance of structure beyond a known baseline, from results and their replicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError
from skyfold.sampling.structure.structure import GAMMA, Bound, bound, shares
from skyfold.vector import Array
from skyfold_image.pylira.result import LIRADeconvolverResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ByRegion = dict[str, Any]


class LIRASignificanceEstimator:
    """Bound the p-values of regions of an image (Stein et al. 2015, ApJ 813, 66).

    What of the light of a region is not background, ``xi = flux / (flux + background)``, is
    compared with the same in replicates: results from counts simulated with the background alone.
    The draws after burn-in count, and flux and background are in one unit.

    Parameters
    ----------
    result_observed_im
        Result from the counts observed.
    result_replicates
        Results from counts simulated without the flux, each from counts of its own.
    labels_im
        Number of the region that each pixel belongs to, shape (y, x).

    Raises
    ------
    DataError
        If the labels have another shape than the images.
    """

    def __init__(
        self,
        result_observed_im: LIRADeconvolverResult,
        result_replicates: Sequence[LIRADeconvolverResult],
        labels_im: Array,
    ) -> None:
        self.observed, self.replicates = result_observed_im, list(result_replicates)
        self.labels = np.asarray(labels_im)
        for result in (self.observed, *self.replicates):
            shape = result.posterior_mean.shape
            if shape != self.labels.shape:
                raise DataError(f"labels_im has shape {self.labels.shape}, an image {shape}")
        self._bounds: dict[str, Bound] = {}

    def estimate_p_values(
        self, data: Mapping[str, Any], gamma: float = GAMMA
    ) -> tuple[ByRegion, ByRegion, ByRegion, ByRegion, ByRegion]:
        """Bound the p-value of each region.

        Parameters
        ----------
        data
            The data of the observation; its ``background`` is what the flux is compared with.
        gamma
            Mean of the test statistic without flux, chosen before looking; no bound is less.

        Returns
        -------
        p_values
            Upper bounds, by the label of the region as text.
        xi_replicates, xi_observed
            Draws of xi, those of all replicates one after the other.
        quantiles
            The xi that is called large.
        statistics
            Posterior probability of a xi as large, given the counts observed.

        Raises
        ------
        DataError
            If the data have no background, or two replicates are the same.
        ConfigError
            If there are fewer than four replicates, or gamma is no probability.
        """
        if data.get("background") is None:
            raise DataError("the data have no background to compare the flux with")
        background = np.broadcast_to(np.asarray(data["background"], float), self.labels.shape)
        p_values, nulls, found, quantiles, statistics = ({} for _ in range(5))
        for label in np.unique(self.labels):
            key, region = str(label), self.labels == label
            seen = _xi(self.observed, region, background)
            replicates = np.array([_xi(one, region, background) for one in self.replicates])
            one = self._bounds[key] = bound(seen, replicates, gamma)
            p_values[key], quantiles[key], statistics[key] = one.p_bound, one.c, one.tail
            nulls[key], found[key] = replicates.ravel(), seen
        return p_values, nulls, found, quantiles, statistics

    @property
    def bounds(self) -> dict[str, Bound]:
        """What is behind the last p-values: upper limits, too, and p-values by rank."""
        return self._bounds

    def plot_xi_dist(
        self,
        xi_obs: ByRegion,
        xi_repl: ByRegion,
        region_id: str,
        figsize: tuple[float, float] = (8, 5),
    ) -> Figure:
        """Draw the densities of log10 xi in a region: observed, each replicate, all replicates.

        Parameters
        ----------
        xi_obs, xi_repl
            What `estimate_p_values` returns.
        region_id
            Label of the region, as text.
        figsize
            Size in inches.

        Raises
        ------
        DataError
            If there is no such region.
        """
        from skyfold_image.pylira.utils.plot import densities

        if region_id not in xi_obs:
            raise DataError(f"there is no region {region_id!r}; there are {', '.join(xi_obs)}")
        pooled = np.asarray(xi_repl[region_id])
        each = np.split(pooled, len(self.replicates))
        return densities(np.asarray(xi_obs[region_id]), each, figsize)


def _xi(result: LIRADeconvolverResult, region: Array, background: Array) -> Array:
    """Return the share of the flux of a region in each draw after burn-in."""
    images = np.asarray(result.image_trace[result.n_burn_in :][:, region])
    known = np.full(len(images), float(background[region].sum()))
    if "bkgScale" in result.parameter_trace.colnames:
        known = known * np.asarray(result.parameter_trace["bkgScale"])[result.n_burn_in :]
    return shares(images.sum(axis=1, dtype=float), known)
