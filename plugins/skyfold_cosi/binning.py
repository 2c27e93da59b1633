"""From events to counts: Galactic or detector's data space, in bins of time or of attitude."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

from skyfold.errors import ConfigError, DataError, require
from skyfold.vector import Array
from skyfold_cosi.histogram import Axis, Histogram, Sparse
from skyfold_cosi.unbinned import Selection, Unbinned

FRAMES = {"galactic": "galactic", "detector": "spacecraftframe"}


class AttitudeBins(Protocol):
    """Bins of attitude, such as an `ExposureTable` has: pixels of the z axis and the x axis."""

    @property
    def pixels(self) -> Array | None:
        """Pixels (z, x) of each bin, shape (bins, 2)."""

    @property
    def nside(self) -> int | None:
        """Resolution of the pixels."""

    @property
    def nested(self) -> bool:
        """Whether they are numbered in NESTED order."""


@dataclass(frozen=True, eq=False)
class Binned:
    """Counts, and what became of the other events.

    Parameters
    ----------
    histogram
        The counts, sparse.
    events
        Number of events that were read.
    outside
        Number of events in no bin, by reason; each counts once.
    """

    histogram: Histogram
    events: int
    outside: dict[str, int] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Number of events in the bins."""
        return self.events - sum(self.outside.values())


def data_axes(
    energies: Array,
    phi: Array,
    nside: int,
    frame: Literal["galactic", "detector"] = "galactic",
    *,
    times: Array | None = None,
    attitudes: AttitudeBins | None = None,
    nested: bool = False,
) -> tuple[Axis, ...]:
    """Return the axes of a data space: Time or ScAtt, Em, Phi, PsiChi.

    Parameters
    ----------
    energies
        Edges in keV.
    phi
        Edges in degrees.
    nside
        Resolution of the directions.
    frame
        That of the directions: of the sky, or of the detector.
    times
        Edges in unix seconds.
    attitudes
        Bins of attitude, instead of bins of time; for the detector's frame.
    nested
        Whether directions are numbered in NESTED order.

    Raises
    ------
    ConfigError
        If it is not one of times and attitudes, or attitudes go with Galactic directions.
    """
    if (times is None) == (attitudes is None):
        raise ConfigError("counts need bins of time or bins of attitude (and not both)")
    if attitudes is not None and frame == "galactic":
        raise ConfigError(
            "bins of attitude belong to the detector's frame: in Galactic coordinates the attitude "
            "has been taken out"
        )
    if times is not None:
        first = Axis("Time", np.asarray(times, dtype=np.float64), "s")
    else:
        assert attitudes is not None
        if attitudes.pixels is None:
            raise ConfigError("this exposure table has bins of time, not of attitude")
        first = Axis("ScAtt", np.arange(len(attitudes.pixels) + 1))
    return (
        first,
        Axis("Em", np.asarray(energies, dtype=np.float64), "keV"),
        Axis("Phi", np.asarray(phi, dtype=np.float64), "deg"),
        Axis.healpix("PsiChi", nside, FRAMES[frame], "NESTED" if nested else "RING"),
    )


def bin_events(
    blocks: Unbinned | Iterable[Unbinned],
    axes: Sequence[Axis],
    *,
    attitudes: AttitudeBins | None = None,
    selection: Selection | None = None,
) -> Binned:
    """Count events in bins, block by block.

    A bin holds its lower edge and not its upper one. The frame of PsiChi says which directions
    are binned; an event belongs to the bin of attitude of its own axes.

    Parameters
    ----------
    blocks
        Events, or blocks of them, such as `skyfold_cosi.unbinned.read_blocks` yields.
    axes
        Time or ScAtt, Em, Phi, PsiChi; see `data_axes`.
    attitudes
        The bins of ScAtt.
    selection
        Which events are taken; all by default.

    Raises
    ------
    DataError
        If the axes are others, or no event at all is in a bin.
    """
    axes = tuple(axes)
    labels = [axis.label for axis in axes]
    if labels[1:] != ["Em", "Phi", "PsiChi"] or labels[0] not in ("Time", "ScAtt"):
        raise DataError(f"events are binned in Time or ScAtt, Em, Phi, PsiChi, not {labels}")
    shape = tuple(axis.size for axis in axes)
    held = Sparse(shape, np.empty(0, dtype=np.int64), np.empty(0))
    outside: Counter[str] = Counter()
    events = 0
    for block in [blocks] if isinstance(blocks, Unbinned) else blocks:
        events += len(block)
        index = np.array([np.zeros(len(block), dtype=np.int64)] * 4)
        reasons = {} if selection is None else selection.reasons(block)
        for place, (axis, bins) in enumerate(_places(block, axes, attitudes)):
            index[place] = bins
            reasons[axis] = bins < 0
        accepted = np.ones(len(block), dtype=bool)
        for reason, refused in reasons.items():
            outside[reason] += int(np.count_nonzero(refused & accepted))
            accepted &= ~refused
        held = _added(held, np.ravel_multi_index(tuple(index[:, accepted]), shape))
    found = Binned(Histogram(axes, held), events, {k: n for k, n in outside.items() if n})
    if not found.accepted:
        told = ", ".join(f"{number} {reason}" for reason, number in found.outside.items())
        raise DataError(f"none of the {events} events is in a bin: {told or 'there are none'}")
    return found


