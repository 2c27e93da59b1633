"""The step of cosipy as published: for comparison with its numbers, not for better images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.algorithm import Proposal, State
from skyfold.data import DataInterface
from skyfold.errors import ConfigError, require
from skyfold.options import Length
from skyfold.sphere import Sphere
from skyfold.vector import Array, Vector


@dataclass(frozen=True)
class Published:
    """Weight, smooth and lengthen the step of the sky exactly as cosipy does.

    The exposure weighting of Knoedlseder et al. (2005), the Gaussian in spherical harmonics, and
    the largest step that keeps all values positive (Knoedlseder et al. 1999), without looking at
    the likelihood, which may fall. Steps are not clipped in between.

    Parameters
    ----------
    response_weighting
        Exponent of the exposure that weights the step.
    smoothing
        Full width at half maximum of the Gaussian.
    acceleration
        Largest factor.
    floor
        Smallest value of a pixel.
    """

    response_weighting: Annotated[float, Field(ge=0)] = 0.0
    smoothing: Length | None = None
    acceleration: Annotated[float, Field(ge=1)] = 1.0
    floor: Annotated[float, Field(ge=0)] = 0.0

    def __call__(self, state: State, proposal: Proposal, data: DataInterface) -> Proposal:
        """Return the proposal; the factor is noted as ``acceleration``."""
        (name,) = state.model.skies
        component, old = state.model.components[name], state.model[name]
        on = data.sensitivity[name] > 0
        if component.mask is not None:
            on &= component.mask
        step = np.where(on, proposal.values[name] - old, 0.0)
        if self.response_weighting:
            exposure = data.sensitivity[name]
            step *= (exposure / np.max(exposure)) ** self.response_weighting
        if self.smoothing is not None:
            step = harmonic_smoothing(component.geometry, step, self.smoothing)
        factor = largest_factor(old, step, on, self.acceleration)
        values = np.where(on, np.maximum(old + factor * step, self.floor), 0.0)
        notes = {**proposal.notes, "acceleration": factor}
        return replace(
            proposal,
            values=Vector({**proposal.values, name: values}),
            expectation=None,
            notes=notes,
        )


def largest_factor(values: Array, step: Array, on: Array | bool, maximum: float) -> float:
    """Return the largest factor of a step that keeps all values positive, at least 1.

    Parameters
    ----------
    values, step
        Values before the step, and the step.
    on
        Where values may change.
    maximum
        Largest factor.
    """
    falling = on & (step < 0) & (values > 0)
    reach = float(np.min(values[falling] / -step[falling], initial=np.inf))
    return max(1.0, min(reach, maximum))


def harmonic_smoothing(geometry: object, values: Array, fwhm: Length) -> Array:
    """Smooth each energy by a Gaussian in spherical harmonics, with the defaults of healpy.

    The band limit cuts a Gaussian narrower than a few pixels: it rings, and values turn negative.
    """
    if not isinstance(geometry, Sphere):
        raise ConfigError("smoothing in spherical harmonics needs a HEALPix sky")
    healpy = require("healpy", "healpix")
    radians, smoothed = float(fwhm.to_value("rad")), np.empty_like(values)
    for i in range(values.shape[1]):
        column = np.ascontiguousarray(values[:, i])
        if geometry.nested:
            column = healpy.reorder(column, n2r=True)
        column = healpy.smoothing(column, fwhm=radians)
        smoothed[:, i] = healpy.reorder(column, r2n=True) if geometry.nested else column
    return smoothed
