"""The significance of structure of a run folder; a PSF from a library."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

CORE, SIDE = "core = circle(8, 7, 2.5)", "side = circle(2, 13, 2.5)"
SHORT = "--chains 1 --origins 1 --burn 30 --draws 60"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, workplace):
    """A bright source on an even background, sampled, its PSF one of a library."""
    folder = tmp_path_factory.mktemp("structure")
    y, x = np.mgrid[-3:4, -3:4]
    kernels = np.array([np.exp(-(x**2 + y**2) / (2 * s**2)) for s in (0.8, 1.0, 1.2)])
    kernels /= kernels.sum(axis=(1, 2), keepdims=True)
    expected = np.ones((16, 16))
    expected[4:11, 5:12] += 150 * kernels[1]
    counts = np.random.default_rng(1).poisson(expected).astype(float)
    for name, values in (
        ("counts", counts),
        ("psf", kernels[1]),
        ("background", np.ones((16, 16))),
        ("library", kernels),
    ):
        fits.PrimaryHDU(values).writeto(folder / f"{name}.fits")
    command, _ = workplace(folder)
    command.accepts(
        "run counts.fits --psf psf.fits --background background.fits -o run -q "
        f"--method lira --psf-library library.fits {SHORT}"
    )
    return folder


def test_structure_of_a_run(runs, workplace):
    command, _ = workplace(runs)
    asked = ("structure", "run", "--region", CORE, "--region", SIDE, "--gamma", "0.05", "-q")
    ended = command.accepts(*asked, "--simulations", "8")
    assert ended.out.splitlines()[0].split()[:3] == ["region", "extra", "low"]
    assert "sky.response" in fits.getdata(runs / "run" / "result.fits", "PARAMETER_TRACE").names
    table = Table.read(runs / "run" / "structure.ecsv")
    assert list(table["region"]) == ["core", "side"]
    assert 100 < table["extra"][0] < 200
    assert table["tail"][0] > 0.95
    assert table["p_empirical"][0] == pytest.approx(1 / 5)
    assert table["p_holm"][0] == pytest.approx(2 / 5)
    assert table["tail"][1] < 0.5
    page = (runs / "run" / "report.html").read_text("utf-8")
    assert "Structure beyond the known" in page
    picture = (runs / "run" / "structure.svg").read_text("utf-8")
    for told in (ended.out, page, picture):
        assert "p_upper" in told
    for told in (ended.out, page):
        assert "The null model: no sky, but background held fixed." in told
        assert "What speaks against the run: " in told


def test_what_cannot_be_asked_is_said(runs, workplace):
    command, _ = workplace(runs)
    command.refuses(2, "structure", "run", says=("structure where?",))
