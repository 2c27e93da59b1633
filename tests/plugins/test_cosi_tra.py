"""Text of MEGAlib: Compton events as MEGAlib itself computes them."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from skyfold.errors import DataError, FileError
from skyfold_cosi import tra
from skyfold_cosi.orientation import read_orientation
from skyfold_cosi.unbinned import read_blocks, read_unbinned

EVENT = """SE
ET CO
ID 3
TI 1835478000.5
GX 0 0
GZ 0 90
CE 400 1   111 1
CH 0 0 0 5 111 0 0.1
CH 1 3 0 1 400 0 0.1
"""


@pytest.fixture
def sample(shared_data: Path) -> Path:
    return next((shared_data / "cosi").glob("*.tra.gz"))


def test_events_are_those_of_megalib(
    sample: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tra, "ELECTRON", 510.999)  # MEGAlib's value
    ours = read_unbinned(sample, size=100)
    theirs = read_unbinned(shared_data / "cosi" / "unbinned_data_MEGAlib_calc.hdf5")
    theirs = theirs[: len(ours)]
    assert len(ours) == 621
    for name, turn in (("time", 0), ("energy", 0), ("phi", 0), ("distance", 0), ("x", 2 * np.pi)):
        difference = getattr(ours, name) - getattr(theirs, name)
        difference = (difference + turn / 2) % turn - turn / 2 if turn else difference
        assert np.abs(difference).max() < 1e-10, name
    turn = (ours.galactic - theirs.galactic + 180) % 360 - 180
    assert np.abs(turn).max() < 1e-9
    assert np.abs(ours.local - theirs.local).max() < 1e-10


def test_event_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "a.tra"
    file.write_text("Type tra\nVersion 1\n" + EVENT + "EN\n")
    event = read_unbinned(file)
    assert event.energy.tolist() == [511]
    assert event.phi[0] == pytest.approx(np.arccos(1 - tra.ELECTRON * (1 / 400 - 1 / 511)))
    assert event.distance.tolist() == [5]
    # first minus second is (-3, 0, 4), and the axes are those of the sky
    assert np.allclose(event.local, [[np.pi, np.arccos(0.8)]])
    assert np.allclose(event.galactic, [[180, np.degrees(np.arcsin(0.8))]])


def test_what_is_no_compton_event_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "a.tra"
    single = EVENT.replace("CH 1", "XX 1")
    file.write_text(EVENT + single + EVENT.replace("ET CO", "ET PH") + EVENT + "SE\nET UN\n")
    skipped: Counter[str] = Counter()
    assert len(read_unbinned(file, skipped=skipped)) == 2
    assert skipped == {tra.SINGLE: 1, tra.OTHER: 2}


def test_attitude_from_the_orientation(sample: Path, shared_data: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.tra"
    lines = gzip.decompress(sample.read_bytes()).splitlines(keepends=True)
    bare.write_bytes(b"".join(line for line in lines if line[:2] not in (b"GX", b"GZ")))
    unknown = read_unbinned(bare)
    assert np.all(np.isnan(unknown.galactic))
    assert np.all(np.isfinite(unknown.local))
    history = read_orientation(shared_data / "cosi" / "20280301_first_10sec.ori")
    found = read_unbinned(bare, orientation=history)
    # the file repeats the attitude of the last second, the orientation is interpolated
    assert np.abs(found.x - read_unbinned(sample).x).max() < 1e-3


def test_pieces_of_text_do_not_matter(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_unbinned(sample)
    monkeypatch.setattr(tra, "TEXT", 1000)
    pieces = read_unbinned(sample, size=7)
    assert np.array_equal(whole.time, pieces.time)
    assert np.array_equal(whole.local, pieces.local)


def test_a_number_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "a.tra"
    file.write_text(EVENT + EVENT.replace("CE 400", "CE 4x0"))
    with pytest.raises(FileError, match=r"TI 1835478000.5: expected 3 numbers after CE.*4x0"):
        read_unbinned(file)


def test_cut_off_and_other_files(sample: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tra.gz"
    cut.write_bytes(sample.read_bytes()[:3000])
    with pytest.raises(FileError, match="cut off"):
        list(read_blocks(cut))
    other = tmp_path / "other.txt"
    other.write_text("hello\n")
    with pytest.raises(DataError, match="holds no events"):
        list(read_blocks(other))
