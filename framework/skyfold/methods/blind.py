"""Blind restoration for people: a sky of stars shows the PSF."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from skyfold.algorithm import Algorithm, Refinement
from skyfold.algorithms.blind import Blind as Turns
from skyfold.algorithms.em_pcg import EMConjugateGradient
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.methods import Method
from skyfold.model import Model
from skyfold.points import point_components
from skyfold.stars import find_stars, smooth_level
from skyfold.vector import Array

LEVEL = "level"
APART = (2.0, 0.3, 0.15)  # see `find_stars`: the PSF is better each time
MOST_MISSING = 0.5  # of the smooth level, that the backgrounds given may leave unexplained
FIRST = 4  # laps before the stars are sought again


@dataclass(frozen=True)
class Blind(Method):
    """Restoration of an image together with its PSF, from a PSF that is roughly right.

    A star between pixels is made of four of them, which alone widens it: the PSF restored is the
    narrower for it, by 1/6 square pixel of variance where stars lie anywhere (2 % of a width of 5
    pixels, 3 % of 4). A finer sky (``block`` of the image) has less of this. Where the brightest
    stars are pairs closer than the PSF is wide, the width can be off by some 5 %. Baselines keep
    the PSF given.

    Parameters
    ----------
    sky
        ``stars``: the sky is stars, which are found, over the backgrounds given, or over a smooth
        level where these leave most of it unexplained; the stars determine the PSF. ``free``: any
        sky that the refinements allow; if that is all of it, the PSF becomes too narrow, as the
        sky can take on any blur.
    shape
        ``moffat``, ``gaussian``, or ``pixels`` for a kernel of any form.
    round
        Whether the PSF is the same in all directions.
    support
        Radius in pixels beyond which the PSF is zero; that of the given one by default.
    laps
        Laps on the sky for one step of the PSF.
    refinements
        Treatments of each step on the sky, in the order given; the steps are then those of EM,
        not of its conjugate gradients.
    """

    sky: Literal["stars", "free"] = "stars"
    shape: Literal["moffat", "gaussian", "pixels"] = "moffat"
    round: bool = False
    support: Annotated[float, Field(gt=0)] | None = None
    laps: Annotated[int, Field(ge=1)] = 5
    refinements: tuple[Refinement, ...] = ()

    until: ClassVar = {"iterations": 20}

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data, their sky confined to stars if asked, and the loop.

        Raises
        ------
        ConfigError
            If there are several observations, no PSF, or a list of stars.
        DataError
            If no star stands out.
        """
        if point_components(data.components):
            raise ConfigError(
                "blind restoration takes no list of stars: it finds those that show the PSF "
                "itself; leave out --stars"
            )
        if not isinstance(data, BinnedData) or len(data.parameters) != 1:
            raise ConfigError(
                "blind restoration takes one observation whose response is a PSF: an image with "
                "--psf; restore several one by one"
            )
        name = next(iter(data.parameters))
        steps: Algorithm = EMConjugateGradient()
        if self.refinements:
            steps = RichardsonLucy(self.refinements)
        loop = Turns(
            shape=self.shape,
            round=self.round,
            support=self.support,
            laps=self.laps,
            inner=steps,
        )
        if self.sky == "free":
            return data, loop
        level, known = smooth_level(data, name), _explained(data, name)
        if np.median(level - known) > MOST_MISSING * np.median(level):
            data, loop = _over(data, level - known), replace(loop, diffuse=LEVEL)
        seen, confined = data, data
        for i, apart in enumerate(APART):
            mask = find_stars(seen, name, apart)
            confined = data.with_components(**{name: replace(data.components[name], mask=mask)})
            if i + 1 < len(APART):
                state = loop.start(confined, Model.start(confined))
                for _ in range(FIRST):
                    state = loop.step(state, confined)
                seen = data.at(state.parameters)
        return confined, loop


def _explained(data: BinnedData, name: str) -> Array:
    """Return what the other components expect, shaped like the counts."""
    model = Model.start(data)
    sky = data.components[name].geometry.shape
    return data.full_expectation({**model, name: np.zeros(sky)})


def _over(data: BinnedData, level: Array) -> BinnedData:
    """Return data with a level below their stars, whose normalisation is fitted."""
    least = 1e-3 * float(np.mean(np.maximum(level, 0)))
    return data.with_responses({LEVEL: np.maximum(level, least)})
