"""Demos of a Compton telescope: simulated surveys of the 511 keV sky, opened like real ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from skyfold.binned import BinnedData
from skyfold.simulate import Demo, generator
from skyfold.vector import Array
from skyfold_cosi.histogram import Histogram
from skyfold_cosi.opener import open_cosi
from skyfold_cosi.simulation.orbit import low_earth_orbit
from skyfold_cosi.simulation.scene import SCENES
from skyfold_cosi.simulation.survey import Survey

SOURCE, BACKGROUND = 4e4, 2e5  # counts

# Jeffreys' prior of a rate: without it noise can only push dark pixels up, and the flux with them
METHOD = {"name": "map", "prior": {"gamma": {"k": 0.5}}}


def compton(seed: int = 1) -> Demo:
    """Simulate two months of the 511 keV sky, binned in Galactic coordinates."""
    survey = Survey(SCENES["511"], low_earth_orbit(60, 900), nside=8, phi_step=6)
    template = survey.template(BACKGROUND)
    options = {
        "response": Histogram(survey.response.axes, survey.response.dense(), "cm2 s"),
        "background": {"instrument": template},
        "name": "compton",
    }
    data, truth = _observed(survey, template, options, seed)
    return Demo(
        "compton",
        "the 511 keV sky, a bulge on a thin disk, in 768 pixels: rings of Compton scatter angles, "
        "40000 photons under 200000 counts of background, whose normalisation is fitted",
        data,
        truth,
        METHOD,
        100,
    )


def compton_attitude(seed: int = 1) -> Demo:
    """Simulate the same sky in the frame of the detector, binned by attitude."""
    from skyfold_cosi.conversion import conversion_histogram
    from skyfold_cosi.exposure import by_attitude

    orbit = low_earth_orbit(1, 60)
    survey = Survey(SCENES["511"], orbit, nside=4, phi_step=6)
    table = by_attitude(orbit, 4)
    template = survey.template(BACKGROUND, table)
    options = {
        "response": Histogram(survey.detector.axes, survey.detector.dense(), "cm2"),
        "conversion": conversion_histogram(table, survey.detector.axes[0]),
        "background": {"instrument": template},
        "name": "compton-attitude",
    }
    data, truth = _observed(survey, template, options, seed)
    return Demo(
        "compton-attitude",
        f"the same sky for a day in {len(table)} bins of attitude: the response of the detector "
        "and the time that each direction spent at each of its angles",
        data,
        truth,
        METHOD,
        100,
    )


def _observed(
    survey: Survey, template: Histogram, options: dict[str, Any], seed: int
) -> tuple[BinnedData, dict[str, Array]]:
    """Return simulated data, opened like real ones, and the truth they were drawn from."""
    nothing = Histogram(template.axes, np.zeros(template.shape))
    blank = open_cosi(nothing, **options)
    truth = {"sky": survey.truth(SOURCE), "instrument": np.ones(1)}
    expected = blank.full_expectation(truth).reshape(template.shape)
    counts = generator(seed, "counts").poisson(expected).astype(np.float64)
    return open_cosi(replace(nothing, contents=counts), **options), truth
