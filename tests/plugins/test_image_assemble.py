"""Images joined to data: components, units, grids, and the numbers that follow from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

import skyfold
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError
from skyfold.model import Model
from skyfold_image import kernels
from skyfold_image.opener import open_image

PSF = "gauss:1.5 pix"


@pytest.fixture
def counts(rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(9.0, (8, 10)).astype(float)


def hdu(values: np.ndarray, unit: str = "", scale: float = 0.1) -> fits.ImageHDU:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.cdelt = (3.0, 2.0), (83.6, 22.0), (-scale, scale)
    header = wcs.to_header()
    if unit:
        header["BUNIT"] = unit
    return fits.ImageHDU(values, header)


def blurred(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve by the definition, with darkness outside."""
    reach = [(k - 1) // 2 for k in kernel.shape]
    padded = np.pad(values, [(r, r) for r in reach])
    result = np.zeros(values.shape)
    for (dy, dx), weight in np.ndenumerate(kernel[::-1, ::-1]):
        result += weight * padded[dy : dy + values.shape[0], dx : dx + values.shape[1]]
    return result


def test_expectation_is_blur_of_exposed_sky_plus_backgrounds(
    counts: np.ndarray, rng: np.random.Generator
) -> None:
    kernel = rng.random((3, 5))
    kernel /= kernel.sum()
    exposure, background, baseline = (1 + rng.random(counts.shape) for _ in range(3))
    data = open_image(
        counts,
        kernel,
        exposure=exposure,
        background={"room": background},
        baseline={"galaxy": baseline},
        boundary="same",
        psf_keep=True,
    )
    sky = rng.random(counts.shape)
    values = {"sky": sky, "room": np.array([2.0]), "galaxy": np.array([3.0])}
    expected = blurred(exposure * (sky + 3 * baseline), kernel) + 2 * background
    np.testing.assert_allclose(data.full_expectation(values), expected, rtol=1e-12)
    assert all(skyfold.check_adjoint(r) < 1e-12 for r in data.whole.values())


def test_background_is_not_blurred_and_baseline_is(counts: np.ndarray) -> None:
    point = np.zeros(counts.shape)
    point[4, 5] = 1.0
    data = open_image(counts, PSF, background=point * 300, baseline=point * 300)
    assert np.count_nonzero(data.whole["background"].forward(np.ones(1))) == 1
    spread = data.whole["baseline"].forward(np.ones(1))
    assert np.count_nonzero(spread > 1) > 9
    assert spread[4, 5] == pytest.approx(300 * kernels.gauss(1.5).max())


@pytest.mark.parametrize("number", [3, 0.25, np.float32(0.5), np.int64(2)])
@pytest.mark.parametrize("block", [1, 2])
def test_a_number_is_a_map_that_is_the_same_everywhere(
    counts: np.ndarray, number: float, block: int
) -> None:
    numbers, maps = (
        open_image(
            hdu(counts),
            PSF,
            exposure=hdu(np.full(counts.shape, 2.0), "cm2 s"),
            background={"room": value, "other": 1},
            baseline={"galaxy": value},
            block=block,
        )
        for value in (number, np.full(counts.shape, float(number)))
    )
    assert set(numbers.components) == {"sky", "room", "other", "galaxy"}
    for name in ("room", "galaxy"):
        one, other = (d.whole[name].forward(np.ones(1)) for d in (numbers, maps))
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one, 2 * number)
    plain = open_image(counts[None].repeat(3, 0), PSF, background=number)
    assert np.all(plain.whole["background"].template == number)
    assert plain.shape == (3, 8, 10)


@pytest.mark.parametrize("role", ["background", "baseline"])
@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
def test_numbers_that_are_no_level(counts: np.ndarray, role: str, bad: float) -> None:
    from skyfold.options import build

    for level, name in ((bad, role), ({"room": bad}, "room")):
        says = f"{role} '{name}': {bad:g} must be a finite number of at least 0"
        with pytest.raises(ConfigError, match=says):
            open_image(counts, PSF, **{role: level})
        with pytest.raises(ConfigError, match=says):
            build(open_image, {"counts": counts, "psf": PSF, role: level})
    for wrong in (True, {"room": False}):
        with pytest.raises(ConfigError, match=f"{role}.* a file name or an array or a number, got"):
            build(open_image, {"counts": counts, "psf": PSF, role: wrong})


def test_a_background_of_zero_can_even_be_fitted(counts: np.ndarray) -> None:
    data = open_image(counts, PSF, background=0, fit_background=True)
    model = skyfold.run(data, iterations=3, progress=False).model
    assert np.all(np.isfinite(model["sky"]))
    assert np.isfinite(model["background"][0])


