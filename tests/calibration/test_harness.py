"""The harness accepts a sampler that is right, and rejects one that is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from tests.calibration.calibration import Setup, calibrate, geweke

from skyfold.binned import BinnedData
from skyfold.geometry import Grid
from skyfold.model import Component
from skyfold.sampling.laws.law import Law
from skyfold_responses.psf import Psf


class Independent(Law):
    """A gamma law for each value by itself."""

    def __init__(self, sensitivity, shape=1.5, rate=0.3, wrong=0.0):
        self.sensitivity, self.shape, self.rate, self.wrong = sensitivity, shape, rate, wrong

    def start(self, values, group, rng):
        return values, {}

    def draw(self, attributed, values, unknowns, rng):
        shape = attributed + self.shape + self.wrong
        new = rng.gamma(shape, 1 / (self.sensitivity + self.rate))
        return new, unknowns, self.log_density(new, unknowns)

    def maximise(self, attributed, values, unknowns):
        raise NotImplementedError

    def simulate(self, rng):
        return rng.gamma(self.shape, 1 / self.rate, self.sensitivity.shape), {}

    def log_density(self, values, unknowns):
        return float(np.sum((self.shape - 1) * np.log(values) - self.rate * values))


def gamma_setup(wrong: float) -> Setup:
    y, x = np.mgrid[-1:2, -1:2]
    kernel = np.exp(-(x**2 + y**2) / 2)
    psf = Psf(kernel / kernel.sum(), (4, 5))
    data = BinnedData(
        np.zeros((4, 5)),
        {"sky": psf, "background": np.full((4, 5), 2.0)},
        components={"sky": Component(Grid(psf.model_shape, field=psf.field))},
    )
    sky = Independent(data.sensitivity["sky"], wrong=wrong)
    background = Independent(data.sensitivity["background"], 20, 20)
    return Setup(data, {"sky": sky, "background": background}, draws=10, thin=3)


def test_a_sampler_that_is_right_is_accepted():
    p = calibrate("gamma", gamma_setup(0), 100)
    assert len(p) == 2 * 11
    assert min(p.values()) > 1e-4
    assert np.mean(np.array(list(p.values())) < 0.05) <= 0.1


@pytest.mark.parametrize("wrong", [0.3, -0.3])
def test_a_sampler_that_is_wrong_is_rejected(wrong):
    assert min(calibrate("gamma", gamma_setup(wrong), 100).values()) < 1e-6


@pytest.mark.slow
def test_geweke_accepts_and_rejects():
    right = geweke("gamma", gamma_setup(0), 3000)
    assert {"sky.total", "sky.total squared", "counts", "background"} <= right.keys()
    assert max(map(abs, right.values())) < 4
    assert max(map(abs, geweke("gamma", gamma_setup(0.3), 3000).values())) > 8
