import re
import sys

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.errors import ConfigError, DataError, FileError, MissingExtraError
from skyfold.source_files import from_table, read_sources


@pytest.fixture
def write(tmp_path):
    """Write a file, return its path."""

    def written(content, name="qso.stars"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def said(sources):
    return " | ".join(check.message for check in sources.checks)


# text of x, y and magnitude

LIST = """\
# a quasar and a star
! in pixels of the fine grid

 59.9  67.1 10.0   # the quasar
12,40.5,12.5 ! the star
"""


def test_text_is_read_as_plucy_reads_it(write):
    found = read_sources(write(LIST))
    assert found.names == ("1", "2")
    np.testing.assert_allclose(found.places, [[58.9, 66.1], [11, 39.5]])
    np.testing.assert_allclose(found.flux, [10**4, 10**3])
    assert (found.frame, found.psf, found.unit, found.origin) == ("", None, "", 1)
    assert said(found) == (
        "2 stars, the list counts pixels from 1, as FITS and DS9 do | "
        "first estimates from magnitudes; one count has magnitude 20"
    )


def test_origin_and_zero_point_are_as_asked(write):
    found = read_sources(write("3 4 20\n"), origin=0, magzero=22.5)
    np.testing.assert_allclose(found.places, [[3, 4]])
    np.testing.assert_allclose(found.flux, [10])
    assert "1 star, the list counts pixels from 0, as asked" in said(found)
    assert found.told(0) == "star '1' (x 3, y 4)"


@pytest.mark.parametrize("case", ["a", "d"])
def test_magnitudes_of_the_reference_cases(write, shared_data, case):
    known = np.load(shared_data / "two-channel" / f"case_{case}_input.npz")
    rows = zip(known["stars"], known["mags"], strict=True)
    path = write("\n".join(f"{x:.12g} {y:.12g} {mag:.12g}" for (x, y, _), mag in rows))
    found = read_sources(path, magzero=float(known["magzero"]), historical=True)
    np.testing.assert_allclose(found.places + 1, known["stars"][:, :2], rtol=1e-12)
    np.testing.assert_allclose(found.flux, known["stars"][:, 2], rtol=1e-6)
    exact = read_sources(path, magzero=float(known["magzero"]))
    np.testing.assert_allclose(exact.flux, found.flux, rtol=1e-6)
    assert not np.array_equal(exact.flux, found.flux)


def test_the_fourth_number_is_that_of_the_psf(write):
    assert read_sources(write("1 2 15 1\n3 4 15 2\n")).psf.tolist() == [0, 1]


def test_windows_writes_text_too(write):
    found = read_sources(write("\ufeff1 2 15\r\n3 4 16\r\n"))
    assert found.places.tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("1 2 15\n3 four 15\n", ", line 2", "'four' is no number; a line is: x y magnitude"),
        (
            "x y mag\n1 2 15\n",
            ", line 1",
            "'x' is no number;.*tables with named columns are files .csv",
        ),
        ("# here\n\n1 2\n", ", line 3", "2 numbers; a line is"),
        ("7\n", ", line 1", "1 number; a line is"),
        ("1 2 3 1 5\n", ", line 1", "5 numbers; a line is"),
        ("1 2 nan\n", ", line 1", "'nan' is not finite"),
        ("1 -inf 3\n", ", line 1", "'-inf' is not finite"),
        ("1 2 15 0\n", ", line 1", "0 is no number of a PSF: they count from 1"),
        ("1 2 15 1.5\n", ", line 1", "1.5 is no number of a PSF"),
        (
            "1 2 15\n#\n3 4 15 2\n",
            ", line 3",
            "4 numbers, but line 1 has 3: give the number of the PSF",
        ),
        (
            "1 2 15\n3 4 -2000\n",
            ", line 2",
            "magnitude -2000 is too bright for a number, .* being 20",
        ),
        ("# nothing\n\n  ! more\n", "", "no star in it, only comments or empty lines; a line is"),
        ("\n", "", "no star in it"),
    ],
)
def test_text_that_is_no_list_is_refused_by_line(write, text, place, message):
    path = write(text)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}{place}: {message}"):
        read_sources(path)


