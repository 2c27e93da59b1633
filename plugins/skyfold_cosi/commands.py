"""Commands of the data reduction: select events, bin them, add up counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from skyfold.commands.telling import say
from skyfold.datasets import readable_size
from skyfold.errors import ConfigError, FileError
from skyfold.vector import Array
from skyfold_cosi.inputs_file import Inputs, phi_edges, read_inputs, time_edges

if TYPE_CHECKING:
    from skyfold_cosi.exposure import ExposureTable
    from skyfold_cosi.histogram import Axis
    from skyfold_cosi.orientation import Orientation
    from skyfold_cosi.unbinned import Selection, Unbinned

Degrees = Annotated[float, Field(gt=0, le=180)]
Positive = Annotated[int, Field(ge=1)]


def bin_events(
    events: list[Path],
    output: Path = Path("counts.h5"),
    inputs: Path | None = None,
    energies: list[float] | None = None,
    phi: Degrees | None = None,
    nside: Positive | None = None,
    nested: bool = False,
    frame: Literal["galactic", "detector"] | None = None,
    time_bins: list[float] | None = None,
    start: float | None = None,
    stop: float | None = None,
    exposure_table: Path | None = None,
    orientation: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Bin events into counts, in Galactic coordinates or in the frame of the detector.

    Files are read in blocks and count as one. Events in no bin are counted and said.

    Parameters
    ----------
    events
        Files of events: FITS, HDF5, or .tra of MEGAlib; plain or packed with gzip.
    output
        HDF5 file to write.
    inputs
        cosipy's inputs_*.yaml, from which everything comes that no flag says.
    energies
        Edges of the energy bins, keV.
    phi
        Width of the bins of the Compton angle, degrees.
    nside
        HEALPix resolution of the directions.
    nested
        Number directions in NESTED order.
    frame
        Frame of the directions; galactic, or detector where there is an exposure table.
    time_bins
        One number: about the width of equal bins in seconds; several: their edges in unix
        seconds. One bin from start to stop by default.
    start, stop
        Range of time in unix seconds; by default that of the inputs or of the orientation.
    exposure_table
        FITS file with bins of attitude: events are binned by their attitude instead of by time.
    orientation
        Orientation file: events outside its livetime (South Atlantic Anomaly) are left out, and
        .tra files without attitude take it from here.
    overwrite
        Replace a file that exists.
    """
    from skyfold_cosi import container
    from skyfold_cosi.binning import bin_events as count
    from skyfold_cosi.binning import data_axes

    _require_free(output, overwrite)
    given = None if inputs is None else read_inputs(inputs)
    history = None if orientation is None else _history(orientation)
    first, last = _range(start, stop, given, history)
    table = None if exposure_table is None else _table(exposure_table)
    axes = data_axes(
        _required("energies", energies, None if given is None else given.energies),
        phi_edges(phi) if phi else _required("phi", None, None if given is None else given.phi),
        _nside(nside, given),
        frame or ("galactic" if table is None else "detector"),
        times=_times(time_bins, first, last, given) if table is None else None,
        attitudes=table,
        nested=nested or (given is not None and given.nested),
    )
    _say_axes(axes)
    skipped: Counter[str] = Counter()
    blocks = _blocks(events, history, skipped)
    binned = count(blocks, axes, attitudes=table, selection=_selection(first, last, history))
    say(f"events    {binned.events} in {len(events)} files, {binned.accepted} of them in bins")
    _say_lost(skipped + Counter(binned.outside))
    container.write(output, binned.histogram)
    stored = len(binned.histogram.sparse.index)
    say(f"written   {output} ({stored} bins with counts, {readable_size(output.stat().st_size)})")


