"""The programs of Hubble on the command line."""

import signal

import numpy as np
import pytest
from astropy.io import fits

STARS = "# x y magnitude\n13 11 14\n\n23 21 15 ! faint\n"


@pytest.fixture(autouse=True)
def _observation(files):
    files.counts()
    files.psf(files.kernel(32, at=(15, 15)))
    files.text("stars", STARS)


def test_a_line_of_the_time(skyfold, files):
    says = ("iteration 2 of 2", "star 1 ", "written   out.fits, back.fits, table, out_skyfold/")
    skyfold.accepts("plucy counts psf 0.1 2 out stars back=back skernel=3 outtab=table", says=says)
    out, back = (fits.getdata(files.folder / f"{name}.fits") for name in ("out", "back"))
    rows = np.loadtxt(files.folder / "table")
    np.testing.assert_allclose((out - back)[10, 12], rows[0, 4], atol=0.01)
    text = (files.folder / "table").read_text()
    for told in ("# Data: counts", "# PSF: psf", "# Iterations: 2", "# Star list: stars"):
        assert told in text
    assert (files.folder / "out_skyfold" / "report.html").exists()


def test_help_tells_the_parameters(skyfold):
    skyfold.accepts("cplucy --help", says=("Takes, in this order", "niter: a whole number"))


@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        (2, "plucy counts psf 0.1 2 out stars skernal=3", "unknown key 'skernal'. Did you mean"),
        (7, "plucy none psf 0.1 2 out", "none: there is no such image, nor none.fits"),
        (7, "plucy counts psf 0.1 2 counts stars", "decon: counts.fits exists already"),
        (3, "plucy counts psf 0.1 2 out empty", "no star in it"),
        (3, "plucy counts psf 0.1 2 out stars xsub=2 ysub=2", "blocks of 2 x 2 pixels are not"),
        (3, "acoadd counts,large psf,psf 3 out", "shape (32, 32) against (64, 64)"),
    ],
)
def test_bad_input(skyfold, files, code, words, says):
    files.text("empty", "# none\n")
    files.fits("large.fits", np.ones((64, 64)))
    skyfold.refuses(code, words, says=(says,))


@pytest.mark.slow
def test_an_interrupted_run_tells_how_to_go_on(skyfold, files):
    process = skyfold.start("plucy counts psf 0.1 100000 out stars")
    for line in process.stdout:
        if line.startswith("iteration 20"):
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 5
    assert "skyfold resume out_skyfold" in said
    assert "out.fits are not written" in said
    assert not (files.folder / "out.fits").exists()
