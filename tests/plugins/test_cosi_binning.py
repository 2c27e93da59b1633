"""Events into counts: as the published test files hold them, and properties of any binning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.cli import main
from skyfold.errors import ConfigError, DataError, FileError
from skyfold_cosi import container
from skyfold_cosi.binning import bin_events, combined, data_axes, rates
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.inputs_file import phi_edges, read_inputs, time_edges
from skyfold_cosi.unbinned import (
    Selection,
    Unbinned,
    from_vectors,
    read_blocks,
    read_unbinned,
    write_unbinned,
)
from skyfold_responses.attitude import rotations, unit_vectors

healpy = pytest.importorskip("healpy")

START = 1835478000.0
ENERGIES = np.array([100.0, 500.0, 2000.0])


@dataclass(frozen=True)
class Attitudes:
    pixels: np.ndarray
    nside: int
    nested: bool = False


def some(n: int, seed: int = 1) -> Unbinned:
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    return from_vectors(
        START + rng.uniform(-1, 11, n),
        rng.uniform(50, 2500, n),
        np.where(rng.random(n) < 0.05, np.nan, rng.uniform(0, np.pi, n)),
        frame[:, 0],
        frame[:, 2],
        rng.normal(size=(n, 3)),
    )


def axes(frame: str = "galactic") -> tuple[Axis, ...]:
    times = START + np.array([0.0, 4.0, 10.0])
    return data_axes(ENERGIES, phi_edges(30), 2, frame, times=times)  # type: ignore[arg-type]


def test_published_counts_in_the_frame_of_the_detector(shared_data: Path) -> None:
    folder = shared_data / "cosi"
    events = read_unbinned(folder / "unbinned_data_MEGAlib_calc.hdf5")
    by_time = container.read(folder / "test_event_histogram_localCDS.hdf5")
    found = bin_events(events, by_time.axes)
    assert found.accepted == 4173
    assert found.outside == {"outside the bins of time": 1, "outside the bins of energy": 503}
    assert np.array_equal(found.histogram.dense, by_time.dense)

    by_attitude = container.read(folder / "test_event_histogram_localCDS_scatt.h5")
    z, x = (unit_vectors(*np.degrees(axis[0])) for axis in (events.z, events.x))
    pixels = np.array([[healpy.vec2pix(1, *z), healpy.vec2pix(1, *x)]])
    found = bin_events(events, by_attitude.axes, attitudes=Attitudes(pixels, 1))
    assert np.array_equal(found.histogram.dense, by_attitude.dense)


def test_published_galactic_counts(shared_data: Path) -> None:
    import h5py

    folder = shared_data / "cosi"
    path = folder / "unbinned_data_MEGAlib_calc.hdf5"
    published = container.read(folder / "test_event_histogram_galacticCDS.hdf5")
    events = read_unbinned(path)
    # it was made from an old file as if its radians and colatitudes were degrees and latitudes
    with h5py.File(path) as file:
        wrong = np.stack([file["Chi galactic"][:], file["Psi galactic"][:]], axis=-1)
    found = bin_events(replace(events, galactic=wrong), published.axes)
    assert np.array_equal(found.histogram.dense, published.dense)
    right = bin_events(events, published.axes).histogram
    assert right.total == published.total
    projected = right.project("Em", "Phi").dense, published.project("Em", "Phi").dense
    assert np.array_equal(*projected)


@given(
    n=st.integers(1, 60), size=st.integers(1, 70), frame=st.sampled_from(["galactic", "detector"])
)
def test_every_event_is_counted_once_whatever_the_blocks(n: int, size: int, frame: str) -> None:
    events = some(n)
    blocks = [events[i : i + size] for i in range(0, n, size)]
    try:
        found = bin_events(iter(blocks), axes(frame))
    except DataError:
        with pytest.raises(DataError, match="none of"):
            bin_events(events, axes(frame))
        return
    whole = bin_events(events, axes(frame))
    assert found.events == n
    assert found.histogram.total == found.accepted == n - sum(found.outside.values())
    assert found.outside == whole.outside
    assert np.array_equal(found.histogram.dense, whole.histogram.dense)


def test_bins_are_those_of_numpy_and_healpix() -> None:
    events = some(500)
    counts = bin_events(events, axes()).histogram
    pixel = healpy.vec2pix(2, *unit_vectors(*events.galactic.T).T)
    columns = np.stack([events.time, events.energy, np.degrees(events.phi), pixel], axis=-1)
    edges = [*(axis.edges for axis in counts.axes[:3]), np.arange(49) - 0.5]
    known = np.isfinite(events.phi)
    assert np.array_equal(counts.dense, np.histogramdd(columns[known], edges)[0])
    turned = rotations(unit_vectors(*np.degrees(events.x).T), unit_vectors(*np.degrees(events.z).T))
    local = np.einsum("nij,nj->ni", turned, unit_vectors(*events.galactic.T))
    columns[:, 3] = healpy.vec2pix(2, *local.T)
    found = bin_events(events, axes("detector")).histogram
    assert np.array_equal(found.dense, np.histogramdd(columns[known], edges)[0])


def test_lower_edges_belong_to_a_bin_and_upper_ones_do_not() -> None:
    event = some(1)
    for energy, bin_ in ((100.0, 0), (500.0, 1)):
        at_edge = replace(event, energy=np.array([energy]), time=np.array([START]), phi=np.ones(1))
        assert bin_events(at_edge, axes()).histogram.project("Em").dense[bin_] == 1
    last = replace(event, energy=np.array([2000.0]), time=np.array([START]), phi=np.ones(1))
    with pytest.raises(DataError, match=r"none of the 1 events.*1 outside the bins of energy"):
        bin_events(last, axes())


@pytest.mark.parametrize("nested", [False, True])
def test_bins_of_attitude_are_those_of_the_own_axes(nested: bool) -> None:
    events = some(300)
    known = np.isfinite(events.phi) & (events.energy >= 100) & (events.energy < 2000)
    pair = [
        healpy.ang2pix(1, *np.degrees(axis).T, lonlat=True, nest=nested)
        for axis in (events.z, events.x)
    ]
    pixels = np.unique(np.stack(pair, axis=-1), axis=0)[::-2]
    table = Attitudes(pixels, 1, nested)
    bins = data_axes(ENERGIES, phi_edges(180), 1, "detector", attitudes=table, nested=nested)
    found = bin_events(events, bins, attitudes=table)
    for counts, (z, x) in zip(found.histogram.project("ScAtt").dense, pixels, strict=True):
        assert counts == np.count_nonzero(known & (pair[0] == z) & (pair[1] == x))
    assert found.outside["in no bin of attitude"] > 0


def test_selected_events_only() -> None:
    events = some(500)
    good = START + np.array([[1.0, 2.0], [5.0, 7.0]])
    chosen = Selection(START, START + 6, good_times=good)
    found = bin_events(events, axes(), selection=chosen)
    assert found.histogram.total == bin_events(chosen(events), axes()).accepted
    assert found.outside["outside the selected time"] > 0
    assert found.outside["without livetime"] > 0


def test_unknown_attitude_is_no_direction_in_the_sky() -> None:
    events = some(50)
    lost = replace(events, galactic=np.full((50, 2), np.nan))
    with pytest.raises(DataError, match="without a known direction"):
        bin_events(lost, axes())
    assert bin_events(lost, axes("detector")).accepted > 0


def test_two_files_are_as_one(tmp_path: Path) -> None:
    first, second = some(40), some(30, seed=2)
    write_unbinned(tmp_path / "a.fits.gz", first)
    write_unbinned(tmp_path / "b.h5", second)
    both = bin_events(read_blocks([tmp_path / "a.fits.gz", tmp_path / "b.h5"], size=9), axes())
    apart = [bin_events(events, axes()) for events in (first, second)]
    total = apart[0].histogram + apart[1].histogram
    assert both.events == 70
    assert np.array_equal(both.histogram.dense, total.dense)
    template = combined([part.histogram for part in apart], [0.5, 2])
    expected = 0.5 * apart[0].histogram.dense + 2 * apart[1].histogram.dense
    assert np.array_equal(template.dense, expected)
    with pytest.raises(ConfigError, match="1 factors for 2"):
        combined([part.histogram for part in apart], [1.0])


def test_light_curve_and_spectrum() -> None:
    counts = bin_events(some(300), axes()).histogram
    axis, number, rate = rates(counts, "Time")
    assert axis.unit == "s"
    assert np.allclose(rate * [4, 6], number)
    _, number, rate = rates(Histogram(counts.axes, counts.dense), "Em")
    assert np.allclose(rate * [400, 1500], number)


def test_galactic_bins_of_attitude_are_refused() -> None:
    table = Attitudes(np.zeros((1, 2), dtype=int), 1)
    with pytest.raises(ConfigError, match="attitude has been taken out"):
        data_axes(ENERGIES, phi_edges(30), 1, "galactic", attitudes=table)
    with pytest.raises(ConfigError, match="not both"):
        data_axes(ENERGIES, phi_edges(30), 1)


INPUTS = """\
data_file: events.fits.gz
ori_file: "NA"
unbinned_output: 'fits'
time_bins: 3
energy_bins: [1e2, 500, 2000.]
phi_pix_size: 7
nside: 2
scheme: 'RING'
tmin: 1835478000.0
tmax: 1.835478010e9
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    path = tmp_path / "inputs.yaml"
    path.write_text(INPUTS)
    return path


