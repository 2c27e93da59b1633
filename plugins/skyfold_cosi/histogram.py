"""Histograms as COSI's files hold them: labelled axes and contents, dense or sparse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError, require
from skyfold.vector import Array

if TYPE_CHECKING:
    import histpy


SLACK = 1e-6  # part of a bin by which edges may differ


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis: bins along a quantity, or HEALPix pixels.

    Parameters
    ----------
    label
        Its name: ``Em``, ``Phi``, ``PsiChi``, ``NuLambda``, ``lb``, ``Time``, ``ScAtt``, ...
    edges
        Edges of the bins, increasing, length n + 1; of pixels their numbers.
    unit
        Unit of the edges, as text that astropy reads.
    scale
        ``linear`` or ``log``.
    nside
        HEALPix resolution; None for a plain axis.
    scheme
        ``RING`` or ``NESTED``.
    frame
        ``galactic``, ``spacecraftframe``, ...; None where it is not said.

    Raises
    ------
    DataError
        If the edges do not increase.
    """

    label: str
    edges: Array
    unit: str = ""
    scale: str = "linear"
    nside: int | None = None
    scheme: str = "RING"
    frame: str | None = None

    def __post_init__(self) -> None:
        if self.edges.ndim != 1 or self.edges.size < 2:
            raise DataError(f"axis {self.label!r}: edges of shape {self.edges.shape} make no bins")
        wrong = ~(np.diff(self.edges) > 0)
        if np.any(wrong):
            low, high = self.edges[(i := int(np.argmax(wrong))) : i + 2]
            word = "decrease" if high < low else "do not increase"
            unit = f" {self.unit}" if self.unit else ""
            raise DataError(f"axis {self.label!r}: edges {word} ({low:g}, {high:g}{unit})")

    @classmethod
    def healpix(
        cls, label: str, nside: int, frame: str | None = "galactic", scheme: str = "RING"
    ) -> Axis:
        """Return an axis of all pixels of a sphere."""
        edges = np.arange(12 * nside**2 + 1)
        return cls(label, edges, nside=nside, frame=frame, scheme=scheme.upper())

    @property
    def size(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1

    def difference(self, other: Axis) -> str | None:
        """Return in words what keeps ``other`` from being the same bins, or None.

        Only the bins count: label, scale and the spelling of the unit do not.
        """
        if self.nside != other.nside:
            return f"{self._pixels()} against {other._pixels()}"
        if self.nside is not None:
            if self.scheme != other.scheme:
                return f"pixels in {self.scheme} order against {other.scheme}"
            if self.frame and other.frame and self.frame != other.frame:
                return f"pixels in the frame {self.frame!r} against {other.frame!r}"
            if self.size != other.size:
                return f"{self.size} pixels against {other.size}"
            same = np.array_equal(self.edges, other.edges)
            return None if same else "another choice of pixels"
        theirs = other.in_unit(self.unit).edges
        if len(theirs) != len(self.edges):
            return f"{self.describe()} against {other.describe()}"
        slack = SLACK * np.min(np.diff(self.edges))  # of the bins: times are large numbers
        wrong = ~np.isclose(self.edges, theirs, rtol=0, atol=slack)
        if np.any(wrong):
            i = int(np.argmax(wrong))
            return f"edge {i} is {self.edges[i]:.12g} against {theirs[i]:.12g} {self.unit}".rstrip()
        return None

    def in_unit(self, unit: str) -> Axis:
        """Return the axis in another unit; an axis without unit takes it over.

        Raises
        ------
        DataError
            If the units measure different things.
        """
        from astropy import units as u

        if self.unit == unit or not self.unit or not unit:
            return replace(self, unit=unit or self.unit)
        try:
            factor = float(u.Unit(self.unit).to(u.Unit(unit)))
        except u.UnitConversionError:
            raise DataError(
                f"axis {self.label!r}: edges in {self.unit} cannot be given in {unit}"
            ) from None
        return replace(self, edges=self.edges * factor, unit=unit)

    def describe(self) -> str:
        """Return the bins in a few words: ``30 bins of 6 deg (0 to 180)``."""
        if self.nside is not None:
            return self._pixels()
        low, high = self.edges[0], self.edges[-1]
        steps = np.diff(self.edges)
        of = f" of {steps[0]:g}" if np.allclose(steps, steps[0]) else ""
        word = "bin" if self.size == 1 else "bins"
        return " ".join(f"{self.size} {word}{of} {self.unit}".split()) + f" ({low:g} to {high:g})"

    def _pixels(self) -> str:
        return "plain bins" if self.nside is None else f"pixels of nside {self.nside}"


@dataclass(frozen=True, eq=False)
class Sparse:
    """Contents of which most are zero.

    Parameters
    ----------
    shape
        Shape of the whole.
    index
        Flat index, in C order, of each stored bin; increasing.
    values
        Content of each.
    """

    shape: tuple[int, ...]
    index: Array
    values: Array

    @classmethod
    def from_coordinates(cls, shape: tuple[int, ...], coords: Array, values: Array) -> Sparse:
        """Sort bins given by their coordinates, shape (axes, bins); equal ones are added up."""
        flat = np.ravel_multi_index(tuple(np.asarray(coords)), shape)
        index, inverse = np.unique(flat, return_inverse=True)
        return cls(shape, index, np.bincount(inverse, weights=values, minlength=len(index)))

    @property
    def coords(self) -> tuple[Array, ...]:
        """Coordinates of each stored bin, one array for each axis."""
        return np.unravel_index(self.index, self.shape)

    def dense(self) -> Array:
        """Return all bins, shape ``shape``."""
        full = np.zeros(self.shape, dtype=self.values.dtype)
        full.ravel()[self.index] = self.values
        return full


@dataclass(frozen=True, eq=False)
class Histogram:
    """Contents on labelled axes.

    Parameters
    ----------
    axes
        The axes, in the order of the dimensions.
    contents
        An array, or `Sparse`.
    unit
        Unit of the contents, as text that astropy reads; empty for counts.
    """

    axes: tuple[Axis, ...]
    contents: Array | Sparse
    unit: str = ""

    def __post_init__(self) -> None:
        if self.contents.shape != self.shape:
            raise DataError(f"contents of shape {self.contents.shape} on axes of {self.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of bins along each axis."""
        return tuple(axis.size for axis in self.axes)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(axis.label for axis in self.axes)

    def __getitem__(self, label: str) -> Axis:
        """Return an axis by its label.

        Raises
        ------
        DataError
            If there is none.
        """
        for axis in self.axes:
            if axis.label == label:
                return axis
        raise DataError(f"there is no axis {label!r}, only {', '.join(self.labels)}")

    @cached_property
    def dense(self) -> Array:
        """The contents as an array."""
        return self.contents.dense() if isinstance(self.contents, Sparse) else self.contents

    @cached_property
    def sparse(self) -> Sparse:
        """The contents as bins that are not zero."""
        if isinstance(self.contents, Sparse):
            return self.contents
        index = np.flatnonzero(self.contents)
        return Sparse(self.shape, index, self.contents.ravel()[index])

    @property
    def total(self) -> float:
        """Sum of the contents."""
        held = self.contents.values if isinstance(self.contents, Sparse) else self.contents
        return float(np.sum(held, dtype=np.float64))

    def project(self, *labels: str) -> Histogram:
        """Return the sum over all other axes, in the order of ``labels``."""
        places = [self.labels.index(self[label].label) for label in labels]
        axes, shape = tuple(self.axes[i] for i in places), tuple(self.shape[i] for i in places)
        if isinstance(self.contents, Sparse):
            coords = np.array([self.contents.coords[i] for i in places]).reshape(len(places), -1)
            return replace(
                self,
                axes=axes,
                contents=Sparse.from_coordinates(shape, coords, self.contents.values),
            )
        others = tuple(i for i in range(len(self.axes)) if i not in places)
        summed = self.contents.sum(axis=others) if others else self.contents
        kept = [i for i in range(len(self.axes)) if i in places]
        order = [kept.index(i) for i in places]
        return replace(self, axes=axes, contents=np.ascontiguousarray(summed.transpose(order)))

    def __add__(self, other: Histogram) -> Histogram:
        """Add contents on the same bins.

        Raises
        ------
        DataError
            If the axes differ.
        """
        require_same_axes(self.axes, other.axes, "histograms that are added")
        if isinstance(self.contents, Sparse) and isinstance(other.contents, Sparse):
            index = np.concatenate([self.contents.index, other.contents.index])
            values = np.concatenate([self.contents.values, other.contents.values])
            found, inverse = np.unique(index, return_inverse=True)
            summed = np.bincount(inverse, weights=values, minlength=len(found))
            return replace(self, contents=Sparse(self.shape, found, summed))
        return replace(self, contents=self.dense + other.dense)


def require_same_axes(first: Sequence[Axis], second: Sequence[Axis], what: str) -> None:
    """Refuse axes that differ in number, order or bins.

    Raises
    ------
    DataError
        It names the first axis that differs, and how.
    """
    labels, others = [a.label for a in first], [a.label for a in second]
    if labels != others:
        raise DataError(f"{what}: axes {', '.join(labels)} against {', '.join(others)}")
    for mine, theirs in zip(first, second, strict=True):
        if difference := mine.difference(theirs):
            raise DataError(f"{what}: axis {mine.label!r}: {difference}; they must agree")


def to_histpy(histogram: Histogram) -> histpy.Histogram:
    """Return the same as a histogram of histpy."""
    histpy = require("histpy", "healpix")
    from astropy import units as u

    contents: Any = histogram.contents
    if isinstance(contents, Sparse):
        import sparse

        contents = sparse.COO(np.array(contents.coords), contents.values, shape=contents.shape)
    unit = u.Unit(histogram.unit) if histogram.unit else None
    axes = histpy.Axes([histpy_axis(axis) for axis in histogram.axes])
    return histpy.Histogram(axes, contents=contents, unit=unit)


def from_histpy(given: histpy.Histogram) -> Histogram:
    """Return a histogram of histpy as ours, under- and overflow left out."""
    contents = given.contents
    unit = "" if given.unit is None else given.unit.to_string()
    contents = getattr(contents, "value", contents)
    if hasattr(contents, "coords"):
        contents = Sparse.from_coordinates(contents.shape, contents.coords, contents.data)
    return Histogram(tuple(_our_axis(axis) for axis in given.axes), contents, unit)


def histpy_axis(axis: Axis) -> Any:
    """Return the same as an axis of histpy."""
    histpy = require("histpy", "healpix")
    from astropy import units as u

    from skyfold_cosi.frame import spacecraft_frame

    if axis.nside is not None:
        spacecraft_frame()  # its name must be known
        return histpy.HealpixAxis(
            nside=axis.nside, scheme=axis.scheme, coordsys=axis.frame, label=axis.label
        )
    edges = axis.edges * u.Unit(axis.unit) if axis.unit else axis.edges
    return histpy.Axis(edges, label=axis.label, scale=axis.scale)


def _our_axis(axis: Any) -> Axis:
    if hasattr(axis, "nside"):
        frame = getattr(axis.coordsys, "name", axis.coordsys)
        edges = np.asarray(getattr(axis.edges, "value", axis.edges))
        return Axis(axis.label, edges, nside=axis.nside, scheme=axis.scheme.upper(), frame=frame)
    unit = "" if axis.unit is None else axis.unit.to_string()
    edges = np.asarray(getattr(axis.edges, "value", axis.edges))
    return Axis(axis.label, edges, unit, axis.axis_scale)
