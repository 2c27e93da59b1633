"""Counts drawn from a model, and demos: simulated observations whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyfold.binned import BinnedData
from skyfold.errors import DataError
from skyfold.points import PointList
from skyfold.result import Result
from skyfold.skymap import integrated
from skyfold.sphere import Sphere
from skyfold.vector import Array


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return random numbers that depend on seed and purpose alone.

    Two purposes never share their numbers, so that drawing more of one leaves the other as it was.
    Philox is a counter-based generator (Salmon et al. 2011): the numbers are the same everywhere.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *purpose.encode()])))


def simulate(
    data: BinnedData, values: Mapping[str, Array], seed: int, purpose: str = "counts"
) -> Array:
    """Draw counts from ``Poisson(w . sum over components of R_c x_c)``.

    Parameters
    ----------
    data
        The observation to repeat; its own counts do not matter.
    values
        True values of every component of the data, on the geometry of the component.
    seed
        The counts are a function of seed and purpose.
    purpose
        What the counts are for; name each observation of a joint data set differently.

    Returns
    -------
    counts
        Whole numbers in float64, shaped like the counts of the data; zero where the weight is.

    Raises
    ------
    DataError
        If a component has no values, values of another shape, or expects fewer than no counts.
    """
    for name, component in data.components.items():
        if name not in values:
            raise DataError(f"no values for component {name!r}; give the truth of all components")
        if np.shape(values[name]) != component.geometry.shape:
            raise DataError(
                f"component {name!r}: values of shape {np.shape(values[name])}, "
                f"but its geometry has {component.geometry.shape}"
            )
        if not np.all(np.asarray(values[name]) >= 0):
            raise DataError(f"component {name!r}: the truth has negative or undefined values")
    expectation = data.full_expectation(values) * data.weight
    counts: Array = generator(seed, purpose).poisson(expectation).astype(np.float64)
    return counts


@dataclass(frozen=True, eq=False)
class Demo:
    """A simulated observation, the sky it was made from, and how to restore it.

    Parameters
    ----------
    name
        Name of the demo.
    description
        What is seen, through what, in one sentence.
    data
        The opened observation.
    truth
        True values of every component, on the geometry of the component.
    method
        Suggested method, as in a configuration: ``name`` and options.
    iterations
        Suggested number of iterations.
    """

    name: str
    description: str
    data: BinnedData
    truth: Mapping[str, Array]
    method: Mapping[str, Any]
    iterations: int


def score(demo: Demo, result: Result) -> dict[str, float]:
    """Compare a restoration with the truth.

    An NRMSE is the root of the mean squared difference to the true sky, divided by the root of
    the mean squared true sky, over the field that the data cover.

    Returns
    -------
    figures
        ``nrmse`` of the restored sky; ``nrmse_observed`` of the counts themselves, less what is
        no sky and divided by the counts that a sky of one would give, where they are an image;
        ``correlation`` of restored and true pixels, where both vary; ``flux_error_percent`` of
        the sky's sum; for each fitted normalisation, and the sum of the fluxes of point sources,
        ``NAME_error_percent``; ``NAME_median_error_percent`` of the single fluxes.
    """
    sky = result.sky
    component = result.model.components[sky]
    truth, restored = demo.truth[sky][result.field], result.model[sky][result.field]
    if isinstance(component.geometry, Sphere):
        truth, _ = integrated(truth, component.geometry, component.unit)
        restored, _ = integrated(restored, component.geometry, component.unit)
    figures = {"nrmse": nrmse(restored, truth)}
    if demo.data.shape == truth.shape:
        figures["nrmse_observed"] = nrmse(_observed(demo, result, sky), truth)
    if np.ptp(truth) > 0 and np.ptp(restored) > 0:
        figures["correlation"] = correlation(restored, truth)
    figures["flux_error_percent"] = percent(restored, truth)
    for name in sorted(result.model.free - result.model.skies):
        found, true = result.model[name], demo.truth[name]
        figures[f"{name}_error_percent"] = percent(found, true)
        if isinstance(result.model.components[name].geometry, PointList):
            each = 100 * (found / true - 1)
            figures[f"{name}_median_error_percent"] = float(np.median(np.abs(each)))
    return figures


def _observed(demo: Demo, result: Result, sky: str) -> Array:
    """Return the counts as a sky: what one would show without deconvolution."""
    (part,) = demo.data.parts
    others = np.zeros(part.shape)
    for name, response in part.whole.items():
        if name != sky:
            others += response.forward(result.model[name])
    per_unit = part.whole[sky].forward(np.ones_like(demo.truth[sky]))
    seen = (part.weight > 0) & (per_unit > 0)
    return np.divide(part.full_counts - others, per_unit, where=seen, out=np.zeros(part.shape))


def nrmse(image: Array, truth: Array) -> float:
    """Return the root mean square of the difference, in units of that of the truth."""
    return float(np.linalg.norm((image - truth).ravel()) / np.linalg.norm(truth.ravel()))


def correlation(image: Array, truth: Array) -> float:
    """Return Pearson's correlation of two images."""
    return float(np.corrcoef(np.ravel(image), np.ravel(truth))[0, 1])


def percent(found: Array, truth: Array) -> float:
    """Return by how many percent a sum is off."""
    return float(100 * (np.sum(found) / np.sum(truth) - 1))
