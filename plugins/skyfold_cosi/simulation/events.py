"""Events drawn one by one: photons of a sky through orientation and telescope, and background."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from skyfold.vector import Array
from skyfold_cosi.orientation import Orientation
from skyfold_cosi.simulation.background import Background
from skyfold_cosi.simulation.orbit import middles, visible
from skyfold_cosi.simulation.scene import Scene
from skyfold_cosi.simulation.telescope import Telescope
from skyfold_cosi.unbinned import Unbinned, from_vectors
from skyfold_responses.attitude import rotations

BATCH = 1 << 17


@dataclass(frozen=True, eq=False)
class Drawn:
    """Events, one row each.

    Parameters
    ----------
    time
        Unix seconds.
    energy
        Measured energy, keV.
    angle
        Compton angle, rad.
    local, galactic
        Direction psi chi in both frames, shape (n, 3).
    x, z
        Axes of the detector at that time, Galactic, shape (n, 3).
    """

    time: Array
    energy: Array
    angle: Array
    local: Array
    galactic: Array
    x: Array
    z: Array

    def __getitem__(self, chosen: Any) -> Drawn:
        return Drawn(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def joined(cls, *parts: Drawn) -> Drawn:
        """Return all events in the order of time."""
        columns = (np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls))
        whole = cls(*columns)
        return whole[np.argsort(whole.time, kind="stable")]


def unbinned(events: Drawn, rng: np.random.Generator) -> Unbinned:
    """Return events as COSI's files hold them, with distances between their interactions."""
    distance = 0.5 + rng.exponential(2.0, len(events.time))
    step = events.local * distance[:, None]
    return from_vectors(events.time, events.energy, events.angle, events.x, events.z, step)


def draw_source(
    telescope: Telescope,
    orientation: Orientation,
    scene: Scene,
    count: int,
    rng: np.random.Generator,
) -> Drawn:
    """Draw events of a sky whose measured energy lies within the energies of the scene."""
    measured = np.array(scene.energies)
    largest = telescope.area(np.clip(telescope.best_energy, measured[0], measured[-1]))
    if scene.line is not None:
        largest = telescope.area(scene.line)
    parts, found = [], 0
    while found < count:
        directions, energy = scene.draw(BATCH, rng)
        time = _draw_times(orientation, BATCH, rng)
        x, z, zenith, _ = orientation.at(time)
        chance = telescope.opening(np.sum(directions * z, axis=1)) * telescope.area(energy)
        seen = rng.random(BATCH) * largest < chance
        seen &= visible(orientation, directions, time, zenith)
        turn = rotations(x[seen], z[seen])
        origins = np.einsum("nij,nj->ni", turn, directions[seen])
        energy, angle, local = telescope.draw(origins, energy[seen], rng)
        galactic = np.einsum("nji,nj->ni", turn, local)
        drawn = Drawn(time[seen], energy, angle, local, galactic, x[seen], z[seen])
        parts.append(drawn[(energy >= measured[0]) & (energy < measured[-1])])
        found += len(parts[-1].time)
    whole = Drawn(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Drawn)))
    return Drawn.joined(whole[:count])


def draw_background(
    telescope: Telescope,
    orientation: Orientation,
    background: Background,
    measured: Array,
    count: int,
    rng: np.random.Generator,
) -> Drawn:
    """Draw events of the background whose measured energy lies between the edges."""
    energy, angle, local = background.draw(telescope, measured, count, rng)
    time = _draw_times(orientation, count, rng, background)
    x, z, *_ = orientation.at(time)
    galactic = np.einsum("nji,nj->ni", rotations(x, z), local)
    return Drawn.joined(Drawn(time, energy, angle, local, galactic, x, z))


def _draw_times(
    orientation: Orientation,
    count: int,
    rng: np.random.Generator,
    background: Background | None = None,
) -> Array:
    """Draw times at which the telescope was live, as often as its background comes."""
    middle, livetime = middles(orientation)
    weight = livetime if background is None else livetime * background.rate(middle)
    live = np.flatnonzero(orientation.livetime[:-1] > 0)
    row = live[rng.choice(len(live), count, p=weight / weight.sum())]
    width = orientation.time[row + 1] - orientation.time[row]
    times: Array = orientation.time[row] + width * rng.random(count)
    return times