def combined(histograms: Sequence[Histogram], factors: Sequence[float] = ()) -> Histogram:
    """Return the sum of histograms with the same bins, each times its factor: a template.

    Raises
    ------
    ConfigError
        If there is not one factor for each.
    DataError
        If the bins differ.
    """
    if factors and len(factors) != len(histograms):
        raise ConfigError(f"{len(factors)} factors for {len(histograms)} histograms")
    parts = [
        _times(one, factor)
        for one, factor in zip(histograms, factors or [1.0] * len(histograms), strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def rates(histogram: Histogram, label: str) -> tuple[Axis, Array, Array]:
    """Return counts along one axis and their rate: a light curve (Time) or a spectrum (Em).

    Returns
    -------
    axis, counts, rate
        The rate is counts divided by the width of the bins: per second, per keV.
    """
    counts = histogram.project(label).dense.astype(np.float64)
    axis = histogram[label]
    return axis, counts, counts / np.diff(axis.edges)


def _places(
    events: Unbinned, axes: tuple[Axis, ...], attitudes: AttitudeBins | None
) -> list[tuple[str, Array]]:
    """Return for each axis the bin of each event, -1 for none, and what such events are."""
    first, energy, phi, sphere = axes
    if first.label == "Time":
        time = ("outside the bins of time", _bins(first, events.time))
    elif attitudes is None:
        raise ConfigError("bins of attitude are needed for an axis ScAtt")
    else:
        time = ("in no bin of attitude", _attitude_bins(events, attitudes))
    if sphere.frame == "galactic":
        longitude, latitude = events.galactic.T
    else:
        longitude, latitude = np.degrees([events.local[:, 0], np.pi / 2 - events.local[:, 1]])
    nested = sphere.scheme == "NESTED"
    assert sphere.nside is not None
    return [
        time,
        ("outside the bins of energy", _bins(energy, events.energy)),
        ("without a Compton angle in the bins", _bins(phi, np.degrees(events.phi))),
        ("without a known direction", _pixels(sphere.nside, longitude, latitude, nested)),
    ]


def _bins(axis: Axis, values: Array) -> Array:
    place = np.searchsorted(axis.edges, values, "right") - 1
    return np.where((place < axis.size) & np.isfinite(values), place, -1)


def _attitude_bins(events: Unbinned, attitudes: AttitudeBins) -> Array:
    """Return the bin of attitude of each event's axes."""
    assert attitudes.pixels is not None
    assert attitudes.nside is not None
    pixels = 12 * attitudes.nside**2
    keys = attitudes.pixels[:, 0] * pixels + attitudes.pixels[:, 1]
    order = np.argsort(keys)
    z, x = (
        _pixels(attitudes.nside, lon, lat, attitudes.nested)
        for lon, lat in (np.degrees(events.z).T, np.degrees(events.x).T)
    )
    wanted = z * pixels + x
    place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    found = (keys[order[place]] == wanted) & (z >= 0) & (x >= 0)
    return np.where(found, order[place], -1)


def _pixels(nside: int, longitude: Array, latitude: Array, nested: bool) -> Array:
    """Return the pixels of directions in degrees, -1 for those that are not known."""
    healpy = require("healpy", "healpix")
    known = np.isfinite(longitude) & np.isfinite(latitude)
    pixels = np.full(len(longitude), -1, dtype=np.int64)
    latitude = np.clip(latitude[known], -90.0, 90.0)
    pixels[known] = healpy.ang2pix(nside, longitude[known], latitude, nest=nested, lonlat=True)
    return pixels


def _added(held: Sparse, flat: Array) -> Sparse:
    """Return the counts with one more in each of these bins."""
    index, counts = np.unique(flat, return_counts=True)
    index, inverse = np.unique(np.concatenate([held.index, index]), return_inverse=True)
    weights = np.concatenate([held.values, counts])
    return Sparse(held.shape, index, np.bincount(inverse, weights, len(index)))


def _times(histogram: Histogram, factor: float) -> Histogram:
    held = histogram.contents
    if isinstance(held, Sparse):
        return replace(histogram, contents=replace(held, values=factor * held.values))
    return replace(histogram, contents=factor * held)