def test_files_that_are_no_lists(write, tmp_path):
    with pytest.raises(FileError, match=r"missing.stars cannot be read: No such file"):
        read_sources(tmp_path / "missing.stars")
    with pytest.raises(DataError, match=r"qso.stars: no star in it, it is empty; to restore"):
        read_sources(write(""))
    with pytest.raises(FileError, match=r"is no text: byte 0 is none"):
        read_sources(write(b"\x89PNG\r\n\x1a\n"))
    with pytest.raises(FileError, match=r"is no text: it holds zeros"):
        read_sources(write(b"1 2 3\0"))
    with pytest.raises(FileError, match=r"is a folder; give a file"):
        read_sources(tmp_path)
    with pytest.raises(ConfigError, match=r"has no parts, only FITS files have; leave \[2\] out"):
        read_sources(f"{write(LIST)}[2]")


@pytest.mark.parametrize("origin", [2, -1])
def test_the_first_pixel_is_zero_or_one(write, origin):
    with pytest.raises(ConfigError, match=f"origin {origin}: the first pixel is called 0 or 1"):
        read_sources(write(LIST), origin=origin)


numbers = st.floats(-1e4, 1e4)


@settings(deadline=None, max_examples=40)
@given(
    stars=st.lists(st.tuples(numbers, numbers, st.floats(-5, 40)), min_size=1, max_size=9),
    comment=st.sampled_from(["", "# note 1 2 3", "! 4"]),
    gap=st.sampled_from([" ", "\t", "  ", ", "]),
)
def test_any_numbers_come_back(tmp_path_factory, stars, comment, gap):
    path = tmp_path_factory.mktemp("stars") / "a.stars"
    path.write_text("".join(gap.join(map(repr, star)) + f" {comment}\n" for star in stars))
    found = read_sources(path, origin=0)
    np.testing.assert_array_equal(found.places, np.array(stars)[:, :2])
    np.testing.assert_allclose(20 - 2.5 * np.log10(found.flux), np.array(stars)[:, 2], atol=1e-9)


# tables


def test_csv_with_units(write):
    text = "# by hand\nName,RA [hourangle],Dec [arcmin],Flux (ct),PSF\nqso,2,-60,1e4,1\n,3,30,,2\n"
    found = read_sources(write(text, "stars.csv"))
    assert found.names == ("qso", "2")
    np.testing.assert_allclose(found.places, [[30, -1], [45, 0.5]])
    np.testing.assert_array_equal(found.flux, [1e4, np.nan])
    assert (found.frame, found.unit, found.psf.tolist()) == ("icrs", "ct", [0, 1])
    assert said(found) == "2 stars, by their icrs coordinates"


@pytest.mark.parametrize(
    ("text", "places", "frame"),
    [
        ("x,y\n3,4\n", [[2, 3]], ""),
        ("X [pix],Y\n3.5,4\n", [[2.5, 3]], ""),
        ("ra,dec\n266.4,-29\n", [[266.4, -29]], "icrs"),
        ("ra,dec\n17:45:36,-29:00:00\n", [[266.4, -29]], "icrs"),
        ("ra,dec\n17h45m36s,-29d00m\n", [[266.4, -29]], "icrs"),
        ("ra,dec\n17 45 36,-29 00 00\n", [[266.4, -29]], "icrs"),
        ("ra,dec\n266.4d,-29\n", [[266.4, -29]], "icrs"),
        ("l,b\n0:30:00,-1:30\n", [[0.5, -1.5]], "galactic"),
        ("x,y,ra,dec\n3,4,266.4,-29\n", [[266.4, -29]], "icrs"),
    ],
)
def test_positions_in_csv(write, text, places, frame):
    found = read_sources(write(text, "stars.csv"))
    np.testing.assert_allclose(found.places, places, rtol=1e-12)
    assert found.frame == frame
    assert found.flux is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,mag\n1,2\n", "no columns x and y, ra and dec, l and b, or lon and lat; it has x, mag"),
        ("x;y\n1;2\n", "no columns .* it has x;y"),
        ("lon,lat\n1,2\n", "lon and lat of which frame?"),
        ("x,y\n", "no star in it, the table has no rows"),
        ("x,y\n1,2\n3,four\n", "row 2, column y: 'four' is no number"),
        ("x,y\n1,2\n,4\n", "row 2, column x: nothing there"),
        ("x,y\n1,2\n3,inf\n", "row 2, column y: inf is not finite"),
        ("x,y,flux\n1,2,inf\n", "row 1, column flux: inf is not finite"),
        ("x,y,flux\n1,2,-5\n", r"star '1' \(x 1, y 2\): its flux is negative"),
        ("x,y,psf\n1,2,0\n", "row 1, column psf: 0 is no number of a PSF"),
        ("x,y,psf\n1,2,1\n3,4,\n", "row 2, column psf: nothing there"),
        ("x,y,mag\n1,2,-2000\n", "row 1, column mag: magnitude -2000 is too bright"),
        ("ra,dec\n17:45,up\n", "row 1, column dec: 'up' is no angle"),
        ("ra,dec\n17:45,1\n,2\n", "row 2, column ra: nothing there"),
        ("ra [pix],dec\n1,2\n", "column ra is in pix, not in deg"),
        ("x [arcsec],y\n1,2\n", "column x is in arcsec, not in pix"),
        ("x,y [pxx]\n1,2\n", "column 'y .pxx.': 'pxx' did not parse as unit"),
        ("x,X,y\n1,2,3\n", "two columns are called x"),
        ("x,y\n1,2,3\n", "is no CSV table"),
        ("name,x,y\nA,1,2\nA,3,4\n", "stars 1 and 2 are both called 'A'"),
        ("ra,dec\n10,266\n", r"star '1' \(ra 10, dec 266\): dec is not between -90 and 90 degrees; "
         r"are ra and dec swapped\?"),
    ],
)  # fmt: skip
def test_tables_that_are_no_lists_are_refused_by_row_and_column(write, text, message):
    path = write(text, "stars.csv")
    with pytest.raises(DataError, match=message) as error:
        read_sources(path)
    assert str(error.value).startswith(str(path))


