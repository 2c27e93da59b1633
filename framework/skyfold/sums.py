"""Sums over regions of a sky as functions of a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from skyfold.data import DataInterface
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Geometry, Grid
from skyfold.layers import energy_labels
from skyfold.model import Model
from skyfold.regions import Region
from skyfold.skymap import integrated
from skyfold.sphere import Sphere
from skyfold.vector import Array, Vector

log = logging.getLogger(__name__)
TOTAL = "total"
LEAST_BEYOND = 0.005  # of a region: what is not worth a word


class Sums:
    """Sums over regions as functions of the model, one for each region and energy.

    Parameters
    ----------
    data, model
        What the sky was seen by, and the model that holds it.
    name
        Name of the sky.
    regions
        The regions.

    Attributes
    ----------
    functions
        One for each region and energy; its dot product with a model is the sum.
    unit
        Unit of the sums.
    names, labels, pixels
        Of the regions; of the energies, with `TOTAL` after several; how many pixels each region
        has.
    joined
        Matrix from the sums to the rows of a table, which hold the totals too.

    Raises
    ------
    ConfigError, DataError
        If there is no such component, or a region holds nothing that was restored.
    """

    def __init__(
        self, data: DataInterface, model: Model, name: str, regions: Sequence[Region]
    ) -> None:
        if name not in model:
            raise ConfigError(f"no component {name!r}; the model has {', '.join(model)}")
        part = model.components[name]
        per_value, self.unit, labels = _measure(part.geometry, part.unit)
        self.model, self.functions, self.pixels = model, [], []
        for region in regions:
            shares = np.broadcast_to(region.weights(part.geometry), part.geometry.shape)
            _require_seen(data, model, name, region, shares)
            for plane in range(max(len(labels), 1)):
                own = np.zeros(part.geometry.shape)
                own[_plane(part.geometry, plane)] = (shares * per_value)[
                    _plane(part.geometry, plane)
                ]
                self.functions.append(Vector({name: part.of_values(own)}))
            self.pixels.append(float(shares[_plane(part.geometry, 0)].sum()))
        self.names = [region.name for region in regions]
        self.labels = [*labels, TOTAL] if len(labels) > 1 else [""]
        planes = (
            np.vstack([np.eye(len(labels)), np.ones(len(labels))]) if len(labels) > 1 else [1.0]
        )
        self.joined = np.kron(np.eye(len(regions)), planes)

    def columns(self) -> dict[str, Any]:
        """Return the first columns of the table."""
        values = np.array([function.dot(self.model) for function in self.functions])
        rows = len(self.labels)
        columns: dict[str, Any] = {"region": np.repeat(self.names, rows)}
        if rows > 1:
            columns["energy"] = np.tile(self.labels, len(self.names))
        return {**columns, "pixels": np.repeat(self.pixels, rows), "flux": self.joined @ values}


def _plane(geometry: Geometry, plane: int) -> Any:
    """Return the index of one energy."""
    if isinstance(geometry, Sphere):
        return (slice(None), plane)
    return plane if len(geometry.shape) == 3 else ...


def _measure(geometry: Geometry, unit: str) -> tuple[Array | float, str, tuple[str, ...]]:
    """Return what a value counts in a flux, the unit of the flux, and the names of energies."""
    from astropy import units as u

    if isinstance(geometry, Grid) and len(geometry.shape) <= 3:
        planes = geometry.shape[0] if len(geometry.shape) == 3 else 0
        return 1.0, unit, energy_labels(geometry.energy_edges, planes) if planes else ()
    if not isinstance(geometry, Sphere):
        raise ConfigError(f"{geometry.shape} values of a {type(geometry).__name__} have no regions")
    per_value, made = integrated(np.ones((1, geometry.shape[1])), geometry, unit)
    whole = u.Unit(made)
    if any(
        base == u.sr and power < 0 for base, power in zip(whole.bases, whole.powers, strict=True)
    ):
        per_value, whole = per_value * geometry.pixel_area, whole * u.sr
    return per_value, whole.to_string(), energy_labels(geometry.energy_edges, geometry.shape[1])


def _require_seen(
    data: DataInterface, model: Model, name: str, region: Region, shares: Array
) -> None:
    """Refuse a region that nothing is known of, and tell of one that is known in part."""
    part = model.components[name]
    inside, seen = shares > 0, part.support & (data.sensitivity[name] > 0)
    if not np.any(inside & seen):
        raise DataError(
            f"region {region.name!r}: none of its pixels is both seen by the instrument and "
            "restored: it lies outside of the exposure or of the mask"
        )
    if (share := region.beyond(part.geometry)) > LEAST_BEYOND:
        log.warning(
            "region %r: %.0f %% of its area lies outside of the image; the light there is missing",
            region.name, 100 * share,
        )  # fmt: skip
    if lost := np.count_nonzero(inside & ~seen):
        log.warning(
            "region %r: %d of its %d values are not seen or masked; their light is missing",
            region.name, lost, np.count_nonzero(inside),
        )  # fmt: skip
