"""What a model leaves unexplained: residuals of bins, of blocks, and along the axes of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from skyfold.binned import BinnedData
from skyfold.cstat import CStatistic, compare, cstat
from skyfold.data import DataInterface, Expectation
from skyfold.dataspace import BLOCK, DataSpace, Projection
from skyfold.vector import Array

LARGEST = 10_000_000  # bins of a data space; of more, only the projections are kept
SLAB = 4_000_000  # bins looked at together


@dataclass(frozen=True, eq=False)
class Explained:
    """One observation beside what a model expects: computed once, for figures, files and pictures.

    Parameters
    ----------
    counts, expected
        Totals over the bins in use.
    bins, outliers
        Number of bins in use, and of those beyond 3 sigma; no bins for event lists.
    blocks, largest_block
        Number of blocks, and the largest absolute residual of one, in sigma.
    c_stat
        C-statistic of the bins in use, beside its mean and variance under the model.
    projections
        Sums along each axis of a data space.
    expectation, residual
        Of every bin, unweighted and in sigma; None for event lists and very large data spaces.
    """

    counts: float
    expected: float
    bins: int = 0
    outliers: int = 0
    blocks: int = 0
    largest_block: float = 0.0
    c_stat: CStatistic = field(default_factory=CStatistic)
    projections: tuple[Projection, ...] = ()
    expectation: Array | None = None
    residual: Array | None = None

    @property
    def figures(self) -> dict[str, float]:
        """What is worth a row in a table: counts and, where there are bins, their C-statistic.

        ``c_stat_excess`` is how far ``c_stat`` lies above ``c_stat_expected``, in units of
        ``c_stat_sigma``.
        """
        told: dict[str, float] = {"counts": self.counts, "expectation": self.expected}
        if not self.bins:
            return told
        return told | {
            "bins": self.bins,
            "c_stat": self.c_stat.value,
            "c_stat_expected": self.c_stat.mean,
            "c_stat_sigma": self.c_stat.sigma,
            "c_stat_excess": self.c_stat.excess,
        }


def keeps_bins(part: BinnedData) -> bool:
    """Return whether results hold a value for every bin of an observation."""
    large = isinstance(part.origin.geometry, DataSpace) and part.full_counts.size > LARGEST
    return part.complete and not large


def explain(part: BinnedData, values: Mapping[str, Array], total: float) -> Explained:
    """Compare the counts of an observation with the expectation of a model.

    Large data are gone through in slabs, so that little more than the expectation is in memory.

    Parameters
    ----------
    part
        The observation.
    values
        Values of its components.
    total
        Expected counts in all bins, for event lists: they do not hold all bins.
    """
    counted = float(part.full_counts.sum(dtype=np.float64, where=part.weight > 0))
    if not part.complete:
        return Explained(counted, total)
    space = part.origin.geometry if isinstance(part.origin.geometry, DataSpace) else None
    expectation, whole = part.full_expectation(values), keeps_bins(part)
    residual = np.empty(part.shape) if whole else None
    projected = [np.zeros((2, size)) for size in (space.shape if space else ())]
    expected = largest = 0.0
    bins = outliers = blocks = 0
    c_stat = CStatistic()
    for here in _slabs(part.shape, space):
        n, w = part.full_counts[here], part.weight[here]
        sigma = deviance_residual(n, expectation[here], w)
        if residual is not None:
            residual[here] = sigma
        seen = w > 0
        n, e = np.where(seen, n, 0), expectation[here] * w
        expected += float(e.sum(dtype=np.float64))
        c_stat += compare(n, e)
        bins += int(np.count_nonzero(seen))
        outliers += int(np.count_nonzero(np.abs(sigma) > 3))
        off = block_residual(n, e, space)
        blocks += off.size
        largest = max(largest, float(np.nanmax(np.abs(off), initial=0)))
        for axis, sums in enumerate(projected):
            others = tuple(i for i in range(n.ndim) if i != axis)
            along = here if axis == 0 else slice(None)
            for row, values_ in zip(sums, (n, e), strict=True):
                row[along] += values_.sum(axis=others, dtype=np.float64)
    return Explained(
        counted,
        expected,
        bins,
        outliers,
        blocks,
        largest,
        c_stat,
        tuple(
            Projection(axis, sums[0], sums[1], part.origin.name)
            for axis, sums in zip(space.axes if space else (), projected, strict=True)
        ),
        expectation if whole else None,
        residual,
    )


def c_statistic(
    data: DataInterface, values: Mapping[str, Array], expectation: Expectation
) -> CStatistic:
    """Return the C-statistic of all bins of all observations; event lists have none.

    Parameters
    ----------
    data
        The data.
    values, expectation
        The model, and its expectation on the bins that the products visit. Observations of which
        they do not visit all bins cost a forward product.
    """
    total = CStatistic()
    for counts, expected, _ in _every_bin(data, values, expectation):
        total += compare(counts, expected)
    return total


def chi_square(data: DataInterface, values: Mapping[str, Array], expectation: Expectation) -> float:
    """Return Pearson's chi-square of the bins in use, over their number less one.

    That is ``sum (n - e)^2 / e / (bins - 1)``, with the weighted counts n and expectations e, over
    bins in which something is expected; event lists have none. Arguments and cost are those of
    `c_statistic`.
    """
    total, bins = 0.0, 0
    for counts, expected, seen in _every_bin(data, values, expectation):
        off = np.divide(
            (counts - expected) ** 2,
            expected,
            out=np.zeros(seen.shape),
            where=seen & (expected > 0),
        )
        total += float(np.sum(off))
        bins += int(np.count_nonzero(seen))
    return total / max(bins - 1, 1)


def _every_bin(
    data: DataInterface, values: Mapping[str, Array], expectation: Expectation
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield counts and expectations of all bins, and which are in use, for each observation."""
    ends = np.cumsum([part.counts.size for part in data.parts])[:-1]
    for part, visited in zip(data.parts, np.split(expectation.observed, ends), strict=True):
        if part.complete:
            mu = part.full_expectation(values) if part.bins is not None else visited
            seen = part.weight > 0
            counts = np.where(seen, part.full_counts, 0)
            yield counts, np.maximum(mu, 0).reshape(part.shape) * part.weight, seen


