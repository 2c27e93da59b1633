"""Fluxes of regions of a run folder, with their errors."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

CORE = "core = circle(12, 10, 5)"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, workplace):
    """A folder with a run that ended early, and one that went to the maximum."""
    folder = tmp_path_factory.mktemp("errors")
    command, files = workplace(folder)
    files.observation()
    command.accepts("run counts.fits --psf psf.fits -o early --iterations 15 -q")
    command.accepts(
        "run counts.fits --psf psf.fits -o best -q --method map "
        "--set method.prior.tsv.coefficient=3e-4"
    )
    return folder


def test_errors_of_a_maximum(runs, workplace):
    command, _ = workplace(runs)
    second = 'box(17h45m36s, -29d00m00s, 4 arcsec, 4")'
    ended = command.accepts("errors", "best", "--region", CORE, "--region", second)
    lines = ended.out.splitlines()
    assert lines[0].split() == ["region", "pixels", "flux", "sandwich", "prior"]
    assert lines[1].split()[:2] == ["core", "81"]
    assert "in ct" in ended.out
    table = Table.read(runs / "best" / "errors.ecsv")
    assert list(table["region"]) == ["core", second]
    image = fits.getdata(runs / "best" / "result.fits")
    y, x = np.indices(image.shape)
    assert table["flux"][0] == pytest.approx(image[(y - 10) ** 2 + (x - 12) ** 2 <= 25].sum())
    assert 0 < table["error_sandwich"][0] < 3 * np.sqrt(table["flux"][0])
    assert table["flux"].unit == "ct"
    assert np.shape(table.meta["correlation"]) == (2, 2)
    page = (runs / "best" / "report.html").read_text("utf-8")
    assert "Region fluxes" in page
    assert "error, sandwich (ct)" in page
    assert not (runs / "best" / "bootstrap.fits").exists()


def test_errors_of_an_early_stop(runs, workplace):
    command, _ = workplace(runs)
    command.refuses(
        2, "errors", "early", "--region", CORE, "--method", "sandwich",
        says=("before its maximum", "--method bootstrap", "--converge"),
    )  # fmt: skip
    command.accepts("errors", "early", "--region", CORE, "--replicas", "4", says=("bootstrap",))
    table = Table.read(runs / "early" / "errors.ecsv")
    assert table["low"][0] < table["high"][0]
    assert table.meta["replicas"] == 4
    with fits.open(runs / "early" / "bootstrap.fits") as hdus:
        mean, deviation = hdus["MEAN"].data, hdus["STD"].data
    image = fits.getdata(runs / "early" / "result.fits")
    assert mean.shape == deviation.shape == image.shape
    assert np.corrcoef(mean.ravel(), image.ravel())[0, 1] > 0.95
    command.accepts("errors early --significance", says=("significance.fits",))
    outdated = ("errors.ecsv", "bootstrap.fits", "significance.fits")
    said = f"early: {', '.join(outdated)} are removed"
    command.accepts("resume early --iterations 16 -q", says=(said,))
    for name in outdated:
        assert not (runs / "early" / name).exists()


def test_what_cannot_be_asked_is_said(runs, workplace):
    command, _ = workplace(runs)
    for code, words, said in (
        (2, ["best"], "--region or --significance"),
        (2, ["nowhere", "--region", CORE], "holds no run"),
        (2, ["best", "--region", "circle(200, 10, 5)"], "the centre of no pixel"),
        (7, ["best", "--region", "absent.reg"], "absent.reg"),
    ):
        command.refuses(code, "errors", *words, says=(said,))


def test_help_teaches(skyfold):
    skyfold.accepts("errors --help", says=("circle(x, y, radius)", "bootstrap", "upper limits"))
