"""The response of the sky, pre-computed in Galactic coordinates or by way of the detector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import ConfigError, DataError
from skyfold.origin import Check
from skyfold.response import Response
from skyfold.sphere import Sphere
from skyfold_cosi.conversion import conversion_histogram, conversion_matrix
from skyfold_cosi.counts import EXPOSED, compare, open_histogram
from skyfold_cosi.exposure import by_attitude, by_time
from skyfold_cosi.galactic import (
    Detector,
    GalacticResponse,
    galactic_response,
    published_response,
)
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.orientation import Orientation, read_orientation
from skyfold_cosi.response_files import (
    Precision,
    ResponseFile,
    open_response,
    read_conversion,
)
from skyfold_cosi.sky import FLUX
from skyfold_responses.local import LocalFrame
from skyfold_responses.matrix import RowMatrix, Slabs
from skyfold_responses.memory import Storage

GALACTIC, DETECTOR = "galactic", "spacecraftframe"
NO_CONVERSION = (
    "the response is in the detector frame: give --conversion (a coordinate conversion matrix for "
    "the bins of the counts), or --orientation, from which it is made; skyfold cosi --help"
)


@dataclass(frozen=True, eq=False)
class Sight:
    """How the sky makes counts.

    Parameters
    ----------
    response
        Counts of an intensity in 1/(cm2 s sr).
    geometry
        Places of the intensity.
    axes
        Bins of the counts.
    frame
        Frame of the scatter directions.
    row
        Length of the rows of the response that are kept.
    files
        Role and path of each file.
    checks
        What was looked at.
    """

    response: Response
    geometry: Sphere
    axes: tuple[Axis, ...]
    frame: str
    row: int
    files: tuple[tuple[str, str], ...]
    checks: tuple[Check, ...]


def sight(
    response: Any,
    conversion: Any,
    orientation: Path | None,
    counts: Histogram | None,
    nside: int | None,
    storage: Storage,
    memory: int | None,
    reference: bool,
) -> Sight:
    """Return the response for counts, whichever frame they are in.

    Parameters
    ----------
    response
        Response file, or a histogram.
    conversion, orientation
        Conversion matrix, or what it is made from, for a response in the detector frame.
    counts
        Whose bins decide what is needed; None for events, which can be binned as is best.
    nside
        Resolution of the sky, where the response is made here; the detector's by default.
    storage, memory
        As for `RowMatrix`.
    reference
        Whether a conversion matrix is made as published.

    Raises
    ------
    ConfigError, DataError, FileError
        If something is missing, or does not fit.
    """
    file = response if isinstance(response, ResponseFile) else open_response(response)
    if file.frame == GALACTIC:
        if conversion is not None or orientation is not None:
            raise ConfigError(
                "--conversion and --orientation belong to a response in the detector frame; this "
                "response is in Galactic coordinates already"
            )
        return _galactic(file, file.slabs(), file.axes, file.unit, storage, memory)
    if conversion is not None and orientation is not None:
        raise ConfigError("give --conversion or --orientation: the one is made from the other")
    files = _files(("orientation", orientation))
    if conversion is not None:
        opened = open_histogram(conversion, "conversion", read_conversion)
        files = _files(("conversion", opened.path))
        assert opened.histogram is not None
        return _local(file, opened.histogram, files, storage, memory)
    if orientation is None:
        raise ConfigError(NO_CONVERSION)
    history = read_orientation(orientation)
    if counts is None or counts["PsiChi"].frame == GALACTIC:
        if counts is not None and "Time" in counts.labels:
            history = _during(history, counts["Time"].in_unit("s"))
        precision: Precision = "float64" if storage == "float64" else "float32"
        detector = Detector.from_slabs(file.axes, file.slabs(precision))
        made = _turned(detector, history, nside, reference)
        turned = _galactic(file, made, made.axes, "cm2 s", storage, memory)
        text = f"{made.pointings.exposure.sum():.6g} s of livetime"
        checks = (*turned.checks, Check("ok", "orientation", text), *made.checks)
        return replace(turned, files=(*turned.files, *files), checks=checks)
    if "Time" not in counts.labels:
        raise ConfigError(
            "--orientation serves counts in bins of Time. Bins of attitude are those of an "
            "exposure table: give --conversion, made by skyfold cosi conversion TABLE"
        )
    table = by_time(history, counts["Time"].in_unit("s").edges, reference=reference)
    found = conversion_histogram(table, file["NuLambda"], nside, reference=reference)
    return _local(file, found, files, storage, memory)


def _during(history: Orientation, times: Axis) -> Orientation:
    """Return the part of an orientation in which the counts were taken."""
    first, last = max(times.edges[0], history.time[0]), min(times.edges[-1], history.time[-1])
    return history.between(first, last)


def _turned(
    detector: Detector, history: Orientation, nside: int | None, reference: bool
) -> GalacticResponse:
    """Return the Galactic response of a detector that pointed as the orientation says."""
    if reference:
        return published_response(detector, history, nside)
    own = detector.axes[0].nside
    assert own is not None
    return galactic_response(detector, by_attitude(history, own), nside)


def _galactic(
    file: ResponseFile,
    slabs: Slabs,
    axes: tuple[Axis, ...],
    unit: str,
    storage: Storage,
    memory: int | None,
) -> Sight:
    geometry = _sphere(axes[0], axes[1])
    factor = geometry.pixel_area * _unit(unit, "cm2 s")
    shape = tuple(axis.size for axis in axes[2:])
    matrix = RowMatrix(slabs, geometry.shape, shape, storage=storage, factor=factor, memory=memory)
    return Sight(
        matrix,
        geometry,
        axes[2:],
        GALACTIC,
        prod(geometry.shape),
        _files(("response", file.path)),
        _checks(file),
    )


def _local(
    file: ResponseFile,
    conversion: Histogram,
    files: tuple[tuple[str, str], ...],
    storage: Storage,
    memory: int | None,
) -> Sight:
    exposed, sky, local = conversion.axes
    if exposed.label not in EXPOSED:
        raise DataError(f"the conversion matrix has axes {', '.join(conversion.labels)}; expected "
                        "Time or ScAtt, lb, NuLambda")  # fmt: skip
    compare(local, file["NuLambda"], "conversion matrix")
    geometry = _sphere(sky, file["Ei"])
    axes = tuple(file[label] for label in ("Em", "Phi", "PsiChi"))
    factor = geometry.pixel_area * _unit(file.unit, "cm2") * _unit(conversion.unit or "s", "s")
    shape = tuple(axis.size for axis in axes)
    matrix = RowMatrix(
        file.slabs(),
        (local.size, file["Ei"].size),
        shape,
        storage=storage,
        factor=factor,
        memory=memory,
    )
    response = LocalFrame(conversion_matrix(conversion), matrix)
    seconds = conversion.total / sky.size
    text = f"{exposed.size} bins of {exposed.label}, {seconds:.6g} s of exposure on average"
    checks = (*_checks(file), Check("ok", "conversion", text))
    files = (*_files(("response", file.path)), *files)
    row = local.size * file["Ei"].size
    return Sight(response, geometry, (exposed, *axes), DETECTOR, row, files, checks)


def _sphere(pixels: Axis, energies: Axis) -> Sphere:
    from astropy import units as u

    if pixels.nside is None:
        raise DataError(f"axis {pixels.label!r} of the response is no HEALPix sphere")
    edges = np.asarray(energies.edges, float) * u.Unit(energies.unit or "keV")
    if pixels.frame not in (None, GALACTIC):
        raise DataError(
            f"axis {pixels.label!r} of the conversion matrix is in the frame {pixels.frame!r}; "
            "expected galactic"
        )
    return Sphere(pixels.nside, edges, pixels.scheme == "NESTED", GALACTIC)


def _unit(given: str, wanted: str) -> float:
    """Return the factor to the wanted unit.

    Raises
    ------
    DataError
        If the units of image and response do not make counts.
    """
    from astropy import units as u

    try:
        return float(u.Unit(given or wanted).to(u.Unit(wanted)))
    except u.UnitConversionError:
        made = u.Unit(FLUX) * u.sr * u.Unit(given)
        raise DataError(
            f"image unit x pixel area x response unit = {made}, expected counts: the response is "
            f"in {given}, not in {wanted}. Is the exposure left out, or in twice?"
        ) from None


def _checks(file: ResponseFile) -> tuple[Check, ...]:
    shape = " x ".join(str(file[label].size) for label in ("NuLambda", "Ei", "Em", "Phi", "PsiChi"))
    return (Check("ok", "response", f"{file.layout}, {shape}, in {file.unit}"), *file.checks)


def _files(*roles: tuple[str, Path | None]) -> tuple[tuple[str, str], ...]:
    return tuple((role, str(path)) for role, path in roles if path is not None)