def test_normalisations_are_fixed_unless_fitted(counts: np.ndarray) -> None:
    images = {"background": np.ones(counts.shape), "baseline": np.ones(counts.shape)}
    data = open_image(counts, PSF, **images)
    assert data.components["background"].fixed
    assert data.components["baseline"].fixed
    data = open_image(counts, PSF, **images, fit_background=True)
    assert not data.components["background"].fixed
    assert data.components["baseline"].fixed
    assert not open_image(counts, PSF, **images, fit_baseline=True).components["baseline"].fixed


def test_names_of_components(counts: np.ndarray) -> None:
    one = np.ones(counts.shape)
    data = open_image(counts, PSF, background={"sky": one, "particles": one}, read_noise=2.0)
    assert set(data.components) == {"sky", "background sky", "particles", "read noise"}
    with pytest.raises(ConfigError, match="two components are named 'a'"):
        open_image(counts, PSF, background={"a": one}, baseline={"a": one})


@pytest.mark.parametrize(
    ("exposure", "sky"),
    [
        ("cm2 s", "ph / (s cm2)"),
        ("cm**2*s*count/photon", "ph / (s cm2)"),
        ("m2 s", "ph / (s m2)"),
        ("s", "ct / s"),
        ("", "ct"),
        ("furlongs", "ct"),
    ],
)
def test_unit_of_the_sky(counts: np.ndarray, exposure: str, sky: str) -> None:
    from astropy import units as u

    data = open_image(hdu(counts), PSF, exposure=hdu(np.ones(counts.shape), exposure))
    assert u.Unit(data.components["sky"].unit) == u.Unit(sky)
    assert Model.start(data).quantity("sky").unit == u.Unit(sky)


def exposure_checks(data: BinnedData) -> list[tuple[str, str]]:
    return [(c.level, c.message) for c in data.origin.checks if c.subject == "exposure"]


@pytest.mark.parametrize("largest", [0.1, 1.0, 10.0])
def test_exposure_without_unit_near_one_is_a_relative_factor(
    tmp_path: Path, counts: np.ndarray, largest: float
) -> None:
    exposure = np.full(counts.shape, largest)
    exposure[:, :3] = 0.01
    hdu(exposure).writeto(tmp_path / "exposure.fits")
    data = open_image(hdu(counts), PSF, exposure=tmp_path / "exposure.fits")
    assert data.components["sky"].unit == "ct"
    level, message = exposure_checks(data)[-1]
    assert level == "warning"
    assert "taken as a relative factor, so the image is in counts: no unit is given" in message


@pytest.mark.parametrize("largest", [0.09, 11.0, 3e11])
def test_other_exposure_without_unit_leaves_that_of_the_image_open(
    counts: np.ndarray, largest: float
) -> None:
    data = open_image(hdu(counts), PSF, exposure=np.full(counts.shape, largest))
    assert data.components["sky"].unit == ""
    assert Model.start(data).quantity("sky").unit == ""
    level, message = exposure_checks(data)[-1]
    assert level == "warning"
    assert f"it reaches {largest:.4g}: the image is in counts per unit of exposure" in message
    assert '--exposure-unit "cm2 s"' in message


def test_unit_of_an_exposure_can_be_told(counts: np.ndarray) -> None:
    from astropy import units as u

    values = np.full(counts.shape, 3e11)
    for stated in ("", "furlongs", "cm2 s", "1e-4 m2 s", "cm**2*s*count/photon"):
        data = open_image(hdu(counts), PSF, exposure=hdu(values, stated), exposure_unit="cm2 s")
        assert u.Unit(data.components["sky"].unit) == u.Unit("ph cm-2 s-1")
        assert exposure_checks(data)[-1] == ("ok", "unit cm2 s, as told")


@pytest.mark.parametrize(
    ("stated", "told", "says"),
    [
        ("m2 s", "cm2 s", r'contradicts exposure HDU, which states "m2 s"'),
        (
            "",
            "furlongs",
            r'"furlongs" must be a unit like "cm2 s": .* furlongs is not a valid unit$',
        ),
        ("", " ", r'" " must be a unit like "cm2 s": no unit is given'),
    ],
)
def test_unit_of_an_exposure_that_cannot_be(
    counts: np.ndarray, stated: str, told: str, says: str
) -> None:
    exposure = hdu(np.ones(counts.shape), stated)
    with pytest.raises(ConfigError, match=says):
        open_image(hdu(counts), PSF, exposure=exposure, exposure_unit=told)


