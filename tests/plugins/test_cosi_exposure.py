"""Exposure tables of COSI: attitudes and times in bins, and their files."""

import json

import numpy as np
import pytest
from astropy.io import fits

from skyfold.errors import DataError, FileError
from skyfold_cosi.container import read
from skyfold_cosi.exposure import by_attitude, by_time
from skyfold_cosi.exposure_file import read_exposure_table, write_exposure_table
from skyfold_cosi.orientation import Orientation, read_orientation
from skyfold_responses.attitude import longitude_latitude, unit_vectors


def orbit(hours=3.0, step=60.0):
    """Return a low orbit whose instrument looks 22 degrees off the zenith."""
    time = np.arange(0, hours * 3600 + step / 2, step)
    angle = np.degrees(2 * np.pi * time / 5676)
    livetime = np.full(len(time), 0.9 * step)
    livetime[[5, -1]] = 0
    return Orientation(
        1.8e9 + time,
        unit_vectors(angle, np.full(len(time), -68.0)),
        unit_vectors(angle, np.full(len(time), 22.0)),
        unit_vectors(angle, np.zeros(len(time))),
        np.full(len(time), 530.0),
        livetime,
    )


def looking_at(longitudes, livetime=None):
    """Return an orientation at the equator, one row each second."""
    n = len(longitudes)
    z = unit_vectors(np.asarray(longitudes, float), np.zeros(n))
    x = np.tile([0, 0, 1.0], (n, 1))
    live = np.append(np.ones(n - 1), 0) if livetime is None else np.asarray(livetime, float)
    return Orientation(np.arange(n, dtype=float), x, z, z, np.full(n, 530.0), live)


def degrees(vectors):
    return np.stack(longitude_latitude(vectors), axis=-1)


@pytest.fixture(scope="session")
def references(shared_data):
    return json.loads((shared_data / "cosi" / "ref_cases.json").read_text())


@pytest.fixture(scope="session")
def ten_seconds(shared_data):
    return read_orientation(shared_data / "cosi" / "20280301_first_10sec.ori")


@pytest.mark.parametrize("scheme", ["ring", "nested"])
@pytest.mark.parametrize("nside", [1, 4, 64])
def test_published_tables(nside, scheme, references, ten_seconds):
    expected = references[f"C_table_nside{nside}_{scheme}"]
    table = by_attitude(ten_seconds, nside, nested=scheme == "nested", reference=True)
    assert len(table) == expected["n"]
    assert table.pixels.tolist() == expected["healpix_index"]
    assert table.num_pointings.tolist() == expected["num"]
    assert np.allclose(table.exposure, expected["exposure"], rtol=1e-9)
    assert np.allclose(degrees(table.pointings.mean_z), expected["zavg"], rtol=1e-9)
    assert np.allclose(degrees(table.pointings.mean_x), expected["xavg"], rtol=1e-9)
    assert np.allclose(degrees(table.pointings.z)[0], expected["z0"], rtol=1e-9)
    assert np.allclose(degrees(table.pointings.x)[0], expected["x0"], rtol=1e-9)


def test_means_cross_longitude_zero():
    orientation = looking_at([359.8, 0.6])
    right = by_attitude(orientation, 8)
    assert np.allclose(degrees(right.pointings.z), [[0.2, 0]])
    published = by_attitude(orientation, 8, reference=True)
    assert np.allclose(degrees(published.pointings.z), [[180.2, 0]])


def test_only_livetime_counts():
    orientation = looking_at([0, 1, 2, 60, 61], livetime=[0.5, 0.25, 0, 0.75, 9])
    table = by_attitude(orientation, 4)
    assert table.exposure.tolist() == [0.75, 0.75]
    assert by_attitude(orientation, 4, reference=True).exposure.sum() == 4
    with pytest.raises(DataError, match="nothing was observed"):
        by_attitude(looking_at([0, 1, 2], livetime=[0, 0, 0]), 4)


def test_bins_come_as_they_are_met_and_hold_their_pointings():
    table = by_attitude(looking_at([100, 100, 10, 10, 100, 100]), 4)
    assert np.allclose(degrees(table.pointings.mean_z)[:, 0], [100, 55, 10], atol=2)
    assert table.num_pointings.tolist() == [2, 2, 1]


def test_the_opposite_direction_has_no_mean():
    table = by_attitude(looking_at([0, 180]), 4)
    assert np.allclose(degrees(table.pointings.z), [[0, 0]])


def test_nested_tables_are_reordered_ring_tables():
    import healpy

    ring, nested = (by_attitude(orbit(), 4, nested=nested) for nested in (False, True))
    assert np.array_equal(healpy.ring2nest(4, ring.pixels), nested.pixels)
    assert np.array_equal(ring.exposure, nested.exposure)


def test_pointings_find_their_bins():
    table = by_attitude(orbit(), 4)
    assert np.array_equal(table.find(table.pointings.x, table.pointings.z), table.pointings.group)
    assert table.find(np.array([[1.0, 0, 0]]), np.array([[0, 0, -1.0]])).tolist() == [-1]


def test_small_bins_can_be_left_out():
    orientation = orbit()
    full = by_attitude(orientation, 4)
    some = by_attitude(orientation, 4, min_exposure=150, min_num_pointings=3)
    kept = (full.exposure >= 150) & (full.num_pointings >= 3)
    assert 0 < kept.sum() < len(full)
    assert np.array_equal(some.pixels, full.pixels[kept])
    assert np.array_equal(some.exposure, full.exposure[kept])
    with pytest.raises(DataError, match=r"no attitude bin has 1e\+09 s and 1 pointings"):
        by_attitude(orientation, 4, min_exposure=1e9)


