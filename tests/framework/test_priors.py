import dataclasses
import gc
import weakref

import astropy.units as u
import healpy
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.config import RunConfig
from skyfold.config_help import explain
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid, Normalisations
from skyfold.healpix_table import to_table
from skyfold.model import Component, Model
from skyfold.options import build
from skyfold.priors import derivative, log_densities
from skyfold.priors.dirichlet import Dirichlet
from skyfold.priors.entropy import Entropy
from skyfold.priors.gamma import Gamma, GammaBackground
from skyfold.priors.huber import Huber
from skyfold.priors.log_blur import LogBlur
from skyfold.priors.log_smoothness import LogSmoothness
from skyfold.priors.pairs import pairs_of
from skyfold.priors.relative_difference import RelativeDifference
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.registry import default_registry
from skyfold.sphere import Sphere
from skyfold.vector import Vector

GEOMETRIES = [
    Grid((4, 5)),
    Grid((3, 2, 4)),
    Grid((7,)),
    Sphere(2, [1, 2, 3] * u.MeV),
    Sphere(1, nested=True),
]


def masked(geometry):
    """A component of which three in ten values lie outside the mask."""
    mask = np.random.default_rng(5).random(geometry.shape) > 0.3
    return Component(geometry, mask=mask)


MASKED = [masked(geometry) for geometry in GEOMETRIES]
PLACES = [*map(Component, GEOMETRIES), *MASKED]
PRIORS = [
    TotalSquaredVariation(0.7),
    Gamma(3.0, 0.5),
    Gamma(0.4, 2.0),
    Entropy(1.3, 0.6),
    Entropy(0.8, {"smooth": "2 pix"}),
    RelativeDifference(0.9),
    RelativeDifference(0.9, gamma=0.0, epsilon=0.2),
    Huber(1.1, 0.3),
    LogSmoothness(0.6),
    LogBlur(0.6, "2 pix"),
    Dirichlet(0.3),
    Dirichlet(2.5, total=Gamma(4.0, 3.0)),
    Dirichlet(1.0, total=Gamma(4.0, 3.0)),
]
CONCAVE = [prior for prior in PRIORS if prior.concave]
priors, places = st.sampled_from(PRIORS), st.sampled_from(PLACES)
seeds = st.integers(0, 2**32 - 1)


def sky(seed, where, spread=1.0):
    """Random values, over decades where the spread is large, and a random direction."""
    rng, shape = np.random.default_rng(seed), where.geometry.shape
    values, direction = np.exp(spread * rng.normal(size=shape)), rng.normal(size=shape)
    return where.confined(values), where.confined(direction * rng.choice([0, 1], shape))


def test_total_squared_variation_of_twelve_pixels():
    sphere, prior = Component(Sphere(1)), TotalSquaredVariation(1.0)
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


@pytest.mark.parametrize("geometry", GEOMETRIES)
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
        TotalSquaredVariation(1.0).value(np.ones(1), Component(Normalisations()))


@given(seed=seeds, prior=priors, where=places)
@settings(max_examples=60, deadline=None)
def test_gradient_and_hessian_are_derivatives(seed, prior, where):
    values, direction = sky(seed, where, 0.5)
    h = 1e-5
    up, down = values + h * direction, values - h * direction
    slope = (prior.value(up, where) - prior.value(down, where)) / (2 * h)
    found = np.vdot(prior.gradient(values, where), direction)
    assert found == pytest.approx(
        slope, rel=1e-5, abs=1e-5 * abs(prior.value(values, where)) + 1e-6
    )
    change = (prior.gradient(up, where) - prior.gradient(down, where)) / (2 * h)
    found = prior.hessian(values, direction, where)
    np.testing.assert_allclose(found, change, atol=1e-6 * (1 + np.max(np.abs(change))))
    assert found.dtype == prior.gradient(values, where).dtype == np.float64


@given(seed=seeds, prior=priors, where=places, spread=st.sampled_from([0.3, 2.0, 8.0]))
@settings(max_examples=100, deadline=None)
def test_curvature_bounds_the_second_derivative(seed, prior, where, spread):
    values, direction = sky(seed, where, spread)
    bound = prior.curvature(values, where)
    assert np.min(bound) >= 0
    bend = np.vdot(prior.hessian(values, direction, where), direction)
    assert -bend <= np.vdot(bound, direction**2) * (1 + 1e-9)


