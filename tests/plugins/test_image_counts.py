"""Faults of counts, masks and maps: refused, said or mended, with the place and the cure."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold_image.counts import prepared
from skyfold_image.opener import open_image
from skyfold_image.reading import read_image

PSF = "gauss:1.5 pix"


def cards(**more: Any) -> fits.Header:
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "GLON-CAR", "GLAT-CAR"
    header["CRPIX1"], header["CRPIX2"] = 5.5, 4.5
    header["CDELT1"], header["CDELT2"] = -0.1, 0.1
    header.update(more)
    return header


@pytest.fixture
def counts(rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(9.0, (8, 10)).astype(np.int32)


def saved(folder: Path, values: Any, name: str = "counts.fits", **more: Any) -> Path:
    fits.PrimaryHDU(np.asarray(values), cards(**more)).writeto(folder / name)
    return folder / name


def said(data: BinnedData, level: str) -> str:
    return "\n".join(f"{c.subject}: {c.message}" for c in data.origin.checks if c.level == level)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path: Path, counts: np.ndarray, bad: float) -> None:
    values = counts.astype(float)
    values[5, 3] = values[6, 1] = values[6, 7] = bad
    path = saved(tmp_path, values)
    with pytest.raises(
        DataError, match=r"counts\.fits: 3 non-finite values, first at pixel x=3 y=5 .*--mask nan"
    ):
        open_image(path, PSF)
    data = open_image(path, PSF, mask="nan")
    np.testing.assert_array_equal(data.weight == 0, ~np.isfinite(values))
    assert np.all(data.full_counts[data.weight == 0] == 0)


def test_bad_values_behind_a_mask_do_no_harm(tmp_path: Path, counts: np.ndarray) -> None:
    values, mask = counts.astype(float), np.ones(counts.shape)
    values[2, 3], values[4, 4], mask[2, 3], mask[4, 4] = np.nan, -7.0, 0, 0
    data = open_image(saved(tmp_path, values), PSF, mask=mask)
    assert data.full_counts.sum() == np.nansum(values) + 7


def test_negative_counts(tmp_path: Path, counts: np.ndarray) -> None:
    values = counts.astype(float)
    values[1, 2], values[3, 4] = -5, -2
    path = saved(tmp_path, values)
    with pytest.raises(DataError) as caught:
        open_image(path, PSF)
    for words in ("2 negative values (min -5)", "pixel x=2 y=1", "--background", "--negative clip"):
        assert words in str(caught.value)
    data = open_image(path, PSF, negative="clip")
    assert data.full_counts.min() == 0
    total = values.sum()
    assert f"changes the total by +{100 * 7 / total:.2g} %" in said(data, "warning")


def test_rates_are_suspected_and_multiplied_back(tmp_path: Path, counts: np.ndarray) -> None:
    path = saved(tmp_path, counts / 250.0, EXPOSURE=250.0, BUNIT="ct/s")
    bare = saved(tmp_path, counts / 0.7, "bare.fits", EXPTIME=250.0)
    warning = said(open_image(path, PSF), "warning")
    assert "these are rates" in warning
    assert "EXPOSURE=250 s. Use --counts-unit ct/s" in warning
    assert "not whole numbers (e.g." in said(open_image(bare, PSF), "warning")
    data = open_image(path, PSF, counts_unit="ct/s")
    np.testing.assert_allclose(data.full_counts, counts)
    assert said(data, "warning") == ""
    with pytest.raises(ConfigError, match="neither EXPOSURE nor EXPTIME"):
        open_image(counts / 250.0, PSF, counts_unit="ct/s")


def test_whole_numbers_stored_as_floats_are_counts(tmp_path: Path, counts: np.ndarray) -> None:
    data = open_image(saved(tmp_path, counts.astype(np.float32)), PSF)
    assert said(data, "warning") == ""


def test_normalised_and_8_bit_images_are_suspected(tmp_path: Path, counts: np.ndarray) -> None:
    normalised = saved(tmp_path, counts / counts.max())
    eight = saved(tmp_path, (counts * (250 / counts.max())).astype(np.uint8), "eight.fits")
    assert "largest value is 1 and BUNIT is missing" in said(open_image(normalised, PSF), "warning")
    assert "8 bits" in said(open_image(eight, PSF), "warning")
    for path in (normalised, eight):
        assert said(open_image(path, PSF, gain=40.0), "warning") == ""


SWAPPED = "these look like a PSF: are --psf and the counts swapped?"


@pytest.mark.parametrize(
    ("total", "suspected"), [(0.94, False), (0.96, True), (1.0, True), (1.04, True), (1.06, False)]
)
@pytest.mark.parametrize("size", [9, 400])
def test_counts_that_look_like_a_psf(total: float, suspected: bool, size: int) -> None:
    psf = np.random.default_rng(3).random((size, size))
    psf *= total / psf.sum()
    checks = prepared(read_image(psf, "counts")).checks
    said = [(c.level, c.subject) for c in checks if SWAPPED in c.message]
    assert said == [("warning", "counts")] * suspected


def test_what_does_not_look_like_a_psf() -> None:
    one = np.zeros((5, 5))
    one[2, 3] = 1
    image = read_image(np.full((4, 4), 1 / 16), "counts")
    for counts in (prepared(read_image(one)), prepared(image, gain=900.0)):
        assert not any(SWAPPED in c.message for c in counts.checks)


def test_gain_turns_values_into_counts(counts: np.ndarray) -> None:
    data = open_image(counts / 4.0, PSF, gain=4.0)
    np.testing.assert_allclose(data.full_counts, counts)


def test_no_counts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"counts\.fits: no counts at all in the selected region"):
        open_image(saved(tmp_path, np.zeros((8, 10), np.int16)), PSF)


def test_nothing_left_after_clipping() -> None:
    with pytest.raises(DataError, match="no counts at all"):
        open_image(np.full((8, 10), -3.0), PSF, negative="clip")
    with pytest.raises(DataError, match="80 negative values"):
        open_image(np.full((8, 10), -3.0), PSF)


def test_few_counts() -> None:
    values = np.zeros((8, 10))
    values[4, 4] = 23
    assert "only 23 counts" in said(open_image(values, PSF), "warning")
    values[4, 4] = 51
    assert said(open_image(values, PSF), "warning") == ""


def test_saturated_pixels_are_masked(tmp_path: Path, counts: np.ndarray) -> None:
    values = counts.astype(np.uint16)
    values[2, 3] = values[2, 4] = 65535
    path = saved(tmp_path, values)
    data = open_image(path, PSF)
    assert "2 pixels equal 65535 (saturated): masked" in said(data, "warning")
    np.testing.assert_array_equal(np.argwhere(data.weight == 0), [[2, 3], [2, 4]])
    kept = open_image(path, PSF, saturation="keep")
    assert kept.weight.min() == 1
    assert "saturated), kept" in said(kept, "warning")


def test_byte_order_and_layout_do_not_matter(tmp_path: Path, counts: np.ndarray) -> None:
    native = open_image(counts, PSF)
    for other in (
        open_image(saved(tmp_path, counts.astype(">i2")), PSF),
        open_image(np.asfortranarray(counts), PSF),
        open_image(counts.T.copy().T, PSF),
    ):
        np.testing.assert_array_equal(other.full_counts, native.full_counts)
        assert said(other, "fixed").count("converted") == 1


def test_blank_pixels_are_masked(tmp_path: Path, counts: np.ndarray) -> None:
    path = saved(tmp_path, counts)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as file:
        file[0].header["BLANK"] = int(counts[0, 0])
    data = open_image(path, PSF)
    np.testing.assert_array_equal(data.weight == 0, counts == counts[0, 0])


def test_mask_that_removes_all_counts(tmp_path: Path, counts: np.ndarray) -> None:
    values, mask = counts.copy(), np.ones(counts.shape)
    values[:, :5], mask[:, 5:] = 0, 0
    with pytest.raises(
        DataError, match=r"mask removes 100 % of the counts; did you invert it\? \(--mask-invert\)"
    ):
        open_image(values, PSF, mask=mask)
    data = open_image(values, PSF, mask=mask, mask_invert=True)
    assert data.full_counts.sum() == values.sum()
    assert "50 % of the pixels with 0 % of the counts" in said(data, "ok")
    mask[:, 5:] = 1
    mask[:, 6:] = 0
    values[0, 5] = 1
    values[1:, 5] = 0
    assert "did you invert it?" in said(open_image(values, PSF, mask=mask), "warning")


def test_mask_that_leaves_no_pixels(counts: np.ndarray) -> None:
    with pytest.raises(DataError, match="mask removes 100 %"):
        open_image(counts, PSF, mask=np.zeros(counts.shape))
    with pytest.raises(ConfigError, match="--mask-invert needs a --mask"):
        open_image(counts, PSF, mask_invert=True)


def test_background_in_another_unit_is_suspected(counts: np.ndarray) -> None:
    background = np.full(counts.shape, 0.5)
    assert said(open_image(counts, PSF, background=background), "warning") == ""
    data = open_image(counts, PSF, background=background * 1e-5)
    assert "background: 'background': 0.0004 counts expected" in said(data, "warning")
    assert "unit mismatch?" in said(data, "warning")


@pytest.mark.parametrize("role", ["exposure", "background", "baseline", "mask", "read_noise"])
@pytest.mark.parametrize("shape", [(1, 10), (8, 1), (10, 8), (8, 11), (10,)])
def test_nothing_is_broadcast(counts: np.ndarray, role: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="must agree exactly, nothing is broadcast"):
        open_image(counts, PSF, **{role: np.ones(shape)})


@pytest.mark.parametrize("role", ["exposure", "background", "mask"])
def test_shifted_map_is_refused(tmp_path: Path, counts: np.ndarray, role: str) -> None:
    path = saved(tmp_path, counts)
    same = saved(tmp_path, np.ones(counts.shape), "same.fits")
    moved = saved(tmp_path, np.ones(counts.shape), "moved.fits", CRPIX1=6.0)
    assert open_image(path, PSF, **{role: same}).shape == counts.shape
    with pytest.raises(
        DataError,
        match=r"moved\.fits: .*counts\.fits: coordinates that differ by \(\+0\.500, \+0\.000\)",
    ) as caught:
        open_image(path, PSF, **{role: moved})
    assert ("--align reproject" in str(caught.value)) == (role == "exposure")


def test_exposure_can_be_reprojected(tmp_path: Path, counts: np.ndarray) -> None:
    path = saved(tmp_path, counts)
    y, x = np.indices((12, 16))
    slope = saved(
        tmp_path, 10.0 + x + 2.0 * y, "expmap.fits", CRPIX1=8.0, CRPIX2=6.0, BUNIT="cm2 s"
    )
    data = open_image(path, PSF, exposure=slope, align="reproject", boundary="same")
    y, x = np.indices(counts.shape)
    np.testing.assert_allclose(
        data.whole["sky"].inner.factor, 10.0 + (x + 2.5) + 2.0 * (y + 1.5), rtol=1e-6
    )
    assert "reprojected" in said(data, "fixed")
    tiny = saved(tmp_path, np.ones((3, 3)), "tiny.fits", CRPIX1=2.0, CRPIX2=2.0, BUNIT="cm2 s")
    factor = (
        open_image(path, PSF, exposure=tiny, align="reproject", boundary="same")
        .whole["sky"]
        .inner.factor
    )
    assert 0 < np.count_nonzero(factor) <= 16
    with pytest.raises(DataError, match="needs world coordinates"):
        open_image(counts, PSF, exposure=np.ones((12, 16)), align="reproject")


def test_missing_coordinates_are_said(tmp_path: Path, counts: np.ndarray) -> None:
    fits.PrimaryHDU(counts).writeto(tmp_path / "bare.fits")
    assert "no world coordinates" in said(open_image(tmp_path / "bare.fits", PSF), "warning")
    assert "no world coordinates" in said(open_image(counts, PSF), "ok")


@pytest.mark.parametrize("bad", [-1.0, np.nan])
@pytest.mark.parametrize("role", ["background", "baseline"])
def test_backgrounds_are_not_negative(counts: np.ndarray, role: str, bad: float) -> None:
    values = np.ones(counts.shape)
    values[3, 2] = bad
    with pytest.raises(DataError, match=rf"{role} has 1 negative or non-finite values.*x=2 y=3"):
        open_image(counts, PSF, **{role: values})


def test_bad_exposure(counts: np.ndarray) -> None:
    values = np.ones(counts.shape)
    values[3, 2] = -1
    with pytest.raises(DataError, match=r"exposure is negative in 1 pixels.*x=2 y=3"):
        open_image(counts, PSF, exposure=values)
    with pytest.raises(DataError, match="zero everywhere"):
        open_image(counts, PSF, exposure=np.zeros(counts.shape))
    values[3, 2] = np.nan
    data = open_image(counts, PSF, exposure=values)
    assert "taken as no exposure" in said(data, "fixed")


def test_no_psf_says_what_to_type(counts: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r'--psf psf\.fits.*--psf "gauss:1\.2 pix"'):
        open_image(counts)


def test_psf_faults_name_the_file(tmp_path: Path, counts: np.ndarray) -> None:
    path = saved(tmp_path, counts)
    coarse = saved(tmp_path, np.eye(5), "psf.fits", CDELT1=-0.4, CDELT2=0.4)
    with pytest.raises(DataError, match=r"psf\.fits: PSF pixels are .* --psf-resample"):
        open_image(path, coarse)
    turned = {"CDELT1": 1.0, "CDELT2": 1.0}
    angle = np.deg2rad(37.2)
    matrix = 0.1 * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned |= {f"PC{i + 1}_{j + 1}": matrix[i, j] for i in range(2) for j in range(2)}
    psf = np.outer(*2 * [[0.0, 1, 2, 1, 0]])
    rotated = saved(tmp_path, psf, "turned.fits", **turned)
    assert "rotated by" in said(open_image(path, rotated), "warning")
    assert "37.2 deg" in said(open_image(path, rotated), "warning")
    straight = saved(tmp_path, psf, "straight.fits")
    assert said(open_image(path, straight), "warning") == ""
