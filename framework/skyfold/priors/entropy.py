"""Entropy: nothing is known but a level, an image, or that the sky resembles its own blur."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import e
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from pydantic import Field

from skyfold.errors import ConfigError
from skyfold.kept import Kept
from skyfold.model import Component
from skyfold.priors import Prior
from skyfold.priors.blurs import Blur, blur_of
from skyfold.priors.raised import SMALLEST
from skyfold.priors.reference import on_places
from skyfold.vector import Array


@dataclass(frozen=True)
class Entropy(Prior):
    """Relative entropy towards m, a level or an image: ``c sum x (1 - log(x / m))``, largest at m.

    With ``{smooth: "5 pix"}`` the image is the present one, smoothed: a floating reference (Lucy
    1994, in The Restoration of HST Images and Spectra II, 79); ``{kernel: coarse.fits}`` smooths
    by any kernel. What is smooth on that scale then costs nothing, at any level, and the value
    ``-c sum x log(x / m)`` is differentiated through ``m = G x`` too. It grows with the image: at
    the maximum the expected counts fall short of the observed ones by minus the value. With c = 1,
    in counts, a departure from m costs as much as one of the data by Poisson noise.

    Concave with each reference. Its slope is infinite at zero: the maximum has no zeros. A step
    that multiplies never leaves zero, so start above (Skilling & Bryan 1984, MNRAS 211, 111).

    Parameters
    ----------
    coefficient
        Strength c, per unit of the component.
    reference
        What the values are drawn to, m, in the unit of the component: a number; a FITS image or
        HEALPix map, or an array, shaped like the restored image or the whole model grid, above zero
        inside the mask, without energies the same for all; or ``{smooth: "5 pix"}``, the full width
        at half maximum by which the present image is smoothed, or ``{kernel: coarse.fits}``, what a
        point of it becomes then; with ``cyclic: true`` around its edges. What a blur would carry
        out of the mask stays where it came from.
    components
        Names of the components; by default all skies.

    Raises
    ------
    ConfigError
        If the reference is none of these.
    """

    coefficient: Annotated[float, Field(ge=0)]
    reference: Annotated[float, Field(gt=0)] | Path | Any
    components: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        match self.reference:
            case Mapping():
                object.__setattr__(self, "reference", blur_of(self.reference))
            case str() | Path() | Blur():
                pass
            case bool() | None:
                raise ConfigError(f"reference: expected a level or an image, got {self.reference}")
            case level if np.ndim(level) == 0 and not level > 0:
                raise ConfigError(f"reference: expected a number greater than 0, got {level}")

    def value(self, values: Array, component: Component) -> float:
        """Return the log-density; a value of zero adds zero."""
        log = np.log(np.maximum(values, SMALLEST) / self._raised(values, component))
        constant = 0 if self.floats else 1
        return self.coefficient * float(np.sum(values * (constant - log)))

    def gradient(self, values: Array, component: Component) -> Array:
        """Return ``-c log(x / m)``; with a floating m ``c (G^T(x / m) - 1 - log(x / m))``."""
        slope: Array = np.log(np.maximum(values, SMALLEST) / self._raised(values, component))
        if self.floats:
            slope += 1 - self._blur.within(component).at(values).ratio
        return component.confined(-self.coefficient * slope)

    def curvature(self, values: Array, component: Component) -> Array:
        """Return ``c / x``; with a floating m ``2 c (1 + G^T(x / m)) / x``."""
        bend: Array = self.coefficient / np.maximum(values, SMALLEST)
        if self.floats:
            bend *= 2 + 2 * self._blur.within(component).at(values).ratio
        return component.confined(bend)

    def hessian(self, values: Array, direction: Array, component: Component) -> Array:
        """Return the second derivative times a direction v: ``-c v / x``, or through m too."""
        change = direction / np.maximum(values, SMALLEST)
        if self.floats:
            level = self._raised(values, component)
            moved = self.level(direction, component) / level
            change -= moved + self.spread((direction - values * moved) / level, component)
        return component.confined(-self.coefficient * change)

    @property
    def floats(self) -> bool:
        """Whether the reference is the present image, smoothed."""
        return isinstance(self.reference, Blur)

    @property
    def cheap(self) -> bool:
        """Whether it does without blurs."""
        return not self.floats

    def level(self, values: Array, component: Component) -> Array:
        """Return m: linear in the values if it floats, the same for all values otherwise."""
        return (
            self._blur.within(component)(values) if self.floats else self._reference_on(component)
        )

    def spread(self, values: Array, component: Component) -> Array:
        """Return the transpose of the blur that a floating m is."""
        return self._blur.within(component).transposed(values)

    def floor(self, top: float) -> float:
        """Return below what a floating m is no more than rounding, if ``top`` is its largest."""
        return self._blur.floor(top)

    def lift(self, component: Component) -> float:
        """Return ``c sum m / e``, which x has at ``m / e``; zero with a floating m."""
        if self.floats:
            return 0.0
        return (
            self.coefficient * float(np.sum(component.confined(self._reference_on(component)))) / e
        )

    @property
    def _blur(self) -> Blur:
        return cast(Blur, self.reference)

    def _raised(self, values: Array, component: Component) -> Array:
        if self.floats:
            return self._blur.within(component).at(values).level
        return self._reference_on(component)

    def _reference_on(self, component: Component) -> Array:
        """Return a fixed m, and one outside the mask."""

        def place() -> Array:
            inside = component.support
            placed = on_places(self.reference, component.geometry, inside=inside)
            return np.where(inside, placed, 1.0)

        return self._placed.of(component, place)

    @cached_property
    def _placed(self) -> Kept[Component, Array]:
        return Kept()
