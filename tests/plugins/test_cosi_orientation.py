"""Orientation files: text of all ages, FITS, cuts with livetime in proportion."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.errors import DataError, FileError
from skyfold_cosi.exposure import by_attitude
from skyfold_cosi.orientation import Orientation, read_orientation, write_orientation
from skyfold_cosi.recognise import is_cosi
from skyfold_responses.attitude import longitude_latitude, unit_vectors

START = 1835478000.0
ROWS = (
    "OG 1835478000.0 10.0 20.0 80.0 200.0 530.5 -5.0 120.0 1.0",
    "OG 1835478001.0 10.5 20.5 79.5 200.5 531.5 -5.1 120.1 0.5 ",
    "OG 1835478002.0 11.0 21.0 79.0 201.0 532.5 -5.2 120.2 0.0",
    "OG 1835478004.0 11.5 21.5 78.5 201.5 533.5 -5.3 120.3 9.0",
)


def text(*rows: str, end: str = "EN\n") -> str:
    return "\n".join(["Type OrientationsGalactic ", *rows, end])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "a.ori"
    file.write_text(text(*ROWS))
    return file


def turning(steps: list[float], livetime: list[float]) -> Orientation:
    time = START + np.concatenate([[0], np.cumsum(steps)])
    angle = np.linspace(350, 370, len(time))
    return Orientation(
        time,
        unit_vectors(angle, np.zeros(len(time))),
        unit_vectors(angle, np.full(len(time), 90.0)),
        unit_vectors(angle + 40, np.full(len(time), 10.0)),
        np.full(len(time), 530.0),
        np.append(np.array(livetime) * steps, 0.0),
    )


def test_columns_are_latitude_before_longitude_and_the_last_livetime_is_dropped(path: Path) -> None:
    found = read_orientation(path)
    assert found.time.tolist() == [START, START + 1, START + 2, START + 4]
    lon, lat = longitude_latitude(found.x)
    assert np.allclose([lon[1], lat[1]], [20.5, 10.5])
    lon, lat = longitude_latitude(found.z)
    assert np.allclose([lon[0], lat[0]], [200, 80])
    lon, lat = longitude_latitude(found.zenith)
    assert np.allclose([lon[3], lat[3]], [120.3, -5.3])
    assert found.altitude.tolist() == [530.5, 531.5, 532.5, 533.5]
    assert found.livetime.tolist() == [1.0, 0.5, 0.0, 0.0]
    assert found.good_times.tolist() == [[START, START + 2]]
    assert found.earth_known


def test_real_files(shared_data: Path) -> None:
    ten = read_orientation(shared_data / "cosi" / "20280301_first_10sec.ori")
    assert len(ten) == 11
    assert ten.total_livetime == 10
    assert np.abs(np.einsum("ni,ni->n", ten.x, ten.z)).max() < 1e-6
    assert len(read_orientation(shared_data / "cosi" / "20280301_2s.ori")) == 3


def test_packed_text_and_blocks_give_the_same(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "a.ori.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    whole = read_orientation(path)
    monkeypatch.setattr("skyfold_cosi.orientation.BLOCK", 70)
    for file in (path, packed):
        found = read_orientation(file)
        assert np.array_equal(found.x, whole.x)
        assert np.array_equal(found.livetime, whole.livetime)


@pytest.mark.parametrize("name", ["out.ori", "out.ori.gz"])
def test_round_trip(path: Path, tmp_path: Path, name: str) -> None:
    given = read_orientation(path)
    write_orientation(tmp_path / name, given)
    found = read_orientation(tmp_path / name)
    for field in ("time", "altitude", "livetime"):
        assert np.array_equal(getattr(found, field), getattr(given, field))
    for field in ("x", "z", "zenith"):
        assert np.allclose(getattr(found, field), getattr(given, field), rtol=0, atol=1e-15)


def test_oldest_files_know_no_earth_and_are_live_all_the_time(tmp_path: Path) -> None:
    file = tmp_path / "old.ori"
    file.write_text(text(*(" ".join(row.split()[:6]) for row in ROWS)))
    found = read_orientation(file)
    assert not found.earth_known
    assert found.livetime.tolist() == [1, 1, 2, 0]
    pointings = by_attitude(found, 1).pointings
    assert pointings.zenith is None
    with pytest.raises(DataError, match="what the Earth hides is not known"):
        pointings.visible(found.x)
    write_orientation(tmp_path / "again.ori", found)
    assert not read_orientation(tmp_path / "again.ori").earth_known


def test_fits_of_2026(path: Path, tmp_path: Path) -> None:
    from astropy import units as u
    from astropy.table import QTable

    given = read_orientation(path)
    table = QTable({"TimeStamp": given.time * u.s})
    for name in ("x", "z", "zenith"):
        column = {"x": "XPointings", "z": "ZPointings", "zenith": "EarthZenith"}[name]
        pair = np.stack(longitude_latitude(getattr(given, name)), axis=-1) * u.deg
        table[column] = pair.to(u.rad) if name == "z" else pair
    table["Altitude"] = (given.altitude * u.km).to(u.m)
    table["LiveTime"] = given.livetime * u.s
    table.meta["VERSION"] = "20260130"
    table.write(tmp_path / "a.fits")
    table.write(tmp_path / "a.fits.gz")
    for file in (tmp_path / "a.fits", tmp_path / "a.fits.gz"):
        assert is_cosi(file)
        found = read_orientation(file)
        assert np.allclose(found.z, given.z, atol=1e-12)
        assert np.allclose(found.altitude, given.altitude)
        assert np.array_equal(found.livetime, given.livetime)
    table.meta["VERSION"] = "20310101"
    table.write(tmp_path / "b.fits")
    with pytest.raises(DataError, match="VERSION 20310101"):
        read_orientation(tmp_path / "b.fits")


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (text(*ROWS[:2], ROWS[2].replace("11.0", "eleven")), FileError, r"a.ori:4: .*eleven"),
        (text(*ROWS[:2], ROWS[2].rsplit(" ", 1)[0]), FileError, r"a.ori:4: "),
        (text(*ROWS[:2], "OH" + ROWS[2][2:]), FileError, r"a.ori:4: 'OH"),
        (text(*ROWS[:2], ROWS[2].replace("79.0", "nan")), FileError, r"a.ori:4: "),
        (text(*(row.rsplit(" ", 2)[0] for row in ROWS)), FileError, r"a.ori:2: "),
        (text(*ROWS, end=""), FileError, "cut off"),
        (text(ROWS[0], ROWS[2], ROWS[1]), DataError, r"row 3 at 1835478001.000 s does not come"),
        (text(ROWS[0], ROWS[0], ROWS[1]), DataError, "order of time"),
        (text(ROWS[0]), DataError, "two rows"),
        (text(ROWS[0].replace(" 80.0", " 30.0"), ROWS[1]), DataError, "row 1 .* degrees apart"),
        (text(ROWS[0][:-3] + "5.0", ROWS[1]), DataError, "row 1 .* livetime is 5 s"),
        ("Type Other\nEN\n", DataError, "no orientation"),
        ("", FileError, "empty"),
    ],
)
def test_bad_files_say_where(path: Path, content: str, error: type[Exception], told: str) -> None:
    path.write_text(content)
    with pytest.raises(error, match=told):
        read_orientation(path)


def test_damaged_gzip(path: Path, tmp_path: Path) -> None:
    packed = tmp_path / "a.ori.gz"
    packed.write_bytes(gzip.compress(path.read_bytes() * 50)[:-20])
    with pytest.raises(FileError, match=r"damaged|cut off"):
        read_orientation(packed)


@given(
    steps=st.lists(st.floats(0.1, 20), min_size=2, max_size=8),
    live=st.lists(st.sampled_from([0.0, 0.4, 1.0]), min_size=8, max_size=8),
    cuts=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=3, unique=True),
)
def test_pieces_share_the_livetime_exactly(
    steps: list[float], live: list[float], cuts: list[float]
) -> None:
    whole = turning(steps, live[: len(steps)])
    length = whole.time[-1] - whole.time[0]
    edges = np.unique([whole.time[0], *(START + length * np.sort(cuts)), whole.time[-1]])
    pieces = [whole.between(a, b) for a, b in pairwise(edges)]
    total = sum(piece.total_livetime for piece in pieces)
    assert total == pytest.approx(whole.total_livetime, abs=1e-5)
    for piece, (a, b) in zip(pieces, pairwise(edges), strict=True):
        assert (piece.time[0], piece.time[-1]) == (a, b)
        assert np.allclose(np.linalg.norm(piece.x, axis=1), 1)


def test_cut_where_the_livetime_is_zero_and_across_0_degrees() -> None:
    whole = turning([1.0, 1.0], [0.0, 1.0])
    part = whole.between(START + 0.5, START + 1.25)
    assert part.livetime.tolist() == [0.0, 0.25, 0.0]
    lon, _ = longitude_latitude(part.x)
    assert lon[0] == pytest.approx(355, abs=1e-9)
    assert whole.between(START, START + 2).livetime.tolist() == whole.livetime.tolist()


def test_cut_outside_is_refused() -> None:
    with pytest.raises(DataError, match="it goes from"):
        turning([1.0, 1.0], [1.0, 1.0]).between(START - 1, START + 1)


def test_good_times_leave_out_the_anomaly() -> None:
    whole = turning([1.0, 2.0, 1.0, 1.0], [1.0, 0.0, 0.3, 1.0])
    assert (whole.good_times - START).tolist() == [[0, 1], [3, 5]]
