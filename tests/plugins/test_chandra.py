"""Chandra: recognised, named, its PSF's energy compared; and a real observation restored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import skyfold
from skyfold.registry import default_registry
from skyfold.result import summary
from skyfold_chandra.opener import counts_energies, open_chandra, psf_energy
from skyfold_image import kernels

GALACTIC_CENTRE = ("chandra-counts-obs-id-4684.fits.gz", "chandra-psf-obs-id-4684.fits.gz")


def saved(path: Path, values: np.ndarray, **cards: Any) -> Path:
    header = fits.Header({"TELESCOP": "CHANDRA", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    header.update({"CDELT1": -0.0001, "CDELT2": 0.0001, **cards})
    fits.PrimaryHDU(values, header).writeto(path)
    return path


@pytest.fixture
def counts(tmp_path: Path, rng: np.random.Generator) -> Path:
    selected = {"DSTYP1": "time", "DSVAL1": "TABLE", "DSTYP2": "energy", "DSVAL2": "4000:7000"}
    values = rng.poisson(5.0, (30, 40)).astype(np.int16)
    return saved(tmp_path / "img.fits", values, OBS_ID="4684", OBJECT="Sgr A*", **selected)


def test_identified_before_the_general_images(tmp_path: Path, counts: Path) -> None:
    registry = default_registry()
    other = saved(tmp_path / "other.fits", np.ones((3, 3)), TELESCOP="HST")
    np.save(tmp_path / "a.npy", np.ones((3, 3)))
    assert registry.identify(counts) == "chandra"
    assert registry.identify(other) == "image"
    assert registry.identify(tmp_path / "a.npy") == "image"


@pytest.mark.parametrize(("energy", "level"), [(1.5, "warning"), (5.0, "ok")])
@pytest.mark.parametrize("where", ["card", "history"])
def test_energy_of_the_psf(
    tmp_path: Path, counts: Path, energy: float, level: str, where: str
) -> None:
    path = saved(tmp_path / "psf.fits", kernels.gauss(2.0))
    with fits.open(path, mode="update") as file:
        if where == "card":
            file[0].header["ENERGY"] = energy
        else:
            file[0].header.add_history(f" PARM  :monoenergy={energy}       ASC00094")
    data = open_chandra(counts, path)
    found = [c for c in data.origin.checks if "computed at" in c.message]
    assert [(c.level, c.message) for c in found] == [
        (level, f"PSF computed at {energy:g} keV, data 4 to 7 keV")
    ]


def test_headers_without_energies() -> None:
    assert psf_energy(None) is None
    assert psf_energy(fits.Header()) is None
    assert counts_energies(None) is None
    assert counts_energies(fits.Header({"DSTYP1": "energy", "DSVAL1": "TABLE"})) is None
    several = fits.Header({"DSTYP4": "energy", "DSVAL4": "500:2000,3000:7000"})
    assert counts_energies(several) == (0.5, 7.0)


def test_exposure_map_gives_a_flux(tmp_path: Path, counts: Path) -> None:
    exposure = saved(tmp_path / "exp.fits", np.full((30, 40), 2e7), BUNIT="cm**2*s*count/photon")
    data = open_chandra(counts, "gauss:0.8 arcsec", exposure=exposure)
    assert data.components["sky"].unit == "ph / (s cm2)"
    assert data.origin.name == "Chandra 4684 Sgr A*"
    assert data.origin.instrument == "chandra"


def test_options_are_those_of_images() -> None:
    from skyfold.options import describe
    from skyfold_image.opener import open_image

    assert [vars(o) | {"annotation": o.type} for o in describe(open_chandra)] == [
        vars(o) | {"annotation": o.type} for o in describe(open_image)
    ]


def test_galactic_centre(shared_data: Path) -> None:
    counts, psf = (shared_data / "chandra" / name for name in GALACTIC_CENTRE)
    assert default_registry().identify(counts) == "chandra"
    data = skyfold.read(counts, psf=psf)
    assert data.origin.instrument == "chandra"
    assert data.full_counts.sum() == 13_829
    checks = "\n".join(f"{c.level} {c.message}" for c in data.origin.checks)
    assert "PSF 48x48 is even" in checks
    assert "PSF sums to 0.9915: renormalised" in checks
    assert "warning" not in checks
    result = skyfold.run(data, iterations=10, progress=False)
    figures = summary(result)
    assert figures["ratio"] == pytest.approx(1, abs=1e-3)
    assert figures["largest_block"] < 6
    assert result.image.shape == (256, 256)
    assert result.image.unit == "ct"
