"""Points and a smooth sky, told apart by what each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path
from typing import Annotated, Any, Literal

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
from skyfold.priors.blurs import Smoothed
from skyfold.priors.entropy import Entropy
from skyfold.priors.log_blur import LogBlur
from skyfold.resolution import resolved
from skyfold.stars import star_fwhm
from skyfold.strength import scaled

WIDER = 2.0  # than the image of a star: what the background is compared with
ON_SPHERE = 4.0  # pixels, where stars have no width
NARROWEST = 1.5  # pixels: a narrower blur does not reach the next one
WIDEST = 0.5  # of the sky


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
        Blur of the background, full width at half maximum, as an angle or in pixels. By default
        held-out photons choose it together with the strength, beginning at twice that of a
        Gaussian as wide as the image of a star; that is taken where the strength is given.
        Several blurs, as [3 pix, 10 pix], share the strength equally, or as {3 pix: 1, 10 pix: 2}
        says: structure of any of these scales is held then.
    kernel
        What a point becomes by the blur, instead of a Gaussian: a FITS image or an array of pixels
        as large as those of the sky, as the PSF of a coarser telescope.
    cyclic
        Let the blur wrap around the edges of the image, as PLUCY does.
    relative
        Compare background and blur by the ratio of the two, whatever the level, instead of by
        Poisson noise, as PLUCY does: galaxies have structure in proportion to their light. Then
        there may be several maxima, and the strength is 1 / s^2 for departures by a factor exp(s).
    prior
        Priors on the background instead of that blur, by name, with their options.
    resolution
        Give the background no structure finer than this full width at half maximum, an angle or
        pixels, instead of any strength: it is light of any shape, blurred by that Gaussian
        (Magain, Courbin & Sohy 1998; Lucy & Walsh 2003, AJ 125, 2266).
    """

    strength: Factor | Literal["auto"] | Annotated[tuple[Factor, ...], Field(min_length=1)] = "auto"
    smooth: (
        Length
        | Literal["auto"]
        | Annotated[tuple[Length, ...], Field(min_length=1)]
        | Annotated[Mapping[Length, Factor], Field(min_length=1)]
    ) = "auto"
    kernel: Path | Any = None
    cyclic: bool = False
    relative: bool = False
    prior: Mapping[str, Prior] = field(default_factory=dict)
    resolution: Length | None = None

    @property
    def until(self) -> Mapping[str, Any]:  # type: ignore[override]
        """Stop where the objective rises no more."""
        objective = "log_posterior" if self.resolution is None else "log_likelihood"
        return {f"delta_{objective}": {"threshold": 1e-3, "over": 5}, "iterations": 1000}

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data and the loop.

        Raises
        ------
        ConfigError
            If options contradict each other.
        """
        if self.kernel is not None and not self._open:
            raise ConfigError("kernel and smooth both say what the blur is: give one of them")
        if self.resolution is not None:
            return self._limited(data, self.resolution)
        factor = self.strength if isinstance(self.strength, int | float) else 1.0
        priors = scaled(self.prior or self._floating(data), factor)
        if [type(prior) for prior in priors.values()] == [Entropy]:  # a lap costs a third
            return data, Plucy(priors=priors, guard=True, conjugate=True)
        return data, LBFGS(priors=priors, conserve_flux=True)

    def _limited(self, data: DataInterface, resolution: Length) -> tuple[DataInterface, Algorithm]:
        """Return data whose sky has a limited resolution, and the loop."""
        said = {
            "strength": self.strength != "auto",
            "smooth": not self._open,
            "kernel": self.kernel is not None,
            "relative": self.relative,
            "prior": bool(self.prior),
        }
        if any(said.values()):
            raise ConfigError(
                "resolution limits the background by itself, and leaves no place for "
                f"{', '.join(name for name, given in said.items() if given)}: give one or the other"
            )
        return resolved(data, Smoothed(resolution, self.cyclic)), LBFGS(conserve_flux=True)

    @property
    def usual(self) -> float:
        """The strength where the data cannot choose one: that of PLUCY, or a factor of e."""
        return 1.0 if self.relative else 0.1

    def widened(self, data: DataInterface, times: float) -> TwoChannel | None:
        """Return the method with a blur so many times as wide as the usual one.

        Returns
        -------
        method
            None if the width is not to be chosen, or the blur would not reach the next pixel or
            be wider than half the sky.
        """
        if self.prior or self.kernel is not None or not self._open:
            return None
        width, most = times * _usual_width(data), WIDEST * _extent(data)
        if not NARROWEST <= width <= most and times != 1:
            return None
        return replace(self, smooth=f"{width:.4g} pix")

    @property
    def _open(self) -> bool:
        return isinstance(self.smooth, str) and self.smooth == "auto"

    def _floating(self, data: DataInterface) -> dict[str, Prior]:
        """Return what draws the background to its blurs, one prior for each."""
        if self.kernel is not None:
            return {"floating": self._drawn({"kernel": self.kernel}, 1.0, data)}
        match self.smooth:
            case Mapping():
                parts = dict(self.smooth)
            case tuple():
                parts = dict.fromkeys(self.smooth, 1.0)
            case _:
                width = f"{_usual_width(data):.4g} pix" if self._open else self.smooth
                return {"floating": self._drawn({"smooth": width}, 1.0, data)}
        whole = sum(parts.values())
        return {
            f"floating, {width}": self._drawn({"smooth": width}, part / whole, data)
            for width, part in parts.items()
        }

    def _drawn(self, blur: Mapping[str, Any], part: float, data: DataInterface) -> Prior:
        options: dict[str, Any] = {**blur, "cyclic": self.cyclic}
        if self.relative:
            return LogBlur(part, **options)
        return Entropy(part * exposure_of(data), options)


def exposure_of(data: DataInterface) -> float:
    """Return the counts of one unit of the sky where it is seen best."""
    skies = (data.sensitivity[n] for n, part in data.components.items() if part.geometry.sky)
    return max((float(np.max(seen)) for seen in skies), default=1.0)


def _usual_width(data: DataInterface) -> float:
    """Return the width of a blur in pixels of the sky: some times that of the image of a star."""
    widths = [
        star_fwhm(response) * float(np.mean(fineness(Grid(part.shape), geometry)))
        for part in data.parts
        for name, response in part.whole.items()
        if isinstance(geometry := part.components[name].geometry, Grid)
    ]
    return WIDER * max(widths) if widths else ON_SPHERE


def _extent(data: DataInterface) -> float:
    """Return how many pixels the smallest sky is long."""
    skies = [part.geometry for part in data.components.values() if part.geometry.sky]
    return min(min(s.shape[-2:]) if isinstance(s, Grid) else sqrt(s.shape[0]) for s in skies)