def test_unit_of_an_exposure_needs_one(counts: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="--exposure-unit needs a --exposure"):
        open_image(hdu(counts), PSF, exposure_unit="cm2 s")


def test_sky_reaches_beyond_the_data_and_keeps_its_coordinates(counts: np.ndarray) -> None:
    data = open_image(hdu(counts), "gauss:1.5 pix")
    grid = data.components["sky"].geometry
    half = kernels.gauss(1.5).shape[0] // 2
    assert grid.shape == (8 + 2 * half, 10 + 2 * half)
    assert grid.crop().difference(data.origin.geometry) is None
    assert np.all(data.components["sky"].mask[grid.field])
    assert open_image(hdu(counts), PSF, margin=2).components["sky"].geometry.shape == (12, 14)
    assert open_image(hdu(counts), PSF, boundary="same").components["sky"].geometry.field is None


def test_even_psf_taken_as_it_is_keeps_the_coordinates(counts: np.ndarray) -> None:
    data = open_image(hdu(counts), np.ones((4, 6)) / 24, psf_keep=True)
    grid = data.components["sky"].geometry
    assert grid.crop().difference(data.origin.geometry) is None
    assert grid.shape == (8 + 3, 10 + 5)


def test_exposure_continues_beyond_the_edge(counts: np.ndarray) -> None:
    exposure = np.ones(counts.shape)
    exposure[:, 0] = 5
    data = open_image(counts, PSF, exposure=exposure)
    factor = data.whole["sky"].inner.factor
    left = data.components["sky"].geometry.field[1].start
    assert np.all(factor[:, : left + 1] == 5)
    assert np.all(factor[:, left + 1 :] == 1)


def test_pixels_without_exposure_are_not_measured(counts: np.ndarray) -> None:
    exposure = np.ones(counts.shape)
    exposure[:4] = 0
    counts[:2] = 0
    data = open_image(counts, PSF, exposure=exposure, background=np.full(counts.shape, 0.1))
    part = data.components["sky"]
    np.testing.assert_array_equal(part.mask[part.geometry.field], exposure > 0)
    assert np.all(Model.start(data)["sky"][~part.mask] == 0)
    notes = [c.message for c in data.origin.checks]
    assert "40 of 80 pixels of the image are not measured: kept at 0" in notes


@pytest.mark.parametrize("block", [2, 3])
def test_finer_sky_is_summed_to_the_counts(
    counts: np.ndarray, rng: np.random.Generator, block: int
) -> None:
    exposure = 1 + rng.random(counts.shape)
    flux = rng.random(counts.shape)
    data = open_image(
        hdu(counts),
        "gauss:1.5 pix",
        exposure=hdu(exposure, "cm2 s"),
        baseline=flux,
        block=block,
        boundary="same",
    )
    grid = data.components["sky"].geometry
    assert grid.shape == (8 * block, 10 * block)
    fine_exposure = np.kron(exposure, np.ones((block, block)))
    kernel = kernels.gauss(1.5 * block)
    sky = rng.random(grid.shape)
    fine = blurred(fine_exposure * sky, kernel)
    expected = fine.reshape(8, block, 10, block).sum(axis=(1, 3))
    np.testing.assert_allclose(data.whole["sky"].forward(sky), expected, rtol=1e-10)
    spread = np.kron(flux, np.ones((block, block))) / block**2
    fine = blurred(fine_exposure * spread, kernel).reshape(8, block, 10, block)
    np.testing.assert_allclose(
        data.whole["baseline"].forward(np.ones(1)), fine.sum(axis=(1, 3)), rtol=1e-10
    )
    # the middle of a data pixel is the middle of its fine pixels
    coarse = data.origin.geometry.wcs.pixel_to_world(4, 3)
    middle = grid.wcs.pixel_to_world(4 * block + (block - 1) / 2, 3 * block + (block - 1) / 2)
    assert coarse.separation(middle).to_value("deg") < 1e-9


def test_finer_and_extended_sky_covers_the_data(counts: np.ndarray) -> None:
    data = open_image(hdu(counts), PSF, block=2)
    grid = data.components["sky"].geometry
    assert grid.crop().shape == (16, 20)
    assert grid.crop().difference(data.origin.geometry.refine(2)) is None
    assert skyfold.check_adjoint(data.whole["sky"]) < 1e-12


