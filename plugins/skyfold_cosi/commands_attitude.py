"""Commands: from where the spacecraft looked to exposures, conversion matrices and responses."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from skyfold.commands.telling import say
from skyfold.errors import ConfigError, DataError, FileError
from skyfold.sphere import Sphere
from skyfold.vector import Array
from skyfold_cosi.exposure import ExposureTable, by_attitude, by_time
from skyfold_responses.attitude import Pointings

if TYPE_CHECKING:
    from skyfold_cosi.galactic import GalacticResponse
    from skyfold_cosi.orientation import Orientation

Positive = Annotated[int, Field(ge=1)]


def make_exposure(
    orientation: Path,
    output: Path = Path("exposure.fits"),
    nside: Positive = 8,
    nested: bool = False,
    start: float | None = None,
    stop: float | None = None,
    min_exposure: Annotated[float, Field(ge=0)] = 0.0,
    min_num_pointings: Positive = 1,
    pointing_map: Path | None = None,
    generation: Literal[2025, 2026] = 2026,
    reference: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the exposure table of an orientation: seconds in bins of attitude.

    Parameters
    ----------
    orientation
        Orientation file (.ori).
    output
        FITS file to write.
    nside
        HEALPix resolution of the bins of the z axis and the x axis.
    nested
        Number pixels in NESTED order.
    start, stop
        Range of time in unix seconds.
    min_exposure
        Leave out bins with fewer seconds.
    min_num_pointings
        Leave out bins with fewer pointings.
    pointing_map
        HDF5 file for the seconds in each pair of pixels.
    generation
        Layout: 2026 keeps what occultation needs, 2025 is read by every cosipy.
    reference
        Follow cosipy: all time is livetime, longitudes and latitudes are averaged.
    overwrite
        Replace files that exist.
    """
    from skyfold_cosi import container
    from skyfold_cosi.exposure_file import write_exposure_table

    _require_free(overwrite, output, pointing_map)
    table = by_attitude(
        _history(orientation),
        _resolution(nside),
        nested=nested,
        start=start,
        stop=stop,
        min_exposure=min_exposure,
        min_num_pointings=min_num_pointings,
        reference=reference,
    )
    _say_table(table)
    write_exposure_table(output, table, generation=generation)
    say(f"written   {output}")
    if pointing_map is not None:
        container.write(pointing_map, table.pointing_map())
        say(f"written   {pointing_map}")


