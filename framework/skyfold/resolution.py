"""Skies of finite resolution: light of any shape, seen as if through a blur."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from skyfold.binned import BinnedData
from skyfold.data import DataInterface
from skyfold.joint import JointData
from skyfold.model import Component
from skyfold.response import Response
from skyfold.vector import Array

if TYPE_CHECKING:
    from skyfold.priors.blurs import Blur


class Resolved(Response):
    """The blur of the values of a component, seen with its sensitivity to points as before.

    Parameters
    ----------
    component
        The component; it has a resolution.
    """

    def __init__(self, component: Component) -> None:
        self._component = component
        self.model_shape = self.data_shape = component.geometry.shape

    def forward(self, values: Array) -> Array:
        """Return the image that the values stand for."""
        return self._component.image(values)

    def adjoint(self, weights: Array) -> Array:
        """Return what images weigh, as weights of the values."""
        return self._component.of_values(weights)

    def points_behind(self, outer: Response, places: Array, which: Array | None = None) -> Response:
        """Return the sources as they are without it: a point has no resolution."""
        return outer.points(places, which)


def resolved(data: DataInterface, blur: Blur) -> DataInterface:
    """Return data whose skies are images of a finite resolution.

    The values of each sky are then light that the blur makes the sky of (the method of sieves,
    Snyder & Miller 1985, IEEE Trans. Nucl. Sci. 32, 3864; finite resolution, Magain, Courbin &
    Sohy 1998, ApJ 494, 472). Point sources stay points.

    Parameters
    ----------
    data
        The data.
    blur
        The blur.
    """
    parts = [_resolved(part, blur) for part in data.parts]
    return parts[0] if isinstance(data, BinnedData) else JointData(parts)


def _resolved(data: BinnedData, blur: Blur) -> BinnedData:
    skies = {n: part for n, part in data.components.items() if part.geometry.sky}
    made = {name: replace(part, resolution=blur) for name, part in skies.items()}
    responses = {name: data.whole[name] @ Resolved(part) for name, part in made.items()}
    return BinnedData(
        data.full_counts,
        {**data.whole, **responses},
        data.weight,
        likelihood=data.likelihood,
        components={**data.components, **made},
        origin=data.origin,
        dtype=data.dtype,
    )