def test_inputs_as_cosipy_reads_them(inputs: Path, tmp_path: Path) -> None:
    found = read_inputs(inputs)
    assert found.energies.tolist() == [100, 500, 2000]
    assert len(found.phi) == 26
    assert np.allclose(np.diff(found.times), 10 / 3)
    assert (found.start, found.stop, found.nside, found.nested) == (START, START + 10, 2, False)
    assert found.data_file == tmp_path / "events.fits.gz"
    assert found.orientation_file is None
    inputs.write_text(INPUTS.replace("time_bins: 3", f"time_bins: [{START}, {START + 20}]"))
    assert read_inputs(inputs).times.tolist() == [START, START + 20]
    assert len(time_edges(100.0, 0.0, 30.0)) == 2


def test_real_inputs(shared_data: Path) -> None:
    found = read_inputs(shared_data / "cosi" / "inputs_crab.yaml")
    assert len(found.times) == 3
    assert len(found.phi) == 31
    assert found.orientation_file == shared_data / "cosi" / "20280301_first_10sec.ori"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("phi_pix_size", "phi_pixel_size", r":6: unknown key.*Did you mean 'phi_pix_size'"),
        ("tmax: 1.835478010e9", "", "'tmax' is missing"),
        ("[1e2, 500, 2000.]", "[500, 100]", ":5: energy_bins.*increasing"),
        ("[1e2, 500, 2000.]", "511", ":5: energy_bins"),
        ("time_bins: 3", "time_bins: 0", ":4: time_bins"),
        ("time_bins: 3", "time_bins: [1, 2]", "do not cover"),
        ("nside: 2", "nside: 3", ":7: nside.*power of two"),
        ("'RING'", "'rings'", ":8: scheme"),
        ("1.835478010e9", "1", ":10: tmax.*later"),
        ("phi_pix_size: 7", "phi_pix_size: seven", ":6: phi_pix_size.*number"),
    ],
)
def test_bad_inputs_say_where(inputs: Path, old: str, new: str, told: str) -> None:
    inputs.write_text(INPUTS.replace(old, new))
    with pytest.raises(ConfigError, match=told):
        read_inputs(inputs)


