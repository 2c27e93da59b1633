"""The response of the sky, pre-computed in Galactic coordinates or by way of the detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.data import Check
from skyfold.errors import ConfigError, DataError
from skyfold.response import Response
from skyfold.sphere import Sphere
from skyfold_cosi.conversion import conversion_of_times, to_matrix
from skyfold_cosi.counts import EXPOSED, compare, open_histogram
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.response_files import ResponseFile, open_response
from skyfold_responses.local import LocalFrame
from skyfold_responses.matrix import RowMatrix, Storage

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
    files
        Role and path of each file.
    checks
        What was looked at.
    """

    response: Response
    geometry: Sphere
    axes: tuple[Axis, ...]
    frame: str
    files: tuple[tuple[str, str], ...]
    checks: tuple[Check, ...]


def sight(
    response: Any,
    conversion: Any,
    orientation: Path | None,
    counts: Histogram,
    storage: Storage,
    memory: float | None,
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
        Whose bins decide what is needed.
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
        if conversion is not None:
            raise ConfigError("--conversion belongs to a response in the detector frame; this "
                              "response is in Galactic coordinates already")  # fmt: skip
        return _galactic(file, storage, memory)
    files = _files(("response", file.path), ("orientation", orientation))
    if conversion is not None:
        opened = open_histogram(conversion, "conversion")
        found, files = opened.histogram, (*files, *_files(("conversion", opened.path)))
    elif orientation is not None and "Time" in counts.labels:
        found = conversion_of_times(orientation, counts["Time"], file["NuLambda"], reference)
    else:
        raise ConfigError(NO_CONVERSION)
    return _local(file, found, files, storage, memory)


def _galactic(file: ResponseFile, storage: Storage, memory: float | None) -> Sight:
    geometry = _sphere(file["NuLambda"], file["Ei"])
    factor = geometry.pixel_area * _unit(file.unit, "cm2 s")
    axes = tuple(file[label] for label in ("Em", "Phi", "PsiChi"))
    matrix = _matrix(file, geometry.shape, axes, storage, memory, factor)
    return Sight(
        matrix, geometry, axes, GALACTIC, _files(("response", file.path)), _checks(file, matrix)
    )


def _local(
    file: ResponseFile,
    conversion: Histogram,
    files: tuple[tuple[str, str], ...],
    storage: Storage,
    memory: float | None,
) -> Sight:
    exposed, sky, local = conversion.axes
    if exposed.label not in EXPOSED:
        raise DataError(f"the conversion matrix has axes {', '.join(conversion.labels)}; expected "
                        "Time or ScAtt, lb, NuLambda")  # fmt: skip
    compare(local, file["NuLambda"], "conversion matrix")
    geometry = _sphere(sky, file["Ei"])
    axes = tuple(file[label] for label in ("Em", "Phi", "PsiChi"))
    factor = geometry.pixel_area * _unit(file.unit, "cm2") * _unit(conversion.unit or "s", "s")
    matrix = _matrix(file, (local.size, file["Ei"].size), axes, storage, memory, factor)
    response = LocalFrame(to_matrix(conversion), matrix)
    seconds = conversion.total / sky.size
    text = f"{exposed.size} bins of {exposed.label}, {seconds:.6g} s of exposure on average"
    checks = (*_checks(file, matrix), Check("ok", "conversion", text))
    return Sight(response, geometry, (exposed, *axes), DETECTOR, files, checks)


def _matrix(
    file: ResponseFile,
    model_shape: tuple[int, ...],
    axes: tuple[Axis, ...],
    storage: Storage,
    memory: float | None,
    factor: float,
) -> RowMatrix:
    data_shape = tuple(axis.size for axis in axes)
    return RowMatrix(
        file.slabs(), model_shape, data_shape, storage=storage, factor=factor, memory=memory
    )


def _sphere(pixels: Axis, energies: Axis) -> Sphere:
    from astropy import units as u

    if pixels.nside is None:
        raise DataError(f"axis {pixels.label!r} of the response is no HEALPix sphere")
    edges = np.asarray(energies.edges, float) * u.Unit(energies.unit or "keV")
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
    except (u.UnitConversionError, ValueError):
        made = u.Unit("1 / (cm2 s sr)") * u.sr * u.Unit(given)
        raise DataError(
            f"image unit x pixel area x response unit = {made}, expected counts: the response is "
            f"in {given}, not in {wanted}. Is the exposure left out, or in twice?"
        ) from None


def _checks(file: ResponseFile, matrix: RowMatrix) -> tuple[Check, ...]:
    shape = " x ".join(str(file[label].size) for label in ("NuLambda", "Ei", "Em", "Phi", "PsiChi"))
    return (Check("ok", "response", f"{file.layout}, {shape}, in {file.unit}"), *file.checks)


def _files(*roles: tuple[str, Path | None]) -> tuple[tuple[str, str], ...]:
    return tuple((role, str(path)) for role, path in roles if path is not None)
