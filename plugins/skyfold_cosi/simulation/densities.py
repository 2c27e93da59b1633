"""List mode without bins: what the simulated telescope expects at each event, exactly."""

from __future__ import annotations

import numpy as np

from skyfold.vector import Array
from skyfold_cosi.orientation import Orientation
from skyfold_cosi.simulation.background import Background
from skyfold_cosi.simulation.binned import FINE_SKY, nodes, places
from skyfold_cosi.simulation.events import Drawn
from skyfold_cosi.simulation.orbit import ANGLES, STEP, middles
from skyfold_cosi.simulation.telescope import Telescope
from skyfold_responses.attitude import horizon

BLOCK = 256


def sky_rows(
    telescope: Telescope,
    orientation: Orientation,
    events: Drawn,
    nside: int,
    energies: Array,
    line: float | None = None,
) -> Array:
    """Return the response at each event, as `EventRows` takes it.

    Parameters
    ----------
    telescope, orientation
        The physics, and where the Earth was.
    events
        What was measured.
    nside, energies, line
        Pixels and energy bins of the sky, as in `detector_response`.

    Returns
    -------
    rows
        Shape (events, pixels * energies): cm2 / (keV rad) per pixel's area in sr, so that the
        product with an intensity is a rate density per s, keV, rad and sr of psi chi.
    """
    inside = places(nside, FINE_SKY)
    pixels, spread, _ = inside.shape
    flat = inside.reshape(-1, 3)
    open_ = telescope.opening(np.cos(ANGLES))
    *_, zenith, altitude = orientation.at(events.time)
    limit = horizon(altitude)
    rows = np.empty((len(events.time), pixels, len(energies) - 1), np.float32)
    scale = 4 * np.pi / len(flat)
    bins = [nodes(energies[i], energies[i + 1], line) for i in range(len(energies) - 1)]
    rings = [
        (i, w * float(telescope.area(e)), telescope.event_rings(e, events.energy, events.angle))
        for i, bin_ in enumerate(bins)
        for e, w in bin_
    ]
    for start in range(0, len(rows), BLOCK):
        at = slice(start, start + BLOCK)
        angle = np.rint(np.arccos(np.clip(events.z[at] @ flat.T, -1, 1)) / STEP).astype(np.int64)
        seen = open_[angle] * (zenith[at] @ flat.T > limit[at, None]) * scale
        cosine = events.galactic[at] @ flat.T
        rows[at] = 0
        for i, weight, parts in rings:
            density = sum(part.of(at).density(cosine) for part in parts)
            rows[at, :, i] += weight * (seen * density).reshape(-1, pixels, spread).sum(axis=2)
    return rows.reshape(len(rows), -1)


def background_density(
    background: Background,
    telescope: Telescope,
    orientation: Orientation,
    events: Drawn,
    measured: Array,
) -> Array:
    """Return the density of one background event at each event, per s, keV, rad and sr.

    ``measured`` holds the edges of the window in energy; within a window that the line of the
    background lies in, its spectrum is that of `Background`.
    """
    middle, livetime = middles(orientation)
    rate = background.rate(events.time) / np.sum(livetime * background.rate(middle))
    spectrum = background.energy_density(telescope, measured, events.energy)
    return np.asarray(rate * spectrum * background.shape(events.angle, events.local[:, 2]))