def test_ecsv_says_what_it_is(write, tmp_path):
    table = Table({"ID": ["a", "b"], "X": [1.0, 2.0], "y": [3.0, 4.0], "Mag": [20.0, 17.5]})
    table.meta["origin"] = 0
    table.write(tmp_path / "s.ecsv")
    found = read_sources(tmp_path / "s.ecsv")
    assert found.names == ("a", "b")
    assert found.places.tolist() == [[1, 3], [2, 4]]
    np.testing.assert_allclose(found.flux, [1, 10])
    assert "counts pixels from 0, as it says" in said(found)
    renamed = write((tmp_path / "s.ecsv").read_bytes(), "s.txt")
    assert read_sources(renamed, origin=0).places.tolist() == [[1, 3], [2, 4]]
    with pytest.raises(ConfigError, match="counts pixels from 0, as it says: leave origin out"):
        read_sources(renamed, origin=1)
    with pytest.raises(DataError, match=r"cut.ecsv is no ECSV table"):
        read_sources(write("# %ECSV 1.0\n# ---\n# datatype: [\nx\n", "cut.ecsv"))


@pytest.mark.parametrize("suffix", ["ecsv", "fits"])
@pytest.mark.parametrize("frame", ["galactic", "icrs", "fk4"])
def test_tables_may_hold_coordinates(tmp_path, suffix, frame):
    where = SkyCoord([10.0, 20], [30.0, -40], unit="deg", frame=frame)
    QTable({"place": where, "flux": [3.0, 4] * u.ct}).write(tmp_path / f"s.{suffix}")
    found = read_sources(tmp_path / f"s.{suffix}")
    back = SkyCoord(*found.places.T, unit="deg", frame=found.frame)
    assert found.frame == ("galactic" if frame == "galactic" else "icrs")
    assert np.max(back.separation(where.transform_to(found.frame)).arcsec) < 1e-6
    assert (found.flux.tolist(), found.unit) == ([3, 4], "ct")


def test_fits_tables_by_name(tmp_path):
    other = fits.BinTableHDU(Table({"time": [1.0]}), name="TIMES")
    stars = fits.BinTableHDU(Table({"NAME": ["a"], "RA": [10.0], "DEC": [20.0]}), name="STARS")
    stars.header["ORIGIN"] = "an observatory"
    path = tmp_path / "s.fits"
    fits.HDUList([fits.PrimaryHDU(), other, stars]).writeto(path)
    for part in ("STARS", "2"):
        found = read_sources(f"{path}[{part}]")
        assert (found.names, found.places.tolist()) == (("a",), [[10, 20]])
    with pytest.raises(DataError, match=r"no columns .* it has time"):
        read_sources(path)
    with pytest.raises(DataError, match=r"s.fits: no table MOONS in it"):
        read_sources(f"{path}[MOONS]")
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "image.fits")
    with pytest.raises(DataError, match=r"image.fits: no table in it"):
        read_sources(tmp_path / "image.fits")


