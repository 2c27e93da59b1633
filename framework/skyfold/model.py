"""The sky and whatever else makes counts: named components and their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from skyfold.errors import ConfigError
from skyfold.geometry import Geometry, Normalisations
from skyfold.vector import Array, Vector

if TYPE_CHECKING:
    from astropy.units import Quantity

    from skyfold.data import DataInterface
    from skyfold.priors.blurs import Confined


@dataclass(frozen=True, eq=False)
class Component:
    """One kind of light: a sky, point sources, a background normalisation.

    Parameters
    ----------
    geometry
        Where its values live.
    unit
        Unit of the values, as text that astropy reads.
    fixed
        Whether the values are known and stay as they are.
    mask
        True where a value may differ from zero, shape of the geometry; None means everywhere.
    bounds
        Smallest and largest value allowed.
    start
        Values to start from; None lets the counts decide.
    resolution
        What makes the image of the values (see `skyfold.resolution`); None where they are it.
    """

    geometry: Geometry
    unit: str = ""
    fixed: bool = False
    mask: Array | None = None
    bounds: tuple[float, float] = (0.0, float("inf"))
    start: Array | float | None = None
    resolution: Confined | None = None

    def project(self, values: Array) -> Array:
        """Return the nearest values within mask and bounds."""
        low, high = self.bounds
        above = high < np.inf and np.max(values, initial=low) > high
        if above or np.min(values, initial=low) < low:
            values = np.clip(values, low, high)
        return self.confined(values)

    @property
    def support(self) -> Array:
        """Where a value may differ from zero, shape of the geometry."""
        return np.ones(self.geometry.shape, bool) if self.mask is None else self.mask

    def confined(self, values: Array) -> Array:
        """Return the values, zero outside the mask."""
        return values if self.mask is None else np.where(self.mask, values, values.dtype.type(0))

    def image(self, values: Array) -> Array:
        """Return the image that values stand for."""
        if self.resolution is None:
            return values
        return self.resolution(values).astype(values.dtype, copy=False)

    def of_values(self, weights: Array) -> Array:
        """Return weights of an image as weights of the values: the transpose of `image`."""
        if self.resolution is None:
            return weights
        return self.resolution.transposed(weights).astype(weights.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class Model(Mapping[str, Array]):
    """Components and a value for each of their places. As a mapping it holds the plain arrays."""

    components: Mapping[str, Component]
    vector: Vector

    @classmethod
    def start(cls, data: DataInterface, **values: Array | float) -> Model:
        """Return the model that the data are seen with before anything was learnt.

        A normalisation starts at one. The skies share one flat level, at which the expected
        total equals the counts.

        Parameters
        ----------
        data
            The data; they declare the components.
        values
            Start values by component, instead of those that the component declares.
        """
        total, chosen, level_of = float(np.sum(data.counts, dtype=np.float64)), {}, []
        for name, part in data.components.items():
            given = values.get(name, part.start)
            if given is None and part.geometry.sky:
                level_of.append(name)
                given = 1.0
            full = np.broadcast_to(np.asarray(1.0 if given is None else given), part.geometry.shape)
            chosen[name] = part.project(full.astype(data.dtype))
        seen = {name: data.sensitivity.only(frozenset([name])).dot(chosen) for name in chosen}
        known = sum(seen[name] for name in chosen if name not in level_of)
        free = sum(seen[name] for name in level_of)
        level = max(total - known, 0.1 * total, 1e-3) / free if free > 0 else 0.0
        chosen |= {
            n: data.components[n].project(chosen[n] * data.dtype.type(level)) for n in level_of
        }
        return cls(data.components, Vector(chosen))

    def balanced(self, data: DataInterface) -> Model:
        """Return the model with its skies scaled so that as many counts are expected as observed.

        If stars and other fitted values alone expect them all, they are scaled to half of them.
        """
        light = {n: self.vector.only(frozenset([n])).dot(data.sensitivity) for n in self}
        total = float(np.sum(data.counts, dtype=np.float64))
        known = sum(light[n] for n in self if n not in self.free)
        room = max(total - known, 0.1 * total)
        others, skies = self.free - self.skies, sum(light[n] for n in self.skies)
        points, share = sum(light[n] for n in others), 1.0
        if skies <= 0 or points >= room:
            share = room * (0.5 if skies > 0 else 1.0) / points if points > 0 else 1.0
        factors = dict.fromkeys(others, share)
        if skies > 0:
            factors |= dict.fromkeys(self.skies, (room - share * points) / skies)
        scaled = {n: (self[n] * f).astype(self[n].dtype) for n, f in factors.items()}
        return self.with_values(Vector(scaled))

    def __getitem__(self, name: str) -> Array:
        return self.vector[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.vector)

    def __len__(self) -> int:
        return len(self.vector)

    @property
    def free(self) -> frozenset[str]:
        """Names of the components that are fitted."""
        return frozenset(name for name, part in self.components.items() if not part.fixed)

    @property
    def skies(self) -> frozenset[str]:
        """Names of the fitted components on a sky geometry."""
        return frozenset(name for name in self.free if self.components[name].geometry.sky)

    def normalisations(self, most: float = inf) -> dict[str, float]:
        """Return the factors of backgrounds and baselines by name.

        Parameters
        ----------
        most
            Components of more factors are left out.
        """
        return {
            name if value.size == 1 else f"{name}[{i}]": float(v)
            for name, value in self.items()
            if isinstance(self.components[name].geometry, Normalisations) and value.size <= most
            for i, v in enumerate(value)
        }

    def chosen(self, names: tuple[str, ...] | None) -> frozenset[str]:
        """Return the fitted components among ``names``; all skies if there are no names.

        Raises
        ------
        ConfigError
            If there is no component of that name.
        """
        if names is None:
            return self.skies
        if unknown := set(names) - set(self):
            raise ConfigError(
                f"there is no component {', '.join(sorted(unknown))}; "
                f"the model has {', '.join(self)}"
            )
        return frozenset(names) & self.free

    def with_values(self, values: Vector) -> Model:
        """Return the same components with other values; absent names keep theirs."""
        return replace(self, vector=Vector({**self.vector, **values}))

    def project(self, values: Vector) -> Vector:
        """Return the values within the masks and bounds of the components."""
        return Vector({name: self.components[name].project(v) for name, v in values.items()})

    @property
    def images(self) -> Model:
        """The model with the images that its values stand for, without negative rounding."""
        parts = {n: part for n, part in self.components.items() if part.resolution is not None}
        made = {name: np.maximum(part.image(self[name]), 0) for name, part in parts.items()}
        return self.with_values(Vector(made)) if made else self

    def quantity(self, name: str) -> Quantity:
        """Return the values of a component with their unit."""
        from astropy import units as u

        return self.vector[name] * u.Unit(self.components[name].unit)