@given(
    seed=seeds,
    prior=st.sampled_from(CONCAVE),
    where=places,
    spread=st.sampled_from([0.3, 2.0, 8.0]),
    part=st.floats(0, 1),
)
@settings(max_examples=100, deadline=None)
def test_concave_priors_lie_above_their_chords(seed, prior, where, spread, part):
    one, other = sky(seed, where, spread)[0], sky(seed + 1, where, spread)[0]
    ends = prior.value(one, where), prior.value(other, where)
    between = prior.value(part * one + (1 - part) * other, where)
    assert between >= part * ends[0] + (1 - part) * ends[1] - 1e-12 * sum(map(abs, ends))


def test_what_is_not_concave_says_so():
    where, hill = Component(Grid((1, 2))), np.array([[9.0, 1.0]])
    for prior in (Gamma(0.4), LogSmoothness(1.0), Dirichlet(0.3), Dirichlet(2.5)):
        assert not prior.concave
        bends = [np.vdot(v, prior.hessian(hill, v, where)) for v in np.eye(2).reshape(2, 1, 2)]
        assert max(bends) > 0
    assert not Dirichlet((1.0, 2.0)).concave
    assert not Dirichlet(1.0, total=Gamma(0.5)).concave


@given(seed=seeds, prior=priors, where=places, spread=st.sampled_from([0.3, 2.0, 8.0]))
@settings(max_examples=100, deadline=None)
def test_lift_bounds_what_a_prior_adds_to_the_flux(seed, prior, where, spread):
    values, _ = sky(seed, where, spread)
    added = np.vdot(values, prior.gradient(values, where))
    rounding = 1e-9 * np.vdot(values, np.abs(prior.gradient(values, where)))
    assert added <= prior.lift(where) + rounding


def test_lift_is_reached():
    where = Component(Sphere(1))
    for prior, values in [(Entropy(1.3, 0.6), 0.6 / np.e), (Gamma(3.0), 2.0)]:
        values = np.full(where.geometry.shape, values)
        added = np.vdot(values, prior.gradient(values, where))
        assert added == pytest.approx(prior.lift(where))


@given(seed=seeds, where=places, factor=st.floats(1e-6, 1e6))
@settings(max_examples=20, deadline=None)
def test_what_brightness_does_not_change(seed, where, factor):
    values, _ = sky(seed, where, 2.0)
    for prior, power in [
        (RelativeDifference(0.9), 1),
        (Entropy(0.8, {"smooth": "2 pix"}), 1),
        (LogSmoothness(0.6), 0),
        (Dirichlet(0.3), 0),
    ]:
        bright, plain = prior.value(values * factor, where), prior.value(values, where)
        assert bright == pytest.approx(plain * factor**power, rel=1e-9)


