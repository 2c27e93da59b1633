"""Maps of the whole sky: COSI's models, HEALPix maps in FITS, healpy, mhealpy and histpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError, require
from skyfold.healpix_table import energy_edges, from_table, opened_fits
from skyfold.inputs import require_data, split_part
from skyfold.sphere import Sphere
from skyfold.vector import Array
from skyfold_cosi import container
from skyfold_cosi.hdf5 import opened
from skyfold_cosi.histogram import Axis, Histogram, from_histpy, to_histpy
from skyfold_cosi.sky import Ordering

if TYPE_CHECKING:
    import histpy
    import mhealpy

FLUX = "1 / (s sr cm2)"
UNSEEN = -1.6e30  # below: HEALPix' mark of pixels that were not seen


@dataclass(frozen=True, eq=False)
class SkyMap:
    """Values on all pixels of the sky.

    Parameters
    ----------
    values
        Shape (pixel, energy); NaN where nothing was seen.
    sphere
        Their places; there may be several energies without known edges.
    unit
        Their unit, as text; empty where it is not stated.
    """

    values: Array
    sphere: Sphere
    unit: str = ""

    def __post_init__(self) -> None:
        pixels, energies = self.sphere.shape
        known = self.sphere.energy_edges is not None
        if self.values.shape != (pixels, energies if known else self.values.shape[-1]):
            raise DataError(f"map of shape {self.values.shape} on a sphere of {self.sphere.shape}")

    @property
    def seen(self) -> Array:
        """Where there is a value, shape (pixel, energy)."""
        return ~np.isnan(self.values)

    def ordered(self, nested: bool) -> SkyMap:
        """Return the map with its pixels in NESTED or RING order."""
        if nested == self.sphere.nested:
            return self
        healpy = require("healpy", "healpix")
        pixels = np.arange(self.sphere.pixels)
        turn = healpy.nest2ring if nested else healpy.ring2nest
        values = self.values[turn(self.sphere.nside, pixels)]
        return replace(self, values=values, sphere=replace(self.sphere, nested=nested))

    def graded(self, nside: int) -> SkyMap:
        """Return the map on finer or coarser pixels; what is per solid angle stays.

        A coarse pixel is the mean of the fine ones that were seen.
        """
        if nside == self.sphere.nside:
            return self
        values, sphere = self.ordered(nested=True).values, replace(self.sphere, nside=nside)
        if nside > self.sphere.nside:
            values = np.repeat(values, (nside // self.sphere.nside) ** 2, axis=0)
        else:
            parts = values.reshape(sphere.pixels, -1, values.shape[1])
            seen = np.count_nonzero(~np.isnan(parts), axis=1)
            empty = np.full(seen.shape, np.nan)
            values = np.divide(np.nansum(parts, axis=1), seen, out=empty, where=seen > 0)
        nested = SkyMap(values, replace(sphere, nested=True), self.unit)
        return nested.ordered(self.sphere.nested)

    def to_histogram(self) -> Histogram:
        """Return a histogram with axes lb and, where energies are known, Ei."""
        sphere = self.sphere
        scheme = "NESTED" if sphere.nested else "RING"
        pixels = Axis.healpix("lb", sphere.nside, sphere.frame, scheme)
        if sphere.energy_edges is None:
            return Histogram((pixels,), self.values.reshape(-1), self.unit)
        edges = sphere.energy_edges
        energies = Axis("Ei", edges.value, edges.unit.to_string(), "log")
        return Histogram((pixels, energies), self.values, self.unit)

    def to_histpy(self) -> histpy.Histogram:
        """Return a histogram of histpy, as cosipy's models are."""
        return to_histpy(self.to_histogram())

    def to_healpy(self) -> Array:
        """Return maps as healpy takes them: shape (energies, pixels), RING order."""
        healpy = require("healpy", "healpix")
        maps = self.ordered(nested=False).values.T
        return np.where(np.isnan(maps), healpy.UNSEEN, maps)

    def to_mhealpy(self) -> list[mhealpy.HealpixMap]:
        """Return one map of mhealpy for each energy."""
        mhealpy = require("mhealpy", "healpix")
        scheme = "NESTED" if self.sphere.nested else "RING"
        return [
            mhealpy.HealpixMap(
                values, scheme=scheme, coordsys=self.sphere.frame, unit=self.unit, density=True
            )
            for values in self.values.T
        ]


