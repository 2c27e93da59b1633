"""Errors against what they promise: the scatter of many simulated observations.

Diffuse light, a galaxy and two smaller sources, about 8 counts in each of 32 x 32 pixels; a PSF of
3 pixels (FWHM), uneven exposure, a background that is known or fitted. Restored by the method map
with the prior tsv, 5e-5 per squared count, solved by sgp: weak enough that its bias is small in
regions wider than the PSF, strong enough that few values are zero.
"""

from __future__ import annotations

import numpy as np
import pytest

import skyfold
from skyfold.region_files import find
from skyfold.simulate import simulate

N = 32
PRIOR = {"tsv": {"coefficient": 5e-5}}
DIFFUSE, SOURCES = 6.0, ((15, 15, 6, 4000), (21, 21, 3, 500), (11, 22, 3, 250))
REGIONS = find(
    [
        "core=circle(15, 15, 4)",
        "ring=annulus(15, 15, 4, 8)",
        "galaxy=circle(15, 15, 8)",
        "source=circle(21, 21, 5)",
        "faint=circle(22, 11, 4)",
        "half=box(9.5, 15.5, 12, 12)",
        "field=circle(15.5, 15.5, 9)",
    ]
)


def blob(row, column, sigma, flux):
    y, x = np.indices((N, N))
    profile = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))
    return flux * profile / (2 * np.pi * sigma**2)


def observation(fitted):
    """Return an observation without counts, and its truth: diffuse light and three sources.

    Beyond a circle nothing but the background is seen, so that it can be fitted.
    """
    y, x = np.indices((N, N)) - 15.5
    away = x**2 + y**2
    data = skyfold.read(
        np.ones((N, N)),
        psf="gauss:3px",
        exposure=np.where(away < 14**2, 1 - 0.3 * away / 14**2, 0),
        background=np.ones((N, N)),
        fit_background=fitted,
    )
    place = data.components["sky"].geometry
    truth = np.zeros(place.shape)
    truth[place.field] = DIFFUSE + sum(blob(*source) for source in SOURCES)
    return data, {"sky": truth, "background": np.ones(1)}


def calibrate(seeds, fitted, regions, replicas=0):
    """Return pulls of each flux, shape (set, region), and errors of bootstrap over sandwich."""
    data, truth = observation(fitted)
    place = data.components["sky"].geometry
    true = np.array([np.sum(region.weights(place) * truth["sky"]) for region in regions])
    pulls, ratios = [], []
    for seed in seeds:
        counted = data.with_counts(simulate(data, truth, seed))
        result = skyfold.run(counted, "map", prior=PRIOR, progress=False)
        methods = ["sandwich", *(["bootstrap"] if replicas else [])]
        table = result.errors(
            *regions, method=methods, replicas=max(replicas, 2), progress=False
        ).table
        pulls.append((table["flux"] - true) / table["error_sandwich"])
        if replicas:
            ratios.append(table["error_bootstrap"] / table["error_sandwich"])
    return np.array(pulls), np.array(ratios)


@pytest.mark.slow
def test_a_few_observations_scatter_as_the_errors_say():
    """Of 10 sets, means below 0.95 and standard deviations of 0.33 to 1.67 are 3 sigma."""
    pulls, _ = calibrate(range(10), True, REGIONS[::3])
    assert np.all(np.abs(pulls.mean(axis=0)) < 0.95), pulls.mean(axis=0)
    assert np.all((pulls.std(axis=0) > 0.33) & (pulls.std(axis=0) < 1.67)), pulls.std(axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("fitted", [False, True], ids=["known background", "fitted background"])
def test_many_observations_scatter_as_the_errors_say(fitted):
    """Of 400 sets, means are known to 0.05 and standard deviations to 0.035."""
    pulls, _ = calibrate(range(400), fitted, REGIONS)
    assert np.all(np.abs(pulls.mean(axis=0)) < 0.15), pulls.mean(axis=0)
    assert np.all((pulls.std(axis=0) > 0.9) & (pulls.std(axis=0) < 1.1)), pulls.std(axis=0)


@pytest.mark.slow
def test_the_bootstrap_agrees():
    """60 replicas of each of 4 sets give the ratio to 5 %."""
    _, ratios = calibrate(range(4), False, REGIONS, replicas=60)
    assert np.all(np.abs(ratios.mean(axis=0) - 1) < 0.15), ratios.mean(axis=0)
