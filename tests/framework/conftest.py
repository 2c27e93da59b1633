"""A small whole-sky problem, seen in a data space that is no image."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

import skyfold
from skyfold.dataspace import DataAxis, DataSpace
from skyfold.simulate import Demo, simulate
from skyfold.sphere import Sphere

SHAPE = (2, 6, 48)


def whole_sky_demo(nested: bool = False) -> Demo:
    """A source, a faint rest, and a background, through a random response."""
    place = Sphere(4, [100, 200, 500] * u.keV, nested)
    space = DataSpace(
        (
            DataAxis("Time", np.array([0.0, 10.0, 25.0]) * u.s),
            DataAxis("Phi", np.linspace(0, 180, 7) * u.deg),
            DataAxis("PsiChi", nside=2),
        )
    )
    rng = np.random.default_rng(7)
    response = rng.random((int(np.prod(SHAPE)), int(np.prod(place.shape)))) ** 6 * 300
    truth = {"sky": np.full(place.shape, 0.02), "background": np.array([1.2])}
    truth["sky"][100] += [3.0, 1.0]
    data = skyfold.BinnedData(
        np.zeros(SHAPE),
        {"sky": skyfold.Matrix(response, place.shape, SHAPE), "background": rng.random(SHAPE) * 20},
        components={"sky": skyfold.Component(place, "1 / (cm2 s sr)")},
        origin=skyfold.Origin("orbit", geometry=space),
    )
    data = data.with_counts(simulate(data, truth, 1))
    return Demo("whole sky", "A source on the whole sky.", data, truth, {"name": "rl"}, 20)


@pytest.fixture(scope="session")
def sky_demo() -> Demo:
    """A simulated observation of the whole sky."""
    return whole_sky_demo()


@pytest.fixture(scope="session")
def sky_result(sky_demo) -> skyfold.Result:
    """The whole sky, restored; its truth is known."""
    found = skyfold.run(sky_demo.data, iterations=20, progress=False)
    return skyfold.Result(
        found.data, found.state, found.trace, found.reason, found.manifest, sky_demo
    )
