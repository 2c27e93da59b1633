"""Results as FITS and HDF5."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.astrometry import free_places
from skyfold.binned import BinnedData
from skyfold.dataspace import DataSpace, Projection
from skyfold.geometry import Grid, celestial_wcs
from skyfold.healpix_table import columns_to_table, to_table
from skyfold.points import PointList
from skyfold.residuals import Explained, deviance_residual
from skyfold.resolution import image_sensitivity
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU, HDUList, Header
    from astropy.units import Quantity

    from skyfold.result import Result

# cards of a coordinate system, alternative ones and distortions included
COORDINATES = re.compile(
    r"(CTYPE|CRPIX|CRVAL|CDELT|CUNIT|CROTA|(PC|CD|PV|PS)\d_?)\d[A-Z]?|[AB]P?_(ORDER|DMAX|\d_\d)"
)


PROJECTION = "PROJECTION_"  # and the label of the axis: name of a table or group


def to_fits(result: Result) -> HDUList:
    """Return a result as FITS (see `skyfold.Result.to_fits`)."""
    from astropy.io import fits

    from skyfold.star_products import hdus as star_hdus

    geometry = result.model.components[result.sky].geometry
    edges = getattr(geometry, "energy_edges", None)
    tables = [*_drawn(result), *star_hdus(result), *_tables(result, edges)]
    if isinstance(geometry, Sphere):
        return fits.HDUList([*_whole_sky(result), *_observations(result), *tables])
    image, *others = _image(result)
    restored = enumerate(_kernels(result).values(), 1)
    kernels = [fits.ImageHDU(kernel, name="PSF", ver=i) for i, kernel in restored]
    return fits.HDUList([image, *_observations(result), *others, *kernels, *tables])


def _kernels(result: Result) -> dict[str, Array]:
    """Return the PSFs that were restored too."""
    places = free_places(result.data)
    return {n: v for n, v in result.state.parameters.items() if n not in places}


def _drawn(result: Result) -> Iterator[Any]:
    """Yield what a sampler drew, if one did."""
    if result.samples:
        from skyfold.sampling.posterior.hdus import posterior_hdus

        yield from posterior_hdus(result)


def _image(result: Result) -> Iterator[Any]:
    """Yield the primary image and the other images on its grid."""
    from astropy.io import fits

    name = result.sky
    component, values = result.model.components[name], result.model[name]
    grid, field = component.geometry, result.field
    assert isinstance(grid, Grid)
    header = _image_header(grid.crop(), result.data.parts[0].origin.header, component.unit)
    yield fits.PrimaryHDU(values[field], header)
    bare = _image_header(grid.crop(), None, "")
    sensitivity = image_sensitivity(result.data, name)
    yield fits.ImageHDU(sensitivity[field], bare, name="SENSITIVITY")
    yield fits.ImageHDU(component.support[field].astype(np.uint8), bare, name="MASK")
    if result.demo is not None:
        truth = _image_header(grid.crop(), None, component.unit)
        yield fits.ImageHDU(result.demo.truth[name][field], truth, name="TRUTH")
    if grid.field is not None:
        yield fits.ImageHDU(values, _image_header(grid, None, component.unit), name="EXTENDED")


def sky_hdu(
    result: Result, component: str, values: Array, name: str, unit: str | None = None
) -> Any:
    """Return further values of a sky, laid out like the restored ones: an image or a table."""
    from astropy.io import fits

    part = result.model.components[component]
    unit = part.unit if unit is None else unit
    if isinstance(part.geometry, Sphere):
        return to_table(values, part.geometry, unit, name)
    assert isinstance(part.geometry, Grid)
    header = _image_header(part.geometry.crop(), None, unit)
    field = part.geometry.field or ...
    return fits.ImageHDU(values[field], header, name=name)


def _whole_sky(result: Result) -> Iterator[Any]:
    """Yield an empty primary HDU and the HEALPix tables."""
    from astropy import units as u
    from astropy.io import fits

    name = result.sky
    component = result.model.components[name]
    sphere, unit = component.geometry, component.unit
    assert isinstance(sphere, Sphere)
    yield fits.PrimaryHDU()
    yield to_table(result.model[name], sphere, unit, "SKY")
    per_unit = (u.Unit(unit) ** -1).to_string()
    yield to_table(image_sensitivity(result.data, name), sphere, per_unit, "SENSITIVITY")
    yield to_table(component.support, sphere, "", "MASK")
    if result.demo is not None:
        yield to_table(np.asarray(result.demo.truth[name]), sphere, unit, "TRUTH")


def _observations(result: Result) -> Iterator[Any]:
    """Yield images of each observation, and tables of its projections."""
    from astropy.io import fits

    for i, (part, explained) in enumerate(zip(result.data.parts, result.explained, strict=True), 1):
        where = part.origin.geometry if isinstance(part.origin.geometry, Grid) else None
        for key, (image, unit) in _every_bin(part, explained).items():
            hdu = fits.ImageHDU(image, _image_header(where, None, unit), name=key, ver=i)
            hdu.header["DATASET"] = _ascii(part.origin.name)
            yield hdu
        for axis, projection in enumerate(explained.projections):
            yield _projection(projection, axis, i)


def _every_bin(part: BinnedData, explained: Explained) -> dict[str, tuple[Array, str]]:
    """Return the arrays with a value for each bin, where there are any; 4 bytes in data spaces."""
    if explained.expectation is None or explained.residual is None:
        return {}
    images = {
        "COUNTS": (part.full_counts, "ct"),
        "EXPECTATION": (explained.expectation, "ct"),
        "RESIDUAL": (explained.residual, "sigma"),
    }
    if isinstance(part.origin.geometry, DataSpace):
        return {key: (image.astype(np.float32), unit) for key, (image, unit) in images.items()}
    return images


def _projection(projection: Projection, axis: int, version: int) -> BinTableHDU:
    """Return a projection as a table: HEALPix pixels, or bins with their edges."""
    from astropy.io import fits
    from astropy.table import QTable

    own, counts, expected = projection.axis, projection.counts, projection.expectation
    name = f"{PROJECTION}{_ascii(own.label)}"
    columns = {
        "COUNTS": counts,
        "EXPECTATION": expected,
        "RESIDUAL": deviance_residual(counts, expected, (expected > 0).astype(float)),
    }
    if own.nside is not None:
        table = columns_to_table(columns, own.nside, own.nested, name)
    else:
        edges = own.edges
        assert edges is not None
        table = fits.BinTableHDU(QTable({"LOW": edges[:-1], "HIGH": edges[1:], **columns}))
        table.name = name
    table.ver = version
    table.header["AXIS"] = (axis + 1, "number of the axis of the counts")
    table.header["LABEL"] = _ascii(own.label)
    table.header["DATASET"] = _ascii(projection.observation)
    return table


def _tables(result: Result, edges: Quantity | None) -> Iterator[Any]:
    """Yield the trace, the normalisations and the energies."""
    from astropy.io import fits
    from astropy.table import Table

    trace = result.trace_table()
    trace.rename_columns(trace.colnames, [_ascii(column) for column in trace.colnames])
    yield fits.BinTableHDU(trace, name="TRACE")
    norms = result.normalisations
    fixed = [result.model.components[n.partition("[")[0]].fixed for n in norms]
    names = [_ascii(norm) for norm in norms]
    table = Table({"name": names, "normalisation": list(norms.values()), "fixed": fixed},
                  dtype=[str, float, bool])  # fmt: skip
    yield fits.BinTableHDU(table, name="COMPONENTS")
    if edges is not None:
        bounds = Table({"E_MIN": edges[:-1], "E_MAX": edges[1:]})
        yield fits.BinTableHDU(bounds, name="EBOUNDS")


def write_hdf5(result: Result, path: Path) -> None:
    """Write the same content under the same names, one group per component and observation."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, component in result.model.components.items():
            stored = file.create_dataset(f"MODEL/{name}", data=result.model[name])
            stored.attrs["unit"], stored.attrs["fixed"] = component.unit, component.fixed
            if isinstance(component.geometry, Sphere):
                _describe(stored, component.geometry)
            if isinstance(component.geometry, PointList):
                file[f"NAMES/{name}"] = list(component.geometry.names)
            file[f"SENSITIVITY/{name}"] = image_sensitivity(result.data, name)
            if component.mask is not None:
                file[f"MASK/{name}"] = component.mask.astype(np.uint8)
        for i, (part, explained) in enumerate(
            zip(result.data.parts, result.explained, strict=True), 1
        ):
            group = file.create_group(f"DATA/{i}")
            group.attrs["name"] = part.origin.name
            for key, (values, _) in _every_bin(part, explained).items():
                group[key] = values
            for projection in explained.projections:
                _store(group.create_group(f"{PROJECTION}{projection.axis.label}"), projection)
        for name, kernel in _kernels(result).items():
            file[f"PSF/{name}"] = kernel
        for name, column in result.trace_table().items():
            file[f"TRACE/{name}"] = np.asarray(column)


