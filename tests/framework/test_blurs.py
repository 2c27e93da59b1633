"""Blurs that floating priors compare with: by Gaussians, and by kernels that need not be even."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.config import RunConfig
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import FWHM_PER_SIGMA, Grid
from skyfold.model import Component
from skyfold.options import build
from skyfold.priors.blurs import Kernel, Smoothed
from skyfold.priors.entropy import Entropy
from skyfold.priors.log_blur import LogBlur
from skyfold.sphere import Sphere

SIZES = st.one_of(
    st.tuples(st.tuples(st.integers(1, 9)), st.tuples(st.integers(1, 20))),
    st.tuples(
        st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(2, 6)),
        st.tuples(st.integers(1, 9), st.integers(1, 4)),
    ),
)
SKEW = np.array([[0.0, 1.0, 0.2], [0.5, 3.0, 1.0]])
PRIORS = [
    prior
    for cyclic in (False, True)
    for prior in (
        Entropy(0.8, {"kernel": SKEW, "cyclic": cyclic}),
        LogBlur(0.6, kernel=SKEW, cyclic=cyclic),
    )
]


@given(SIZES, st.booleans(), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_kernel_keeps_the_sum_and_has_its_transpose(sizes, cyclic, seed):
    (shape, size), rng = sizes, np.random.default_rng(seed)
    blur, where = Kernel(rng.random(size), cyclic), Grid(shape)
    x, y = rng.random((2, *shape))
    blurred = blur(x, where)
    assert blurred.sum() == pytest.approx(x.sum())
    assert blurred.min() > -1e-12
    assert np.vdot(y, blurred) == pytest.approx(np.vdot(blur.transposed(y, where), x))


@given(SIZES, st.booleans(), st.booleans(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_light_stays_inside_a_mask(sizes, gaussian, cyclic, seed):
    (shape, size), rng = sizes, np.random.default_rng(seed)
    blur = Smoothed(3 * u.pix, cyclic) if gaussian else Kernel(rng.random(size), cyclic)
    part = Component(Grid(shape), mask=rng.random(shape) > 0.4)
    within = blur.within(part)
    x, y = rng.random((2, *shape))
    blurred = within(part.confined(x))
    assert blurred.sum() == pytest.approx(x[part.mask].sum())
    assert blurred.min() > -1e-12
    assert not np.any(blurred[~part.mask])
    assert np.vdot(y, within(x)) == pytest.approx(np.vdot(within.transposed(y), x))
    if gaussian:
        np.testing.assert_allclose(within(1.0 * part.mask), part.mask, atol=1e-12)


@pytest.mark.parametrize("cyclic", [False, True])
def test_a_sampled_gaussian_blurs_as_a_width_does(cyclic):
    sigma, cut = 1.3, 6 if cyclic else 5  # where the Gaussians of either kind end
    away = np.arange(-cut, cut + 1) ** 2
    square = away[:, None] + away
    gaussian = np.exp(-square / (2 * sigma**2))
    if cyclic:
        gaussian[square >= 25 * sigma**2] = 0
    where, values = Grid((2, 15, 14)), np.random.default_rng(1).random((2, 15, 14))
    smoothed = Smoothed(sigma * FWHM_PER_SIGMA * u.pix, cyclic)(values, where)
    np.testing.assert_allclose(Kernel(gaussian, cyclic)(values, where), smoothed, rtol=1e-12)


def test_the_middle_pixel_is_where_the_point_is():
    point = np.zeros((5, 6))
    point[2, 3] = 4
    blurred = Kernel(SKEW)(point, Grid((5, 6)))
    np.testing.assert_allclose(blurred[2:4, 2:5], 4 * SKEW / SKEW.sum(), atol=1e-15)
    assert blurred.sum() == pytest.approx(4)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(
    "where",
    [
        Component(Grid((4, 5))),
        Component(Grid((2, 3, 4))),
        Component(Grid((4, 5)), mask=np.arange(20).reshape(4, 5) % 7 > 1),
    ],
)
def test_slopes_go_through_a_kernel_that_is_not_even(prior, where):
    rng = np.random.default_rng(3)
    values, direction = rng.normal(size=(2, *where.geometry.shape))
    values, direction, h = where.confined(np.exp(values)), where.confined(direction), 1e-5
    up, down = values + h * direction, values - h * direction
    slope = (prior.value(up, where) - prior.value(down, where)) / (2 * h)
    assert np.vdot(prior.gradient(values, where), direction) == pytest.approx(slope, rel=1e-6)
    change = (prior.gradient(up, where) - prior.gradient(down, where)) / (2 * h)
    bent = prior.hessian(values, direction, where)
    np.testing.assert_allclose(bent, change, atol=1e-5)
    assert -np.vdot(direction, bent) <= np.vdot(direction**2, prior.curvature(values, where))


def test_a_kernel_comes_from_a_file(tmp_path):
    fits.writeto(tmp_path / "coarse.fits", SKEW)
    prior = "{coefficient: 1, reference: {kernel: coarse.fits}}"
    (tmp_path / "run.yaml").write_text(
        f"data: {{counts: x}}\nmethod: {{prior: {{entropy: {prior}}}}}"
    )
    entropy = RunConfig.read(tmp_path / "run.yaml").build_method().prior["entropy"]
    values, where = np.random.default_rng(2).random((4, 5)), Component(Grid((4, 5)))
    assert entropy.value(values, where) == Entropy(1.0, {"kernel": SKEW}).value(values, where)


@pytest.mark.parametrize(
    ("kernel", "where", "error", "message"),
    [
        (np.ones(3), Grid((4, 4)), ConfigError, r"shape is \(3,\), but the sky has 2 axes"),
        (np.ones((3, 3)), Sphere(1), ConfigError, "cannot blur a Sphere; give a width"),
        ([[1, -1, 3]], Grid((4, 4)), DataError, "1 of 3 values are negative"),
        (np.full((2, 2), np.nan), Grid((4, 4)), DataError, "4 of 4 values"),
        (np.zeros((2, 2)), Grid((4, 4)), DataError, "the sum of all is 0"),
    ],
)
def test_kernels_that_cannot_be_are_refused(kernel, where, error, message):
    with pytest.raises(error, match=message):
        Kernel(kernel)(np.ones(where.shape), where)


def test_files_without_an_image_are_refused(tmp_path):
    path = tmp_path / "empty.fits"
    fits.PrimaryHDU().writeto(path)
    with pytest.raises(DataError, match="no image in it"):
        Kernel(path)(np.ones((3, 3)), Grid((3, 3)))


def test_a_width_and_a_kernel_are_one_too_many():
    with pytest.raises(ConfigError, match="smooth"):
        build(Entropy, {"coefficient": 1, "reference": {"smooth": "3 pix", "kernel": SKEW}})


@pytest.mark.parametrize("widths", [["3 pix", "10 pix"], {"3 pix": 1, "10 pix": 2}])
def test_several_widths_are_several_priors(widths):
    with pytest.raises(ConfigError, match=r"one blur, got 3 pix, 10 pix: give a prior for each"):
        Entropy(1.0, {"smooth": widths})