def make_conversion(
    pointings: Path,
    response: Path,
    output: Path = Path("conversion.h5"),
    nside: Positive | None = None,
    nested: bool = False,
    like: Path | None = None,
    averaged: bool = False,
    no_occultation: bool = False,
    reference: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the conversion matrix of an exposure table, or of an orientation in bins of time.

    Parameters
    ----------
    pointings
        Exposure table (FITS); or an orientation file, and counts in bins of time as --like.
    response
        Response of the detector: its pixels are those of the matrix.
    output
        HDF5 file to write.
    nside
        HEALPix resolution of the sky, that of the response by default; it may be finer.
    nested
        Number pixels of the sky in NESTED order.
    like
        Counts whose bins of time the matrix shall have.
    averaged
        Let each bin act with its mean attitude: faster, and less sharp.
    no_occultation
        Look through the Earth.
    reference
        Follow cosipy: no occultation, the published rotations, all time is livetime.
    overwrite
        Replace a file that exists.
    """
    from skyfold_cosi import container
    from skyfold_cosi.conversion import conversion_histogram
    from skyfold_cosi.response_files import open_response

    _require_free(overwrite, output)
    opened = open_response(response)
    opened.require_detector()
    local = opened["NuLambda"]
    table = _table_for_conversion(pointings, like, reference)
    _say_table(table)
    made = conversion_histogram(
        table,
        local,
        _resolution(nside or local.nside),
        nested=nested,
        averaged=averaged,
        occultation=not no_occultation,
        reference=reference,
    )
    _say_hidden(table.pointings, made.total, made["lb"].size)
    container.write(output, made)
    shape = " x ".join(f"{axis.size} {axis.label}" for axis in made.axes)
    share = made.sparse.values.size / prod(made.shape)
    say(f"written   {output}: {shape}, {100 * share:.2g} % of it not zero")


def make_response(
    pointings: Path,
    detector: Path,
    output: Path = Path("response.h5"),
    nside: Positive | None = None,
    nside_attitude: Positive | None = None,
    precision: Literal["float32", "float64"] = "float32",
    no_occultation: bool = False,
    reference: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the Galactic response of the whole sky: detector response and attitudes folded.

    Parameters
    ----------
    pointings
        Orientation file (.ori), or an exposure table (FITS).
    detector
        Response of the detector.
    output
        HDF5 file to write, a pre-computed response as cosipy reads it.
    nside
        HEALPix resolution of the sky, that of the detector response by default.
    nside_attitude
        HEALPix resolution of the bins of attitude, that of the detector response by default;
        not for an exposure table, which has its own.
    precision
        Of the numbers in the file.
    no_occultation
        Look through the Earth.
    reference
        Follow cosipy: nearest pixels, attitudes at pixel centres.
    overwrite
        Replace a file that exists.
    """
    from skyfold import files
    from skyfold_cosi.galactic import Detector, galactic_response, published_response
    from skyfold_cosi.response_files import open_response
    from skyfold_cosi.response_writing import write_response
    from skyfold_responses.attitude import pixel_centres

    _require_free(overwrite, output)
    opened = open_response(detector)
    opened.require_detector()
    sky, attitudes = (_resolution(n or opened["NuLambda"].nside) for n in (nside, nside_attitude))
    inner = Detector.from_slabs(opened.axes, opened.slabs(dtype=precision))
    if reference:
        history = _history(pointings)
        made = published_response(
            inner, history, sky, nside_attitude=attitudes, occultation=not no_occultation
        )
        say(f"bins      {made.pointings.groups} of attitude, {made.pointings.exposure.sum():.6g} s")
    else:
        table = _stored_table(pointings)
        if table is None:
            table = by_attitude(_history(pointings), attitudes)
        elif nside_attitude is not None:
            raise ConfigError(f"{pointings} has its own bins: leave --nside-attitude out")
        _say_table(table)
        made = galactic_response(inner, table, sky, occultation=not no_occultation)
    for check in made.checks:
        say(f"WARNING   {check.subject}: {check.message}")
    seen = made.pointings.visible(pixel_centres(sky), made.occultation)
    _say_hidden(made.pointings, seen.sum(), len(seen.T))
    size = prod(made.shape) * np.dtype(precision).itemsize
    files.require_writable(output.parent, size)
    write_response(output, made.axes, _Shown(made), "galactic")
    shape = " x ".join(f"{axis.size} {axis.label}" for axis in made.axes)
    say(f"written   {output}: {shape}, {size / 1e6:.4g} MB")


class _Shown:
    """Slabs with a bar on a terminal."""

    def __init__(self, response: GalacticResponse) -> None:
        self.response, self.shape = response, response.shape

    def __iter__(self) -> Iterator[tuple[int, Array]]:
        from tqdm.auto import tqdm

        with tqdm(total=self.shape[0], unit="pixel", leave=False, disable=None) as bar:
            for first, slab in self.response:
                yield first, slab
                bar.update(len(slab))


def _history(path: Path) -> Orientation:
    from skyfold_cosi.orientation import read_orientation

    history = read_orientation(path)
    length, live = history.time[-1] - history.time[0], history.livetime.sum()
    say(f"read      {path}: {len(history.time)} rows, {length:.6g} s, {live:.6g} s of livetime")
    return history


def _stored_table(path: Path) -> ExposureTable | None:
    """Return the exposure table in a file, or None if it is an orientation."""
    from skyfold.inputs import require_data
    from skyfold_cosi.exposure_file import read_exposure_table
    from skyfold_cosi.recognise import KINDS, kind_of, start_of

    require_data(path)
    kind = kind_of(path)
    if kind == "orientation":
        return None
    if kind == "exposure" or start_of(path).startswith(b"SIMPLE"):
        return read_exposure_table(path)
    found = f"holds {KINDS[kind]}" if kind else "is none of COSI's files"
    raise DataError(f"{path} {found}; expected an exposure table (FITS) or an orientation (.ori)")


def _table_for_conversion(path: Path, like: Path | None, reference: bool) -> ExposureTable:
    from skyfold_cosi import container

    table = _stored_table(path)
    if table is not None:
        if like is not None:
            raise ConfigError(f"{path} has its own bins: leave --like out")
        return table
    if like is None:
        raise ConfigError(
            f"{path} is an orientation: say with --like which counts in bins of time the matrix is "
            "for; for bins of attitude make an exposure table first (skyfold cosi exposure)"
        )
    axis = next((axis for axis in container.read_axes(like) if axis.label == "Time"), None)
    if axis is None:
        raise ConfigError(f"{like} has no axis Time: its counts are not binned by time")
    return by_time(_history(path), axis.in_unit("s").edges, reference=reference)


def _resolution(nside: int | None) -> int:
    """Return a resolution that is a power of two."""
    assert nside is not None
    return Sphere(nside).nside


def _require_free(overwrite: bool, *paths: Path | None) -> None:
    for path in paths:
        if path is not None and path.exists() and not overwrite:
            raise FileError(f"{path} exists; give another name, or --overwrite")


def _say_table(table: ExposureTable) -> None:
    kind = "time" if table.pixels is None else f"attitude (nside {table.nside})"
    low, high = table.exposure.min(), table.exposure.max()
    say(
        f"bins      {len(table)} of {kind}, {table.num_pointings.sum()} pointings, "
        f"{table.exposure.sum():.6g} s in all, {low:.4g} to {high:.4g} s each"
    )


def _say_hidden(pointings: Pointings, seen: float, pixels: int) -> None:
    hidden = max(0.0, 1 - seen / (pointings.exposure.sum() * pixels))
    say(f"occulted  {100 * hidden:.3g} % of the exposure of the sky")