def test_command_bins_by_time_and_by_attitude(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_unbinned(tmp_path / "a.fits.gz", some(300))
    write_unbinned(tmp_path / "b.h5", some(200, seed=2))
    files = [str(tmp_path / "a.fits.gz"), str(tmp_path / "b.h5")]
    target = tmp_path / "counts.h5"
    command = ["cosi", "bin", *files, "--inputs", str(inputs), "--output", str(target)]
    assert main(command) == 0
    counts = container.read(target)
    assert counts["Time"].size == 3
    said = capsys.readouterr().out
    assert f"500 in 2 files, {counts.total:.0f} of them in bins" in said
    assert "outside the bins of energy" in said
    assert main(command) == FileError.exit_code
    assert main([*command, "--overwrite", "--time-bins", "5", "--phi", "90"]) == 0
    again = container.read(target)
    assert [again[label].size for label in ("Time", "Phi")] == [2, 2]

    selected = tmp_path / "chosen.fits"
    chosen = ["--energy", "[100, 500]", "--output", str(selected)]
    assert main(["cosi", "select", *files, *chosen]) == 0
    energy = read_unbinned(selected).energy
    assert 100 <= energy.min() <= energy.max() < 500

    factors = ["--factor", "2", "--factor", "0.5", "--output", str(tmp_path / "sum.h5")]
    assert main(["cosi", "combine", str(target), str(target), *factors]) == 0
    assert container.read(tmp_path / "sum.h5").total == 2.5 * again.total


def test_command_needs_bins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_unbinned(tmp_path / "a.h5", some(30))
    command = ["cosi", "bin", str(tmp_path / "a.h5"), "--output", str(tmp_path / "x.h5")]
    for flags, told in (
        ([], "--energies is missing"),
        (["--energies", "[1, 2]"], "--phi is missing"),
        (["--energies", "[2, 1]"], "increasing"),
        (["--energies", "[1, 2]", "--phi", "6", "--nside", "2"], "--start and --stop"),
        (["--energies", "[1, 2]", "--phi", "6", "--nside", "3"], "power of two"),
    ):
        assert main([*command, *flags]) == ConfigError.exit_code
        assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
