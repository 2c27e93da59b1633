"""The priors of cosipy as published: the same with a mask as without one."""

import gc
import weakref

import numpy as np
import pytest

import skyfold.priors.entropy
import skyfold_cosi.published_priors as published
from skyfold.model import Component
from skyfold.priors.entropy import Entropy
from skyfold.priors.gamma import Gamma
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.sphere import Sphere

OPTIONS = {
    TotalSquaredVariation: (published.PublishedVariation, {"coefficient": 0.7}),
    Gamma: (published.PublishedGamma, {"k": 2.0, "theta": 3.0}),
    Entropy: (published.PublishedEntropy, {"coefficient": 1.3, "reference": 0.6}),
}


def masked():
    return Component(Sphere(2), mask=np.arange(48)[:, None] % 3 > 0)


@pytest.mark.parametrize("plain", OPTIONS)
def test_all_that_a_prior_says_is_said_of_all_values(plain, rng):
    kind, options = OPTIONS[plain]
    prior, other, where, sphere = kind(**options), plain(**options), masked(), Component(Sphere(2))
    x, direction = rng.random((2, 48, 1)) + 0.5
    assert prior.value(x, where) == other.value(x, sphere)
    assert prior.lift(where) == other.lift(sphere)
    for said in (prior.gradient, prior.curvature):
        np.testing.assert_array_equal(said(x, where), getattr(other, said.__name__)(x, sphere))
    bend = prior.hessian(x, direction, where)
    np.testing.assert_array_equal(bend, other.hessian(x, direction, sphere))
    h = 1e-6 * direction
    change = (prior.gradient(x + h, where) - prior.gradient(x - h, where)) / 2e-6
    np.testing.assert_allclose(bend, change, rtol=1e-6, atol=1e-6)


def test_a_reference_is_placed_once_and_forgotten_with_its_component(monkeypatch):
    calls, place = [], skyfold.priors.entropy.on_places

    def counted(*given, **options):
        calls.append(given)
        return place(*given, **options)

    monkeypatch.setattr(skyfold.priors.entropy, "on_places", counted)
    prior, where, values = published.PublishedEntropy(1.0, 0.5), masked(), np.ones((48, 1))
    for _ in range(3):
        prior.value(values, where)
        prior.gradient(values, where)
    assert len(calls) == 1
    twin = weakref.ref(published.unmasked(where))
    del where
    gc.collect()
    assert twin() is None
