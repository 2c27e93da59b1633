"""Likeness of an image to its own blur, in logarithms: structure is dear at every level alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from skyfold.model import Component
from skyfold.options import Length
from skyfold.priors import Prior
from skyfold.priors.blurs import Blur, blur_of
from skyfold.priors.raised import SMALLEST
from skyfold.vector import Array


@dataclass(frozen=True)
class LogBlur(Prior):
    """Draw the image to its own blur m: ``-c/2 sum log(x / m)^2``.

    To second order it is the entropy towards m of `Entropy`, with the strength ``c / x`` at each
    value: light may vary by the same factor where it is bright and where it is faint. So galaxies
    need no other strength for their nucleus than for their outskirts, and c depends neither on
    exposure nor on unit. An image t times as bright has the same value.

    It is not concave, and infinite at zero: start above.

    Parameters
    ----------
    coefficient
        Strength c, without unit: 1 / s^2 for values that differ from their blur by a factor of
        about exp(s).
    smooth
        Full width at half maximum of the blur, as an angle or in pixels: "5 pix".
    cyclic
        Let light that leaves at one edge come in at the other, instead of holding it back.
    kernel
        What a point becomes, a FITS image or an array, instead of a Gaussian: see `Kernel`.
    components
        Names of the components; by default all skies.
    """

    coefficient: Annotated[float, Field(ge=0)]
    smooth: Length = "5 pix"
    cyclic: bool = False
    kernel: Path | Any = None
    components: tuple[str, ...] | None = None

    @property
    def concave(self) -> bool:
        """It is not."""
        return False

    @property
    def cheap(self) -> bool:
        """It takes blurs."""
        return False

    def value(self, values: Array, component: Component) -> float:
        """Return the log-density."""
        _, _, log = self._at(values, component)
        return -0.5 * self.coefficient * float(np.sum(log**2))

    def gradient(self, values: Array, component: Component) -> Array:
        """Return ``-c (r / x - G^T(r / m))`` with ``r = log(x / m)``."""
        up, level, log = self._at(values, component)
        return -self.coefficient * (log / up - self._blur.within(component).transposed(log / level))

    def curvature(self, values: Array, component: Component) -> Array:
        """Return a bound of minus the second derivative, of which the logarithm has a part."""
        up, level, log = self._at(values, component)
        own = (2 + np.maximum(-log, 0)) / up
        through = self._blur.within(component).transposed((2 + np.maximum(log, 0)) / level)
        return component.confined(self.coefficient * (own + through) / up)

    def hessian(self, values: Array, direction: Array, component: Component) -> Array:
        """Return the second derivative times a direction."""
        up, level, log = self._at(values, component)
        blur = self._blur.within(component)
        own, through = direction / up, blur(direction) / level
        change = own - through
        spread = blur.transposed((change - log * through) / level)
        return component.confined(-self.coefficient * ((change - log * own) / up - spread))

    def _at(self, values: Array, component: Component) -> tuple[Array, Array, Array]:
        """Return values above zero, their blur, and the logarithm of their ratio, zero outside."""
        up, level = np.maximum(values, SMALLEST), self._blur.within(component).at(values).level
        return up, level, component.confined(np.log(up / level))

    @cached_property
    def _blur(self) -> Blur:
        given = {"smooth": self.smooth} if self.kernel is None else {"kernel": self.kernel}
        return blur_of({**given, "cyclic": self.cyclic})
