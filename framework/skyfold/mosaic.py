"""Images of one sky that are shifted against each other, on one grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import NamedTuple

import numpy as np

from skyfold.binned import BinnedData
from skyfold.data import DataInterface
from skyfold.geometry import Grid, pixel_offset, shifted
from skyfold.joint import JointData
from skyfold.origin import Check
from skyfold.pixels import Window
from skyfold.vector import Array

ALIKE = 0.01  # pixels by which a shift may differ over the image
WHOLE = 1e-3  # pixels: a shift nearer to a whole number is one


class _Frame(NamedTuple):
    """One of the images.

    Attributes
    ----------
    data, name, grid
        The image, and its sky.
    offset
        Where the first pixel of the first sky lies in its own, x and y.
    shift
        The same of what the images cover of their skies.
    """

    data: BinnedData
    name: str
    grid: Grid
    offset: Array
    shift: Array


def together(parts: Sequence[DataInterface]) -> JointData:
    """Return observations of one sky as one data set, images that are shifted included.

    The sky is restored on the pixels of the first image, over all that any of them sees. Whole
    pixels of a shift choose a part of that sky; what is left, half a pixel at most, moves the
    kernel of the PSF.

    Parameters
    ----------
    parts
        Observations. Images with one sky each are brought together by their world coordinates or,
        where they have none, pixel on pixel. All else is joined as it is. Those that have one name
        are numbered, and none then has the name of another.

    Raises
    ------
    DataError
        If the skies cannot be one: turned, or on pixels of another size.
    """
    parts = _told_apart(parts)
    frames = [_frame(part, parts[0]) for part in parts]
    found = [frame for frame in frames if frame is not None]
    if len(found) < len(parts) or not any(_differs(frame, found[0]) for frame in found):
        return JointData(parts)
    whole = [np.rint(frame.offset).astype(int) for frame in found]
    sizes = [np.array(frame.grid.shape[:-3:-1]) for frame in found]
    low = np.min([-move for move in whole], axis=0)
    high = np.max([size - move for size, move in zip(sizes, whole, strict=True)], axis=0)
    first = found[0].grid
    starts = -low[::-1]
    grid = replace(
        first,
        shape=(*first.shape[:-2], *(high - low)[::-1].tolist()),
        wcs=None if first.wcs is None else shifted(first.wcs, *(-low).tolist()),
        field=tuple(_moved(first, starts)),
    )
    pairs = zip(found, whole, strict=True)
    return JointData([_onto(grid, frame, -move - low) for frame, move in pairs])


def _told_apart(parts: Sequence[DataInterface]) -> list[DataInterface]:
    """Return observations whose names tell one from another."""
    names = [own.origin.name for part in parts for own in part.parts]
    taken, new = set(names), list(names)
    if len(taken) == len(names):
        return list(parts)
    for i, name in enumerate(names):
        if names.count(name) > 1:
            new[i] = next(told for n in count(1) if (told := f"{name} {n}") not in taken)
            taken.add(new[i])
    rest = iter(new)
    return [_named(part, rest) for part in parts]


def _named(part: DataInterface, names: Iterator[str]) -> DataInterface:
    """Return observations under the next of these names."""
    if isinstance(part, BinnedData):
        return part.with_origin(name=next(names))
    assert isinstance(part, JointData)
    return JointData([_named(member, names) for member in part.members])


def _frame(part: DataInterface, first: DataInterface) -> _Frame | None:
    """Return the sky of an image and its offset from the first one's; None if there is none."""
    if not isinstance(part, BinnedData):
        return None
    found = []
    for data in (part, first):
        skies = [name for name, c in data.components.items() if c.geometry.sky]
        if len(skies) != 1:
            return None
        geometry = data.components[skies[0]].geometry
        if not isinstance(geometry, Grid) or len(geometry.shape) < 2:
            return None
        found.append((skies[0], geometry))
    (name, own), (other, reference) = found
    if name != other or own.shape[:-2] != reference.shape[:-2]:
        return None
    if own.wcs is None or reference.wcs is None:
        if own.crop().shape != reference.crop().shape:
            return None
        return _Frame(part, name, own, own.first - reference.first, np.zeros(2))
    offset = pixel_offset(reference.wcs, own.wcs, reference.shape)
    if not np.all(np.isfinite(offset)) or np.max(np.ptp(offset, axis=0)) > ALIKE:
        return None
    move = offset.mean(axis=0)
    return _Frame(part, name, own, move, move - own.first + reference.first)


def _differs(frame: _Frame, first: _Frame) -> bool:
    return frame.grid.shape != first.grid.shape or float(np.max(np.abs(frame.offset))) > WHOLE


def _onto(grid: Grid, frame: _Frame, start: Array) -> BinnedData:
    """Return an image whose sky is a part of a larger one."""
    part = frame.data
    left = frame.offset - np.rint(frame.offset)
    response, component = part.whole[frame.name], part.components[frame.name]
    if np.max(np.abs(left)) > WHOLE:
        response = response.moved(left)
    window = Window(start[::-1], frame.grid.shape, grid.shape)
    mask = window.adjoint(component.support.astype(float)) > 0
    placed = replace(component, geometry=grid, mask=None if mask.all() else mask)
    x, y = frame.shift
    told = f"shifted by {x:+.3f}, {y:+.3f} of its pixels against the first image"
    origin = replace(part.origin, checks=(*part.origin.checks, Check("ok", frame.name, told)))
    return BinnedData(
        part.full_counts,
        {**part.whole, frame.name: response @ window},
        part.weight,
        likelihood=part.likelihood,
        components={**part.components, frame.name: placed},
        origin=origin,
        dtype=part.dtype,
    )


def _moved(grid: Grid, starts: Array) -> list[slice]:
    """Return the field of a grid whose last two axes begin elsewhere."""
    inside = [part.indices(n) for part, n in zip(grid.inside, grid.shape, strict=True)]
    begins = [0] * (len(inside) - 2) + starts.tolist()
    return [
        slice(first + begin, end + begin)
        for (first, end, _), begin in zip(inside, begins, strict=True)
    ]
