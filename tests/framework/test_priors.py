import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.errors import ConfigError
from skyfold.geometry import Grid, Normalisations
from skyfold.model import Component, Model
from skyfold.priors import derivative, log_densities
from skyfold.priors.entropy import Entropy
from skyfold.priors.gamma import Gamma, GammaBackground
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.sphere import Sphere
from skyfold.vector import Vector

PLACES = [
    Grid((4, 5)),
    Grid((3, 2, 4)),
    Grid((7,)),
    Sphere(2, [1, 2, 3] * u.MeV),
    Sphere(1, nested=True),
]
PRIORS = [
    TotalSquaredVariation(0.7),
    Gamma(3.0, 0.5),
    Gamma(0.4, 2.0),
    Entropy(1.3, 0.6),
]


def test_total_squared_variation_of_twelve_pixels():
    sphere, prior = Sphere(1), TotalSquaredVariation(1.0)
    values = np.arange(12.0)[:, None]
    assert prior.value(values, sphere) == -1176
    slope = [92, 76, 60, 28, 40, -8, -8, -24, -36, -52, -68, -100]
    np.testing.assert_array_equal(prior.gradient(values, sphere)[:, 0], slope)


def test_pixels_have_eight_neighbours():
    assert len(list(Grid((3, 4)).neighbours(np.zeros((3, 4))))) == 8
    image = np.arange(12).reshape(3, 4)
    around = {int(m[1, 1]) for m in Grid((3, 4)).neighbours(image)}
    assert around == {0, 1, 2, 4, 6, 8, 9, 10}
    corner = [int(m[0, 0]) for m in Grid((3, 4)).neighbours(image)]
    assert sorted(corner) == [0, 0, 0, 0, 0, 1, 4, 5]


@pytest.mark.parametrize("geometry", PLACES)
def test_neighbours_are_mutual_and_of_one_energy(geometry):
    number = np.arange(np.prod(geometry.shape)).reshape(geometry.shape)
    pairs = [
        (int(i), int(j))
        for m in geometry.neighbours(number)
        for i, j in zip(number.flat, m.flat, strict=True)
        if i != j
    ]
    assert len(set(pairs)) == len(pairs) > 0
    assert {(j, i) for i, j in pairs} == set(pairs)
    if isinstance(geometry, Sphere):
        assert all(i % geometry.shape[1] == j % geometry.shape[1] for i, j in pairs)
    elif len(geometry.shape) == 3:
        assert all(i // 8 == j // 8 for i, j in pairs)


def test_normalisations_have_no_neighbours():
    with pytest.raises(ConfigError, match="Normalisations have no neighbours"):
        TotalSquaredVariation(1.0).value(np.ones(1), Normalisations())


@given(seed=st.integers(0, 2**32 - 1), prior=st.sampled_from(PRIORS), where=st.sampled_from(PLACES))
@settings(max_examples=30, deadline=None)
def test_gradient_and_curvature_fit_the_value(seed, prior, where):
    rng = np.random.default_rng(seed)
    values, direction = rng.uniform(0.2, 3, where.shape), rng.normal(size=where.shape)

    def along(step):
        return prior.value(values + step * direction, where)

    h = 1e-4
    slope, bend = (along(h) - along(-h)) / (2 * h), (along(h) - 2 * along(0) + along(-h)) / h**2
    scale = abs(along(0)) + 1
    assert slope == pytest.approx(
        np.vdot(prior.gradient(values, where), direction), abs=1e-5 * scale
    )
    most = np.vdot(prior.curvature(values, where), direction**2)
    assert most >= 0
    assert -bend <= most + 1e-4 * scale


def test_zero_is_finite():
    values = np.array([[0.0, 1.0]])
    for prior in PRIORS:
        for found in (prior.value, prior.gradient, prior.curvature):
            assert np.all(np.isfinite(found(values, Grid((1, 2)))))
    assert Entropy(2.0, 1.0).value(values, Grid((1, 2))) == 2.0


def test_components_may_be_chosen():
    parts = {
        "sky": Component(Grid((2, 2))),
        "stars": Component(Grid((1, 3))),
        "known": Component(Grid((2, 2)), fixed=True),
        "background": Component(Normalisations()),
        "other": Component(Normalisations()),
    }
    values = {name: np.full(part.geometry.shape, 2.0) for name, part in parts.items()}
    model = Model(parts, Vector(values))
    priors = {
        "all": Gamma(theta=1.0),
        "one": Gamma(theta=1.0, components=("stars",)),
        "background": GammaBackground(theta=1.0),
        "first": GammaBackground(theta=1.0, components=("background",)),
    }
    assert log_densities(priors, model) == {"all": -14, "one": -6, "background": -4, "first": -2}
    slope = derivative(priors, model)
    assert set(slope) == {"sky", "stars", "background", "other"}
    assert [float(slope[name].flat[0]) for name in ("sky", "stars", "background", "other")] == [
        -1,
        -2,
        -2,
        -1,
    ]
    with pytest.raises(ConfigError, match="no component galaxy"):
        log_densities({"x": Gamma(components=("galaxy",))}, model)