def test_read_noise_is_added_to_data_and_model(rng: np.random.Generator) -> None:
    sigma = 6.0
    clean = rng.poisson(3.0, (40, 50))
    values = clean + rng.normal(0, sigma, clean.shape)
    data = open_image(values, PSF, read_noise=sigma)
    np.testing.assert_allclose(data.full_counts, np.maximum(values + sigma**2, 0))
    noise = data.components["read noise"]
    assert noise.fixed
    assert data.whole["read noise"].template.mean() == sigma**2
    # mean and variance of a Poisson variable
    shifted = values + sigma**2
    assert np.var(shifted) / np.mean(shifted) == pytest.approx(1, abs=0.1)
    assert not [c for c in data.origin.checks if c.level == "warning"]


def test_read_noise_of_each_pixel(counts: np.ndarray) -> None:
    sigma = np.full(counts.shape, 2.0)
    sigma[3, 4] = 5.0
    data = open_image(counts, PSF, read_noise=sigma)
    assert data.full_counts[3, 4] == counts[3, 4] + 25
    assert data.full_counts[0, 0] == counts[0, 0] + 4


def test_values_still_negative_are_counted(counts: np.ndarray) -> None:
    counts[2, 3] = -30
    data = open_image(counts, PSF, read_noise=2.0)
    assert data.full_counts[2, 3] == 0
    notes = [c.message for c in data.origin.checks if c.level == "fixed"]
    assert any("1 pixels still below zero set to zero" in note for note in notes)


def test_channels_are_restored_each_on_its_own(rng: np.random.Generator) -> None:
    photo = rng.poisson(20.0, (9, 12, 3)).astype(float)
    data = open_image(photo, "gauss:1.2 pix")
    assert data.shape == (3, 9, 12)
    sky = np.zeros(data.components["sky"].geometry.shape)
    sky[1, 8, 8] = 1
    seen = data.whole["sky"].forward(sky).sum(axis=(1, 2))
    np.testing.assert_allclose(seen, [0, 1, 0], atol=1e-12)
    assert open_image(photo, "gauss:1.2 pix", channels="luma").shape == (9, 12)


def test_one_dimension(rng: np.random.Generator) -> None:
    data = open_image(rng.poisson(20.0, 64).astype(float), "gauss:3 pix")
    assert data.shape == (64,)
    assert len(data.components["sky"].geometry.shape) == 1
    assert skyfold.check_adjoint(data.whole["sky"]) < 1e-12


def test_single_precision_stays_single(counts: np.ndarray) -> None:
    one = np.ones(counts.shape)
    images = {"exposure": one, "background": one, "baseline": one, "read_noise": 2.0}
    data = open_image(counts, PSF, dtype="float32", **images)
    model = Model.start(data)
    step = data.e_step(model)
    assert {model[name].dtype for name in model} == {np.dtype("float32")}
    assert step.expectation.observed.dtype == np.float32


def test_origin_tells_files_and_name(tmp_path: Path, counts: np.ndarray) -> None:
    counts_file, psf_file = tmp_path / "crab.v2.fits", tmp_path / "psf.npy"
    fits.PrimaryHDU(counts, hdu(counts).header).writeto(counts_file)
    np.save(psf_file, kernels.gauss(2.0))
    np.save(tmp_path / "bkg.npy", np.ones(counts.shape))
    data = open_image(f"{counts_file}[0]", psf_file, background={"a": tmp_path / "bkg.npy"})
    files = [
        ("counts", str(counts_file)),
        ("background", str(tmp_path / "bkg.npy")),
        ("psf", str(psf_file)),
    ]
    assert list(data.origin.files) == files
    assert data.origin.name == "crab"
    assert data.origin.instrument == "image"
    assert data.origin.header["CRPIX1"] == 3.0
    assert open_image(counts, PSF).origin.name == "data"


def test_counts_that_nothing_explains_are_refused(counts: np.ndarray) -> None:
    exposure = np.zeros(counts.shape)
    exposure[:, :2] = 1
    data = open_image(counts, "gauss:1 pix", exposure=exposure)
    with pytest.raises(skyfold.errors.DataError, match="neither response nor background"):
        data.require_explained(data.forward(Model.start(data)))


def test_restoration_explains_the_counts(rng: np.random.Generator) -> None:
    sky = np.full((48, 40), 2.0)
    sky[20, 15], sky[30, 30] = 3000, 800
    blank = open_image(np.ones(sky.shape), "moffat:3 pix,2.5", boundary="same")
    observed = rng.poisson(blank.whole["sky"].forward(sky)).astype(float)
    background = np.full(sky.shape, 0.5)
    data = open_image(observed, "moffat:3 pix,2.5", background=background)
    result = skyfold.run(data, iterations=40, progress=False)
    total = data.full_expectation(result.model).sum()
    assert total == pytest.approx(observed.sum(), rel=0.02)
    image = result.image.value
    assert image.shape == sky.shape
    assert np.unravel_index(image.argmax(), image.shape) == (20, 15)
    assert image[17:24, 12:19].sum() == pytest.approx(3000 + 49 * 1.5, rel=0.1)


