"""Numbers of images drawn by chains: scatter, intervals, sums; from disk, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skyfold.errors import ConfigError
from skyfold.model import Model
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.units import Quantity

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

    def __repr__(self) -> str:
        """Return it without the draws."""
        flux, low, high = (np.array2string(each.value, precision=5) for each in self[:3])
        chains, kept = self.trace.shape[:2]
        return (
            f"<Credible: {flux} {self.flux.unit}, between {low} and {high}; "
            f"{chains} x {kept} draws>"
        )


def field_of(model: Model, component: str) -> tuple[Any, ...]:
    """Return the index of the part of a sky that the data cover."""
    return model.components[component].geometry.inside


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


def interval(samples: Array, level: float) -> tuple[Array, Array]:
    """Return the bounds of the middle part of the draws of each value.

    Parameters
    ----------
    samples
        Shape ``(chains, kept, ...)``; perhaps a memory map.
    level
        Which part lies between the bounds; as many draws lie below as above.
    """
    quantiles, images = tails(level), samples.reshape(*samples.shape[:2], -1)
    found = np.empty((2, images.shape[2]), samples.dtype)
    width = max(BLOCK // (samples.shape[0] * samples.shape[1]), 1)
    for begin in range(0, images.shape[2], width):
        part = np.moveaxis(images[:, :, begin : begin + width], 2, 0)
        together = part.reshape(len(part), -1)
        found[:, begin : begin + width] = np.quantile(together, quantiles, axis=1)
    low, high = found.reshape(2, *samples.shape[2:])
    return low, high


def weighted_sums(samples: Array, weights: Sequence[Array]) -> Array:
    """Return sums over each image, of shape ``(chains, kept, weights)``, in float64.

    Parameters
    ----------
    samples
        Shape ``(chains, kept, ...)``; perhaps a memory map.
    weights
        Of the values of an image, one array for each sum.
    """
    images = samples.reshape(*samples.shape[:2], -1)
    matrix = np.array([np.ravel(each) for each in weights]).T
    places = np.flatnonzero(np.any(matrix, axis=1))
    found = np.empty((*images.shape[:2], len(weights)))
    width = max(BLOCK // max(len(places), 1), 1)
    for chain, own in enumerate(images):
        for begin in range(0, len(own), width):
            part = slice(begin, begin + width)
            found[chain, part] = own[part][:, places] @ matrix[places]
    return found


def deviation(means: Array, spreads: Array, draws: int) -> Array:
    """Return the standard deviation of all draws of all chains; NaN of less than two.

    Parameters
    ----------
    means, spreads
        Mean, and sum of squared differences to it, of each chain: shape ``(chains, ...)``.
    draws
        Draws of each chain.
    """
    within = spreads.sum(axis=0)
    between = draws * np.sum((means - means.mean(axis=0)) ** 2, axis=0)
    free = len(means) * draws - 1
    found: Array = np.sqrt((within + between) / free) if free > 0 else within * np.nan
    return found