def read_sky(
    given: Any, geometry: Sphere, unit: str | None = FLUX, ordering: Ordering | None = None
) -> Array:
    """Return the values of a map on the pixels of a sphere, whatever its resolution and order.

    Parameters
    ----------
    given
        What `open_sky` takes.
    geometry
        The sphere, with its energies; a map of one energy is taken for all of them.
    unit
        What the values are brought to; None if they may be anything, a mask, say.
    ordering
        As for `open_sky`.

    Returns
    -------
    values
        Shape (pixel, energy); 0 where the map says that nothing was seen.

    Raises
    ------
    FileError, DataError
        If it is no map of the sky, in another frame, for other energies, or in a unit that does not
        make counts.
    """
    found = open_sky(given, ordering=ordering)
    name = f"{given}: " if isinstance(given, str | Path) else ""
    found = found.graded(geometry.nside).ordered(geometry.nested)
    if found.sphere.energy_edges is None:
        found = _with_energies(name, found, geometry)
    if difference := found.sphere.difference(geometry):
        hint = (
            ". COORDSYS = 'E' means ecliptic; equatorial would be 'C'"
            if "ecliptic" in found.sphere.frame
            else ""
        )
        raise DataError(f"{name}the map does not fit the sky of the response: {difference}{hint}")
    factor = _factor(name, found.unit, unit) if unit and found.unit else 1.0
    return np.where(found.seen, found.values * factor, 0.0)


def open_sky(given: Any, *, ordering: Ordering | None = None) -> SkyMap:
    """Open a map of the sky.

    Parameters
    ----------
    given
        A file (COSI's model in HDF5, or a FITS table with HEALPix pixels; of several histograms in
        a file, ``model.hdf5[iteration3]`` names one, and ``result`` is taken by itself), a
        `SkyMap`, a map of mhealpy, a histogram of ours or of histpy, or an array of shape (pixel,)
        or (pixel, energy) in RING order, Galactic.
    ordering
        Order of the pixels, for FITS files and arrays that do not state it.

    Raises
    ------
    FileError
        If the file is damaged.
    DataError
        If it holds no map, the number of pixels is none of HEALPix, or their order is not known.
    """
    if isinstance(given, SkyMap):
        return given
    if isinstance(given, str | Path):
        path, part = split_part(given)
        require_data(path)
        with path.open("rb") as file:
            start = file.read(8)
        return (
            _from_hdf5(path, part)
            if start.startswith(b"\x89HDF")
            else _from_fits(path, part, ordering)
        )
    if isinstance(given, Histogram):
        return from_histogram(given)
    if hasattr(given, "axes"):
        return from_histogram(from_histpy(given))
    if hasattr(given, "nside") and hasattr(given, "scheme"):
        return _from_mhealpy(given)
    values = np.asarray(given, dtype=float)
    values = _unseen(values.reshape(len(values), -1))
    nside = nside_of(len(values))
    return SkyMap(values, Sphere(nside, nested=ordering == "nested"))


def write_sky(
    path: Path | str, values: Array, sphere: Sphere, unit: str = FLUX, name: str = "hist"
) -> None:
    """Write a model of the sky as cosipy does: a histogram over lb and Ei.

    Parameters
    ----------
    path
        HDF5 file.
    values, sphere
        Values of shape (pixel, energy), and their places.
    unit
        Their unit.
    name
        Group in the file.
    """
    container.write(path, SkyMap(values, sphere, unit).to_histogram(), name)


def from_histogram(histogram: Histogram, name: str = "histogram") -> SkyMap:
    """Return a histogram over lb and, perhaps, Ei as a map of the sky.

    Raises
    ------
    DataError
        If it has other axes, or a part of the sky only.
    """
    from astropy import units as u

    pixels, energies = histogram.axes[0], histogram.axes[1:]
    if pixels.nside is None or [axis.label for axis in energies] not in ([], ["Ei"]):
        raise DataError(
            f"{name}: axes {', '.join(histogram.labels)} are none of a sky; expected lb (HEALPix "
            "pixels), Ei"
        )
    if pixels.size != 12 * pixels.nside**2:
        raise DataError(f"{name}: {pixels.size} of {12 * pixels.nside**2} pixels; all are needed")
    edges = energies[0].edges * u.Unit(energies[0].unit or "keV") if energies else None
    nested, frame = pixels.scheme.startswith("NEST"), pixels.frame or "galactic"
    values = _unseen(np.asarray(histogram.dense, float).reshape(pixels.size, -1))
    return SkyMap(values, Sphere(pixels.nside, edges, nested, frame), histogram.unit)