def test_options_can_be_said_as_text() -> None:
    from skyfold.options import build, describe

    known = {option.name: option for option in describe(open_image)}
    assert all(option.description for option in known.values())
    values = np.full((6, 7), 9.0)
    data: BinnedData = build(open_image, {"counts": values, "psf": "gauss:1 pix", "gain": 2})
    assert data.full_counts.sum() == 2 * 9 * 42
    named = {"counts": values, "psf": "gauss:1 pix", "background": {"a": values, "b": values}}
    assert set(build(open_image, named).components) == {"sky", "a", "b"}
    bad: list[dict[str, Any]] = [{"gain": -1}, {"block": 0}, {"psf": 3}, {"exposure": ""}]
    for wrong in bad:
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            build(open_image, {"counts": values, "psf": "gauss:1 pix", **wrong})


@settings(max_examples=30, deadline=None)
@given(fwhm=st.floats(0.2, 6), beta=st.floats(2, 6))
def test_kernels_are_odd_symmetric_and_whole(fwhm: float, beta: float) -> None:
    for kernel in (kernels.gauss(fwhm), kernels.moffat(fwhm, beta)):
        assert kernel.shape[0] == kernel.shape[1]
        assert kernel.shape[0] % 2 == 1
        assert kernel.sum() == pytest.approx(1)
        np.testing.assert_allclose(kernel, kernel.T)
        np.testing.assert_allclose(kernel, kernel[::-1])
        middle = kernel.shape[0] // 2
        assert kernel.argmax() == middle * kernel.shape[0] + middle


@pytest.mark.parametrize("axes", [1, 2])
def test_kernels_have_the_width_asked_for(axes: int) -> None:
    for kernel in (kernels.gauss(16.0, axes), kernels.moffat(16.0, 3.0, axes)):
        line = kernel if axes == 1 else kernel[kernel.shape[0] // 2]
        middle = line.size // 2
        assert line[middle + 8] / line[middle] == pytest.approx(0.5, abs=0.005)


def test_narrow_kernels_are_integrated_over_pixels() -> None:
    fine = np.linspace(-0.5, 0.5, 2001)[:-1] + 0.00025
    alpha = 0.5 / (2 * np.sqrt(2 ** (1 / 2.5) - 1))
    profile = (1 + (fine[:, None] ** 2 + fine**2) / alpha**2) ** -2.5
    inside = profile.mean() / (np.pi * alpha**2 / 1.5)
    assert kernels.moffat(0.5, 2.5).max() == pytest.approx(inside, rel=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "gauss:1",
        "gauss:1 kg",
        "gauss:wide",
        "gauss:0 pix",
        "gauss:1 arcsec",
        "moffat:2 pix",
        "moffat:2 pix,b",
        "moffat:2 pix,0.9",
        "moffat:2 pix,1.01",
        "airy:1 pix",
    ],
)
def test_bad_formulas_are_refused(counts: np.ndarray, text: str) -> None:
    with pytest.raises(ConfigError):
        open_image(counts, text)


def test_angles_become_pixels(counts: np.ndarray) -> None:
    data = open_image(hdu(counts), "gauss:0.2 deg", boundary="same")
    same = open_image(hdu(counts), "gauss:2 px", boundary="same")
    sky = np.random.default_rng(1).random(counts.shape)
    np.testing.assert_allclose(
        data.whole["sky"].forward(sky), same.whole["sky"].forward(sky), rtol=1e-4
    )


def test_finer_result_has_one_coordinate_system(counts: np.ndarray) -> None:
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0}
    )
    header.update({"CRPIX1": 3.0, "CRPIX2": 2.0, "CD1_1": -0.1, "CD1_2": 0.0, "CD2_1": 0.0})
    header.update({"CD2_2": 0.1, "CTYPE1P": "x", "CDELT1P": 0.5, "OBJECT": "Crab"})
    data = open_image(fits.ImageHDU(counts, header), PSF, block=2)
    written = skyfold.run(data, iterations=1, progress=False).to_fits()[0].header
    assert written["OBJECT"] == "Crab"
    assert "CTYPE1P" not in written
    there = data.origin.geometry.wcs.pixel_to_world(4, 3)
    assert WCS(written).pixel_to_world(8.5, 6.5).separation(there).to_value("deg") < 1e-9
