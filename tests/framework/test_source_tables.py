from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.errors import ConfigError, DataError, FileError
from skyfold.geometry import Grid
from skyfold.source_files import read_sources
from skyfold.source_tables import historical_table, near_border, source_table, write_sources
from skyfold.sources import Sources, placed
from skyfold.sphere import Sphere


def grid(shape=(40, 60), sky=True):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "GLON-TAN", "GLAT-TAN"
    wcs.wcs.crval = 20.0, 30.0
    wcs.wcs.crpix = 30, 20
    wcs.wcs.cdelt = -1e-3, 1e-3
    wcs.wcs.set()
    return Grid(shape, wcs if sky else None)


PLACES = np.array([[12.25, 20.0], [30.5, 8.75], [58.75, 11.5]])
STARS = Sources(("qso", "b", "c"), PLACES, flux=np.array([1e4, 500, np.nan]))
FLUX = np.array([10000.0, 100.0, 0.0])


def test_a_table_tells_what_was_measured():
    correlation = np.array([[1, -0.4, 0.1], [-0.4, 1, -0.2], [0.1, -0.2, 1]])
    error = np.array([100.0, 50.0, 20.0])
    stars = replace(STARS, magzero=22.5)
    table = source_table(
        stars,
        grid(),
        PLACES,
        FLUX,
        error=error,
        correlation=correlation,
        edge=near_border(PLACES, grid(), 3.0),
    )
    assert table.meta == {"magzero": 22.5, "origin": 0}
    assert table["name"].tolist() == ["qso", "b", "c"]
    np.testing.assert_allclose(np.stack([table["x"], table["y"]], axis=1), PLACES)
    where = grid().wcs.pixel_to_world(*PLACES.T)
    assert np.max(where.separation(SkyCoord(table["ra"], table["dec"])).arcsec) < 1e-6
    np.testing.assert_allclose(table["mag"], [12.5, 17.5, np.nan])
    np.testing.assert_allclose(table["mag_error"], [0.010857, 0.542868, np.nan], rtol=1e-4)
    np.testing.assert_array_equal(table["first_flux"], STARS.flux)
    assert table["neighbour"].tolist() == ["b", "qso", "b"]
    np.testing.assert_allclose(table["correlation"], [-0.4, -0.4, -0.2])
    assert table["flags"].tolist() == ["blended", "faint blended", "edge zero"]
    assert {str(table[c].unit) for c in ("flux", "flux_error", "first_flux")} == {"ct"}


def test_correlations_that_are_not_known_name_no_neighbour():
    correlation = np.array([[1, -0.4, np.nan], [-0.4, 1, np.nan], [np.nan, np.nan, np.nan]])
    table = source_table(STARS, grid(), PLACES, FLUX, correlation=correlation)
    assert table["neighbour"].tolist() == ["b", "qso", ""]
    np.testing.assert_array_equal(table["correlation"], [-0.4, -0.4, np.nan])
    one = Sources(("a",), PLACES[:1])
    alone = source_table(one, grid(), PLACES[:1], FLUX[:1], correlation=np.ones((1, 1)))
    assert alone["neighbour"].tolist() == [""]


def test_moved_stars_are_where_they_were_moved_to():
    shift, wrong = np.array([[0.25, -0.5], [0, 0], [-1, 1]]), np.full((3, 2), 0.05)
    table = source_table(
        STARS, grid(sky=False), PLACES, FLUX, shift=shift, shift_error=wrong, unit="ph / s"
    )
    np.testing.assert_allclose(np.stack([table["x"], table["y"]], axis=1), PLACES + shift)
    np.testing.assert_allclose(np.stack([table["dx"], table["dy"]], axis=1), shift)
    assert table["dy_error"].tolist() == [0.05] * 3
    assert str(table["dx"].unit) == "pix"
    assert str(table["flux"].unit) == "ph / s"
    assert "ra" not in table.colnames


def test_a_sphere_has_angles_and_energies():
    stars = Sources(("a", "b"), np.array([[10.0, 20], [30, -40]]), "galactic")
    flux, error = np.array([[4.0, 0], [1, 1]]), np.array([[1.0, 0.1], [1, 1]])
    table = source_table(stars, Sphere(4), stars.places, flux, error=error, unit="ph / (cm2 s)")
    assert table["lon"].tolist() == [10, 30]
    assert table.meta["frame"] == "galactic"
    assert table["mag"].shape == (2, 2)
    assert table["flags"].tolist() == ["", "faint"]
    sure, nowhere = np.array([1.0, 0.5]), np.where([[True], [False]], flux, np.nan)
    for known, told in ((flux, ["", ""]), (nowhere, ["", "unseen"])):
        table = source_table(stars, Sphere(4), stars.places, known, error=error, total_error=sure)
        assert table["flags"].tolist() == told


@pytest.mark.parametrize("suffix", ["ecsv", "fits"])
@pytest.mark.parametrize("place", ["pixels", "image", "sphere"])
def test_what_was_written_is_a_list(tmp_path, suffix, place):
    path = tmp_path / f"out.{suffix}"
    if place == "sphere":
        where = SkyCoord(PLACES[:, 0], PLACES[:, 1], unit="deg", frame="galactic").galactic
        geometry, places = Sphere(4), np.stack([where.l.deg, where.b.deg], axis=1)
    else:
        geometry, places = grid(sky=place == "image"), PLACES
    psf = np.array([0, 1, 0])
    listed = Sources(STARS.names, places, "galactic" * (place == "sphere"), psf=psf)
    write_sources(source_table(listed, geometry, places, FLUX), path)
    found = read_sources(path)
    assert found.names == STARS.names
    assert found.flux.tolist() == FLUX.tolist()
    assert found.psf.tolist() == [0, 1, 0]
    assert found.unit == "ct"
    np.testing.assert_allclose(placed(found, geometry), places, atol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


names = st.lists(
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1)
    .map(str.strip)
    .filter(bool),
    min_size=3,
    max_size=3,
    unique=True,
)


