"""Points and a smooth sky, told apart by what each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from skyfold.algorithm import Algorithm
from skyfold.algorithms.lbfgs import LBFGS
from skyfold.algorithms.plucy import Plucy
from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.geometry import Grid
from skyfold.methods import Method
from skyfold.methods.map import Factor
from skyfold.options import Length
from skyfold.points import fineness
from skyfold.priors import Prior
from skyfold.priors.entropy import Entropy
from skyfold.priors.log_blur import LogBlur
from skyfold.stars import star_fwhm
from skyfold.strength import scaled

WIDER = 2.0  # than the image of a star: what the background is compared with


@dataclass(frozen=True)
class TwoChannel(Method):
    """Stars at known places over a smooth background (Lucy 1994; Hook & Lucy 1994, PLUCY).

    The background is held to resemble its own blur, stars are free, and the expected counts stay
    those observed. The maximum is the only one, and does not depend on where the search starts.
    Give the stars with ``--stars``; without any the whole image is background.

    Parameters
    ----------
    strength
        What a departure of the background from its blur costs, in units of what one of the data
        costs by Poisson noise; several, as [0.1, 1, 10], or ``auto``, to let held-out photons
        choose. Less is taken than predicts them best, so that fluxes of stars have no bias.
    smooth
        Blur of the background, full width at half maximum, as an angle or in pixels; by default
        twice that of a Gaussian as wide as the image of a star.
    cyclic
        Let the blur wrap around the edges of the image, as PLUCY does.
    relative
        Compare background and blur by the ratio of the two, whatever the level, instead of by
        Poisson noise, as PLUCY does: galaxies have structure in proportion to their light. Then
        there may be several maxima, and the strength is 1 / s^2 for departures by a factor exp(s).
    prior
        Priors on the background instead of that blur, by name, with their options.
    """

    strength: Factor | Literal["auto"] | Annotated[tuple[Factor, ...], Field(min_length=1)] = "auto"
    smooth: Length | Literal["auto"] = "auto"
    cyclic: bool = False
    relative: bool = False
    prior: Mapping[str, Prior] = field(default_factory=dict)
    until: ClassVar = {
        "delta_log_posterior": {"threshold": 1e-3, "over": 5},
        "iterations": 1000,
    }

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data and the loop.

        Raises
        ------
        ConfigError
            If there is no width to choose: on the sphere.
        """
        factor = self.strength if isinstance(self.strength, int | float) else 1.0
        priors = scaled(self.prior or {"floating": self._floating(data)}, factor)
        if [type(prior) for prior in priors.values()] == [Entropy]:  # a lap costs a third
            return data, Plucy(priors=priors, guard=True, conjugate=True)
        return data, LBFGS(priors=priors, conserve_flux=True)

    @property
    def usual(self) -> float:
        """The strength where the data cannot choose one: that of PLUCY, or a factor of e."""
        return 1.0 if self.relative else 0.1

    def _floating(self, data: DataInterface) -> Prior:
        chosen = isinstance(self.smooth, str) and self.smooth == "auto"
        smooth = f"{WIDER * _width(data)} pix" if chosen else self.smooth
        if self.relative:
            return LogBlur(1.0, smooth, self.cyclic)
        return Entropy(exposure_of(data), {"smooth": smooth, "cyclic": self.cyclic})


def exposure_of(data: DataInterface) -> float:
    """Return the counts of one unit of the sky where it is seen best."""
    skies = (data.sensitivity[n] for n, part in data.components.items() if part.geometry.sky)
    return max((float(np.max(seen)) for seen in skies), default=1.0)


def _width(data: DataInterface) -> float:
    """Return the full width at half maximum of the image of a star, in pixels of the sky."""
    widths: list[float] = []
    for part in data.parts:
        for name, response in part.whole.items():
            geometry = part.components[name].geometry
            if isinstance(geometry, Grid):
                finer = float(np.mean(fineness(Grid(part.shape), geometry)))
                widths.append(star_fwhm(response) * finer)
    if not widths:
        raise ConfigError("smooth: only a sky in pixels has a width of its own; give an angle")
    return max(widths)