def _slabs(shape: tuple[int, ...], space: DataSpace | None) -> Iterator[slice]:
    """Yield pieces of the first axis, whole blocks long; pixels of a sphere stay together."""
    if space and space.axes[0].nside:
        yield slice(None)
        return
    step = max(SLAB // max(prod(shape[1:]), 1) // BLOCK, 1) * BLOCK
    for first in range(0, shape[0], step):
        yield slice(first, min(first + step, shape[0]))


def deviance_residual(counts: Array, expectation: Array, weight: Array) -> Array:
    """Return the signed root of each bin's Poisson deviance: a residual in sigma.

    ``sign(n - e) sqrt(2 (n log(n/e) - n + e))`` is close to normal where (n - e)/sqrt(e) is not,
    at few counts; NaN where the weight is zero.
    """
    mu = expectation * weight
    signed = np.sign(counts - mu) * np.sqrt(cstat(counts, mu))
    return np.where(weight > 0, signed, np.nan)


def block_residual(counts: Array, expectation: Array, space: DataSpace | None = None) -> Array:
    """Return the residual in sigma of blocks: 8 x 8 pixels of an image, 8 bins a side elsewhere.

    Summing first shows what single bins with few counts cannot show. Of a data space every axis
    is divided, of an image the last two.

    Parameters
    ----------
    counts, expectation
        Per bin; of a data space perhaps a piece of its first axis that holds whole blocks.
    space
        The places of the bins, if they are no image.
    """
    n, e = np.nan_to_num(counts), np.nan_to_num(expectation)
    divided = list(range(n.ndim) if space else range(n.ndim)[-2:])
    if space:  # bins first: they need no sorting, and leave less to sort
        divided.sort(key=lambda axis: space.axes[axis].nside is not None)
    for axis in divided:
        order, starts = None, np.arange(0, n.shape[axis], BLOCK)
        if space and space.axes[axis].nside:
            order, starts = space.axes[axis].blocks()
        if order is not None:
            n, e = n.take(order, axis=axis), e.take(order, axis=axis)
        n, e = np.add.reduceat(n, starts, axis=axis), np.add.reduceat(e, starts, axis=axis)
    return deviance_residual(n, e, (e > 0).astype(float))
