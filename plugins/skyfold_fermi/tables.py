"""Columns with units, and means over energy bins, shared by all of the products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import DataError
from skyfold.inputs import split_part
from skyfold.vector import Array
from skyfold_image.fitsfile import hdus_of, peek
from skyfold_image.reading import opened

POINTS = 24  # of the quadrature in each energy bin


def is_fits(source: Any) -> bool:
    """Tell whether this is the name of a FITS file, by its content."""
    return isinstance(source, str | Path) and peek(Path(source)) is not None


@contextmanager
def fits_file(source: str | Path) -> Iterator[Any]:
    """Open a FITS file, gzipped or not, and yield its HDUs.

    Raises
    ------
    FileError
        If it is absent, cut off or damaged.
    """
    path, _ = split_part(source)
    with opened(path) as (stream, size), hdus_of(stream, size, str(path)) as hdus:
        yield hdus


def column(hdu: Any, name: str, unit: str, default: str, file: str) -> Array:
    """Return a column of a table in ``unit``; the tools leave ``default`` unsaid.

    Raises
    ------
    DataError
        If the table lacks the column, or its unit cannot be converted.
    """
    from astropy import units as u

    known = {known.upper(): known for known in hdu.columns.names}
    if name.upper() not in known:
        raise DataError(
            f"{file}[{hdu.name}] has no column {name!r}; it has {', '.join(hdu.columns.names)}"
        )
    name = known[name.upper()]
    said = hdu.columns[name].unit or default
    try:
        factor = u.Unit(said).to(unit)
    except (ValueError, u.UnitConversionError) as error:
        raise DataError(
            f"{file}[{hdu.name}]: column {name!r} is in {said!r}, not {unit}"
        ) from error
    values: Array = np.asarray(hdu.data[name], dtype=np.float64) * factor
    return values


def extension(hdus: Any, name: str, path: Path | str) -> Any:
    """Return the HDU of that name.

    Raises
    ------
    DataError
        If the file has none.
    """
    if name not in hdus:
        raise DataError(
            f"{path} has no extension {name!r}; it has {', '.join(hdu.name for hdu in hdus)}"
        )
    return hdus[name]


def spectral_points(edges: Array, index: float) -> tuple[Array, Array]:
    """Return energies and weights for means over bins of a power-law spectrum.

    Parameters
    ----------
    edges
        Edges of the bins, length n + 1.
    index
        The spectrum is E^-index.

    Returns
    -------
    energies, weights
        Shape (n, points) each; the weights of a bin add up to one.
    """
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    low, high = np.log(edges[:-1, None]), np.log(edges[1:, None])
    log_energy = 0.5 * (low + high + (high - low) * nodes)
    share = weights * np.exp((1 - index) * (log_energy - low))
    return np.exp(log_energy), share / share.sum(axis=1, keepdims=True)


def interpolation(energies: Array, nodes: Array) -> tuple[Array, Array]:
    """Return for each energy the node below it and the logarithmic fraction of the way to the next.

    Half a step beyond the ends is extrapolated (fractions below 0, above 1): products made at the
    centres of bins need it.
    """
    below = np.clip(np.searchsorted(nodes, energies, side="right") - 1, 0, len(nodes) - 2)
    fraction = np.log(energies / nodes[below]) / np.log(nodes[below + 1] / nodes[below])
    return below, fraction


def require_cover(nodes: Array, edges: Array, what: str) -> None:
    """Refuse products that do not reach over the energies of the counts.

    Parameters
    ----------
    nodes
        Energies of the product in MeV.
    edges
        Energy edges of the counts in MeV.
    what
        Name of the product, for people.

    Raises
    ------
    DataError
        If the counts reach more than half a step beyond the nodes, or the nodes do not increase.
    """
    if np.any(np.diff(nodes) <= 0):
        raise DataError(f"{what}: energies do not increase: {nodes}")
    if len(nodes) == 1:
        return
    low = nodes[0] * (nodes[0] / nodes[1]) ** 0.51
    high = nodes[-1] * (nodes[-1] / nodes[-2]) ** 0.51
    if edges[0] < low or edges[-1] > high:
        raise DataError(
            f"{what} covers {nodes[0] / 1e3:.4g} to {nodes[-1] / 1e3:.4g} GeV, but the counts "
            f"{edges[0] / 1e3:.4g} to {edges[-1] / 1e3:.4g} GeV; make it for all of them"
        )