def nside_of(pixels: int) -> int:
    """Return the resolution of a sphere with so many pixels.

    Raises
    ------
    DataError
        If no sphere has so many; it names the nearest number.
    """
    nside = 1 << max(0, round(float(np.log2(max(pixels, 1) / 12)) / 2))
    if 12 * nside**2 != pixels:
        raise DataError(
            f"{pixels} pixels is not 12 nside^2; nearest: {12 * nside**2} (nside {nside})"
        )
    return nside


def _with_energies(name: str, found: SkyMap, geometry: Sphere) -> SkyMap:
    """Give a map without energies those of the sphere."""
    values, energies = found.values, geometry.shape[1]
    if values.shape[1] not in (1, energies):
        raise DataError(f"{name}the map has {values.shape[1]} energies, the response {energies}")
    values = np.broadcast_to(values, (len(values), energies))
    return SkyMap(values, replace(found.sphere, energy_edges=geometry.energy_edges), found.unit)


def _from_hdf5(path: Path, part: str | None) -> SkyMap:
    if part is None:
        with opened(path) as file:
            part = "result" if "result" in container.names(file) else None
    return from_histogram(container.read(path, part), str(path))


def _from_fits(path: Path, part: str | None, ordering: Ordering | None) -> SkyMap:
    with opened_fits(path) as hdus:
        maps = [hdu for hdu in hdus if _is_map(hdu) and part in (None, hdu.name)]
        if not maps:
            raise DataError(f"{path}: there is no HEALPix map in it (PIXTYPE = 'HEALPIX')")
        table = maps[0]
        _require_header(path, table, ordering)
        return SkyMap(*from_table(table, energy_edges(hdus)))


def _is_map(hdu: Any) -> bool:
    header = hdu.header
    return str(header.get("PIXTYPE", "")).upper() == "HEALPIX" or "ORDERING" in header


def _require_header(path: Path, table: Any, ordering: Ordering | None) -> None:
    """Check order and number of the pixels."""
    header = table.header
    stated = str(header.get("ORDERING", "")).strip().lower()
    stated = {"nest": "nested"}.get(stated, stated)
    if stated not in ("ring", "nested") and ordering is None:
        raise DataError(
            f"{path}: order of the pixels not stated (ORDERING = RING or NESTED in the header of "
            f"{table.name or 'the table'}); write it there, or give --ordering ring or nested"
        )
    if ordering and stated and stated != ordering:
        raise DataError(f"{path}: the header says {stated} order, but {ordering} was asked for")
    header["ORDERING"] = (stated or str(ordering)).upper()
    if str(header.get("INDXSCHM", "IMPLICIT")).upper() != "EXPLICIT":
        try:
            pixels = np.size(table.data.field(0))
            nside = nside_of(pixels)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        if header.get("NSIDE", nside) != nside:
            raise DataError(f"{path}: NSIDE = {header['NSIDE']}, but there are {pixels} pixels")


def _from_mhealpy(given: Any) -> SkyMap:
    found = given.rasterize(given.nside, "ring") if given.is_moc else given
    frame = "galactic" if found.coordsys is None else found.coordsys.name
    sphere = Sphere(found.nside, nested=found.scheme.upper() == "NESTED", frame=frame)
    unit = "" if found.unit is None else found.unit.to_string()
    return SkyMap(_unseen(np.array(found.data, dtype=float)[:, None]), sphere, unit)


def _unseen(values: Array) -> Array:
    return np.where(values < UNSEEN, np.nan, values)


def _factor(name: str, given: str, wanted: str) -> float:
    from astropy import units as u

    try:
        found, flux = u.Unit(given), u.Unit(wanted)
    except ValueError:
        raise DataError(f"{name}{given!r} is no unit; expected {wanted}") from None
    if found.is_equivalent(flux):
        return float(found.to(flux))
    guess = ""
    if found.is_equivalent(flux * u.sr):
        guess = " Is the map per pixel? Divide it by the area of a pixel."
    elif found.is_equivalent(flux / u.keV):
        guess = " Is the map per energy? Multiply it by the widths of the energy bins."
    made = (found * u.sr * u.cm**2 * u.s).decompose(bases=[u.cm, u.s, u.sr, u.keV])
    raise DataError(
        f"{name}image unit x pixel area x response unit = {given} x sr x cm2 s = {made}, expected "
        f"counts.{guess}"
    )
