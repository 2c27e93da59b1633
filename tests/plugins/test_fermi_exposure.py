"""Exposure at energy nodes comes to the bins of the counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from skyfold.errors import DataError
from skyfold.geometry import celestial_wcs
from skyfold_fermi.exposure import Exposure, read_exposure
from skyfold_fermi.tables import spectral_points
from skyfold_image.reading import read_image


def image_wcs(ctype: str = "GLON-CAR,GLAT-CAR", step: float = 0.5, n: int = 8) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ctype.split(",")
    wcs.wcs.crpix = (n + 1) / 2, (n + 1) / 2
    wcs.wcs.cdelt = -step, step
    wcs.wcs.crval = 0, 0
    wcs.wcs.set()
    return wcs


def nodes_file(wcs: WCS, values: np.ndarray, energies: np.ndarray | None) -> fits.HDUList:
    header = wcs.to_header()
    if energies is None:
        header.update(
            CTYPE3="log_Energy", CRPIX3=1.0, CRVAL3=np.log(1e3), CDELT3=np.log(10) / 2, WCSAXES=3
        )
    hdus = fits.HDUList([fits.PrimaryHDU(values, header)])
    if energies is not None:
        column = fits.Column("Energy", "D", array=energies)
        hdus.append(fits.BinTableHDU.from_columns([column], name="ENERGIES"))
    return hdus


@given(st.floats(-3, 3), st.floats(0, 4), st.integers(2, 7), st.integers(1, 5))
def test_power_laws_are_exact(slope: float, index: float, nodes: int, bins: int) -> None:
    energy, edges = np.geomspace(1e3, 1e6, nodes), np.geomspace(1e3, 1e6, bins + 1)
    values = 1e11 * (energy / 1e4) ** slope
    found = Exposure(energy, values[:, None, None]).averaged(edges, index)

    def integral(power: float) -> np.ndarray:
        if abs(power + 1) < 1e-9:
            return np.log(edges[1:] / edges[:-1])
        return np.diff((edges / 1e4) ** (power + 1)) / (power + 1)

    exact = 1e11 * integral(slope - index) / integral(-index)
    np.testing.assert_allclose(found[:, 0, 0], exact, rtol=1e-6)


@given(st.floats(-1, 5))
def test_spectral_points_are_a_mean(index: float) -> None:
    edges = np.array([1.0, 3.0, 30.0])
    energies, weights = spectral_points(edges, index)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert np.all((energies > edges[:-1, None]) & (energies < edges[1:, None]))


def test_nodes_are_not_bins(shared_data: Path) -> None:
    folder = shared_data / "fermi"
    counts = read_image(folder / "fermi-3fhl-gc-counts-cube.fits.gz", "counts")
    assert counts.energy_edges is not None
    edges = counts.energy_edges.to_value("MeV")
    np.testing.assert_allclose(edges, np.geomspace(1e4, 5e5, 12), rtol=1e-6)  # MeV, from keV
    assert counts.wcs is not None
    with fits.open(folder / "fermi-3fhl-gc-exposure-cube.fits.gz") as hdus:
        nodes = np.array(hdus[0].data)
        exposure = read_exposure(hdus, "exposure", counts.wcs, nodes.shape[1:])
    assert nodes.shape[0] == 12
    means = exposure.averaged(edges, 2.0)
    assert means.shape == (11, 200, 400)
    low, high = np.minimum(nodes[1:], nodes[:-1]), np.maximum(nodes[1:], nodes[:-1])
    assert np.all((means >= low * (1 - 1e-6)) & (means <= high * (1 + 1e-6)))
    # a falling spectrum lies nearer to the lower node
    part = (means - nodes[:-1]) / (nodes[1:] - nodes[:-1])
    assert 0.3 < np.median(part) < 0.5


def test_healpix_and_grid_agree(shared_data: Path) -> None:
    pytest.importorskip("healpy")
    folder, edges = shared_data / "fermi", np.geomspace(1e4, 5e5, 12)
    with fits.open(folder / "fermi-3fhl-gc-exposure-cube.fits.gz") as hdus:
        wcs = celestial_wcs(hdus[0].header)
        assert wcs is not None
        grid = read_exposure(hdus, "grid", wcs, (200, 400)).averaged(edges, 2.0)
    with fits.open(folder / "fermi_3fhl_exposure_cube_hpx.fits.gz") as hdus:
        exposure = read_exposure(hdus, "hpx", wcs, (200, 400))
    assert "nside 64 in equatorial" in exposure.checks[0].message
    ratio = exposure.averaged(edges, 2.0) / grid
    assert np.all(abs(ratio - 1) < 4e-3)  # other nodes, and pixels of 0.9 deg


@pytest.mark.parametrize(
    ("coordsys", "ordering"), [("GAL", "NESTED"), ("CEL", "RING"), ("", "NEST")]
)
def test_healpix_frames_and_orderings(coordsys: str, ordering: str) -> None:
    healpy = pytest.importorskip("healpy")
    nside, wcs = 32, image_wcs(step=1.0, n=11)
    place = wcs.pixel_to_world(*np.indices((11, 11))[::-1])
    frame = place.galactic if coordsys == "GAL" else place.icrs
    nest = ordering != "RING"
    lon, lat = healpy.pix2ang(nside, np.arange(12 * nside**2), nest=nest, lonlat=True)

    def height(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        return 2 + np.cos(np.radians(lat)) * np.cos(np.radians(lon - 30)) + np.sin(np.radians(lat))

    values = height(lon, lat)
    hdus = healpix_file([values, 3 * values], nside, COORDSYS=coordsys, ORDERING=ordering)
    exposure = read_exposure(hdus, "hpx.fits", wcs, (11, 11))
    expected = height(frame.data.lon.deg, frame.data.lat.deg)
    np.testing.assert_allclose(exposure.values, [expected, 3 * expected], rtol=2e-3)


def healpix_file(values: list[np.ndarray], nside: int, **cards: str) -> fits.HDUList:
    columns = [fits.Column(f"ENERGY{i + 1}", "D", array=v) for i, v in enumerate(values)]
    table = fits.BinTableHDU.from_columns(columns, name="HPXEXPOSURES")
    table.header.update(PIXTYPE="HEALPIX", NSIDE=nside)
    table.header.update({k: v for k, v in cards.items() if v})
    energies = fits.Column("Energy", "D", array=np.geomspace(1e3, 1e5, len(values)))
    return fits.HDUList(
        [fits.PrimaryHDU(), table, fits.BinTableHDU.from_columns([energies], name="ENERGIES")]
    )


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"COORDSYS": "GAL"}, "ordering of the HEALPix pixels not stated"),
        ({"ORDERING": "RING", "COORDSYS": "E"}, "'E' means ecliptic"),
    ],
)
def test_healpix_that_cannot_be_placed(cards: dict[str, str], message: str) -> None:
    pytest.importorskip("healpy")
    hdus = healpix_file([np.ones(48)], 2, **cards)
    with pytest.raises(DataError, match=message):
        read_exposure(hdus, "hpx.fits", image_wcs(), (8, 8))


def test_healpix_of_a_wrong_size() -> None:
    pytest.importorskip("healpy")
    hdus = healpix_file([np.ones(50)], 2, ORDERING="RING")
    with pytest.raises(DataError, match="50 rows, but NSIDE=2 has 48"):
        read_exposure(hdus, "hpx.fits", image_wcs(), (8, 8))


def test_another_grid_is_interpolated_and_said() -> None:
    coarse, fine = image_wcs(step=2.0, n=9), image_wcs(step=0.25, n=8)
    y, x = np.indices((9, 9))
    plane = 1e11 + 1e9 * (2 * x + 3 * y)
    hdus = nodes_file(coarse, np.stack([plane, 2 * plane]), np.array([1e3, 1e5]))
    exposure = read_exposure(hdus, "all-sky.fits", fine, (8, 8))
    y, x = (np.indices((8, 8)) - 3.5) / 8 + 4
    np.testing.assert_allclose(exposure.values[0], 1e11 + 1e9 * (2 * x + 3 * y), rtol=1e-9)
    assert "shape (8, 8) against (9, 9)" in exposure.checks[-1].message
    with pytest.raises(DataError, match=r"covers only 1.2% of the pixels"):
        read_exposure(nodes_file(fine, np.ones((1, 8, 8)), None), "small.fits", coarse, (9, 9))


def test_energies_from_the_axis_or_the_table() -> None:
    wcs, values = image_wcs(), np.ones((3, 8, 8))
    stated = read_exposure(nodes_file(wcs, values, np.geomspace(1e3, 1e4, 3)), "e", wcs, (8, 8))
    axis = read_exposure(nodes_file(wcs, values, None), "e", wcs, (8, 8))
    np.testing.assert_allclose(stated.energy, axis.energy)
    with pytest.raises(DataError, match="3 planes of exposure, but 4 energies"):
        read_exposure(nodes_file(wcs, values, np.geomspace(1e3, 1e4, 4)), "e", wcs, (8, 8))
    with pytest.raises(DataError, match="covers 1 to 10 GeV, but the counts 1 to 100 GeV"):
        axis.averaged(np.array([1e3, 1e5]), 2.0)


def test_pixels_never_seen_stay_at_zero() -> None:
    values = np.ones((2, 2, 2))
    values[:, 0, 1] = 0
    seen = Exposure(np.array([1e3, 1e5]), values).averaged(np.array([1e3, 1e4]), 2.0)
    assert seen[0, 0, 1] == 0
    assert np.all(seen[0, 1] == pytest.approx(1))
