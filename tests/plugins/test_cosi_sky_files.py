"""Maps of the sky: COSI's models, HEALPix in FITS, healpy, mhealpy, histpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from skyfold.errors import DataError, FileError
from skyfold.sphere import Sphere
from skyfold_cosi import container
from skyfold_cosi.sky_files import FLUX, SkyMap, nside_of, open_sky, read_sky, write_sky

healpy = pytest.importorskip("healpy")

EDGES = np.array([100.0, 500.0, 1000.0]) * u.keV
SPHERE = Sphere(4, EDGES)


@pytest.fixture
def values(rng) -> np.ndarray:
    return rng.random(SPHERE.shape)


def write_fits(path, *columns, **header):
    names = "ABC"
    made = [fits.Column(n, "D", array=c) for n, c in zip(names, columns, strict=False)]
    table = fits.BinTableHDU.from_columns(made, name="MAP")
    table.header.update({"PIXTYPE": "HEALPIX", **header})
    table.writeto(path, overwrite=True)
    return path


def test_model_of_the_collaboration(shared_data) -> None:
    found = open_sky(shared_data / "cosi" / "all_sky_image_model_test_nside1.hdf5")
    assert found.values.tolist() == [[1.0]] * 12
    assert found.sphere.difference(Sphere(1, [100, 1000] * u.keV)) is None
    assert u.Unit(found.unit) == u.Unit("1 / (s sr cm2)")


@pytest.mark.parametrize("nested", [False, True])
def test_round_trip(tmp_path, values, nested) -> None:
    sphere = replace(SPHERE, nested=nested)
    write_sky(tmp_path / "sky.h5", values, sphere)
    found = open_sky(tmp_path / "sky.h5")
    assert np.array_equal(found.values, values)
    assert found.sphere.difference(sphere) is None
    assert np.array_equal(read_sky(tmp_path / "sky.h5", sphere), values)
    axes = container.read_axes(tmp_path / "sky.h5")
    assert [(axis.label, axis.scale) for axis in axes] == [("lb", "linear"), ("Ei", "log")]


def test_of_several_histograms_the_result_is_taken(tmp_path, values) -> None:
    one, two = (SkyMap(v, SPHERE, FLUX).to_histogram() for v in (values, 2 * values))
    container.write_all(tmp_path / "model.hdf5", {"iteration1": one, "result": two})
    assert np.array_equal(open_sky(tmp_path / "model.hdf5").values, 2 * values)
    assert np.array_equal(open_sky(f"{tmp_path}/model.hdf5[iteration1]").values, values)


def test_histpy_and_mhealpy_in_and_out(values) -> None:
    pytest.importorskip("histpy")
    pytest.importorskip("mhealpy")
    for nested in (False, True):
        sky = SkyMap(values, replace(SPHERE, nested=nested), FLUX)
        back = open_sky(sky.to_histpy())
        assert np.array_equal(back.values, values)
        assert back.sphere.difference(sky.sphere) is None
        for i, made in enumerate(sky.to_mhealpy()):
            again = open_sky(made)
            assert np.array_equal(again.values[:, 0], values[:, i])
            assert (again.sphere.nested, again.sphere.frame) == (nested, "galactic")
            assert u.Unit(again.unit) == u.Unit(FLUX)


def test_multi_order_maps_of_mhealpy() -> None:
    mhealpy = pytest.importorskip("mhealpy")
    moc = mhealpy.HealpixMap([1.0] * 11 + [2.0] * 4, [*range(4, 15), *range(60, 64)], density=True)
    assert open_sky(moc).ordered(nested=True).values[44:].tolist() == [[2.0]] * 4


def test_order_and_resolution_are_those_of_healpy(values) -> None:
    sky = SkyMap(values, SPHERE, FLUX)
    assert np.array_equal(
        sky.ordered(nested=True).values[:, 0], healpy.reorder(values[:, 0], r2n=True)
    )
    assert np.array_equal(sky.ordered(nested=True).ordered(nested=False).values, values)
    for nside in (1, 2, 8):
        for nested in (False, True):
            made = sky.ordered(nested).graded(nside).ordered(nested=False).values[:, 1]
            assert made == pytest.approx(healpy.ud_grade(values[:, 1], nside), rel=1e-14)
            assert made.mean() == pytest.approx(values[:, 1].mean())
    assert healpy.ud_grade(sky.to_healpy()[0], 4) == pytest.approx(values[:, 0])


def test_unseen_pixels_are_a_mask(tmp_path, values) -> None:
    seen = values[:, 0].copy()
    seen[[5, 77]] = healpy.UNSEEN
    path = write_fits(tmp_path / "m.fits", seen, ORDERING="RING", NSIDE=4)
    found = open_sky(path)
    assert np.flatnonzero(~found.seen[:, 0]).tolist() == [5, 77]
    geometry = Sphere(4)
    assert read_sky(path, geometry)[[5, 77]].tolist() == [[0], [0]]
    assert np.all(read_sky(path, geometry, unit=None)[:5] > 0)
    assert np.array_equal(found.to_healpy()[0], seen)
    coarse = found.graded(2)
    assert np.all(coarse.seen)
    assert coarse.values[:, 0] == pytest.approx(healpy.ud_grade(seen, 2))


def test_maps_of_healpy_are_read(tmp_path, values) -> None:
    path = tmp_path / "m.fits"
    for nest in (False, True):
        healpy.write_map(path, values[:, 0], nest, coord="G", dtype=float, overwrite=True)
        found = open_sky(path)
        assert found.sphere.nested == nest
        assert np.array_equal(found.values[:, 0], values[:, 0])
    healpy.write_map(path, values.T, coord="G", dtype=float, overwrite=True)
    assert np.array_equal(read_sky(path, SPHERE), values)


@pytest.mark.parametrize(
    ("header", "ordering", "message"),
    [
        ({}, None, r"order of the pixels not stated .* give --ordering"),
        ({"ORDERING": "NESTED"}, "ring", "header says nested order, but ring"),
        ({"ORDERING": "RING", "NSIDE": 8}, None, "NSIDE = 8, but there are 192 pixels"),
        ({"ORDERING": "RING", "PIXTYPE": "HEALPIX", "EXTNAME": "X"}, None, None),
        ({"PIXTYPE": "CAR"}, None, "no HEALPix map"),
        ({}, "nested", None),
    ],
)
def test_headers_are_checked(tmp_path, values, header, ordering, message) -> None:
    path = write_fits(tmp_path / "m.fits", values[:, 0], **header)
    if message is None:
        assert open_sky(path, ordering=ordering).sphere.nested == (ordering == "nested")
        return
    with pytest.raises(DataError, match=message):
        open_sky(path, ordering=ordering)


def test_number_of_pixels(tmp_path, rng) -> None:
    path = write_fits(tmp_path / "m.fits", rng.random(3000), ORDERING="RING")
    for given in (path, rng.random(3000)):
        with pytest.raises(DataError, match=r"3000 pixels is not 12 nside\^2; nearest: 3072"):
            open_sky(given)
    assert [nside_of(12 * n * n) for n in (1, 2, 64, 1024)] == [1, 2, 64, 1024]


@pytest.mark.parametrize(
    ("letter", "message"),
    [("C", "frame icrs against galactic"), ("E", "'E' means ecliptic; equatorial would be 'C'")],
)
def test_other_frames_are_refused(tmp_path, values, letter, message) -> None:
    path = write_fits(tmp_path / "m.fits", values[:, 0], ORDERING="RING", COORDSYS=letter)
    with pytest.raises(DataError, match=message):
        read_sky(path, Sphere(4))


@pytest.mark.parametrize(
    ("unit", "outcome"),
    [
        ("", 1.0),
        ("cm-2 s-1 sr-1", 1.0),
        ("1 / (m2 s sr)", 1e-4),
        ("deg-2 cm-2 s-1", (180 / np.pi) ** 2),
        ("cm-2 s-1", r"= sr, expected counts\. Is the map per pixel\? Divide"),
        ("cm-2 s-1 sr-1 keV-1", r"Is the map per energy\? Multiply"),
        ("s", "expected counts"),
    ],
)
def test_units_must_make_counts(values, unit, outcome) -> None:
    sky = SkyMap(values, SPHERE, unit)
    if isinstance(outcome, str):
        with pytest.raises(DataError, match=outcome):
            read_sky(sky, SPHERE)
    else:
        assert read_sky(sky, SPHERE) == pytest.approx(values * outcome)
    assert np.array_equal(read_sky(sky, SPHERE, unit=None), values)


def test_energies_must_agree(values) -> None:
    sky = SkyMap(values, SPHERE)
    other = replace(SPHERE, energy_edges=np.array([100.0, 511.0, 1000.0]) * u.keV)
    with pytest.raises(DataError, match=r"energy edge 1: 500\.0 keV against 511\.0 keV"):
        read_sky(sky, other)
    mega = replace(SPHERE, energy_edges=EDGES.to(u.MeV))
    assert np.array_equal(read_sky(sky, mega), values)
    assert read_sky(values[:, 0], SPHERE) == pytest.approx(np.repeat(values[:, :1], 2, axis=1))
    with pytest.raises(DataError, match="the map has 2 energies, the response 1"):
        read_sky(values, Sphere(4))


def test_what_is_no_sky(tmp_path, shared_data) -> None:
    with pytest.raises(DataError, match="none of a sky; expected lb"):
        open_sky(shared_data / "cosi" / "ccm_time_test.hdf5")
    (tmp_path / "x.fits").write_bytes(b"SIMPLE  = nothing")
    with pytest.raises(FileError, match="damaged or no FITS file"):
        open_sky(tmp_path / "x.fits")
    (tmp_path / "x.fits").write_bytes(b"")
    with pytest.raises(FileError, match="is empty"):
        open_sky(tmp_path / "x.fits")