@settings(deadline=None, max_examples=25)
@given(
    names=names,
    places=st.lists(st.floats(-0.5, 39.5), min_size=6, max_size=6),
    flux=st.lists(st.floats(0, 1e30), min_size=3, max_size=3),
    suffix=st.sampled_from(["ecsv", "fits"]),
)
def test_round_trips(tmp_path_factory, names, places, flux, suffix):
    path = tmp_path_factory.mktemp("out") / f"a.{suffix}"
    stars = Sources(tuple(names), np.reshape(places, (3, 2)))
    write_sources(source_table(stars, grid(sky=False), stars.places, np.array(flux)), path)
    found = read_sources(path)
    assert found.names == stars.names
    np.testing.assert_array_equal(found.places, stars.places)
    np.testing.assert_array_equal(found.flux, flux)


def test_tables_that_cannot_be_written(tmp_path):
    table = source_table(STARS, grid(), PLACES, FLUX)
    with pytest.raises(ConfigError, match=r"out.txt: tables of stars are written as .ecsv or .f"):
        write_sources(table, tmp_path / "out.txt")
    table["name"] = ["qso", "β Pic", "c"]
    with pytest.raises(DataError, match=r"FITS cannot hold the name 'β Pic'; write .ecsv"):
        write_sources(table, tmp_path / "out.fits")
    with pytest.raises(FileError):
        write_sources(table, tmp_path / "nowhere" / "out.ecsv")
    assert not list(tmp_path.iterdir())
    write_sources(table, tmp_path / "out.ecsv")
    assert read_sources(tmp_path / "out.ecsv").names == ("qso", "β Pic", "c")


# the layout of PLUCY

FIELDS = [6, 7, 7, 12, 12, 7]


def cut(line, widths=FIELDS):
    ends = np.cumsum([0, *widths])
    assert len(line) == ends[-1]
    return [float(line[a:b]) for a, b in pairwise(ends)]


@pytest.mark.parametrize("case", ["a", "b", "d_cplucy_poly5"])
def test_the_reference_tables_come_back(tmp_path, shared_data, case):
    known = np.load(shared_data / "two-channel" / f"ref_{case}.npz")["table"]
    zero = {"a": 20.0, "b": 20.0}.get(case, 21.0)
    stars = Sources(
        tuple(map(str, range(len(known)))), known[:, 1:3] - 1, flux=known[:, 3], magzero=zero
    )
    moved = np.full((len(known), 2), 0.3)
    table = source_table(stars, grid((128, 128)), stars.places, known[:, 4], shift=moved)
    historical_table(table, tmp_path / "out.tab", {"Data": "qso.fits", "Iterations": 100})
    lines = (tmp_path / "out.tab").read_text().splitlines()
    assert lines[:3] == ["# Data: qso.fits", "# Iterations: 100", "#"]
    assert lines[3].split() == ["#", "No", "X", "Y", "First", "flux", "Flux", "Mag"]
    found = np.array([cut(line) for line in lines[4:]])
    np.testing.assert_allclose(found[:, :5], known[:, :5], atol=0.0051)
    np.testing.assert_allclose(found[:, 5], known[:, 5], atol=0.0011)


def test_stars_without_light_and_several_psfs(tmp_path):
    stars = Sources(STARS.names, PLACES, flux=STARS.flux, psf=np.array([0, 1, 0]))
    historical_table(source_table(stars, grid(), PLACES, FLUX), tmp_path / "a.tab", {})
    lines = (tmp_path / "a.tab").read_text().splitlines()[2:]
    assert cut(lines[0], [*FIELDS, 5]) == [1, 13.25, 21, 1e4, 1e4, 10, 1]
    assert lines[2].split() == ["3", "59.75", "12.50", "nan", "0.00", "-100.000", "1"]


def test_numbers_too_long_stay_apart(tmp_path):
    places = np.array([[12345.67, 23456.78]])
    stars = Sources(("a",), places, flux=np.array([1e12]))
    table = source_table(stars, grid((30000, 30000), sky=False), places, np.array([1e12]))
    historical_table(table, tmp_path / "a.tab", {})
    cells = (tmp_path / "a.tab").read_text().splitlines()[-1].split()
    assert cells == ["1", "12346.67", "23457.78", *["1000000000000.00"] * 2, "-10.000"]


def test_no_file_is_written_over(tmp_path):
    table = source_table(STARS, grid(), PLACES, FLUX)
    path = tmp_path / "a.tab"
    path.write_text("dear")
    with pytest.raises(FileError, match=r"a.tab exists already; give another name, or remove it"):
        historical_table(table, path, {})
    assert path.read_text() == "dear"


def test_the_layout_is_for_one_image(tmp_path):
    stars = Sources(("a",), np.array([[10.0, 20]]), "galactic")
    flux = np.array([[4.0, 0]])
    for table in (
        source_table(stars, Sphere(4), stars.places, flux[:, :1]),
        source_table(STARS, grid(), PLACES, np.ones((3, 2))),
        Table({"flux": [1.0]}),
    ):
        with pytest.raises(DataError, match=r"this layout holds stars of one image, without ene"):
            historical_table(table, tmp_path / "a.tab", {})


def test_the_layout_is_not_read_as_a_list(tmp_path):
    historical_table(source_table(STARS, grid(), PLACES, FLUX), tmp_path / "a.stars", {})
    with pytest.raises(DataError, match=r"a.stars, line 3: 6 numbers; a line is: x y magnitude"):
        read_sources(tmp_path / "a.stars")
