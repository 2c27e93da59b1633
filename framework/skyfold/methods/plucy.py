"""PLUCY, as it ran for Hubble: for comparison with results of the time."""

from __future__ import annotations

from dataclasses import dataclass
from math import e
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from skyfold.algorithm import Algorithm
from skyfold.algorithms.plucy import Plucy
from skyfold.data import DataInterface
from skyfold.geometry import FWHM_PER_SIGMA
from skyfold.methods import Method
from skyfold.methods.two_channel import exposure_of
from skyfold.priors.entropy import Entropy


@dataclass(frozen=True)
class PLUCY(Method):
    """Stars and a smooth background by the steps of PLUCY (Hook, Lucy, Stockton & Ridgway 1994).

    It gives the numbers of PLUCY 0.70 where the data are opened as that saw them: a PSF that wraps
    around the borders, stars on whole pixels. ``two-channel`` goes to the same optimum faster.
    Beside the counts it takes less than ten images of their size, where PLUCY took 19.

    Parameters
    ----------
    strength
        Strength of the entropy: ``fracent``.
    sigma
        Standard deviation of the Gaussian that blurs the background, in pixels: ``skernel``.
    floating
        Draw the background to its own blur. Otherwise no shape is preferred, and the entropy is
        that of the shares q of all counts, ``-sum q log q``: ``fprior``.
    accelerate
        Lengthen the steps from the beginning: ``accel``.
    """

    strength: Annotated[float, Field(ge=0)] = 0.1
    sigma: Annotated[float, Field(gt=0)] = 10.0
    floating: bool = True
    accelerate: bool = True
    until: ClassVar = {"iterations": 50}

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data and the loop."""
        if not self.strength:
            return data, Plucy(accelerate=self.accelerate)
        # sum x (1 - log(x / m)) is -sum x log(x / total) for this m
        exposure = exposure_of(data)
        reference = float(np.sum(data.counts, dtype=np.float64)) / exposure / e
        blur = {"smooth": f"{float(self.sigma * FWHM_PER_SIGMA)!r} pix", "cyclic": True}
        prior = Entropy(self.strength * exposure, blur if self.floating else reference)
        return data, Plucy(priors={"entropy": prior}, accelerate=self.accelerate)
