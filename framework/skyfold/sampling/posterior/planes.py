"""One image out of what was drawn of a sky: of one energy, or of all together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import ConfigError
from skyfold.geometry import Geometry, Grid
from skyfold.layers import Layer, energy_labels, image_layer
from skyfold.model import Component
from skyfold.sampling.posterior.images import field_of, interval
from skyfold.skymap import integrated
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from skyfold.sampling.posterior.posterior import Posterior


@dataclass(frozen=True, eq=False)
class Plane:
    """One image of a sky as it was drawn.

    Parameters
    ----------
    posterior, name
        The draws, and the name of the sky.
    component
        Places and unit of the image: the field that the data cover, without energies.
    label
        Its energy, in words.
    total
        Returns the image of values on the field, whatever axes come before.
    alone
        Index and weight of the values that it is made of; None if it is a sum of several.
    energy
        Which energy it is, where there are several.
    """

    posterior: Posterior
    name: str
    component: Component
    label: str
    total: Callable[[Array], Array]
    alone: tuple[Any, float] | None
    energy: int | None = None

    @property
    def mean(self) -> Array:
        """Posterior mean, from all draws."""
        model = self.posterior.model
        return self.total(model[self.name][field_of(model, self.name)])

    @property
    def samples(self) -> Array:
        """Images kept, shape ``(chains, kept, ...)``."""
        return self.total(self.posterior.drawn(self.name))

    def followed(self, pixel: int) -> Array | None:
        """Return the trace of a pixel, burn-in included, ``(chains, sweeps)``, if it is a column.

        Samplers write down the brightest pixels in every sweep.
        """
        if self.alone is None:
            return None
        place = np.unravel_index(pixel, self.component.geometry.shape)
        energy = [] if self.energy is None else [self.energy]
        if isinstance(self.component.geometry, Sphere):
            index = " energy ".join(str(i) for i in (pixel, *energy))
        else:
            index = ",".join(str(i) for i in (*energy, *place))
        column = f"{self.name}.pixel[{index}]"
        if column not in self.posterior.columns:
            return None
        return self.posterior.parameter(column) * self.alone[1]

    def scatter(self, level: float) -> tuple[Array, Array, Array]:
        """Return the standard deviation, and lower and upper end of an interval.

        Where the image is a single energy the standard deviation comes from all draws, else from
        those kept.
        """
        if self.alone is None:
            samples = self.samples
            return np.std(samples, axis=(0, 1), ddof=1), *interval(samples, level)
        index, weight = self.alone
        low, high = self.posterior.interval(level, self.name)
        found = self.posterior.deviation(self.name), low.value, high.value
        std, low, high = (values[index] * weight for values in found)
        return std, low, high

    def layer(self, title: str, values: Array, **changes: Any) -> Layer:
        """Return values of the image, ready to be drawn."""
        parts = self.posterior.data.parts
        paths = [path for part in parts for _, path in part.origin.files]
        return replace(image_layer(title, values, self.component, paths), **changes)


def plane_of(
    posterior: Posterior, component: str | None = None, energy: int | None = None
) -> Plane:
    """Return one image of a sky.

    Parameters
    ----------
    posterior
        The draws.
    component
        Name of the sky, where there are several.
    energy
        Which energy, counted from 0; all together by default.

    Raises
    ------
    ConfigError
        If there is no such sky or energy.
    """
    name = posterior.sky(component)
    whole = posterior.model.components[name]
    mask = None if whole.mask is None else whole.mask[field_of(posterior.model, name)]
    geometry = whole.geometry.crop() if isinstance(whole.geometry, Grid) else whole.geometry
    sphere = isinstance(geometry, Sphere)
    if not sphere and len(geometry.shape) < 3:
        flat = replace(whole, geometry=geometry, mask=mask)
        return Plane(posterior, name, flat, "", lambda values: values, (..., 1.0))
    axis = -1 if sphere else -3
    number = geometry.shape[axis]
    if energy is not None and not 0 <= energy < number:
        raise ConfigError(f"no energy {energy}: {name} has {number}, counted from 0")
    energy = 0 if number == 1 else energy
    chosen = np.arange(number) if energy is None else np.array([energy])
    weights, unit = np.ones((1, number)), whole.unit
    if isinstance(geometry, Sphere):
        weights, unit = integrated(weights, geometry, unit)
    if mask is not None:
        mask = np.any(mask.take(chosen, axis), axis, keepdims=sphere)

    def total(values: Array) -> Array:
        planes = np.moveaxis(values.take(chosen, axis), axis, -1)
        summed: Array = planes @ weights[0, chosen].astype(values.dtype)
        return summed[..., np.newaxis] if sphere else summed

    label, alone = "", None
    if number > 1:
        edges = getattr(geometry, "energy_edges", None)
        label = "all energies" if energy is None else energy_labels(edges, number)[energy]
    if energy is not None:
        index = (..., chosen) if sphere else (..., energy, slice(None), slice(None))
        alone = (index, float(weights[0, energy]))
    flat = replace(whole, geometry=_without_energies(geometry), mask=mask, unit=unit)
    return Plane(posterior, name, flat, label, total, alone, energy if number > 1 else None)


def _without_energies(geometry: Geometry) -> Geometry:
    if isinstance(geometry, Sphere):
        return replace(geometry, energy_edges=None)
    assert isinstance(geometry, Grid)
    return replace(geometry, shape=geometry.shape[-2:], energy_edges=None)