def select_events(
    events: list[Path],
    output: Path = Path("events.fits.gz"),
    start: float | None = None,
    stop: float | None = None,
    energy: list[float] | None = None,
    orientation: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the events of several files into one, in another format, or only some of them.

    Parameters
    ----------
    events
        Files of events: FITS, HDF5, or .tra of MEGAlib; plain or packed with gzip.
    output
        File to write: .fits, .fits.gz, .h5 or .hdf5.
    start, stop
        Range of time in unix seconds.
    energy
        Lowest and highest energy, keV.
    orientation
        Orientation file: events outside its livetime (South Atlantic Anomaly) are left out, and
        .tra files without attitude take it from here.
    overwrite
        Replace a file that exists.
    """
    from skyfold_cosi.unbinned import write_unbinned

    if energy is not None and not (len(energy) == 2 and energy[0] < energy[1]):
        raise ConfigError(f"--energy: expected the lowest and the highest, got {energy}")
    _require_free(output, overwrite)
    history = None if orientation is None else _history(orientation)
    skipped: Counter[str] = Counter()
    chosen = _selection(start, stop, history, energy)
    read = 0

    def selected() -> Iterator[Unbinned]:
        nonlocal read
        for block in _blocks(events, history, skipped):
            read += len(block)
            yield chosen(block)

    written = write_unbinned(output, selected())
    say(f"events    {read} in {len(events)} files, {written} of them selected")
    _say_lost(skipped)
    say(f"written   {output} ({readable_size(output.stat().st_size)})")


def combine_counts(
    counts: list[Path],
    output: Path = Path("combined.h5"),
    factor: list[float] | None = None,
    overwrite: bool = False,
) -> None:
    """Add up counts on the same bins, each times its factor: a template of a background.

    Parameters
    ----------
    counts
        HDF5 files of counts.
    output
        HDF5 file to write.
    factor
        One for each file, in their order; 1 by default.
    overwrite
        Replace a file that exists.
    """
    from skyfold_cosi import container
    from skyfold_cosi.binning import combined

    _require_free(output, overwrite)
    total = combined([container.read(path) for path in counts], factor or [])
    container.write(output, total)
    say(f"counts    {total.total:g} from {len(counts)} files")
    say(f"written   {output} ({readable_size(output.stat().st_size)})")


def _blocks(
    events: list[Path], orientation: Orientation | None, skipped: Counter[str]
) -> Iterator[Unbinned]:
    """Yield the events, and show on a terminal how many have been read."""
    from tqdm import tqdm

    from skyfold_cosi.unbinned import read_blocks

    with tqdm(unit=" events", unit_scale=True, desc="reading", disable=None) as bar:
        for block in read_blocks(events, orientation=orientation, skipped=skipped):
            yield block
            bar.update(len(block))


def _history(path: Path) -> Orientation:
    from skyfold_cosi.orientation import read_orientation

    found = read_orientation(path)
    length = found.time[-1] - found.time[0]
    say(f"attitude  {path}: {length:.0f} s, {found.total_livetime:.0f} s of livetime")
    return found


def _table(path: Path) -> ExposureTable:
    from skyfold_cosi.exposure_file import read_exposure_table

    return read_exposure_table(path)


def _selection(
    start: float | None,
    stop: float | None,
    orientation: Orientation | None,
    energy: list[float] | None = None,
) -> Selection:
    from skyfold_cosi.unbinned import Selection

    low, high = energy or (-np.inf, np.inf)
    return Selection(
        -np.inf if start is None else start,
        np.inf if stop is None else stop,
        (low, high),
        None if orientation is None else orientation.good_times,
    )


def _range(
    start: float | None, stop: float | None, given: Inputs | None, orientation: Orientation | None
) -> tuple[float | None, float | None]:
    """Return the range of time: of the flags, else of the inputs, else of the orientation."""
    first, last = None, None
    if orientation is not None:
        first, last = float(orientation.time[0]), float(orientation.time[-1])
    if given is not None:
        first, last = given.start, given.stop
    first, last = first if start is None else start, last if stop is None else stop
    if first is not None and last is not None and not first < last:
        raise ConfigError(f"the range of time ends at {last:.3f} s, before it starts: {first:.3f}")
    return first, last


def _times(
    bins: list[float] | None, start: float | None, stop: float | None, given: Inputs | None
) -> Array:
    """Return the edges of the bins of time."""
    if bins is not None and len(bins) > 1:
        if np.any(np.diff(bins) <= 0):
            raise ConfigError("--time-bins: edges must increase")
        return np.array(bins)
    if bins is None and given is not None and (start, stop) == (given.start, given.stop):
        return given.times
    if start is None or stop is None:
        raise ConfigError(
            "the range of time is not known: give --start and --stop in unix seconds, several "
            "edges as --time-bins, --inputs or --orientation"
        )
    if bins is not None and bins[0] <= 0:
        raise ConfigError(f"--time-bins: {bins[0]:g} s is no width of a bin")
    return time_edges(bins[0] if bins else stop - start, start, stop)


def _nside(nside: int | None, given: Inputs | None) -> int:
    if nside is None:
        return int(_required("nside", None, None if given is None else np.array(given.nside)))
    if nside & (nside - 1):
        raise ConfigError(f"--nside: {nside} is no power of two")
    return nside


def _required(name: str, flag: list[float] | None, given: Array | None) -> Array:
    """Return what a flag says, or else the inputs."""
    if flag is not None:
        if len(flag) < 2 or np.any(np.diff(flag) <= 0):
            raise ConfigError(f"--{name}: expected increasing edges, two or more, got {flag}")
        return np.array(flag)
    if given is None:
        raise ConfigError(f"--{name} is missing: give it, or --inputs with cosipy's inputs file")
    return given


def _require_free(output: Path, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise FileError(f"{output} exists; give another name, or --overwrite")


def _say_axes(axes: tuple[Axis, ...]) -> None:
    for axis in axes:
        say(f"axis      {axis.label}: {axis.describe()}")


def _say_lost(lost: Counter[str]) -> None:
    for reason, number in lost.items():
        say(f"left out  {number} {reason}")