def test_tables_in_memory():
    table = QTable({"x": [1.0, 2] * u.pix, "y": [3, 4], "flux": [[1.0, 2], [3, 4]] * u.ct})
    found = from_table(table)
    assert found.places.tolist() == [[1, 3], [2, 4]]
    assert said(found) == "2 stars, the list counts pixels from 0, as Python does"
    assert from_table(table, origin=1).places.tolist() == [[0, 2], [1, 3]]
    assert found.flux.tolist() == [3, 7]  # of all energies
    masked = Table({"x": [1, 2], "y": [3, 4], "mag": MaskedColumn([20.0, 1], mask=[False, True])})
    np.testing.assert_array_equal(from_table(masked).flux, [1, np.nan])
    assert "lon" not in table.colnames
    with pytest.raises(DataError, match=r"^table of stars, row 1, column y: 'True' is no number"):
        from_table(Table({"x": [1.0], "y": [True]}))


def test_a_light_curve_is_a_list_of_its_stars():
    curve = Table(
        {
            "name": ["b", "a", "b", "a", "b", "a"],
            "component": ["stars 1", "stars 1", "stars 2", "stars 2", "stars 3", "stars 3"],
            "x": [5.0, 9.0] * 3,
            "y": [6.0, 2.0] * 3,
            "flux": [100.0, np.nan, 300.0, np.nan, np.nan, np.nan],
            "psf": [2, 1] * 3,
        }
    )
    found = from_table(curve)
    assert found.names == ("b", "a")
    np.testing.assert_array_equal(found.places, [[5, 6], [9, 2]])
    np.testing.assert_array_equal(found.flux, [200, np.nan])
    np.testing.assert_array_equal(found.psf, [1, 0])
    assert "each star starts at its mean flux" in said(found)
    curve["x"][2] = 5.5
    with pytest.raises(DataError, match="stars 1 and 3 are both called 'b'"):
        from_table(curve)
    curve["x"][2] = 5.0
    del curve["component"]
    with pytest.raises(DataError, match="stars 1 and 3 are both called 'b'"):
        from_table(curve)


def test_the_frame_of_longitudes_stands_in_the_metadata():
    table = Table({"lon": [10.0], "lat": [20.0]}, meta={"frame": "galactic"})
    assert from_table(table).frame == "galactic"
    with pytest.raises(ConfigError, match="positions on the sky: leave origin 1 out"):
        from_table(table, origin=1)


# regions


def test_regions_of_ds9(write):
    text = (
        "# Region file format: DS9 version 4.1\nglobal color=green\nimage\n"
        "point(10,20) # point=x text={one}\ncircle(30.5,40,3)\n"
    )
    found = read_sources(write(text, "s.reg"))
    assert found.names == ("one", "2")
    assert found.places.tolist() == [[9, 19], [29.5, 39]]
    assert "counts pixels from 1" in said(found)
    zero = read_sources(write(text, "s.txt"), origin=0)  # known by its first line
    assert zero.places.tolist() == [[10, 20], [30.5, 40]]


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("fk5\npoint(266.4,-29)\npoint(17:45:40,-29:01:00)\n", "icrs"),
        ('icrs\ncircle(266.4,-29,3")\npoint(266.41666666666663,-29.016666666666666)\n', "icrs"),
        ("galactic\npoint(359.94,0.04)\nfk5\npoint(17:45:40,-29:01:00)\n", "icrs"),
        ("galactic\npoint(359.94,0.04)\npoint(359.9,0.02)\n", "galactic"),
    ],
)
def test_regions_on_the_sky(write, text, frame):
    found = read_sources(write(text, "s.reg"))
    assert found.frame == frame
    where = SkyCoord(*found.places.T, unit="deg", frame=frame)
    centre = SkyCoord("17h45m40s -29d00m30s")
    assert np.max(where.separation(centre).deg) < 0.2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\nbox(3,4,5,6,0)\n", "region 1 is a RectanglePixelRegion; mark stars by point"),
        ("image\npoint(1,2)\nannulus(3,4,5,6)\n", "region 2 is a CircleAnnulusPixelRegion"),
        ("image\npoint(1,2)\n-circle(3,4,5)\n", "region 2 is excluded by a minus sign"),
        ("image\npoint(1,2)\nfk5\npoint(3,4)\n", "mixes pixels and positions on the sky"),
        ("# only this\n", "there is no region in it; mark stars by point"),
        ("physical\npoint(3,4)\n", '"physical" frame or shape is not supported'),
    ],
)
def test_regions_that_are_no_stars(write, text, message):
    with pytest.raises(DataError, match=message):
        read_sources(write(text, "s.reg"))


def test_regions_need_their_package(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "regions", None)
    with pytest.raises(MissingExtraError, match=r"skyfold\[regions\]"):
        read_sources(write("image\npoint(1,2)\n", "s.reg"))
