"""Fermi-LAT products become data: the chain from files to expected counts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid
from skyfold.model import Model
from skyfold.response import check_adjoint
from skyfold_fermi import skyfold_identify
from skyfold_fermi.counts import distortion, pixel_angles, selected_energies
from skyfold_fermi.opener import open_fermi
from skyfold_image.reading import read_image

EDGES = np.array([1e3, 1e4, 1e5])  # MeV
NODES = np.array([8e2, 1e4, 1.2e5])
SIGMA = np.radians([0.3, 0.2, 0.1])
AREA = np.array([1e10, 2e10, 4e10])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Products of a small made-up observation, in the layout of the Science Tools."""
    folder = tmp_path_factory.mktemp("fermi")
    header = fits.Header()
    header.update(
        CTYPE1="GLON-CAR", CRPIX1=20.5, CRVAL1=0.0, CDELT1=-0.1, CUNIT1="deg",
        CTYPE2="GLAT-CAR", CRPIX2=15.5, CRVAL2=0.0, CDELT2=0.1, CUNIT2="deg",
    )  # fmt: skip
    counts = np.random.default_rng(1).poisson(0.3, (2, 30, 40)).astype(np.int32)
    cube = header.copy()
    cube.update(CTYPE3="Energy", CRPIX3=1.0, CRVAL3=1e3, CDELT3=9e3, CUNIT3="MeV")
    cube.update(TELESCOP="GLAST", INSTRUME="LAT")
    ebounds = fits.BinTableHDU.from_columns(
        [
            fits.Column("E_MIN", "E", "keV", array=EDGES[:-1] * 1e3),
            fits.Column("E_MAX", "E", "keV", array=EDGES[1:] * 1e3),
        ],
        name="EBOUNDS",
    )
    fits.HDUList([fits.PrimaryHDU(counts, cube), ebounds]).writeto(folder / "ccube.fits")
    cmap = header.copy()
    cmap.update(TELESCOP="GLAST", INSTRUME="LAT", NDSKEYS=2)
    cmap.update(DSTYP1="TIME", DSVAL1="TABLE", DSTYP2="ENERGY", DSUNI2="MeV", DSVAL2="1000:100000")
    fits.PrimaryHDU(counts.sum(axis=0), cmap).writeto(folder / "cmap.fits")
    fits.PrimaryHDU(counts.sum(axis=0), header).writeto(folder / "bare.fits")

    energies = fits.BinTableHDU.from_columns(
        [fits.Column("Energy", "D", array=NODES)], name="ENERGIES"
    )
    values = np.broadcast_to(AREA[:, None, None], (3, 30, 40)).copy()
    nodes = header.copy()
    nodes.update(CTYPE3="log_Energy", CRPIX3=1.0, CRVAL3=np.log(8e2), CDELT3=2.5)
    fits.HDUList([fits.PrimaryHDU(values, nodes), energies]).writeto(folder / "expcube.fits")

    theta = np.radians(5) * np.linspace(0, 1, 400) ** 2
    profile = np.exp(-0.5 * (theta / SIGMA[:, None]) ** 2) / (2 * np.pi * SIGMA[:, None] ** 2)
    psf = [
        fits.Column("Energy", "D", array=NODES),
        fits.Column("Exposure", "D", array=AREA),
        fits.Column("Psf", "400D", array=profile),
    ]
    tables = [
        fits.BinTableHDU.from_columns(psf, name="PSF"),
        fits.BinTableHDU.from_columns(
            [fits.Column("Theta", "D", array=np.degrees(theta))], name="THETA"
        ),
    ]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(folder / "psf.fits")
    fits.PrimaryHDU(np.full((2, 30, 40), 0.2), cube).writeto(folder / "model.fits")
    return folder


def products(folder: Path) -> dict[str, Path]:
    return {"psf": folder / "psf.fits", "exposure": folder / "expcube.fits"}


