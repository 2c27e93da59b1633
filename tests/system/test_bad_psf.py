"""Point spread functions as people have them (codes of the list of faults)."""

import numpy as np
import pytest
from astropy.io import fits

CHECK = "check counts.fits --psf psf.fits"
RUN = "run counts.fits --psf psf.fits --iterations 2 -o out"


@pytest.fixture(autouse=True)
def _counts(files):
    files.counts()


@pytest.mark.parametrize(
    ("total", "says"),
    [
        (0.9909, ("PSF sums to 0.9909: renormalised; 0.9 % of the light", "--psf-norm keep")),
        (7.3, ("PSF sums to 7.3: renormalised", "--psf-norm keep")),
        (1e6, ("PSF sums to 1e+06: renormalised", "--psf-norm keep")),
    ],
    ids=["P01-0.9909", "P01-7.3", "P01-1e6"],
)
def test_sum(skyfold, files, total, says):
    files.psf(files.kernel() * total)
    skyfold.accepts(CHECK, says=says)


def test_swapped_with_the_counts(skyfold, files):
    files.psf(files.sky())
    files.counts(files.kernel(33))
    says = (
        "WARNING counts: ",
        "counts.fits: sum 1, not whole",
        "are --psf and the counts swapped?",
    )
    skyfold.accepts(CHECK, says=(*says, "psf: PSF sums to"))
    skyfold.refuses(3, f"{CHECK} --strict", says=("are --psf and the counts swapped?",))


def test_P01_efficiency_is_kept_if_wanted(skyfold, files):
    """Twice the efficiency, half the flux."""
    for factor in (1, 0.5):
        files.psf(files.kernel() * factor)
        skyfold.accepts(f"{RUN}{factor} --psf-norm keep", says=("kept",))
    one, half = (fits.getdata(files.folder / f"out{f}" / "result.fits") for f in (1, 0.5))
    np.testing.assert_allclose(half, 2 * one, rtol=1e-9)


def test_P02_even_size(skyfold, files):
    files.psf(files.kernel(10))
    skyfold.accepts(CHECK, says=("fixed   psf: PSF 10x10 is even: padded to", "(4.5, 4.5)"))


def test_P03_off_centre(skyfold, files):
    files.psf(files.kernel(15, at=(5, 6)))
    says = ("WARNING psf: PSF centroid is (-2.00, -1.00) pixels", "shifted by 1.12 arcsec")
    skyfold.accepts(f"{RUN} --overwrite", says=(*says, "--psf-centre keep"))
    image = fits.getdata(files.folder / "out" / "result.fits")
    assert np.unravel_index(np.argmax(image), image.shape) == (10, 12)
    skyfold.accepts(f"{RUN} --overwrite --psf-centre keep")
    image = fits.getdata(files.folder / "out" / "result.fits")
    assert np.unravel_index(np.argmax(image), image.shape) == (11, 14)


def test_P04_wrapped(skyfold, files):
    reach = []
    for kernel in (files.kernel(15), np.fft.ifftshift(files.kernel(15))):
        files.psf(kernel)
        said = skyfold.accepts(CHECK).out
        reach.append(said.splitlines()[-1])
        assert ("PSF looks wrapped; rolled" in said) == (len(reach) == 2)
    assert "68% within" in reach[0]
    assert reach[0] == reach[1]


def test_P05_negative_values(skyfold, files):
    kernel = files.kernel()
    kernel[1, 2] = -0.01
    files.psf(kernel)
    says = ("psf.fits", "1 negative values (lowest -0.01", "x=2 y=1", "set these pixels to zero")
    skyfold.refuses(3, RUN, says=says)
    kernel[1, 2] = -1e-9
    files.psf(kernel)
    skyfold.accepts(CHECK, says=("fixed   psf: 1 tiny negative values of the PSF set to zero",))


def test_P05_not_finite(skyfold, files):
    kernel = files.kernel()
    kernel[3, 2] = np.nan
    files.psf(kernel)
    skyfold.refuses(3, RUN, says=("psf.fits", "not finite", "x=2 y=3", "repair"))


def test_P06_no_light(skyfold, files):
    files.psf(np.zeros((9, 9)))
    skyfold.refuses(3, RUN, says=("psf.fits", "PSF is zero everywhere"))


def test_P06_a_single_pixel(skyfold, files):
    kernel = np.zeros((5, 5))
    kernel[2, 2] = 1
    files.psf(kernel)
    skyfold.accepts(RUN, says=("WARNING psf: PSF is a single pixel: restoration will equal",))
    image = fits.getdata(files.folder / "out" / "result.fits")
    np.testing.assert_allclose(image, files.sky(), atol=1e-9)


def test_P07_other_pixel_size(skyfold, files):
    files.psf(files.kernel(27, sigma=4.8), wcs={"pixel": 0.125})
    says = ("psf.fits", "PSF pixels are 0.125 arcsec but data pixels 0.5 arcsec", "--psf-resample")
    skyfold.refuses(3, RUN, says=says)
    skyfold.accepts(f"{CHECK} --psf-resample", says=("fixed   psf: PSF resampled from 0.125",))


def test_P08_larger_than_the_image(skyfold, files):
    files.psf(files.kernel(65, sigma=2))
    skyfold.accepts(CHECK, says=("PSF 65x65 is larger than the image 32x32: cropped", "% of its"))


def test_P09_rotated(skyfold, files):
    files.psf(wcs={"angle": 37.2})
    skyfold.accepts(CHECK, says=("WARNING psf: PSF WCS is rotated by", "37.2 deg"))


def test_P10_pedestal(skyfold, files):
    files.psf(files.kernel(21) + 0.02 * files.kernel(21).max())
    says = ("WARNING psf: outer ring of the PSF is not zero (2 % of the peak)",)
    skyfold.accepts(CHECK, says=(*says, "--psf-pedestal subtract"))
    said = skyfold.accepts(f"{CHECK} --psf-pedestal subtract", says=("pedestal subtracted",)).out
    assert "WARNING" not in said


def test_P11_energy(skyfold, files):
    files.counts(TELESCOP="CHANDRA", DSTYP1="energy", DSVAL1="4000:7000", DSUNI1="eV")
    files.psf(ENERGY=1.5)
    skyfold.accepts(CHECK, says=("WARNING", "psf", "1.5 keV", "4", "7"))


@pytest.mark.parametrize("wrong", ["deg-2", "rad"], ids=["P12-profile", "P12-angle"])
def test_units_of_a_radial_profile(skyfold, files, wrong):
    theta = np.linspace(0, 0.5, 300)
    profile = np.exp(-0.5 * (theta / 0.05) ** 2) / (2 * np.pi * np.deg2rad(0.05) ** 2)
    if wrong == "deg-2":
        profile /= np.rad2deg(1) ** 2
    else:
        theta = np.deg2rad(theta)
    psf = [
        fits.Column("Energy", "D", array=np.array([1e3, 1e5])),
        fits.Column("Exposure", "D", array=np.ones(2)),
        fits.Column("Psf", "300D", array=np.tile(profile, (2, 1))),
    ]
    angles = [fits.Column("Theta", "D", array=theta)]
    tables = [
        fits.BinTableHDU.from_columns(columns, name=name)
        for name, columns in (("PSF", psf), ("THETA", angles))
    ]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(files.folder / "psf.fits")
    files.counts(TELESCOP="GLAST", INSTRUME="LAT")
    says = ("psf.fits", "integral of the PSF over the sphere is 0.000", "expected 1", "units look")
    skyfold.refuses(3, RUN, says=says)
