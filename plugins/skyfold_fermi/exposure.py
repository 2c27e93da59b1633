"""Exposure at energy nodes, on a grid or on the sphere, brought to the bins of the counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError, require
from skyfold.geometry import Grid, celestial_wcs
from skyfold.origin import Check
from skyfold.vector import Array
from skyfold_fermi.tables import column, interpolation, require_cover, spectral_points

if TYPE_CHECKING:
    from astropy.wcs import WCS

GALACTIC = {"GAL", "G", "GALACTIC"}
EQUATORIAL = {"CEL", "C", "EQU", "EQUATORIAL", "ICRS", "FK5", "Q", "RADEC"}

UNIT = "cm2 s"


@dataclass(frozen=True)
class Exposure:
    """Exposure on the pixels of the counts, at some energies.

    Parameters
    ----------
    energy
        Energies in MeV, shape (k,).
    values
        Exposure in cm2 s, shape (k, y, x).
    checks
        What was found on reading.
    """

    energy: Array
    values: Array
    checks: tuple[Check, ...] = ()

    def averaged(self, edges: Array, index: float) -> Array:
        """Return the mean over energy bins, weighted by a power-law spectrum.

        The exposure is a power law between the nodes.

        Parameters
        ----------
        edges
            Energy edges in MeV, length n + 1.
        index
            The spectrum is E^-index.

        Returns
        -------
        exposure
            Shape (n, y, x) in cm2 s.
        """
        if len(self.energy) == 1:
            return np.repeat(self.values, len(edges) - 1, axis=0)
        require_cover(self.energy, edges, "exposure")
        logs = np.log(np.maximum(self.values, np.finfo(float).tiny))
        mean = np.zeros((len(edges) - 1, *self.values.shape[1:]))
        for bin_, energies, weights in zip(mean, *spectral_points(edges, index), strict=True):
            below, fraction = interpolation(energies, self.energy)
            for low, part, weight in zip(below, fraction, weights, strict=True):
                bin_ += weight * np.exp((1 - part) * logs[low] + part * logs[low + 1])
        seen = np.all(self.values > 0, axis=0)
        return np.where(seen, mean, 0)


def read_exposure(hdus: Any, path: Path | str, wcs: WCS, shape: tuple[int, ...]) -> Exposure:
    """Read exposure: gtexpcube2 on a grid or on the sphere, an image, or that of a MapDataset.

    Units that the file leaves unsaid are cm2 s and MeV, as documented for gtexpcube2.

    Parameters
    ----------
    hdus
        The open file.
    path
        Its name, for messages.
    wcs, shape
        Celestial coordinates and shape (y, x) of the counts.
    """
    if "HPXEXPOSURES" in hdus:
        return _read_healpix(hdus, path, wcs, shape)
    return _read_grid(hdus, path, wcs, shape)


def _read_grid(hdus: Any, path: Path | str, wcs: WCS, shape: tuple[int, ...]) -> Exposure:
    file = Path(path).name
    images = [hdu for hdu in hdus if hdu.is_image and hdu.header["NAXIS"] >= 2]
    if not images:
        raise DataError(f"{file} holds no exposure image")
    hdu = next((hdu for hdu in images if hdu.name == "EXPOSURE"), images[0])
    stated = str(hdu.header.get("BUNIT", "")).strip()
    checks = () if stated else (unit_unsaid(file),)
    values = np.asarray(hdu.data, dtype=np.float64) * _factor(stated or UNIT, file)
    values = values.reshape(-1, *values.shape[-2:])
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise DataError(f"{file}: exposure has negative or non-finite values")
    energy = _energies(hdus, hdu.header, len(values), file)
    own = celestial_wcs(hdu.header)
    if own is None:
        raise DataError(f"{file}: exposure without celestial coordinates")
    difference = Grid(tuple(shape), wcs).difference(Grid(values.shape[1:], own))
    if difference is None:
        return Exposure(energy, values, checks)
    text = f"{file} lies on other pixels ({difference}): interpolated at those of the counts"
    there = _at_pixels(values, own, wcs, shape, file)
    return Exposure(energy, there, (*checks, Check("fixed", "exposure", text)))


def unit_unsaid(file: str) -> Check:
    """Say in what unit an exposure is taken that states none."""
    return Check("ok", "exposure", f"{file} states no unit: {UNIT}, as documented for gtexpcube2")


def _factor(unit: str, file: str) -> float:
    from astropy import units as u

    try:
        return float(u.Unit(unit).to(UNIT))
    except (ValueError, u.UnitConversionError) as error:
        raise DataError(f"{file}: exposure is in {unit!r}, expected cm2 s or m2 s") from error


def _at_pixels(values: Array, own: WCS, wcs: WCS, shape: tuple[int, ...], file: str) -> Array:
    """Interpolate linearly at the pixels of the counts; nothing is known outside."""
    from scipy.ndimage import map_coordinates

    y, x = np.indices(shape)
    px, py = (np.asarray(p) for p in own.world_to_pixel(wcs.pixel_to_world(x, y)))
    ny, nx = values.shape[1:]
    inside = (px >= -0.5) & (px <= nx - 0.5) & (py >= -0.5) & (py <= ny - 0.5)
    if not inside.all():
        raise DataError(
            f"exposure {file} covers only {inside.mean():.1%} of the pixels of the counts; make it "
            "for the whole field"
        )
    return np.stack([map_coordinates(plane, [py, px], order=1, mode="nearest") for plane in values])


def _read_healpix(hdus: Any, path: Path | str, wcs: WCS, shape: tuple[int, ...]) -> Exposure:
    healpy = require("healpy", "healpix")
    file, table = Path(path).name, hdus["HPXEXPOSURES"]
    header = table.header
    ordering = str(header.get("ORDERING", "")).strip().upper()
    if ordering not in ("RING", "NESTED", "NEST"):
        raise DataError(
            f"{file}: ordering of the HEALPix pixels not stated (ORDERING={ordering!r})"
        )
    pixels = 12 * int(header["NSIDE"]) ** 2
    if len(table.data) != pixels:
        raise DataError(f"{file}: {len(table.data)} rows, but NSIDE={header['NSIDE']} has {pixels}")
    names = [name for name in table.columns.names if name.upper().startswith("ENERGY")]
    energy = _energies(hdus, header, len(names), file)
    galactic = _is_galactic(str(header.get("COORDSYS", "")), file)
    y, x = np.indices(shape)
    sky = wcs.pixel_to_world(x, y)
    place = sky.galactic if galactic else sky.icrs
    lon, lat = (place.l, place.b) if galactic else (place.ra, place.dec)
    values = [
        healpy.get_interp_val(
            np.asarray(table.data[name], dtype=np.float64),
            lon.deg,
            lat.deg,
            nest=ordering != "RING",
            lonlat=True,
        )
        for name in names
    ]
    text = (
        f"{file}: HEALPix of nside {header['NSIDE']} in {'galactic' if galactic else 'equatorial'} "
        "coordinates, interpolated at the pixels of the counts"
    )
    return Exposure(energy, np.stack(values), (Check("ok", "exposure", text),))


def _is_galactic(system: str, file: str) -> bool:
    """Tell the frame; gtexpcube2 leaves COORDSYS out where it is equatorial."""
    system = system.strip().upper()
    if system in GALACTIC:
        return True
    if system in EQUATORIAL or not system:
        return False
    raise DataError(
        f"{file}: COORDSYS={system!r} is neither galactic ('GAL') nor equatorial ('CEL'); "
        "'E' means ecliptic"
    )


def _energies(hdus: Any, header: Any, planes: int, file: str) -> Array:
    """Return the energy of each plane: from a table, else the third axis (a natural log)."""
    if "EXPOSURE_BANDS" in hdus:
        energy = column(hdus["EXPOSURE_BANDS"], "ENERGY_TRUE", "MeV", "MeV", file)
    elif "ENERGIES" in hdus:
        energy = column(hdus["ENERGIES"], "Energy", "MeV", "MeV", file)
    elif str(header.get("CTYPE3", "")).strip().lower() == "log_energy":
        steps = np.arange(1, planes + 1) - header["CRPIX3"]
        energy = np.exp(header["CRVAL3"] + header["CDELT3"] * steps)
    elif planes == 1:
        energy = np.ones(1)
    else:
        raise DataError(f"{file}: the energies of its {planes} planes are not stated (no ENERGIES)")
    if len(energy) != planes:
        raise DataError(f"{file}: {planes} planes of exposure, but {len(energy)} energies")
    return energy