def test_a_range_of_time_is_cut_out():
    orientation = orbit()
    start, stop = orientation.time[10], orientation.time[20]
    assert by_attitude(orientation, 4, start=start, stop=stop).exposure.sum() == pytest.approx(540)
    until = by_attitude(orientation, 4, stop=stop).exposure.sum()
    assert until == pytest.approx(19 * 54)


def test_a_range_may_begin_between_rows_without_livetime():
    orientation = orbit()
    assert orientation.livetime[5] == 0
    start = orientation.time[5] + 12.25
    table = by_attitude(orientation, 4, start=start, stop=orientation.time[7] + 30)
    assert table.exposure.sum() == pytest.approx(54 + 27)


def test_times_are_shared_by_the_bins_they_touch():
    orientation = looking_at([0, 10, 20, 30], livetime=[1, 0.5, 1, 0])
    table = by_time(orientation, [0.25, 1.5, 2.5])
    assert np.allclose(table.exposure, [0.75 + 0.25, 0.25 + 0.5])
    assert np.allclose(degrees(table.pointings.z)[:, 0], [6.25, 12.5, 17.5, 22.5], atol=1e-2)
    published = by_time(orientation, [0.25, 1.5, 2.5], reference=True)
    assert np.allclose(published.exposure, [1.25, 1])
    assert np.allclose(degrees(published.pointings.z)[:, 0], [2.5, 10, 15, 20], atol=1e-2)
    assert table.axis.label == "Time"
    assert table.axis.edges.tolist() == [0.25, 1.5, 2.5]


@pytest.mark.parametrize(
    ("edges", "words"), [([-1, 2], "not covered"), ([0, 4], "not covered"), ([2, 1], "increase")]
)
def test_times_without_orientation_are_refused(edges, words):
    with pytest.raises(DataError, match=words):
        by_time(looking_at([0, 10, 20, 30]), edges)


def test_the_published_file_is_read(shared_data, ten_seconds):
    table = read_exposure_table(shared_data / "cosi" / "exposure_table_test_nside1_ring.fits")
    made = by_attitude(ten_seconds, 1, reference=True)
    assert table.pixels.tolist() == made.pixels.tolist()
    assert np.allclose(table.exposure, made.exposure, rtol=1e-9)
    assert np.allclose(table.pointings.x, made.pointings.x, atol=1e-9)
    expected = read(shared_data / "cosi" / "map_pointing_zx_test_nside1_ring.hdf5")
    found = table.pointing_map()
    assert found.labels == expected.labels
    assert np.allclose(found.dense, expected.dense, rtol=1e-9)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("generation", [2025, 2026])
def test_tables_survive_their_files(generation, nested, tmp_path):
    table = by_attitude(orbit(), 4, nested=nested)
    write_exposure_table(tmp_path / "table.fits", table, generation=generation)
    back = read_exposure_table(tmp_path / "table.fits")
    assert (back.nside, back.nested) == (4, nested)
    assert np.array_equal(back.pixels, table.pixels)
    assert np.array_equal(back.pointings.seconds, table.pointings.seconds)
    assert np.array_equal(back.pointings.first, table.pointings.first)
    for name in ("x", "z", "zenith"):
        if generation == 2026 or name != "zenith":
            ours, theirs = (getattr(t.pointings, name) for t in (back, table))
            assert np.allclose(ours, theirs, atol=1e-14)
    assert (back.pointings.zenith is None) == (generation == 2025)


def test_tables_of_times_survive_their_files(tmp_path):
    orientation = orbit()
    table = by_time(orientation, orientation.time[0] + np.array([0, 100, 5000, 10800]))
    write_exposure_table(tmp_path / "table.fits", table, generation=2026)
    back = read_exposure_table(tmp_path / "table.fits")
    assert np.array_equal(back.axis.edges, table.axis.edges)
    assert np.array_equal(back.exposure, table.exposure)
    with pytest.raises(DataError, match="write generation 2026"):
        write_exposure_table(tmp_path / "old.fits", table)
    assert not (tmp_path / "old.fits").exists()


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "table.fits"
    path.write_bytes(b"")
    with pytest.raises(FileError, match="is empty"):
        read_exposure_table(path)
    path.write_text("OG 1 2 3")
    with pytest.raises(FileError, match="no valid FITS file"):
        read_exposure_table(path)
    fits.PrimaryHDU(np.ones((2, 2))).writeto(path, overwrite=True)
    with pytest.raises(DataError, match="no table EXPOSURETABLE"):
        read_exposure_table(path)
    write_exposure_table(path, by_attitude(orbit(), 4))
    with fits.open(path) as file:
        del file[1].header["NSIDE"]
        file.writeto(tmp_path / "no_nside.fits")
        file[1].header["NSIDE"] = 1
        file.writeto(tmp_path / "coarse.fits")
        file[1].data["delta_time"][0][0] = -1
        file.writeto(tmp_path / "negative.fits")
    write_exposure_table(tmp_path / "no_rows.fits", by_attitude(orbit(), 4).take(np.array([], int)))
    whole = path.read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="is cut off"):
        read_exposure_table(tmp_path / "cut.fits")
    with pytest.raises(DataError, match="a pointing of -1 s in 'delta_time'"):
        read_exposure_table(tmp_path / "negative.fits")
    with pytest.raises(DataError, match="is empty"):
        read_exposure_table(tmp_path / "no_rows.fits")
    with pytest.raises(DataError, match="no NSIDE"):
        read_exposure_table(tmp_path / "no_nside.fits")
    with pytest.raises(DataError, match="at NSIDE 1"):
        read_exposure_table(tmp_path / "coarse.fits")
