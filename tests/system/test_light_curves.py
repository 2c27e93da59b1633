"""Several frames of one field from the command line: shifted, each with its PSF and its fluxes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import skyfold as package
from skyfold.observers import Observer
from skyfold.source_files import read_sources
from skyfold_image.kernels import gauss

SHAPE = (26, 28)
MOVES = [(0.0, 0.0), (1.4, -2.0), (-0.7, 0.6)]
WIDTHS = [3.0, 3.6, 2.8]
PLACES = np.array([[9.3, 8.6], [18.0, 16.4]])
FLUX = np.array([[6000.0, 3000.0], [9000.0, 3000.0], [4000.0, 3000.0]])


@pytest.fixture
def frames(files):
    """Three frames over a flat sky, their PSFs, and a list of two stars."""
    rng = np.random.default_rng(4)
    rows, columns = np.indices(SHAPE)
    for i, ((x, y), width, flux) in enumerate(zip(MOVES, WIDTHS, FLUX, strict=True), 1):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (40, 10)
        wcs.wcs.cdelt, wcs.wcs.crpix = (-1e-4, 1e-4), (10 + x, 9 + y)
        sigma = width / 2.3548
        expected = np.full(SHAPE, 5.0)
        for place, light in zip(np.add(PLACES, (x, y)), flux, strict=True):
            away = (columns - place[0]) ** 2 + (rows - place[1]) ** 2
            expected += light / (2 * np.pi * sigma**2) * np.exp(-away / (2 * sigma**2))
        header = wcs.to_header()
        fits.writeto(files.folder / f"{i}.fits", rng.poisson(expected).astype("i4"), header)
        fits.writeto(files.folder / f"psf{i}.fits", gauss(np.sqrt(width**2 - 0.45)))
    lines = "".join(f"{x + 1} {y + 1} 11\n" for x, y in PLACES)
    (files.folder / "two.stars").write_text(lines)
    return files.folder


CONFIG = """
data:
  - {counts: 1.fits, psf: psf1.fits}
  - {counts: 2.fits, psf: psf2.fits}
  - {counts: 3.fits, psf: psf3.fits}
stars: {list: two.stars, each: true}
method: {name: two-channel, smooth: 9 pix, strength: 0.3}
output: out
"""


def test_light_curves(skyfold, frames):
    (frames / "run.yaml").write_text(CONFIG)
    skyfold.accepts("run run.yaml", says=("stars 1",))
    result = package.open(frames / "out")
    found = np.array([result.model[f"stars {i}"] for i in (1, 2, 3)])
    assert np.all(np.abs(found - FLUX) < 5 * np.sqrt(FLUX + 5 * 90))
    assert result.image.shape == SHAPE
    table = Table.read(frames / "out" / "stars.ecsv")
    assert len(table) == 6
    checks = json.loads((frames / "out" / "manifest.json").read_text())["checks"]
    assert any("shifted by +1.400, -2.000 of its pixels" in check["message"] for check in checks)
    for form in ("stars.ecsv", "result.fits[STARS]", "stars.reg"):
        assert read_sources(frames / "out" / form).names == ("1", "2")
    again = CONFIG.replace("two.stars", "out/stars.ecsv").replace("output: out", "output: again")
    (frames / "again.yaml").write_text(again)
    skyfold.accepts("run again.yaml --iterations 0", says=("each star starts at its mean flux",))
    repeated = Table.read(frames / "again" / "stars.ecsv")
    assert list(repeated["name"]) == list(table["name"])
    assert repeated["x"] == pytest.approx(table["x"], abs=1e-6)
    assert repeated["first_flux"][:2] == pytest.approx(found.mean(axis=0))


def test_one_psf_for_all_and_one_flux(skyfold, frames):
    told = "run 1.fits 3.fits --psf psf1.fits --stars two.stars --method two-channel -o out"
    skyfold.accepts(f"{told} --smooth 9pix --strength 0.3")
    assert np.all(package.open(frames / "out").model["stars"] > 2000)


def test_places_are_fitted(skyfold, frames):
    lines = "".join(f"{x + 1.3} {y + 0.8} 11\n" for x, y in PLACES)
    (frames / "off.stars").write_text(lines)
    told = "run 1.fits --psf psf1.fits --stars off.stars --stars.free --method two-channel"
    skyfold.accepts(f"{told} --smooth 9pix --strength 0.3 -o out")
    result = package.open(frames / "out")
    moves = result.state.parameters["stars"] - result.problem.data.parameters["stars"]
    assert moves == pytest.approx(np.tile([-0.3, 0.2], (2, 1)), abs=0.12)


def run(folder, **more):
    """Restore two frames with stars given as numbers: their fluxes in each, and their places."""
    data = package.read(*(folder / f"{i}.fits" for i in (1, 2)), psf=folder / "psf1.fits")
    stars = {"list": PLACES + 1 / 3, "each": True, "free": True, "errors": False}
    options = {"smooth": "9 pix", "strength": 0.3, "progress": False}
    return package.run(data, "two-channel", 6, stars=stars, **options, **more)


class Kill(Observer):
    """Ends its process at once."""

    def on_start(self, state):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_with_stars_as_numbers_is_resumed_from_its_first_moment(skyfold, frames):
    out = frames / "out"
    script = (
        "from pathlib import Path; from test_light_curves import Kill, run; "
        "run(Path(), output='out', observers=[Kill()])"
    )
    skyfold.add_to_path(Path(__file__).parent)
    killed = subprocess.run([sys.executable, "-c", script], cwd=frames, env=skyfold.env)
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "stars.ecsv").exists()
    again, whole = package.resume(out, progress=False), run(frames)
    assert again.state.iteration == 6
    for name, values in whole.state.parameters.items():
        np.testing.assert_array_equal(again.state.parameters[name], values)
    for name in ("sky", "stars 1", "stars 2"):
        np.testing.assert_array_equal(again.model[name], whole.model[name])
    for axis in ("x", "y"):
        np.testing.assert_array_equal(again.stars[axis], whole.stars[axis])
        np.testing.assert_array_equal(Table.read(out / "stars.ecsv")[axis], whole.stars[axis])
    moved = np.stack([whole.stars["dx"], whole.stars["dy"]], axis=1)
    np.testing.assert_array_equal(moved[:2], moved[2:])
    assert moved[:2] == pytest.approx(np.full((2, 2), -1 / 3), abs=0.15)