@given(seed=seeds, prior=priors)
@settings(max_examples=20, deadline=None)
def test_the_order_of_pixels_does_not_matter(seed, prior):
    edges = [1, 2, 3] * u.MeV
    ring, nested = (Component(Sphere(4, edges, nested=order)) for order in (False, True))
    to_nested = healpy.nest2ring(4, np.arange(192))
    values, direction = sky(seed, ring)
    other, turned = values[to_nested], direction[to_nested]
    assert prior.value(other, nested) == pytest.approx(prior.value(values, ring), rel=1e-9)
    for kind in ("gradient", "curvature"):
        found, expected = getattr(prior, kind)(other, nested), getattr(prior, kind)(values, ring)
        np.testing.assert_allclose(found, expected[to_nested], rtol=1e-7, atol=1e-9)
    found, expected = prior.hessian(other, turned, nested), prior.hessian(values, direction, ring)
    np.testing.assert_allclose(found, expected[to_nested], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("prior", PRIORS)
def test_zero_is_finite(prior, where):
    values, direction = sky(1, where)
    for zeros in (values * (values > 1), np.zeros(where.geometry.shape)):
        assert np.isfinite(prior.value(zeros, where))
        for kind in ("gradient", "curvature"):
            found = getattr(prior, kind)(zeros, where)
            assert np.all(np.isfinite(found))
            assert np.all(np.isfinite(zeros * found))
        assert np.all(np.isfinite(zeros * prior.hessian(zeros, direction, where)))


@pytest.mark.parametrize("where", MASKED)
@pytest.mark.parametrize("prior", PRIORS)
def test_nothing_is_known_outside_a_mask(prior, where):
    values, direction = sky(1, where)
    anything = direction + ~where.mask * np.random.default_rng(2).normal(size=direction.shape)
    bent = prior.hessian(values, anything, where)
    np.testing.assert_array_equal(bent, prior.hessian(values, direction, where))
    for kind in ("gradient", "curvature"):
        assert not np.any(getattr(prior, kind)(values, where)[~where.mask])
    assert not np.any(bent[~where.mask])


@pytest.mark.parametrize("prior", [prior for prior in PRIORS if prior.cheap])
def test_a_mask_leaves_what_a_smaller_image_has(prior):
    part = Component(Grid((4, 5)))
    whole = Component(Grid((4, 11)), mask=np.arange(11) < np.full((4, 1), 5))
    values, direction = sky(3, part)
    padded, turned = (np.pad(x, ((0, 0), (0, 6))) for x in (values, direction))
    assert prior.value(padded, whole) == pytest.approx(prior.value(values, part))
    assert prior.lift(whole) == pytest.approx(prior.lift(part))
    found = prior.gradient(padded, whole)[:, :5]
    np.testing.assert_allclose(found, prior.gradient(values, part), rtol=1e-9, atol=1e-12)
    found = prior.hessian(padded, turned, whole)[:, :5]
    np.testing.assert_allclose(found, prior.hessian(values, direction, part), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "prior", [Entropy(1.0, 2.0), Entropy(1.0, {"smooth": "2 pix"}), LogBlur(1.0), Huber(1.0, 1.0)]
)
def test_priors_forget_components_that_are_gone(prior):
    where = masked(Grid((4, 5)))
    prior.gradient(sky(1, where)[0], where)
    known = weakref.ref(where)
    del where
    gc.collect()
    assert known() is None


def test_a_value_of_zero_adds_no_entropy():
    assert Entropy(2.0, 1.0).value(np.array([[0.0, 1.0]]), Component(Grid((1, 2)))) == 2.0


@pytest.mark.parametrize("where", [*GEOMETRIES, Grid((5, 1)), Grid((1, 1)), Grid((2, 40, 300))])
def test_every_pair_comes_once(where):
    number = np.arange(np.prod(where.shape)).reshape(where.shape)
    found = [
        tuple(sorted(ends))
        for pairs in pairs_of(where)
        for ends in zip(*(np.ravel(end).tolist() for end in pairs.ends(number)), strict=True)
    ]
    assert len(set(found)) == len(found)
    expected = {
        (i, j)
        for m in where.neighbours(number)
        for i, j in zip(number.flat, m.flat, strict=True)
        if i < j
    }
    assert set(found) == expected


def test_corners_are_farther_than_sides():
    image = np.zeros((3, 3))
    image[1, 1] = 1.0
    around = Huber(1.0, 1e-9).gradient(image, Component(Grid((3, 3))))
    corner = 1 / np.sqrt(2)
    expected = [[corner, 1, corner], [1, -4 - 4 * corner, 1], [corner, 1, corner]]
    np.testing.assert_allclose(around, expected, rtol=1e-9)
    sphere = Component(Sphere(8))
    star = np.zeros((768, 1))
    star[400] = 1.0
    assert Huber(1.0, 1e-9).gradient(star, sphere)[400, 0] == pytest.approx(-4 - 4 * corner)


def test_relative_difference_by_hand():
    prior = RelativeDifference(2.0, gamma=3.0, epsilon=0.0)
    values = np.array([[1.0, 4.0]])
    assert prior.value(values, Component(Grid((1, 2)))) == pytest.approx(-2 * 9 / (5 + 9))
    assert RelativeDifference(1.0).gamma == 2


def test_an_edge_costs_as_much_as_a_ramp():
    where = Component(Grid((12,)))
    edge, ramp = np.repeat([1.0, 7.0], 6), np.linspace(1, 7, 12)
    squares, smoothing = TotalSquaredVariation(1.0), 1e-3
    assert squares.value(edge, where) < 10 * squares.value(ramp, where)
    for image in (edge, ramp):
        assert -6 <= Huber(1.0, smoothing).value(image, where) <= -6 + 11 * smoothing


@given(seed=seeds, where=places, spread=st.sampled_from([0.3, 2.0, 8.0]))
@settings(max_examples=30, deadline=None)
def test_parabolas_below_touch_and_do_not_cross(seed, where, spread):
    values, direction = sky(seed, where, spread)
    for prior in (TotalSquaredVariation(0.7), Huber(1.1, 0.3)):
        here, there = prior.value(values, where), prior.value(values + direction, where)
        rise = np.vdot(prior.gradient(values, where), direction)
        fall = np.vdot(prior.curvature(values, where), direction**2) / 2
        assert there >= here + rise - fall - 1e-9 * (abs(here) + 1)


def test_log_smoothness_is_of_factors():
    values = np.exp([[0.0, 1.0, 3.0]])
    prior = LogSmoothness(0.5, epsilon=1e-12)
    assert prior.value(values, Component(Grid((1, 3)))) == pytest.approx(-0.5 * (1 + 4))


@given(seed=seeds, where=places)
@settings(max_examples=20, deadline=None)
def test_floating_entropy_is_relative_to_the_blurred_image(seed, where):
    values, _ = sky(seed, where)
    prior, inside = Entropy(0.8, {"smooth": "2 pix"}), values > 0

    def kept(x):
        return where.confined(where.geometry.smooth(x, 2 * u.pix))

    blurred = kept(values) + values * (1 - kept(1.0 * inside))
    expected = -0.8 * np.sum(values[inside] * np.log(values[inside] / blurred[inside]))
    assert prior.value(values, where) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert expected <= 1e-12
    slope = prior.gradient(values, where)
    assert np.vdot(values, slope) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    flat = where.confined(np.full(where.geometry.shape, 3.0))
    np.testing.assert_allclose(prior.gradient(flat, where), 0, atol=1e-7)


def test_entropy_has_its_maximum_at_an_image():
    where = Component(Grid((2, 3, 4)))
    image = sky(3, Component(Grid((3, 4))))[0]
    prior = Entropy(1.5, image)
    np.testing.assert_allclose(prior.gradient(np.broadcast_to(image, (2, 3, 4)), where), 0)
    whole = Entropy(1.5, np.broadcast_to(image, (2, 3, 4)))
    values, _ = sky(4, where)
    assert whole.value(values, where) == prior.value(values, where)


def test_an_image_of_the_field_is_continued_by_its_edge():
    where = Component(Grid((2, 3)).extend((1, 2)))
    image = np.arange(1.0, 7).reshape(2, 3)
    slope = Entropy(1.0, image).gradient(np.ones((4, 7)), where)
    np.testing.assert_allclose(np.exp(slope), np.pad(image, ((1, 1), (2, 2)), mode="edge"))


def wcs_of(shape, at=83.6):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (at, 22.0)
    wcs.wcs.cdelt, wcs.wcs.crpix = (-0.1, 0.1), (1, 1)
    wcs.wcs.set()
    return wcs


def test_a_reference_from_a_fits_image(tmp_path):
    path, image = tmp_path / "reference.fits", sky(3, Component(Grid((3, 4))))[0]
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, wcs_of(image.shape).to_header(), name="SKY")]
    fits.HDUList(hdus).writeto(path)
    where = Component(Grid((3, 4), wcs_of(image.shape)))
    for source in (path, str(path), f"{path}[SKY]", f"{path}[1]"):
        np.testing.assert_allclose(Entropy(1.0, source).gradient(image, where), 0, atol=1e-12)
    with pytest.raises(DataError, match=r"reference .*coordinates that differ by"):
        Entropy(1.0, path).gradient(image, Component(Grid((3, 4), wcs_of(image.shape, at=83.9))))
    with pytest.raises(DataError, match="has no part 'NONE'; it has PRIMARY, SKY"):
        Entropy(1.0, f"{path}[NONE]").gradient(image, where)
    with pytest.raises(DataError, match="is an image, but the values are no grid"):
        Entropy(1.0, path).gradient(np.ones((12, 1)), Component(Sphere(1)))


