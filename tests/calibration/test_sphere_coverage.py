"""Credible intervals of the whole sky: how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from tests.calibration import setups
from tests.calibration.calibration import generator

from skyfold.algorithms.gibbs import Gibbs
from skyfold.model import Model

LEVELS = {0.68: (0.59, 0.77), 0.95: (0.90, 0.99)}


def sampled(setup, seed, rng, burn, draws, thin):
    """Draw a truth, its counts, and images by chains that start as those of a user do."""
    values, _ = setup.truth(rng)
    data = setup.observed(values, rng)
    gibbs = Gibbs(
        laws=setup.laws, chains=2, origins=1, burn=burn, draws=draws, thin=thin, seed=seed
    )
    state, kept = gibbs.start(data, Model.start(data)), []
    while state.iteration < burn + draws:
        state = gibbs.step(state, data)
        kept.append(state.kept["sky"])
    images = np.concatenate(kept, axis=1)
    images = images.reshape(-1, *images.shape[2:])[..., 0]
    return _apart(values["sky"][:, 0], rng), _apart(images, rng)


def _apart(values, rng):
    """Return values as they are kept, in float32; those of zero differ, in an order at random.

    Dark pixels are too dark for float32 as often in truths as in draws.
    """
    return values.astype(np.float32) + 1e-50 * rng.random(values.shape)


def coverage(name, setup, sets, burn, draws, thin):
    """Return how often intervals of pixels, base pixels and total hold the truth, by level."""
    inside = {}
    nside = setup.data.components["sky"].geometry.nside
    for number in range(sets):
        rng = generator(f"coverage {name}", number)
        truth, images = sampled(setup, number, rng, burn, draws, thin)
        of = {
            "pixels": lambda v: v,
            "regions": lambda v: v.reshape(*v.shape[:-1], 12, nside**2).sum(axis=-1),
            "total": lambda v: v.sum(axis=-1, keepdims=True),
        }
        for what, pick in of.items():
            for level in LEVELS:
                tails = (1 - level) / 2, (1 + level) / 2
                low, high = np.quantile(pick(images), tails, axis=0)
                held = (low <= pick(truth)) & (pick(truth) <= high)
                inside.setdefault((what, level), []).append(held.mean())
    return {key: float(np.mean(shares)) for key, shares in inside.items()}


def wrong(found):
    """Return the coverages that are not what the levels promise."""
    print(", ".join(f"{what} {level:.0%}: {share:.3f}" for (what, level), share in found.items()))
    return {
        (what, level): share
        for (what, level), share in found.items()
        if not LEVELS[level][0] <= share <= LEVELS[level][1]
    }


@pytest.mark.slow
def test_a_small_sky():
    setup = setups.setup(setups.sphere(2, nested=True))
    found = coverage("small", setup, 40, 50, 200, 2)
    total = {key: found.pop(key) for key in [("total", 0.68), ("total", 0.95)]}
    assert not wrong(found)
    assert total["total", 0.68] > 0.5  # one in a million for a right one of 40
    assert total["total", 0.95] > 0.75


@pytest.mark.slow
def test_the_sky_in_192_pixels():
    setup = setups.setup(setups.sphere(4, nested=True, number=200), total=(20.0, 0.05))
    assert not wrong(coverage("sky", setup, 200, 100, 300, 2))
