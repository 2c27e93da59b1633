"""Backgrounds: templates times normalisations, known or fitted, for all bins or in groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from skyfold.errors import ConfigError
from skyfold.geometry import Normalisations
from skyfold.matrices import Template
from skyfold.model import Component
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_cosi.histogram import Axis, Histogram

Per = Literal["all", "time", "energy"]
Range = tuple[float, float]
ANY = (0.0, float("inf"))
LABELS = {"time": ("Time", "ScAtt"), "energy": ("Em",)}


def responses_of(
    templates: Mapping[str, Histogram], axes: tuple[Axis, ...], per: Per
) -> dict[str, Response]:
    """Return the response of each background: its template, in groups if asked for."""
    place = _grouped(axes, per)
    groups: Array | None = None
    if place is not None:
        shape = [-1 if i == place else 1 for i in range(len(axes))]
        groups = np.arange(axes[place].size).reshape(shape)
    return {key: Template(template.dense, groups) for key, template in templates.items()}


def components_of(
    templates: Mapping[str, Histogram],
    axes: tuple[Axis, ...],
    per: Per,
    fitted: bool,
    ranges: Range | Mapping[str, Range] | None,
) -> dict[str, Component]:
    """Return the normalisations of each background.

    Raises
    ------
    ConfigError
        If a name is taken or unknown, a range is none, or the bins cannot be grouped.
    """
    if "sky" in templates:
        raise ConfigError("a background cannot be called 'sky'; give it another name")
    if isinstance(ranges, Mapping) and (unknown := set(ranges) - set(templates)):
        raise ConfigError(
            f"background_range names {', '.join(sorted(unknown))}, but the backgrounds are "
            f"{', '.join(templates) or 'none'}"
        )
    place = _grouped(axes, per)
    names = ("",) if place is None else tuple(map(str, range(axes[place].size)))
    return {
        key: Component(Normalisations(names), fixed=not fitted, bounds=_range(ranges, key))
        for key in templates
    }


def _grouped(axes: tuple[Axis, ...], per: Per) -> int | None:
    """Return the axis along which there is one normalisation for each bin."""
    if per == "all":
        return None
    places = [i for i, axis in enumerate(axes) if axis.label in LABELS[per]]
    if not places:
        raise ConfigError(
            f"background_per: {per}: the counts have no axis {' or '.join(LABELS[per])}, only "
            f"{', '.join(axis.label for axis in axes)}"
        )
    return places[0]


def _range(given: Any, key: str) -> Range:
    """Return smallest and largest normalisation of a background."""
    given = given.get(key, ANY) if isinstance(given, Mapping) else given or ANY
    low, high = (float(limit) for limit in given)
    if not 0 <= low <= high:
        raise ConfigError(f"background_range of {key}: {low:g} to {high:g} is no range above 0")
    return low, high