def _describe(stored: Any, sphere: Sphere) -> None:
    """Note the places of HEALPix pixels as attributes."""
    order = "NESTED" if sphere.nested else "RING"
    stored.attrs.update({"NSIDE": sphere.nside, "ORDERING": order, "FRAME": sphere.frame})
    if sphere.energy_edges is not None:
        stored.attrs["EDGES"] = sphere.energy_edges.value
        stored.attrs["EDGES_UNIT"] = str(sphere.energy_edges.unit)


def _store(group: Any, projection: Projection) -> None:
    own = projection.axis
    group["COUNTS"], group["EXPECTATION"] = projection.counts, projection.expectation
    group.attrs["LABEL"] = own.label
    if own.nside is not None:
        order = "NESTED" if own.nested else "RING"
        group.attrs.update({"NSIDE": own.nside, "ORDERING": order})
    else:
        group["EDGES"] = own.values
        group.attrs["UNIT"] = own.unit


def _image_header(grid: Grid | None, cards: Header | None, unit: str) -> Header:
    """Return a header with coordinates and unit; the input's cards where the grid is the same."""
    from astropy.io import fits

    header = fits.Header() if cards is None else cards.copy()
    for key in ("BUNIT", "BSCALE", "BZERO", "BLANK", "CHECKSUM", "DATASUM"):
        header.remove(key, ignore_missing=True)
    if grid is not None and grid.wcs is not None:
        there = None if cards is None else celestial_wcs(cards)
        if there is None or Grid(grid.shape, grid.wcs).difference(Grid(grid.shape, there)):
            for key in [key for key in header if COORDINATES.fullmatch(key)]:
                del header[key]
            header.update(grid.wcs.to_header(relax=True))
    if unit:
        header["BUNIT"] = unit
    return header


def _ascii(text: str) -> str:
    """Return text as FITS can hold it: escapes for what is not printable ASCII."""
    return text.encode("unicode_escape").decode("ascii")