def source(data: BinnedData, flux: np.ndarray | float) -> np.ndarray:
    """Return a sky with a source on the middle pixel of the field."""
    grid = data.components["sky"].geometry
    assert isinstance(grid, Grid)
    sky = np.zeros(grid.shape)
    field = grid.field or tuple(slice(0, n) for n in grid.shape)
    ny, nx = data.shape[-2:]
    sky[field][..., ny // 2, nx // 2] = flux
    return sky


@pytest.mark.parametrize("boundary", ["extended", "same"])
def test_adjoint(folder: Path, boundary: Literal["extended", "same"]) -> None:
    data = open_fermi(folder / "ccube.fits", **products(folder), boundary=boundary)
    assert check_adjoint(data.whole["sky"]) < 1e-12


def log_mean(low: float, high: float, area: tuple[float, float], between: tuple) -> float:
    """Return the mean of a power law over E^-2, by brute force."""
    energy = np.geomspace(low, high, 20001)
    slope = np.log(area[1] / area[0]) / np.log(between[1] / between[0])
    value = area[0] * (energy / between[0]) ** slope
    return float(np.trapezoid(value / energy**2, energy) / np.trapezoid(energy**-2, energy))


def test_flux_times_exposure_is_counts(folder: Path) -> None:
    data = open_fermi(folder / "ccube.fits", **products(folder))
    assert data.shape == (2, 30, 40)
    assert u.Unit(data.components["sky"].unit) == u.Unit("ph cm-2 s-1")
    flux = np.array([3e-8, 5e-9])
    expected = data.full_expectation({"sky": source(data, flux)}).sum(axis=(1, 2))
    means = [
        log_mean(EDGES[i], EDGES[i + 1], tuple(AREA[i : i + 2]), tuple(NODES[i : i + 2]))
        for i in (0, 1)
    ]
    np.testing.assert_allclose(expected, flux * means, rtol=1e-3)


def test_map_is_the_cube_summed(folder: Path) -> None:
    """A source with the assumed spectrum gives the same counts in the map as in the cube."""
    cube = open_fermi(folder / "ccube.fits", **products(folder))
    whole = open_fermi(folder / "cmap.fits", **products(folder))
    assert whole.shape == (30, 40)
    share = -np.diff(1 / EDGES) / (1 / EDGES[0] - 1 / EDGES[-1])
    bins = cube.full_expectation({"sky": source(cube, 1e-8 * share)}).sum(axis=0)
    total = whole.full_expectation({"sky": source(whole, 1e-8)})
    np.testing.assert_allclose(total, bins, atol=0.01 * bins.max())
    assert total.sum() == pytest.approx(bins.sum(), rel=5e-3)


def test_finer_sky(folder: Path) -> None:
    data = open_fermi(folder / "cmap.fits", **products(folder), block=2)
    coarse = open_fermi(folder / "cmap.fits", **products(folder))
    grid = data.components["sky"].geometry
    assert isinstance(grid, Grid)
    assert grid.field is not None
    sky = np.zeros(grid.shape)
    sky[grid.field][30:32, 40:42] = 0.25e-8  # the four parts of the middle pixel
    fine = data.full_expectation({"sky": sky})
    plain = coarse.full_expectation({"sky": source(coarse, 1e-8)})
    np.testing.assert_allclose(fine, plain, atol=0.03 * plain.max())
    assert fine.sum() == pytest.approx(plain.sum(), rel=2e-3)


def test_backgrounds_by_name_and_energies_that_differ(folder: Path, tmp_path: Path) -> None:
    data = open_fermi(
        folder / "ccube.fits",
        **products(folder),
        background={"galactic": folder / "model.fits", "isotropic": np.full((2, 30, 40), 0.01)},
        fit_background=True,
    )
    assert set(data.components) == {"sky", "galactic", "isotropic"}
    assert not data.components["galactic"].fixed
    assert data.sensitivity["galactic"][0] == pytest.approx(0.2 * 2400)
    with fits.open(folder / "ccube.fits") as hdus:
        hdus["EBOUNDS"].data["E_MAX"][-1] *= 2
        hdus.writeto(tmp_path / "other.fits")
    with pytest.raises(DataError, match="energy edge 2"):
        open_fermi(folder / "ccube.fits", **products(folder), background=tmp_path / "other.fits")


def test_counts_without_energies_say_what_to_do(folder: Path) -> None:
    with pytest.raises(DataError, match=r"bare.fits.*no EBOUNDS.*3 energies.*PSF as an image"):
        open_fermi(folder / "bare.fits", psf=folder / "psf.fits")
    with pytest.raises(DataError, match=r"exposure at 3 energies.*exposure map"):
        open_fermi(folder / "bare.fits", psf="gauss:0.2 deg", exposure=folder / "expcube.fits")
    with pytest.raises(DataError, match="no celestial coordinates"):
        open_fermi(np.ones((30, 40)), psf=folder / "psf.fits")
    with pytest.raises(ConfigError, match="no PSF"):
        open_fermi(folder / "bare.fits")
    assert open_fermi(folder / "bare.fits", psf="gauss:0.2 deg").shape == (30, 40)
    assert open_fermi(np.ones((30, 40)), psf="gauss:2 pix").shape == (30, 40)


def test_data_selection_keywords() -> None:
    header = fits.Header()
    assert selected_energies(header) is None
    header.update(DSTYP3="ENERGY  ", DSUNI3="GeV", DSVAL3="10:2000")
    found = selected_energies(header)
    assert found is not None
    np.testing.assert_allclose(found.to_value("MeV"), [1e4, 2e6])
    header["DSVAL3"] = "TABLE"
    assert selected_energies(header) is None


def test_pixels_are_measured_on_the_sky() -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "GLON-CAR", "GLAT-CAR"
    wcs.wcs.crpix, wcs.wcs.cdelt, wcs.wcs.crval = (10.5, -589.5), (-0.1, 0.1), (0, 0)
    height, width = pixel_angles(wcs, (20, 20))  # around latitude 60
    assert np.degrees(height) == pytest.approx(0.1, rel=1e-6)
    assert np.degrees(width) == pytest.approx(0.05, rel=1e-3)
    assert distortion(wcs, (20, 20)) == pytest.approx(np.sqrt(3) * np.radians(0.95), rel=0.03)


def test_recognised_by_header_and_never_raises(folder: Path, tmp_path: Path) -> None:
    assert skyfold_identify(folder / "ccube.fits") == "fermi"
    assert skyfold_identify(folder / "bare.fits") is None
    for content in (b"", b"SIMPLE  =", b"SIMPLE  =" + b"\0" * 5000, b"\x1f\x8b\x08rubbish"):
        (tmp_path / "odd.fits").write_bytes(content)
        assert skyfold_identify(tmp_path / "odd.fits") is None
    assert skyfold_identify(tmp_path) is None
    assert skyfold_identify(tmp_path / "absent.fits") is None


def mean_residual(data: BinnedData, model: Model, size: int = 8) -> float:
    """Return the largest mean residual over blocks of the image, in standard errors."""
    expected = data.full_expectation(model)
    difference = data.full_counts - expected
    # where photons are few, some expectations become exactly zero, and so are the counts there
    residual = difference / np.where(difference == 0, 1, np.sqrt(expected))
    *planes, ny, nx = residual.shape
    blocks = residual.reshape(*planes, ny // size, size, nx // size, size)
    return float(np.abs(blocks.mean(axis=(-3, -1))).max() * size)


def restored(data: BinnedData, iterations: int) -> Model:
    states = RichardsonLucy().iterate(data, RichardsonLucy().start(data, Model.start(data)))
    for state in states:
        if state.iteration == iterations:
            return state.model
    raise AssertionError


def exposure_units_said(data: BinnedData) -> list[str]:
    return [c.message for c in data.origin.checks if "states no unit" in c.message]


def test_exposure_map_without_unit_is_in_cm2_s(folder: Path, tmp_path: Path) -> None:
    header = fits.getheader(folder / "bare.fits")
    area = np.full((30, 40), 3e11)
    fits.PrimaryHDU(area, header).writeto(tmp_path / "map.fits")
    header["BUNIT"] = "m2 s"
    fits.PrimaryHDU(area / 1e4, header).writeto(tmp_path / "stated.fits")
    flat = np.full((30, 40), 1e-8)
    for exposure, said in (
        (tmp_path / "map.fits", ["map.fits states no unit: cm2 s, as documented for gtexpcube2"]),
        (area, ["exposure array states no unit: cm2 s, as documented for gtexpcube2"]),
        (tmp_path / "stated.fits", []),
        (area * u.Unit("cm2 s"), []),
    ):
        data = open_fermi(folder / "bare.fits", "gauss:0.2 deg", exposure, boundary="periodic")
        assert u.Unit(data.components["sky"].unit) == u.Unit("ph cm-2 s-1")
        np.testing.assert_allclose(data.whole["sky"].forward(flat), 3000)
        assert exposure_units_said(data) == said


def test_backgrounds_as_numbers(folder: Path) -> None:
    background = {"flat": 0.05, "model": folder / "model.fits"}
    data = open_fermi(
        folder / "ccube.fits", **products(folder), background=background, baseline=1e-10
    )
    assert data.sensitivity["flat"][0] == pytest.approx(0.05 * 2 * 30 * 40)
    assert data.sensitivity["model"][0] == pytest.approx(0.2 * 2 * 30 * 40)
    assert np.all(data.whole["baseline"].forward(np.ones(1)) > 0)


def gc(shared_data: Path, what: str) -> Path:
    return shared_data / "fermi" / f"fermi-3fhl-gc-{what}.fits.gz"


def test_galactic_centre_map(shared_data: Path) -> None:
    data = open_fermi(
        gc(shared_data, "counts"),
        psf=gc(shared_data, "psf"),
        exposure=gc(shared_data, "exposure"),
        background=gc(shared_data, "background"),
        fit_background=True,
    )
    assert data.full_counts.sum() == 32684
    assert exposure_units_said(data)
    model = restored(data, 20)
    assert data.forward(model).total == pytest.approx(32684, rel=1e-6)
    assert mean_residual(data, model) < 4
    grid = data.components["sky"].geometry
    assert isinstance(grid, Grid)
    assert grid.field is not None
    sky = model["sky"][grid.field]
    y, x = np.unravel_index(sky.argmax(), sky.shape)
    assert abs(x - 200) < 3  # Sagittarius A
    assert abs(y - 99) < 3


def test_galactic_centre_cube(shared_data: Path) -> None:
    data = open_fermi(
        gc(shared_data, "counts-cube"),
        psf=gc(shared_data, "psf-cube"),
        exposure=gc(shared_data, "exposure-cube"),
        background=shared_data / "fermi" / "fermi-3fhl-gc.fits.gz",
    )
    assert data.shape == (11, 200, 400)
    assert data.sensitivity["background"][0] == pytest.approx(28548.6, rel=1e-5)
    grid = data.components["sky"].geometry
    assert isinstance(grid, Grid)
    assert grid.energy_edges is not None
    np.testing.assert_allclose(
        grid.energy_edges.to_value("GeV"), np.geomspace(10, 500, 12), rtol=1e-6
    )
    one = data.whole["sky"].forward(source(data, 1e-9)).sum(axis=(1, 2))
    nodes = read_image(gc(shared_data, "exposure-cube")).values[:, 100, 200] * 1e-9
    low, high = np.minimum(nodes[1:], nodes[:-1]), np.maximum(nodes[1:], nodes[:-1])
    assert np.all(one > 0.995 * low)
    assert np.all(one < 1.005 * high)


@pytest.mark.slow
def test_galactic_centre_cube_restored(shared_data: Path) -> None:
    data = open_fermi(
        gc(shared_data, "counts-cube"),
        psf=gc(shared_data, "psf-cube"),
        exposure=gc(shared_data, "exposure-cube"),
        background=shared_data / "fermi" / "fermi-3fhl-gc.fits.gz",
        fit_background=True,
    )
    model = restored(data, 100)
    assert data.forward(model).total == pytest.approx(32684, rel=1e-6)
    assert mean_residual(data, model) < 4


def test_mapdataset(shared_data: Path) -> None:
    path = shared_data / "fermi" / "fermi-3fhl-gc.fits.gz"
    data = open_fermi(path)
    assert set(data.components) == {"sky", "background"}
    assert data.weight.sum() == 11 * 57600  # MASK_SAFE
    said = [c.message for c in data.origin.checks if c.level == "warning"]
    assert said == ["energy dispersion of the file is not applied: energies are taken as true ones"]
    plain = open_fermi(
        gc(shared_data, "counts-cube"),
        psf=gc(shared_data, "psf-cube"),
        exposure=gc(shared_data, "exposure-cube"),
    )
    mine, theirs = (d.whole["sky"].forward(source(d, 1e-9)) for d in (data, plain))
    # the same instrument; the PSF of the MapDataset ends at 1.85 deg
    np.testing.assert_allclose(mine, theirs, atol=0.01 * theirs.max())


def test_healpix_exposure_and_other_energies(shared_data: Path) -> None:
    pytest.importorskip("healpy")
    folder = shared_data / "fermi"
    options = {"psf": folder / "fermi_3fhl_psf_gc.fits.gz", "boundary": "same"}
    data = open_fermi(
        gc(shared_data, "counts-cube"),
        exposure=folder / "fermi_3fhl_exposure_cube_hpx.fits.gz",
        **options,  # type: ignore[arg-type]
    )
    grid = open_fermi(
        gc(shared_data, "counts-cube"),
        exposure=gc(shared_data, "exposure-cube"),
        **options,  # type: ignore[arg-type]
    )
    ratio = data.sensitivity["sky"] / grid.sensitivity["sky"]
    assert np.all(abs(ratio - 1) < 4e-3)
    with pytest.raises(DataError, match=r"PSF covers 10 to 2000 GeV, but the counts 3.981 to 2512"):
        open_fermi(folder / "ccube_00.fits.gz", psf=folder / "fermi_3fhl_psf_gc.fits.gz")


def test_another_data_release(shared_data: Path) -> None:
    folder = shared_data / "fermi"
    data = open_fermi(folder / "ccube_00.fits.gz", psf=folder / "psf_00.fits.gz")
    assert data.shape == (28, 80, 80)
    assert data.full_counts.sum() == 26802
