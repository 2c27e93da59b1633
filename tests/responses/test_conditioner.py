"""A PSF as people have it becomes a kernel, and every change is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from skyfold.errors import DataError
from skyfold_responses.conditioner import Conditioned, condition
from skyfold_responses.stamp import containment_radius


def gauss(
    shape: tuple[int, int], at: tuple[float, float] | None = None, sigma: float = 1.5
) -> np.ndarray:
    y, x = np.indices(shape)
    cy, cx = at or ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    psf = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2))
    return psf / psf.sum()


def centroid(kernel: np.ndarray) -> np.ndarray:
    """Return (y, x) of the centroid, from the middle."""
    axes = [np.arange(n) - (n - 1) / 2 for n in kernel.shape]
    return np.array([(kernel * g).sum() for g in np.meshgrid(*axes, indexing="ij")]) / kernel.sum()


def said(result: Conditioned, level: str, *words: str) -> bool:
    return any(c.level == level and all(w in c.message for w in words) for c in result.checks)


@given(
    arrays(
        np.float64,
        array_shapes(min_dims=1, max_dims=3, max_side=9),
        elements=st.floats(0, 100, allow_subnormal=False),
    ).map(lambda a: a + (np.arange(a.size).reshape(a.shape) == 0))
)
def test_any_psf_becomes_odd_with_sum_one_and_keeps_its_values(psf: np.ndarray) -> None:
    psf[..., 0] += 1e-3
    if psf.ndim > 1:
        psf[..., 0, :] += 1e-3
    result = condition(psf)
    kernel = result.kernel
    image_axes = tuple(range(kernel.ndim))[-2:]
    assert kernel.ndim == psf.ndim
    assert all(kernel.shape[a] % 2 == 1 for a in image_axes)
    np.testing.assert_allclose(kernel.sum(axis=image_axes), 1, rtol=1e-12)
    assert kernel.min() >= 0
    # the same values, only moved: what is left of each plane, sorted, agrees
    for before, after in zip(
        psf.reshape((-1, *psf.shape[-2:])) if psf.ndim == 3 else psf[None],
        kernel.reshape((-1, *kernel.shape[-2:])) if psf.ndim == 3 else kernel[None],
        strict=True,
    ):
        padded = np.sort(after.ravel())[-before.size :]
        np.testing.assert_allclose(padded, np.sort(before.ravel()) / before.sum(), atol=1e-12)


@pytest.mark.parametrize(("factor", "level"), [(0.991, "fixed"), (0.9, "warning"), (1e6, "fixed")])
def test_p01_sum(factor: float, level: str) -> None:
    psf = gauss((11, 11)) * factor
    result = condition(psf)
    assert result.kernel.sum() == pytest.approx(1, abs=1e-12)
    assert said(result, level, f"sums to {factor:.4g}: renormalised", "--psf-norm keep")
    assert condition(psf, norm="keep").kernel.sum() == pytest.approx(factor)


def test_p02_even_sides_are_padded() -> None:
    result = condition(gauss((48, 32), at=(23.1, 15.9)))
    assert result.kernel.shape == (49, 33)
    assert np.unravel_index(result.kernel.argmax(), (49, 33)) == (24, 16)
    assert said(
        result, "fixed", "PSF 32x48 is even: padded to 33x49", "reference pixel (15.9, 23.1)"
    )


def test_p03_off_centre_is_moved_by_whole_pixels_and_the_rest_is_said() -> None:
    psf = gauss((21, 21), at=(9.4, 8.1), sigma=1.2)
    result = condition(psf, pixel_size=0.492 * u.arcsec)
    np.testing.assert_allclose(centroid(result.kernel), (0.4, 0.1), atol=1e-6)
    assert said(result, "warning", "centroid is (-1.90, -0.60) pixels", "0.98 arcsec", "Recentred")
    assert said(result, "warning", "(+0.10, +0.40) pixels off the middle")
    assert said(result, "warning", "--psf-centre peak|keep takes another centre")
    kept = condition(psf, centre="keep")
    np.testing.assert_allclose(kept.kernel, psf, rtol=1e-12)


def test_centre_on_the_peak() -> None:
    psf = gauss((15, 15), at=(7, 7)) + 0.4 * gauss((15, 15), at=(7, 12))
    kernel = condition(psf, centre="peak").kernel
    assert kernel[7, 7] == kernel.max()
    assert kernel.shape == (15, 15)


@pytest.mark.parametrize("shape", [(15, 15), (16, 16), (15, 24), (1, 15)])
def test_p04_wrapped_psf_is_rolled_back(shape: tuple[int, int]) -> None:
    psf = gauss(shape, at=tuple(n // 2 for n in shape))
    result = condition(np.fft.ifftshift(psf))
    np.testing.assert_allclose(centroid(result.kernel), 0, atol=1e-3)
    assert said(result, "fixed", "peak in the corner", "wrapped")
    assert not said(condition(psf), "fixed", "wrapped")


def test_flat_kernels_are_not_taken_for_wrapped() -> None:
    for shape in ((1, 3), (3, 3), (4, 4), (1, 9)):
        assert not said(condition(np.ones(shape)), "fixed", "wrapped")


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01])
def test_p05_not_finite_or_negative(value: float) -> None:
    psf = gauss((9, 9))
    psf[2, 5] = value
    with pytest.raises(DataError, match="x=5 y=2"):
        condition(psf)


def test_p05_tiny_negatives_are_clipped() -> None:
    psf = gauss((31, 31))
    psf[0] = -1e-9
    result = condition(psf)
    assert result.kernel.min() == 0
    assert said(result, "fixed", "31 tiny negative values")


def test_p06_zero_and_single_pixel() -> None:
    with pytest.raises(DataError, match="zero everywhere"):
        condition(np.zeros((5, 5)))
    with pytest.raises(DataError, match="nowhere above zero"):
        condition(-gauss((5, 5)))
    with pytest.raises(DataError, match="plane 2 of 3"):
        condition(np.array([1, 0, 1])[:, None, None] * gauss((5, 5)))
    spike = np.zeros((5, 5))
    spike[2, 2] = 1
    assert said(condition(spike), "warning", "single pixel: restoration will equal the input")


def test_p07_pixel_scale() -> None:
    psf = gauss((33, 33), at=(15.3, 17.1), sigma=4)
    sizes = {"pixel_size": 0.123 * u.arcsec, "data_pixel_size": 0.492 * u.arcsec}
    with pytest.raises(
        DataError, match=r"0.123 arcsec but data pixels 0.492 arcsec.*--psf-resample"
    ):
        condition(psf, **sizes)
    result = condition(psf * 3, **sizes, resample=True, norm="keep")
    assert result.kernel.sum() == pytest.approx(3, rel=1e-12)  # flux is conserved
    np.testing.assert_allclose(centroid(result.kernel), 0, atol=1e-5)  # by the PSF's own centroid
    assert said(result, "fixed", "resampled from 0.123 arcsec to 0.492 arcsec")
    # four by four pixels make one, exactly
    whole = gauss((36, 36), sigma=4)
    blocks = whole.reshape(9, 4, 9, 4).sum(axis=(1, 3))
    np.testing.assert_allclose(condition(whole, **sizes, resample=True).kernel, blocks, atol=1e-15)


def test_p08_larger_than_the_image() -> None:
    psf = gauss((101, 101), sigma=8)
    result = condition(psf, max_shape=(3, 64, 40))
    assert result.kernel.shape == (63, 39)  # all that fits: wings are light of stars
    assert result.kernel.sum() == pytest.approx(1)
    text = "PSF 101x101 is larger than the image 40x64: cropped to 39x63, 1.5 % of its light lost"
    assert said(result, "fixed", text)
    lost = 1 - condition(psf, max_shape=(64, 40), norm="keep").kernel.sum()
    assert lost == pytest.approx(1 - psf[19:82, 31:70].sum() / psf.sum())
    assert condition(psf, max_shape=(101, 101)).kernel.shape == (101, 101)
    line = condition(gauss((1, 101), sigma=3)[0], max_shape=(64,))
    assert line.kernel.shape == (63,)
    wide = condition(np.ones((101, 101)), max_shape=(64, 64))
    assert wide.kernel.shape == (63, 63)
    assert said(wide, "warning", "PSF 101x101 is larger than the image 64x64", "% of its light")


def test_p09_rotated_and_p11_energy() -> None:
    psf = gauss((9, 9), sigma=1)
    result = condition(
        psf, rotation=37.2, energy=1500 * u.eV, data_energies=u.Quantity([4, 7], "keV")
    )
    assert said(result, "warning", "rotated by 37.2 deg")
    assert said(result, "warning", "PSF computed at 1500 eV, data 4 to 7 keV")
    quiet = condition(
        psf, rotation=359.9, energy=5 * u.keV, data_energies=u.Quantity([4, 7], "keV")
    )
    assert not any(c.level == "warning" for c in quiet.checks)


def test_p10_pedestal() -> None:
    psf = gauss((33, 33))
    raised = psf + 0.02 * psf.max()
    assert said(condition(raised), "warning", "outer ring", "2 % of the peak", "--psf-pedestal")
    result = condition(raised, pedestal="subtract")
    np.testing.assert_allclose(result.kernel, psf, atol=1e-12)
    with pytest.raises(DataError, match="flat"):
        condition(np.ones((5, 5)), pedestal="subtract")


def test_keep_takes_it_as_it_is() -> None:
    psf = 7 * gauss((8, 6), at=(1, 2))
    np.testing.assert_array_equal(condition(psf, keep=True).kernel, psf)
    with pytest.raises(DataError, match="not finite"):
        condition(psf * np.nan, keep=True)


def test_planes_of_a_cube_are_conditioned_each_for_itself_and_reported_once() -> None:
    planes = [gauss((21, 21), at=(10 + dy, 10), sigma=1 + dy / 2) for dy in range(4)]
    cube = np.stack(planes) * np.array([1, 2, 3, 4])[:, None, None]
    result = condition(cube)
    np.testing.assert_allclose(result.kernel.sum(axis=(1, 2)), 1)
    for kernel in result.kernel:
        np.testing.assert_allclose(centroid(kernel), 0, atol=0.05)
    assert said(result, "warning", "in plane 4 of 4")
    assert len(result.checks) == 4  # centre, rest, sum, size: a line for each kind


def test_containment_radius_of_a_gaussian() -> None:
    kernel = gauss((201, 201), sigma=20)
    assert containment_radius(kernel, 0.68) == pytest.approx(
        20 * np.sqrt(-2 * np.log(0.32)), rel=0.01
    )


def test_chandra_psf(shared_data: Path) -> None:
    psf = fits.getdata(shared_data / "chandra" / "chandra-psf-obs-id-4684.fits.gz")
    result = condition(psf, pixel_size=0.246 * u.arcsec, data_pixel_size=0.246 * u.arcsec)
    assert result.kernel.shape == (49, 49)
    assert result.kernel.sum() == pytest.approx(1, abs=1e-12)
    assert result.kernel[24, 24] == result.kernel.max()
    assert said(result, "fixed", "sums to 0.9915: renormalised; 0.8 %")
    assert said(result, "fixed", "48x48 is even: padded to 49x49")
    assert said(result, "ok", "(+0.24, +0.09) pixels off the middle")
