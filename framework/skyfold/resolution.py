"""Skies of finite resolution: light of any shape, seen as if through a blur."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from skyfold.binned import BinnedData
from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.joint import JointData
from skyfold.model import Component
from skyfold.priors.blurs import Blur, Confined
from skyfold.response import Chain, Response
from skyfold.vector import Array


class Resolved(Response):
    """What makes an image of the values of a component.

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
        """Return weights of an image as weights of the values."""
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
        The blur; it keeps light inside the mask that the skies have in all observations together.

    Raises
    ------
    ConfigError
        If the skies have a resolution already.
    """
    skies = {n: part for n, part in data.components.items() if part.geometry.sky}
    if limited := [name for name, part in skies.items() if part.resolution is not None]:
        raise ConfigError(
            f"{limited[0]} has a limited resolution already: take the data as they were opened"
        )
    made = {n: replace(part, resolution=Confined(blur, part)) for n, part in skies.items()}
    parts = [_resolved(part, made) for part in data.parts]
    return parts[0] if isinstance(data, BinnedData) else JointData(parts)


def _resolved(data: BinnedData, skies: Mapping[str, Component]) -> BinnedData:
    own = {name: part for name, part in skies.items() if name in data.components}
    responses = {name: data.whole[name] @ Resolved(part) for name, part in own.items()}
    return data.with_responses(responses, own)


def image_sensitivity(data: DataInterface, name: str) -> Array:
    """Return the expected counts per unit of each place of the image of a component."""
    if data.components[name].resolution is None:
        return np.asarray(data.sensitivity[name])
    seen = [(part, part.whole[name]) for part in data.parts if name in part.whole]
    made = [part.sensitivity_of(chain.outer) for part, chain in seen if isinstance(chain, Chain)]
    return np.asarray(sum(made[1:], made[0]))
