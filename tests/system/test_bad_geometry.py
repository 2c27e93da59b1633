"""Images that do not lie on each other (codes of the list of faults)."""

import numpy as np
import pytest
from astropy.io import fits

RUN = "run counts.fits --psf psf.fits --iterations 2 -o out"
CHECK = "check counts.fits --psf psf.fits"


@pytest.fixture(autouse=True)
def _observation(files):
    files.observation()


@pytest.mark.parametrize(
    ("role", "shape"),
    [
        ("background", (1, 32)),
        ("background", (32, 33)),
        ("baseline", (32, 1)),
        ("mask", (1, 32)),
        ("exposure", (32, 1)),
    ],
    ids=lambda value: f"G03-{value}",
)
def test_other_shape(skyfold, files, role, shape):
    """Nothing is broadcast, ever."""
    files.fits("other.fits", np.ones(shape))
    says = ("other.fits", role, str(shape), "counts.fits", "(32, 32)", "agree exactly")
    skyfold.refuses(3, f"{RUN} --{role} other.fits", says=says)


@pytest.mark.parametrize("shift", [(0.5, 0), (3, -2)], ids=["G04-half", "G04-whole"])
def test_shifted_exposure(skyfold, files, shift):
    files.fits("exposure.fits", np.ones((32, 32)), wcs={"shift": shift}, BUNIT="cm2 s")
    says = ("exposure.fits", "exposure", "counts.fits", "differ by (", "--align reproject")
    skyfold.refuses(3, f"{RUN} --exposure exposure.fits", says=says)
    skyfold.accepts(
        f"{CHECK} --exposure exposure.fits --align reproject", says=("fixed", "reprojected")
    )


def test_G04_shifted_background_is_refused_without_a_cure_that_is_none(skyfold, files):
    files.fits("background.fits", np.ones((32, 32)), wcs={"shift": (0.5, 0)})
    says = ("background.fits", "differ by (+0.500, +0.000) pixels")
    ended = skyfold.refuses(3, f"{RUN} --background background.fits", says=says)
    assert "--align" not in ended.err


def test_maps_that_are_one_number(skyfold, files):
    said = skyfold.accepts(f"{CHECK} --background 0.5").out
    assert "background: 'background': 512 counts expected" in said
    several = "--background room=0.5 --background dark=1 --baseline 0.1 --fit-background"
    skyfold.accepts(f"{RUN} {several}", says=("'room': 512 counts", "'dark': 1024 counts"))
    for flag, says in (
        ("--background -1", "background 'background': -1 must be a finite number of at least 0"),
        ("--background room=-1", "background 'room': -1 must be"),
        ("--baseline .nan", "baseline 'baseline': nan must be"),
    ):
        skyfold.refuses(2, f"{CHECK} {flag}", says=(says,))


def test_unit_of_the_exposure(skyfold, files):
    files.fits("exposure.fits", np.full((32, 32), 3e11))
    flags = f"{CHECK} --exposure exposure.fits"
    skyfold.accepts(flags, says=("WARNING exposure: no unit", '--exposure-unit "cm2 s"'))
    said = skyfold.accepts(f"{flags} --exposure-unit 'cm2 s'").out
    assert "ok      exposure: unit cm2 s, as told" in said
    assert "WARNING" not in said
    skyfold.refuses(2, f"{flags} --exposure-unit furlongs", says=('"furlongs" must be a unit',))


def test_counts_that_nothing_can_explain(skyfold, files):
    """Counts far from all that is exposed: said by `check` too, and before there is a folder."""
    exposure = np.zeros((32, 32))
    exposure[:, :10] = 1e9
    files.fits("exposure.fits", exposure, BUNIT="cm2 s")
    says = ("neither response nor background can produce any", "first at (14, 0)", "Mask")
    for command in (CHECK, RUN):
        ended = skyfold.refuses(3, f"{command} --exposure exposure.fits", says=says)
        assert ended.err.startswith("skyfold: ")


def test_G05_no_coordinates(skyfold, files):
    files.counts(wcs=None)
    skyfold.accepts(RUN, says=("WARNING counts: no world coordinates: pixel coordinates only",))
    assert "CTYPE1" not in fits.getheader(files.folder / "out" / "result.fits")


@pytest.mark.parametrize("width", ["2", "'2'"], ids=["G11-number", "G11-text"])
def test_smoothing_without_unit(skyfold, width):
    says = ("smoothing.fwhm", "angle or pixels with a unit", '"2 deg"', '"2 pix"')
    skyfold.refuses(2, f'{RUN} --smoothing.fwhm "{width}"', says=says)


def test_G11_smoothing_of_another_kind(skyfold):
    says = ("smoothing.fwhm", '"2 s"', "a time")
    skyfold.refuses(2, f"{RUN} --smoothing.fwhm '2 s'", says=says)


def test_G11_smoothing_by_an_angle_without_coordinates(skyfold, files):
    files.counts(wcs=None)
    skyfold.refuses(2, f"{RUN} --smoothing.fwhm '2 arcsec'", says=("coordinates", "pix"))


def test_G11_angle_and_pixels_are_the_same_width(skyfold, files):
    for name, width in (("a", "0.025 arcmin"), ("b", "3 pix")):
        skyfold.accepts(f"{RUN}-{name} --smoothing.fwhm '{width}'")
    images = [fits.getdata(files.folder / f"out-{n}" / "result.fits") for n in "ab"]
    np.testing.assert_allclose(images[0], images[1], rtol=1e-6)
