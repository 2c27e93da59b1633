"""Treatments of a proposed model before it is accepted, in the order given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from skyfold.algorithm import Proposal, State
from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.geometry import Grid
from skyfold.linesearch import best_step
from skyfold.options import Formerly, Length
from skyfold.vector import Array, Vector


def _changed(proposal: Proposal, state: State, values: Vector) -> Proposal:
    """Return a proposal with some values replaced, within masks and bounds."""
    new = Vector({**proposal.values, **state.model.project(values)})
    return replace(proposal, values=new, expectation=None)


@dataclass(frozen=True)
class ResponseWeighting:
    """Multiply the step by ``(sensitivity / largest sensitivity) ** power``.

    Pixels that were hardly seen then move slowly, and do not collect noise.

    Parameters
    ----------
    power
        0 is no weighting, 1 proportional.
    components
        Names of the components; by default all skies.
    """

    power: Annotated[float, Field(ge=0)] = 0.5
    components: tuple[str, ...] | None = None

    def __call__(self, state: State, proposal: Proposal, data: DataInterface) -> Proposal:
        """Return the weighted proposal."""
        names = state.model.chosen(self.components)

        def weighted(new: Array, old: Array, sensitivity: Array) -> Array:
            weight: Array = (sensitivity / np.max(sensitivity)) ** self.power
            moved: Array = old + weight * (new - old)
            return moved

        part = proposal.values.only(names)
        return _changed(proposal, state, part.map(weighted, state.model.vector, data.sensitivity))


@dataclass(frozen=True)
class Smoothing:
    """Smooth the step, or the whole image, by a Gaussian that keeps its sum.

    Not a prior: it has no objective, so a smoothed step may lower the likelihood. What a smoothed
    step would take below zero, and what would leave the mask of a component, is cut off
    afterwards; a smoothed image stays positive by itself.

    Parameters
    ----------
    fwhm
        Full width at half maximum, as an angle or in pixels: "2 deg", "1.5 pix".
    of
        What is smoothed. The step: the image keeps what earlier iterations gave it and may in the
        end be sharper. Or the image: it is never sharper than the Gaussian.
    components
        Names of the components; by default all skies.
    """

    fwhm: Length
    of: Literal["step", "image"] = "step"
    components: tuple[str, ...] | None = None

    def __call__(self, state: State, proposal: Proposal, data: DataInterface) -> Proposal:
        """Return the smoothed proposal."""
        new = {}
        for name in state.model.chosen(self.components):
            geometry = state.model.components[name].geometry
            kept = state.model[name] if self.of == "step" else 0
            new[name] = kept + geometry.smooth(proposal.values[name] - kept, self.fwhm)
        return _changed(proposal, state, Vector(new))


@dataclass(frozen=True)
class Acceleration:
    """Lengthen the step of the skies by one common factor.

    The factor is as large as ``maximum`` and non-negative values allow, and with ``guard`` not
    beyond the point where the likelihood is largest along the step: a line search on the expected
    counts, which are linear in the step. With the guard the likelihood never falls. Without it the
    factor is never below 1 and as large as allowed (Knoedlseder et al. 1999, A&A 345, 813).

    Parameters
    ----------
    maximum
        Largest factor.
    guard
        Keep the likelihood from falling.
    components
        Names of the components; by default all skies.
    """

    maximum: Annotated[float, Field(ge=1), Formerly("alpha_max")] = 10.0
    guard: bool = True
    components: tuple[str, ...] | None = None

    def __call__(self, state: State, proposal: Proposal, data: DataInterface) -> Proposal:
        """Return the lengthened proposal and note the factor as ``acceleration``."""
        names = state.model.chosen(self.components)
        step = proposal.values - state.model.vector.only(frozenset(proposal.values))
        fast = step.only(names)
        longest = min(self.maximum, _positive_reach(state.model.vector, fast))
        factor, expectation, products = max(1.0, longest), None, 0.0
        if self.guard:
            slow = step.only(frozenset(step) - names)
            here = state.expectation + data.forward(slow) if slow else state.expectation
            along = data.forward(fast)
            factor = best_step(data, here, along, longest)
            expectation, products = here + along * factor, 0.5
        notes = {**proposal.notes, "acceleration": factor}
        values = Vector({**proposal.values, **self._moved(state, fast, factor)})
        spent = proposal.products + products
        return replace(
            proposal, values=values, expectation=expectation, products=spent, notes=notes
        )

    @staticmethod
    def _moved(state: State, fast: Vector, factor: float) -> Vector:
        return fast.map(
            lambda d, x: np.maximum(x + x.dtype.type(factor) * d, 0), state.model.vector
        )


def _positive_reach(values: Vector, step: Vector) -> float:
    """Return how far a step may be stretched before a value turns negative.

    Beyond the step itself, the first value to reach zero goes only 99 % of the way: at zero it
    would be stuck for good.
    """
    reach = min(
        (
            float(np.min(values[name][falling] / -d[falling]))
            for name, d in step.items()
            if np.any(falling := d < 0)
        ),
        default=float("inf"),
    )
    return reach if reach <= 1 else 1.0 + 0.99 * (reach - 1.0)


@dataclass(frozen=True)
class Floor:
    """Raise values to a minimum, within the component's mask.

    Parameters
    ----------
    minimum
        Smallest value, in the unit of the component.
    components
        Names of the components; by default all skies.
    """

    minimum: Annotated[float, Field(ge=0)]
    components: tuple[str, ...] | None = None

    def __call__(self, state: State, proposal: Proposal, data: DataInterface) -> Proposal:
        """Return the proposal with its floor."""
        part = proposal.values.only(state.model.chosen(self.components))
        return _changed(proposal, state, part.map(np.maximum, self.minimum))


@dataclass(frozen=True)
class Mask:
    """Keep values at zero outside a region of the sky.

    Parameters
    ----------
    pixels
        Non-zero where the sky may shine: a FITS image or an array, shaped like the restored
        image or like the whole model grid.
    components
        Names of the components; by default all skies.
    """

    pixels: Path | Any
    components: tuple[str, ...] | None = None

    def __call__(self, state: State, proposal: Proposal, data: DataInterface) -> Proposal:
        """Return the masked proposal."""
        new = {
            name: proposal.values[name] * self._on(name, state.model.components[name].geometry)
            for name in state.model.chosen(self.components)
        }
        return _changed(proposal, state, Vector(new))

    def _on(self, name: str, geometry: Any) -> Array:
        inside = self._array != 0
        if inside.shape == geometry.shape[-inside.ndim :]:
            return np.broadcast_to(inside, geometry.shape)
        if isinstance(geometry, Grid) and geometry.field is not None:
            crop = geometry.crop().shape
            if inside.shape == crop[-inside.ndim :]:
                full = np.zeros(geometry.shape, dtype=bool)
                full[geometry.field] = inside
                return full
        raise ConfigError(
            f"the mask has shape {inside.shape}, but {name!r} has {geometry.shape}; they must agree"
        )

    @cached_property
    def _array(self) -> Array:
        if not isinstance(self.pixels, str | Path):
            return np.asarray(self.pixels)
        from astropy.io import fits

        return np.asarray(fits.getdata(self.pixels))
