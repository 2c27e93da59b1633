"""Draws as NetCDF, as ArviZ and xarray read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold import files
from skyfold.geometry import Geometry, Grid
from skyfold.manifest import now, versions
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from skyfold.sampling.posterior.posterior import Posterior

FILE = "posterior.nc"
CHUNK = 1_000_000  # bytes, about
SWEEPS = "sample_stats/sweeps"  # below a group, where ArviZ does not look for groups of its own
STATS = {"log_posterior": "lp", "log_likelihood": "log_likelihood", "log_prior": "log_prior"}


@dataclass(frozen=True, eq=False)
class Variable:
    """One array of a NetCDF group.

    Parameters
    ----------
    name, dims, values
        Its name, the names of its axes, and its values.
    attributes
        What else is said of it: ``units``, ``coordinates``.
    """

    name: str
    dims: tuple[str, ...]
    values: Array
    attributes: tuple[tuple[str, Any], ...] = ()


def write(posterior: Posterior, path: Path) -> None:
    """Write the images kept and the parameters that go with them, whole or not at all.

    The group ``posterior`` holds the images of each sky and all parameters but bright pixels, the
    group ``sample_stats`` the log-densities: all with the dimensions ``chain`` and ``draw``, for
    the sweeps after burn-in whose images were kept; ``draw`` counts sweeps from the very first.
    The group ``sample_stats/sweeps`` holds all parameters of every sweep, burn-in included.

    Raises
    ------
    FileError
        If the disk is full or the folder cannot be written to.
    """
    import h5netcdf

    with files.replacing(path) as partial, h5netcdf.File(partial, "w") as file:
        file.attrs.update(
            {
                "creator": "skyfold",
                "comment": "Chains of one origin_of_chain draw from one law: take R-hat and "
                "effective sample sizes among these.",
                "created_at": now(),
                "burn": posterior.burn,
                "thin": posterior.thin,
                "sweeps": posterior.table.shape[1],
                **{f"version_{name}": text for name, text in versions().items()},
            }
        )
        parameters = list(_parameters(posterior))
        stats = [v for v in parameters if v.name in STATS.values()]
        origin = Variable("origin_of_chain", ("chain",), np.asarray(posterior.origins))
        _fill(file.create_group("sample_stats"), [*_chains(posterior), origin, *stats])
        _fill(file.create_group(SWEEPS), _sweeps(posterior))
        others = [v for v in parameters if v.name not in STATS.values()]
        skies = [v for name in posterior.kept for v in _sky(posterior, name)]
        _fill(file.create_group("posterior"), [*_chains(posterior), *others, *skies])


def _chains(posterior: Posterior) -> Iterator[Variable]:
    """Yield the places along the chains."""
    yield Variable("chain", ("chain",), np.arange(posterior.chains))
    yield Variable("draw", ("draw",), posterior.kept_sweeps)


def _sweeps(posterior: Posterior) -> list[Variable]:
    """Return all parameters of every sweep."""
    import h5py

    names = np.array(posterior.columns, dtype=h5py.string_dtype())
    table = Variable("values", ("chain", "sweep", "parameter"), np.asarray(posterior.table))
    return [Variable("parameter", ("parameter",), names), table]


def _parameters(posterior: Posterior) -> Iterator[Variable]:
    """Yield the parameters at the sweeps that were kept; elements of an array are put together."""
    table = posterior.table[:, posterior.kept_sweeps]
    arrays: dict[str, dict[tuple[int, ...], int]] = {}
    for column, text in enumerate(posterior.columns):
        name, _, index = text.partition("[")
        if name.endswith(".pixel"):
            continue  # the images hold them
        place = tuple(int(i) for i in index.rstrip("]").split(",")) if index else ()
        arrays.setdefault(name, {})[place] = column
    for name, places in arrays.items():
        shape = tuple(int(n) + 1 for n in np.max([*places], axis=0))
        whole = list(places) == list(product(*map(range, shape)))
        shape = shape if whole else (len(places),)
        plain = STATS.get(name, re.sub(r"\W", "_", name))
        dims = ("chain", "draw", *(f"{plain}_{axis}" for axis in range(len(shape))))
        yield Variable(
            plain, dims, table[..., [*places.values()]].reshape(*table.shape[:2], *shape)
        )


def _sky(posterior: Posterior, name: str) -> Iterator[Variable]:
    """Yield the images of a sky, and where their values lie."""
    component = posterior.model.components[name]
    plain, samples = re.sub(r"\W", "_", name), posterior.samples(name)
    alone = len(posterior.kept) == 1
    places = list(_places(component.geometry, samples.shape[2:], "" if alone else f"{plain}_"))
    further = " ".join(place.name for place in places if place.dims != (place.name,))
    attributes = [("units", component.unit), ("coordinates", further)]
    if isinstance(component.geometry, Sphere):
        attributes += _healpix(component.geometry)
    dims = _dims(component.geometry, len(samples.shape) - 2, "" if alone else f"{plain}_")
    told = tuple((key, value) for key, value in attributes if value)
    yield from places
    yield Variable(plain, ("chain", "draw", *dims), samples, told)


def _dims(geometry: Geometry, number: int, prefix: str) -> tuple[str, ...]:
    """Return the names of the axes of a sky."""
    names = ("pixel", "energy") if isinstance(geometry, Sphere) else ("energy", "y", "x")[-number:]
    return tuple(f"{prefix}{name}" for name in names)


def _places(geometry: Geometry, shape: tuple[int, ...], prefix: str) -> Iterator[Variable]:
    """Yield where the values of a sky lie: numbers of pixels, directions, edges of energies."""
    dims = _dims(geometry, len(shape), prefix)
    for dim, size in zip(dims, shape, strict=True):
        yield Variable(dim, (dim,), np.arange(size))
    spatial = dims[:1] if isinstance(geometry, Sphere) else dims[-2:]
    for name, values in _directions(geometry).items():
        yield Variable(f"{prefix}{name}", spatial, values, (("units", "deg"),))
    edges = getattr(geometry, "energy_edges", None)
    if edges is not None:
        unit, along = (("units", str(edges.unit)),), (f"{prefix}energy",)
        yield Variable(f"{prefix}energy_low", along, edges.value[:-1], unit)
        yield Variable(f"{prefix}energy_high", along, edges.value[1:], unit)


def _healpix(sphere: Sphere) -> list[tuple[str, Any]]:
    """Return what tells where the pixels of a sphere lie."""
    order = "NESTED" if sphere.nested else "RING"
    return [("nside", sphere.nside), ("ordering", order), ("frame", sphere.frame)]


def _directions(geometry: Geometry) -> dict[str, Array]:
    """Return longitude and latitude of the pixel centres in degrees, where these are known."""
    if isinstance(geometry, Sphere):
        lon, lat = geometry.directions()
        return {"lon": np.asarray(lon), "lat": np.asarray(lat)}
    if not isinstance(geometry, Grid) or geometry.wcs is None:
        return {}
    grid = geometry.crop()
    assert grid.wcs is not None
    y, x = np.indices(grid.shape[-2:])
    lon, lat = grid.wcs.all_pix2world(x, y, 0)
    return {"lon": lon, "lat": lat}


def _fill(group: Any, variables: list[Variable]) -> None:
    """Write variables into a group, large ones compressed, piece by piece."""
    for variable in variables:
        for dim, size in zip(variable.dims, variable.values.shape, strict=True):
            if dim not in group.dimensions:
                group.dimensions[dim] = size
        chunks = _chunks(variable.values)
        made = group.create_variable(
            variable.name,
            variable.dims,
            variable.values.dtype,
            chunks=chunks,
            **({"compression": "gzip", "compression_opts": 1, "shuffle": True} if chunks else {}),
        )
        made.attrs.update(dict(variable.attributes))
        if not chunks:
            made[...] = variable.values
            continue
        for chain, own in enumerate(variable.values):
            for begin in range(0, len(own), chunks[1]):
                made[chain, begin : begin + chunks[1]] = own[begin : begin + chunks[1]]


def _chunks(values: Array) -> tuple[int, ...] | None:
    """Return the shape of the pieces: draws of one chain, about a megabyte; None where small."""
    if values.ndim < 3 or values.nbytes < CHUNK:
        return None
    one = values[0, 0].nbytes
    return (1, int(np.clip(CHUNK // max(one, 1), 1, values.shape[1])), *values.shape[2:])
