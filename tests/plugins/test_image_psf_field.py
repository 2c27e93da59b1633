"""PSFs that vary over the field, as files have them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from scipy.special import ndtr

import skyfold
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import FWHM_PER_SIGMA
from skyfold.points import with_points
from skyfold.response import check_adjoint
from skyfold.sources import Sources
from skyfold_image.opener import open_image
from skyfold_responses.varying import VaryingPsf

SHAPE = (36, 40)
SIGMAS = (1.2, 1.5, 1.8, 1.4, 1.7, 2.0)
X, Y = (5, 21, 37), (6, 31)


def effective(sigma, finer=1, half=8):
    """The light of a Gaussian in a pixel, sampled on finer pixels."""
    line = np.exp(-0.5 * (np.arange(-half * finer, half * finer + 1) / finer / sigma) ** 2)
    return np.outer(line, line) / (2 * np.pi * sigma**2)


def standard(path, finer=4, **cards):
    """Write a grid of PSFs in the layout of the standardised PSFs of HST."""
    hdu = fits.PrimaryHDU(np.stack([effective(s, finer) for s in SIGMAS]).astype("f4"))
    hdu.header["NXPSFS"], hdu.header["NYPSFS"] = len(X), len(Y)
    for i, x in enumerate(X, 1):
        hdu.header[f"IPSFX{i:02d}"] = x
    for i, y in enumerate(Y, 1):
        hdu.header[f"JPSFY{i:02d}"] = y
    hdu.header.update(cards)
    hdu.writeto(path)
    return str(path)


def star(data, x, y):
    seen = with_points(data, Sources(("s",), np.array([[x, y]], float)))
    return seen.whole["stars"].forward(np.ones(1))


def test_standardised_psfs(tmp_path):
    data = open_image(np.ones(SHAPE), standard(tmp_path / "std.fits"))
    assert isinstance(data.whole["sky"], VaryingPsf)
    assert check_adjoint(data.whole["sky"]) < 1e-13
    for x, y, sigma in ((4, 5, 1.2), (20, 30, 1.7), (36, 30, 2.0)):
        assert star(data, x, y)[y, x] == pytest.approx(effective(sigma).max(), rel=1e-3)
    between = star(data, 12, 5)
    assert between[5, 12] == pytest.approx(
        (effective(1.2).max() + effective(1.5).max()) / 2, rel=1e-3
    )
    assert any("6 PSFs, at x 4 to 36 and y 5 to 30" in c.message for c in data.checks)
    assert [role for role, _ in data.origin.files] == ["psf"]


def test_a_cutout_knows_where_it_lies_on_the_detector(tmp_path):
    hdu = fits.PrimaryHDU(np.ones(SHAPE, "i4"))
    hdu.header["LTV1"], hdu.header["LTV2"] = -16.0, 0.0
    hdu.writeto(tmp_path / "cutout.fits")
    data = open_image(str(tmp_path / "cutout.fits"), standard(tmp_path / "std.fits"))
    assert star(data, 4, 5)[5, 4] == pytest.approx(effective(1.5).max(), rel=1e-3)


@pytest.mark.parametrize("card", ["LTM1_1", "LTM2_2", "LTM1_2"])
def test_a_binned_cutout_has_other_pixels_than_the_psfs(tmp_path, card):
    hdu = fits.PrimaryHDU(np.ones(SHAPE, "i4"))
    hdu.header["LTM1_1"], hdu.header["LTM2_2"] = 1.0, 1.0
    hdu.writeto(tmp_path / "plain.fits")
    open_image(str(tmp_path / "plain.fits"), standard(tmp_path / "std.fits"))
    hdu.header[card] = 0.5
    hdu.writeto(tmp_path / "binned.fits")
    with pytest.raises(DataError, match=rf"binned.fits: {card} = 0.5: its pixels are not"):
        open_image(str(tmp_path / "binned.fits"), str(tmp_path / "std.fits"))


def test_places_plane_by_plane(tmp_path):
    hdu = fits.PrimaryHDU(np.stack([effective(s) for s in SIGMAS[:3]]))
    for i, (x, y) in enumerate(((3, 4), (30, 8), (14, 28)), 1):
        hdu.header[f"PSFX{i}"], hdu.header[f"PSFY{i}"] = x, y
    hdu.writeto(tmp_path / "few.fits")
    data = open_image(np.ones(SHAPE), str(tmp_path / "few.fits"), block=2)
    assert check_adjoint(data.whole["sky"]) < 1e-13
    run = skyfold.run(data, "rl", iterations=2, progress=False)
    assert run.image.shape == (72, 80)


def test_fluxes_over_the_field_have_no_trend(tmp_path):
    path = standard(tmp_path / "std.fits")
    places = np.array([[6.0, 7.0], [20.3, 18.4], [34.0, 29.0]])
    listed = Sources(("a", "b", "c"), places)
    blank = with_points(open_image(np.ones(SHAPE), path), listed)
    truth = {"sky": np.full(blank.components["sky"].geometry.shape, 3.0), "stars": np.full(3, 9e3)}
    counts = np.random.default_rng(1).poisson(blank.full_expectation(truth))
    data = with_points(open_image(counts, path), listed)
    run = skyfold.run(data, "two-channel", smooth="9 pix", strength=0.3, progress=False)
    assert run.model["stars"] == pytest.approx(np.full(3, 9e3), rel=0.05)


def test_what_is_refused(tmp_path):
    path = standard(tmp_path / "std.fits", JPSFY03=40)
    with pytest.raises(DataError, match="6 planes of PSFs, but its header has 9 places"):
        open_image(np.ones(SHAPE), path)
    good = standard(tmp_path / "good.fits")
    with pytest.raises(ConfigError, match="leave out --block"):
        open_image(np.ones(SHAPE), good, block=2)
    with pytest.raises(ConfigError, match="does not go with a PSF that varies"):
        open_image(np.ones(SHAPE), good, star_psf=effective(1.0))


@pytest.mark.parametrize("free", [False, True])
def test_fluxes_and_places_of_stars_narrower_than_two_pixels(tmp_path, free):
    sigma, fluxes = 1.5 / FWHM_PER_SIGMA, np.array([3e8, 1e8, 5e7])
    places = np.array([[10.3, 9.6], [24.75, 20.2], [31.1, 11.45]])

    def line(away):
        return ndtr((away + 0.5) / sigma) - ndtr((away - 0.5) / sigma)

    fine = line(np.arange(-48, 49) / 4)
    hdu = fits.PrimaryHDU(np.outer(fine, fine)[None])
    hdu.header.update(IPSFX01=20, JPSFY01=20)
    hdu.writeto(tmp_path / "std.fits")
    y, x = np.indices(SHAPE)
    stars = [f * line(x - px) * line(y - py) for f, (px, py) in zip(fluxes, places, strict=True)]
    listed = places.round() if free else places
    (tmp_path / "stars.csv").write_text("x,y\n" + "\n".join(f"{a},{b}" for a, b in listed))
    run = skyfold.run(
        open_image(np.round(sum(stars) + 9), str(tmp_path / "std.fits")),
        "two-channel",
        smooth="6 pix",
        strength=1.0,
        stars={"list": tmp_path / "stars.csv", "origin": 0, "free": free, "errors": False},
        progress=False,
    )
    assert run.model["stars"] == pytest.approx(fluxes, rel=1e-4)
    checks = run.data.origin.checks
    assert any("one PSF for the whole field; on pixels 4 times" in c.message for c in checks)
    assert not any(c.level == "warning" for c in checks)
