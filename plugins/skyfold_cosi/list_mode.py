"""List mode: each event is its own bin; densities are interpolated between the response's bins."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from skyfold.errors import require
from skyfold.origin import Check
from skyfold.sphere import Sphere
from skyfold.vector import Array
from skyfold_cosi.histogram import Axis
from skyfold_cosi.unbinned import Unbinned
from skyfold_responses.events import EventRows
from skyfold_responses.matrix import RowMatrix
from skyfold_responses.memory import aligned, memory_limit, memory_needed, on_disk

COARSE = 5.0  # degrees
BLOCK = 4096  # events whose rows are made at a time


def inside(axes: Sequence[Axis], events: Unbinned) -> Array:
    """Return which events lie within the bins of the data space, shape (n,)."""
    measured, phi, _ = axes
    angle = np.degrees(events.phi)
    within: Array = (events.energy >= measured.edges[0]) & (events.energy < measured.edges[-1])
    within &= (angle >= phi.edges[0]) & (angle <= phi.edges[-1])
    within &= np.all(np.isfinite(events.galactic), axis=1)
    return within


def judge_bins(axes: Sequence[Axis]) -> list[Check]:
    """Warn of a response too coarse to be interpolated: its rings are smeared once more."""
    _, phi, sphere = axes
    assert sphere.nside is not None
    width, size = float(np.max(np.diff(phi.edges))), Sphere(sphere.nside).pixel_size
    if max(width, size) <= COARSE:
        return []
    text = (
        f"densities are interpolated between bins of {width:g} deg in Phi and pixels of {size:.2g} "
        f"deg, wider than the rings of Compton events (about {COARSE:g} deg): leave out "
        "--list-mode, or give a finer response"
    )
    return [Check("warning", "list mode", text)]


def interpolation(axes: Sequence[Axis], events: Unbinned) -> Any:
    """Return a sparse matrix (events, bins) that turns contents of bins into densities.

    The measured energy keeps its bin; between the centres of Phi bins the density is linear, on
    the sphere it is interpolated between four pixels. Densities are per keV and degree, and per
    pixel.

    Parameters
    ----------
    axes
        Em, Phi, PsiChi of the bins, in Galactic coordinates.
    events
        Events that lie inside.
    """
    from scipy.sparse import csr_array

    healpy = require("healpy", "healpix")
    measured, phi, sphere = axes
    n = len(events.energy)
    at = np.searchsorted(measured.edges, events.energy, "right") - 1
    centres = 0.5 * (phi.edges[1:] + phi.edges[:-1])
    place = np.interp(np.degrees(events.phi), centres, np.arange(phi.size))
    below = np.minimum(place.astype(int), phi.size - 1)
    share = place - below
    nested = sphere.scheme == "NESTED"
    pixels, weights = healpy.get_interp_weights(
        sphere.nside, *events.galactic.T, nest=nested, lonlat=True
    )
    per_energy = 1.0 / np.diff(measured.edges)[at]
    per_angle = 1.0 / np.diff(phi.edges)
    columns, values = [], []
    for ring, part in ((below, 1.0 - share), (np.minimum(below + 1, phi.size - 1), share)):
        for pixel, weight in zip(pixels, weights, strict=True):
            columns.append((at * phi.size + ring) * sphere.size + pixel)
            values.append(weight * part * per_energy * per_angle[ring])
    rows = np.tile(np.arange(n), 8)
    shape = (n, prod(axis.size for axis in axes))
    return csr_array((np.concatenate(values), (rows, np.concatenate(columns))), shape=shape)


def event_rows(matrix: RowMatrix, weights: Any) -> EventRows:
    """Return the response of events, from the response of bins.

    The rows of events are float32, in memory or, where they exceed it, in a temporary file.

    Parameters
    ----------
    matrix
        Response of the bins.
    weights
        `interpolation` of the events.
    """
    from scipy.sparse import diags_array

    used = np.unique(weights.indices)
    held = matrix.rows(used)
    narrow = weights[:, used]
    if held.scales is not None:
        narrow = (narrow @ diags_array(held.scales)).tocsr()
    shape = weights.shape[0], prod(matrix.model_shape)
    limit = memory_limit(matrix.memory)
    fits = limit is None or memory_needed(*shape) <= limit
    rows = (aligned if fits else on_disk)(shape, np.float32)
    for start in range(0, len(rows), BLOCK):
        some = narrow[start : start + BLOCK]
        near = np.unique(some.indices)
        rows[start : start + BLOCK] = some[:, near] @ held.numbers[near].astype(np.float64)
    return EventRows(rows, matrix.sensitivity(np.ones(matrix.data_shape)))