@pytest.mark.parametrize("nested", [False, True])
def test_a_reference_from_a_healpix_map(tmp_path, nested):
    path, sphere = tmp_path / "map.fits", Sphere(2)
    values = sky(3, Component(sphere))[0]
    to_table(values, sphere, "", "SKY").writeto(path)
    where = Component(Sphere(2, [1, 2, 3] * u.MeV, nested))
    there = values[healpy.nest2ring(2, np.arange(48))] if nested else values
    there = np.broadcast_to(there, where.geometry.shape)
    np.testing.assert_allclose(Entropy(1.0, path).gradient(there, where), 0, atol=1e-6)
    with pytest.raises(DataError, match="nside 2 against 1"):
        Entropy(1.0, path).gradient(np.ones((12, 1)), Component(Sphere(1)))
    with pytest.raises(DataError, match="frame galactic against icrs"):
        Entropy(1.0, path).gradient(values, Component(Sphere(2, frame="icrs")))
    with pytest.raises(DataError, match="no sphere"):
        Entropy(1.0, path).gradient(np.ones((4, 4)), Component(Grid((4, 4))))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (-1, "greater than 0, got -1"),
        (True, "expected a level or an image, got True"),
        ({"smoth": "5 pix"}, "smoth.*smooth"),
        ({"smooth": 5}, "5 deg.*5 pix"),
    ],
)
def test_wrong_references_are_refused(reference, message):
    with pytest.raises(ConfigError, match=message):
        Entropy(1.0, reference)


