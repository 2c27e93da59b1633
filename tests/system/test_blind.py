"""A PSF restored from the command line, and used again."""

import json

import numpy as np
import pytest
from astropy.io import fits


def gaussian(shape, fwhm, place):
    y, x = np.indices(shape)
    squared = (y - place[0]) ** 2 + (x - place[1]) ** 2
    kernel = np.exp(-4 * np.log(2) * squared / fwhm**2)
    return kernel * (4 * np.log(2) / np.pi / fwhm**2)


@pytest.fixture
def _stars(files):
    rng = np.random.default_rng(6)
    mean = np.full((64, 64), 10.0)
    for place, flux in zip(rng.uniform(8, 55, (12, 2)), 10 ** rng.uniform(3, 4.5, 12), strict=True):
        mean += flux * gaussian(mean.shape, 5.0, place)
    files.fits("stars.fits", rng.poisson(mean))
    wrong = gaussian((21, 21), 6.0, (10, 10))
    files.fits("wrong.fits", wrong / wrong.sum())


@pytest.mark.usefixtures("_stars")
def test_a_psf_is_restored_and_used_again(skyfold, files):
    run = "run stars.fits --psf wrong.fits"
    skyfold.accepts(f"{run} --method blind --shape gaussian --iterations 6 -o out")
    out = files.folder / "out"
    told = json.loads((out / "manifest.json").read_text())["results"]["psf"]
    assert told["fwhm_start"] == pytest.approx(6.0, rel=0.02)
    assert told["fwhm"] == pytest.approx(5.0, rel=0.05)
    with fits.open(out / "result.fits") as hdus:
        assert hdus["PSF"].data.sum() == pytest.approx(1)
        assert hdus["TRACE"].data["psf_fwhm"][-1] == told["fwhm"]
        better = hdus["TRACE"].data["log_likelihood"]
        assert np.all(np.diff(better) >= 0)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "width of the PSF" in page
    assert f"restored {told['fwhm']:.3g} pixels" in page
    skyfold.accepts("run stars.fits --psf out/result.fits[PSF] --iterations 2 -o again")


@pytest.mark.slow
@pytest.mark.usefixtures("_stars")
def test_interrupted_or_not_the_psf_is_the_same(skyfold, files):
    run = "run stars.fits --psf wrong.fits --method blind --shape gaussian"
    skyfold.accepts(f"{run} --iterations 4 -o through")
    skyfold.accepts(f"{run} --iterations 2 -o out")
    skyfold.accepts("resume out --iterations 4")
    kernels = [
        fits.getdata(files.folder / name / "result.fits", "PSF") for name in ("through", "out")
    ]
    assert np.array_equal(*kernels)
    assert np.array_equal(
        *[fits.getdata(files.folder / n / "result.fits") for n in ("through", "out")]
    )
