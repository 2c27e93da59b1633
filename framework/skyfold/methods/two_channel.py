"""Points and a smooth sky, told apart by what each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from skyfold.algorithm import Algorithm
from skyfold.algorithms.lbfgs import LBFGS
from skyfold.data import DataInterface
from skyfold.methods import Method
from skyfold.methods.map import Factor
from skyfold.options import Length
from skyfold.priors import Prior
from skyfold.priors.entropy import Entropy
from skyfold.strength import scaled


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
        choose.
    smooth
        Blur of the background, full width at half maximum, as an angle or in pixels: one to one
        and a half times that of the PSF where there is structure, more where there is none.
    cyclic
        Let the blur wrap around the edges of the image, as PLUCY does.
    prior
        Priors on the background instead of that blur, by name, with their options.
    """

    strength: Factor | Literal["auto"] | tuple[Factor, ...] = 0.1
    smooth: Length = "10 pix"
    cyclic: bool = False
    prior: Mapping[str, Prior] = field(default_factory=dict)
    until: ClassVar = {
        "delta_log_posterior": {"threshold": 1e-3, "over": 5},
        "iterations": 1000,
    }

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data and the loop."""
        floating = Entropy(1.0, {"smooth": self.smooth, "cyclic": self.cyclic})
        factor = self.strength if isinstance(self.strength, int | float) else 1.0
        priors = scaled(self.prior or {"floating": floating}, factor)
        return data, LBFGS(priors=priors, conserve_flux=True)
