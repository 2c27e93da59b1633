from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import skyfold
from skyfold.algorithms.law_em import LawEM
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.geometry import Grid
from skyfold.model import Component, Model
from skyfold.sampling.laws.multiscale_law import MultiScale
from skyfold_responses.psf import Psf


def blurred(background=0.5):
    y, x = np.mgrid[-1:2, -1:2]
    kernel = np.exp(-(x**2 + y**2) / 1.5)
    psf = Psf(kernel / kernel.sum(), (4, 4), boundary="periodic")
    truth = np.full((4, 4), 5.0)
    truth[1, 2] = 80
    counts = np.random.default_rng(4).poisson(psf.forward(truth) + background)
    template = {"known": np.full((4, 4), background)} if background else {}
    components = {"sky": Component(Grid((4, 4)))}
    if template:
        from skyfold.geometry import Normalisations

        components["known"] = Component(Normalisations(), fixed=True)
    return BinnedData(counts, {"sky": psf, **template}, components=components)


def solved(data, laps, **options):
    law = MultiScale(data.components["sky"], data.sensitivity["sky"], hyper=None, **options)
    algorithm = LawEM(laws={"sky": law})
    states = [algorithm.start(data, Model.start(data))]
    for _ in range(laps):
        states.append(algorithm.step(states[-1], data))
    return states


def test_with_kept_strengths_no_step_lowers_the_posterior():
    states = solved(blurred(), 60, alpha=0.7, total=(3.0, 0.01))
    densities = np.array([s.log_likelihood + s.log_prior for s in states[1:]])
    assert np.all(np.diff(densities) > -1e-9)
    assert densities[-1] - densities[0] > 1


def test_it_ends_where_a_general_optimiser_does():
    data, alpha = blurred(), 0.7
    shape, rate = 3.0, 0.01
    last = solved(data, 3000, alpha=alpha, total=(shape, rate))[-1]

    def negative(logs):
        x = np.exp(logs).reshape(4, 4)
        nodes = x.reshape(2, 2, 2, 2).sum(axis=(1, 3))
        total = x.sum()
        prior = alpha * (np.log(x).sum() - 4 * np.log(nodes).sum())
        prior += alpha * (np.log(nodes).sum() - 4 * np.log(total))
        prior += (shape - 1) * np.log(total) - rate * total
        values = {"sky": x, "known": np.ones(1)}
        return -data.log_likelihood(data.forward(values)) - prior

    found = minimize(negative, np.log(np.full(16, 8.0)), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(last.model["sky"].ravel(), np.exp(found.x), rtol=2e-3)


def test_without_a_prior_it_is_richardson_lucy():
    """Strengths of nothing and a flat total leave the EM step of the likelihood alone."""
    data = blurred(background=0)
    state = solved(data, 3, alpha=1e-12, total=(1.0, 1e-12))[-1]
    loop = RichardsonLucy()
    plain = loop.start(data, Model.start(data))
    for _ in range(3):
        plain = loop.step(plain, data)
    np.testing.assert_allclose(state.model["sky"], plain.model["sky"], rtol=1e-8)


def test_as_a_method():
    counts = np.random.default_rng(0).poisson(np.full((9, 7), 4.0)).astype(float)
    data = skyfold.read(counts, psf="gauss:1.5 pix")
    result = skyfold.run(data, method="lira-mode", iterations=20, progress=False)
    assert result.image.sum().value == pytest.approx(counts.sum(), rel=0.05)
    assert np.all(np.isfinite(result.image.value))