def test_references_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"1 of 4 values are not above zero.*index \(1, 0\)"):
        Entropy(1.0, np.array([[1, 1], [0, 1.0]])).value(np.ones((2, 2)), Component(Grid((2, 2))))
    inside = Component(Grid((2, 2)), mask=np.array([[True, True], [False, True]]))
    image = np.array([[1, 1], [np.nan, 1.0]])  # where nothing is compared with it
    assert Entropy(1.0, image).value(inside.mask * 1.0, inside) == 3
    with pytest.raises(ConfigError, match=r"shape \(3,\), but the sky has \(2, 3\)"):
        Entropy(1.0, np.ones(3)).value(np.ones((2, 3)), Component(Grid((2, 3))))


def test_dirichlet_of_shares():
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    shares = values.ravel() / 10
    prior = Dirichlet(2.5, epsilon=1e-12)
    square = Component(Grid((2, 2)))
    assert prior.value(values, square) == pytest.approx(1.5 * np.sum(np.log(shares)))
    by_level = Dirichlet((2.0, 3.0), epsilon=1e-12)
    row = np.array([1.0, 2.0, 3.0])  # splits into (1, 2), 3: the odd one has no partner
    expected = np.log(1 / 3) + np.log(2 / 3) + 2 * np.log(3 / 6) + 2 * np.log(3 / 6)
    assert by_level.value(row, Component(Grid((3,)))) == pytest.approx(expected)
    sphere = Component(Sphere(1))
    twelve = np.arange(1.0, 13)[:, None]
    expected = 1.5 * np.sum(np.log(twelve / 78))
    assert prior.value(twelve, sphere) == pytest.approx(expected)
    alone = Dirichlet(1.0, total=Gamma(3.0, 5.0))
    assert alone.value(twelve, sphere) == pytest.approx(2 * np.log(78) - 78 / 5, rel=1e-5)


def test_dirichlet_wants_a_strength_for_each_scale():
    with pytest.raises(ConfigError, match="2 strengths, but there are 3 scales"):
        Dirichlet((1.0, 2.0)).value(np.ones((3, 7)), Component(Grid((3, 7))))
    with pytest.raises(ConfigError, match="Normalisations have no scales"):
        Dirichlet(1.0).value(np.ones(1), Component(Normalisations()))


@pytest.mark.parametrize("name", default_registry().priors)
def test_priors_are_configured_by_name(name):
    entry = default_registry().priors[name]
    needed = {
        "entropy": {"reference": {"smooth": "5 pix"}},
        "published_entropy": {"reference": 5.0},
        "huber": {"smoothing": 0.1},
    }
    first = dataclasses.fields(entry)[0].name
    prior = build(entry, {first: 2, **needed.get(name, {})}, f"method.prior.{name}")
    assert getattr(prior, first) == 2
    assert "components" in explain(f"method.prior.{name}")


def test_lists_and_mappings_of_a_configuration_are_understood():
    prior = build(Dirichlet, {"alpha": [0.5, 1], "total": {"k": 2, "theta": 9}}, "prior")
    assert prior == Dirichlet((0.5, 1.0), Gamma(2.0, 9.0))
    with pytest.raises(ConfigError, match=r"method\.prior\.entropy.*smoth"):
        build(Entropy, {"coefficient": 1, "reference": {"smoth": 1}}, "method.prior.entropy")


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


def test_files_of_priors_are_found_from_their_configuration(tmp_path):
    fits.writeto(tmp_path / "reference.fits", np.ones((3, 4)))
    text = (
        "data: {counts: x}\nmethod: {prior: {entropy: {coefficient: 1, reference: reference.fits}}}"
    )
    (tmp_path / "run.yaml").write_text(text)
    config = RunConfig.read(tmp_path / "run.yaml")
    whole = str(tmp_path / "reference.fits")
    assert str(config.build_method().prior["entropy"].reference) == whole
    stored = config.with_files().method["prior"]
    assert stored == {"entropy": {"coefficient": 1, "reference": whole}}
    (tmp_path / "floating.yaml").write_text(text.replace("reference.fits", "{smooth: 5 pix}"))
    prior = RunConfig.read(tmp_path / "floating.yaml").build_method().prior["entropy"]
    assert prior.reference.smooth == 5 * u.pix
