"""Unbinned events: FITS and HDF5 of all ages, in blocks, selected."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from skyfold.errors import ConfigError, DataError, FileError
from skyfold_cosi.unbinned import (
    Selection,
    Unbinned,
    from_vectors,
    read_blocks,
    read_unbinned,
    within,
    write_unbinned,
)
from skyfold_cosi.unbinned_files import UNITS
from skyfold_responses.attitude import rotations, unit_vectors

START = 1835478000.0
FIELDS = ("time", "energy", "phi", "x", "z", "local", "galactic", "distance")


def some(rng: np.random.Generator, n: int = 50) -> Unbinned:
    frame = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    return from_vectors(
        START + np.sort(rng.uniform(0, 10, n)),
        rng.uniform(100, 5000, n),
        rng.uniform(0, np.pi, n),
        frame[:, 0],
        frame[:, 2],
        rng.normal(size=(n, 3)),
    )


def assert_same(a: Unbinned, b: Unbinned, tolerance: float = 1e-12) -> None:
    for name in FIELDS:
        turned = getattr(a, name) - getattr(b, name)
        if name in ("x", "z"):
            turned = (turned + np.pi) % (2 * np.pi) - np.pi
        assert np.abs(turned).max() < tolerance, name


@pytest.mark.parametrize("name", ["e.fits", "e.fits.gz", "e.h5", "e.hdf5"])
def test_round_trip_in_blocks_of_any_size(
    name: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    events = some(rng)
    path = tmp_path / name
    assert write_unbinned(path, (events[i : i + 30] for i in (0, 30))) == 50
    assert {p.name for p in tmp_path.iterdir()} == {name}
    for size in (17, 1000):
        blocks = list(read_blocks(path, size=size))
        assert max(map(len, blocks)) <= size
        assert_same(Unbinned.joined(blocks), events)
    assert_same(read_unbinned([path, path])[50:], events)


def test_files_are_what_cosipy_writes(rng: np.random.Generator, tmp_path: Path) -> None:
    from astropy.table import QTable

    events = some(rng)
    write_unbinned(tmp_path / "e.fits.gz", events)
    table = QTable.read(tmp_path / "e.fits.gz", hdu=1)
    assert {name: str(table[name].unit) for name in table.colnames} == UNITS
    assert np.all(np.abs(table["Zpointings (glon,glat)"][:, 0].value) <= np.pi)
    x, y, z = (
        unit_vectors(*np.degrees(table[f"{axis}pointings (glon,glat)"].value).T) for axis in "XYZ"
    )
    assert np.allclose(np.cross(z, x), y, atol=1e-12)


def test_directions_are_turned_by_the_attitude(rng: np.random.Generator) -> None:
    step = rng.normal(size=(20, 3))
    frame = np.linalg.qr(rng.normal(size=(20, 3, 3)))[0]
    zero = np.zeros(20)
    events = from_vectors(zero, zero, zero, frame[:, 0], frame[:, 2], step)
    sky = unit_vectors(*events.galactic.T)
    back = np.einsum("nij,nj->ni", rotations(frame[:, 0], frame[:, 2]), sky)
    assert np.allclose(back, step / np.linalg.norm(step, axis=1, keepdims=True))


def test_units_of_fits_are_obeyed(rng: np.random.Generator, tmp_path: Path) -> None:
    from astropy import units as u
    from astropy.table import QTable

    events = some(rng)
    write_unbinned(tmp_path / "a.fits", events)
    table = QTable.read(tmp_path / "a.fits", hdu=1)
    table["Energies"] = table["Energies"].to("MeV")
    table["Psi galactic"] = table["Psi galactic"].to("rad")
    table["Phi"] = table["Phi"].astype("f4")
    table.write(tmp_path / "b.fits")
    found = read_unbinned(tmp_path / "b.fits")
    assert np.allclose(found.energy, events.energy)
    assert np.allclose(found.galactic, events.galactic)
    assert np.allclose(found.phi, events.phi, rtol=1e-6)
    table["Energies"] = table["Energies"].value * u.s
    table.write(tmp_path / "c.fits")
    with pytest.raises(DataError, match=r"'Energies' in 's', not keV"):
        read_unbinned(tmp_path / "c.fits")


def test_directions_of_old_files_come_from_the_detector(shared_data: Path) -> None:
    path = shared_data / "cosi" / "unbinned_data_MEGAlib_calc.hdf5"
    events = read_unbinned(path)
    with h5py.File(path) as file:
        chi, psi = file["Chi galactic"][:], file["Psi galactic"][:]
    # radians, a colatitude, counted from the direction of the anticentre
    there = unit_vectors(np.degrees(chi + np.pi), 90 - np.degrees(psi))[:-1]
    assert np.abs(unit_vectors(*events.galactic[:-1].T) - there).max() < 1e-10
    assert events.time[-1] == 10000  # an empty record ends the file


@pytest.mark.parametrize("name", ["e.fits", "e.fits.gz", "e.h5"])
def test_cut_off_files(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / name
    write_unbinned(path, some(rng, 5000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FileError, match=r"cut off|damaged|ends"):
        read_unbinned(path)


def test_missing_columns_and_impossible_values(rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "e.h5"
    write_unbinned(path, some(rng))
    with h5py.File(path, "r+") as file:
        file["Psi galactic"][:] += 100
    with pytest.raises(DataError, match=r"'Psi galactic' holds .* another unit"):
        read_unbinned(path)
    with h5py.File(path, "r+") as file:
        del file["Phi"]
    with pytest.raises(DataError, match="column 'Phi' is missing"):
        read_unbinned(path)
    with pytest.raises(ConfigError, match=r"\.fits"):
        write_unbinned(tmp_path / "e.csv", some(rng))


def test_nothing_is_left_of_a_writing_that_failed(rng: np.random.Generator, tmp_path: Path) -> None:
    def broken() -> object:
        yield some(rng)
        raise FileError("gone")

    for name in ("e.fits.gz", "e.h5"):
        with pytest.raises(FileError, match="gone"):
            write_unbinned(tmp_path / name, broken())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_selection(rng: np.random.Generator) -> None:
    events = some(rng, 400)
    good = START + np.array([[0.0, 2.0], [5.0, 6.0]])
    taken = Selection(START + 1, START + 5.5, (200, 300), good)(events)
    second = events.time - START
    wanted = (second >= 1) & (second < 5.5) & (events.energy >= 200) & (events.energy < 300)
    wanted &= (second < 2) | (second >= 5)
    assert 0 < len(taken) < 400
    assert np.array_equal(taken.time, events.time[wanted])


def test_intervals_hold_their_beginning_only() -> None:
    inside = within(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.5, 1, 2, 2.5, 3, 3.9, 4]))
    assert inside.tolist() == [False, True, False, False, True, True, False]
    assert not within(np.empty((0, 2)), np.array([1.0])).any()
