"""What a run leaves behind: the model, the way there, and a folder that others can read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold import files
from skyfold.algorithm import State
from skyfold.data import DataInterface
from skyfold.errors import DataError
from skyfold.geometry import Grid, celestial_wcs
from skyfold.model import Model
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.io.fits import HDUList, Header
    from astropy.table import Table
    from astropy.units import Quantity
    from matplotlib.figure import Figure

    from skyfold.simulate import Demo

# cards of a coordinate system, alternative ones and distortions included
COORDINATES = re.compile(
    r"(CTYPE|CRPIX|CRVAL|CDELT|CUNIT|CROTA|(PC|CD|PV|PS)\d_?)\d[A-Z]?|[AB]P?_(ORDER|DMAX|\d_\d)"
)

BLOCK = 8  # bins along each side of the blocks whose residual is judged


@dataclass(frozen=True, eq=False)
class Result:
    """The last state of a run, and how it came about.

    Parameters
    ----------
    data
        The data that were restored.
    state
        The last state.
    trace
        One row per iteration.
    reason
        Why the run ended.
    manifest
        Settings, inputs, versions, seeds and timings, as in ``manifest.json``.
    demo
        The simulation that was restored, if it was one.
    """

    data: DataInterface
    state: State
    trace: list[dict[str, float]]
    reason: str
    manifest: dict[str, Any] = field(default_factory=dict)
    demo: Demo | None = None

    def __repr__(self) -> str:
        skies = ", ".join(f"{n} {self.model[n].shape}" for n in sorted(self.model.skies))
        return (
            f"<Result: {skies}; log-likelihood {self.state.log_likelihood:.8g} "
            f"after iteration {self.state.iteration}, {self.reason}>"
        )

    @property
    def doubts(self) -> list[str]:
        """What speaks against the result, in a sentence each; nothing if all is well."""
        from skyfold.report.verdict import doubts

        return doubts(self.manifest, set(self.model) - self.model.free)

    @property
    def model(self) -> Model:
        """The restored model."""
        return self.state.model

    @property
    def sky(self) -> str:
        """Name of the one sky that was restored.

        Raises
        ------
        DataError
            If the model has none or several.
        """
        skies = [n for n, c in self.model.components.items() if c.geometry.sky]
        if len(skies) != 1:
            raise DataError(
                f"the model has {len(skies)} skies ({', '.join(skies)}); name one of them"
            )
        return skies[0]

    @property
    def image(self) -> Quantity:
        """The restored image, on the grid that the data cover."""
        return self.model.quantity(self.sky)[self._field]

    @property
    def normalisations(self) -> dict[str, float]:
        """Fitted or fixed factors of backgrounds and baselines."""
        return {
            name if value.size == 1 else f"{name}[{i}]": float(v)
            for name, value in self.model.items()
            if not self.model.components[name].geometry.sky
            for i, v in enumerate(value)
        }

    def residual(self) -> list[Array]:
        """Return the residual of each observation in sigma (see `deviance_residual`)."""
        return [
            deviance_residual(part.full_counts, part.full_expectation(self.model), part.weight)
            for part in self.data.parts
        ]

    def trace_table(self) -> Table:
        """Return the trace as a table, one row per iteration."""
        from astropy.table import Table

        columns = dict.fromkeys(name for row in self.trace for name in row)
        return Table({name: [row.get(name, np.nan) for row in self.trace] for name in columns})

    def plot(self) -> Figure:
        """Return a figure of counts, restored image and residual."""
        from skyfold.plotting import overview

        return overview(self)

    def write(self, folder: Path | str) -> Path:
        """Write result, trace and manifest into a folder, each file whole or not at all.

        Returns
        -------
        path
            The file with the image: ``result.fits``, or ``result.h5`` for models that are not one
            image.

        Raises
        ------
        FileError
            If the folder cannot be written to.
        """
        folder = Path(folder)
        files.require_writable(folder, space=8 * sum(v.size for v in self.model.values()))
        single = [c.geometry for c in self.model.components.values() if c.geometry.sky]
        image = len(single) == 1 and isinstance(single[0], Grid) and len(single[0].shape) <= 3
        path = folder / ("result.fits" if image else "result.h5")
        with files.replacing(path) as partial:
            if image:
                self.to_fits().writeto(partial, overwrite=True, checksum=True)
            else:
                self._write_hdf5(partial)
        with files.replacing(folder / "trace.ecsv") as partial:
            self.trace_table().write(partial, format="ascii.ecsv", overwrite=True)
        files.write_text(folder / "manifest.json", json.dumps(self.manifest, indent=1, default=str))
        return path

    def to_fits(self) -> HDUList:
        """Return the result as FITS.

        The primary HDU is the restored image on the grid of the data. Images: ``COUNTS``,
        ``EXPECTATION`` and ``RESIDUAL`` (sigma) of each observation, numbered by EXTVER;
        ``SENSITIVITY``, ``MASK`` (1 where the sky was restored) and, where the model reaches
        beyond the data, ``EXTENDED``; ``TRUTH`` of a demo. Tables: ``TRACE``, ``COMPONENTS``, and
        ``EBOUNDS`` for cubes.
        """
        from astropy.io import fits
        from astropy.table import Table

        name = self.sky
        component, values = self.model.components[name], self.model[name]
        grid = component.geometry
        assert isinstance(grid, Grid)
        first = self.data.parts[0]
        header = _image_header(grid.crop(), first.origin.header, component.unit)
        on = np.ones(grid.shape, bool) if component.mask is None else component.mask
        sensitivity = np.asarray(self.data.sensitivity[name])
        field_ = self._field
        hdus = [fits.PrimaryHDU(values[field_], header)]
        for i, (part, residual) in enumerate(zip(self.data.parts, self.residual(), strict=True), 1):
            where = part.origin.geometry if isinstance(part.origin.geometry, Grid) else None
            images = {
                "COUNTS": (part.full_counts, "ct"),
                "EXPECTATION": (part.full_expectation(self.model), "ct"),
                "RESIDUAL": (residual, "sigma"),
            }
            for key, (image, unit) in images.items():
                hdu = fits.ImageHDU(image, _image_header(where, None, unit), name=key, ver=i)
                hdu.header["DATASET"] = _ascii(part.origin.name)
                hdus.append(hdu)
        bare = _image_header(grid.crop(), None, "")
        hdus.append(fits.ImageHDU(sensitivity[field_], bare, name="SENSITIVITY"))
        hdus.append(fits.ImageHDU(on[field_].astype(np.uint8), bare, name="MASK"))
        if self.demo is not None:
            truth = _image_header(grid.crop(), None, component.unit)
            hdus.append(fits.ImageHDU(self.demo.truth[name][field_], truth, name="TRUTH"))
        if grid.field is not None:
            wide = _image_header(grid, None, component.unit)
            hdus.append(fits.ImageHDU(values, wide, name="EXTENDED"))
        trace = self.trace_table()
        trace.rename_columns(trace.colnames, [_ascii(column) for column in trace.colnames])
        hdus.append(fits.BinTableHDU(trace, name="TRACE"))
        norms = self.normalisations
        fixed = [self.model.components[n.partition("[")[0]].fixed for n in norms]
        names = [_ascii(norm) for norm in norms]
        table = Table({"name": names, "normalisation": list(norms.values()), "fixed": fixed},
                      dtype=[str, float, bool])  # fmt: skip
        hdus.append(fits.BinTableHDU(table, name="COMPONENTS"))
        if grid.energy_edges is not None:
            edges = grid.energy_edges
            bounds = Table({"E_MIN": edges[:-1], "E_MAX": edges[1:]})
            hdus.append(fits.BinTableHDU(bounds, name="EBOUNDS"))
        return fits.HDUList(hdus)

    @property
    def _field(self) -> tuple[slice, ...]:
        geometry = self.model.components[self.sky].geometry
        field_ = geometry.field if isinstance(geometry, Grid) else None
        return field_ or (slice(None),) * len(geometry.shape)

    def _write_hdf5(self, path: Path) -> None:
        """Write the same content under the same names, one group per component and observation."""
        import h5py

        with h5py.File(path, "w") as file:
            for name, component in self.model.components.items():
                stored = file.create_dataset(f"MODEL/{name}", data=self.model[name])
                stored.attrs["unit"], stored.attrs["fixed"] = component.unit, component.fixed
                file[f"SENSITIVITY/{name}"] = self.data.sensitivity[name]
                if component.mask is not None:
                    file[f"MASK/{name}"] = component.mask.astype(np.uint8)
            for i, (part, residual) in enumerate(
                zip(self.data.parts, self.residual(), strict=True), 1
            ):
                group = file.create_group(f"DATA/{i}")
                group.attrs["name"] = part.origin.name
                group["COUNTS"], group["RESIDUAL"] = part.full_counts, residual
                group["EXPECTATION"] = part.full_expectation(self.model)
            for name, column in self.trace_table().items():
                file[f"TRACE/{name}"] = np.asarray(column)


def deviance_residual(counts: Array, expectation: Array, weight: Array) -> Array:
    """Return the signed root of each bin's Poisson deviance: a residual in sigma.

    ``sign(n - e) sqrt(2 (n log(n/e) - n + e))`` is close to normal where (n - e)/sqrt(e) is not,
    at few counts; NaN where the weight is zero.
    """
    e = np.maximum(expectation * weight, np.finfo(float).tiny)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        deviance = 2 * (np.where(counts > 0, counts * np.log(counts / e), 0.0) - counts + e)
    signed = np.sign(counts - e) * np.sqrt(np.maximum(deviance, 0))
    return np.where(weight > 0, signed, np.nan)


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


def summary(result: Result) -> Mapping[str, float]:
    """Return the figures that tell whether a restoration explains its counts.

    Returns
    -------
    figures
        ``counts``, ``expectation`` (total), ``ratio`` of the two, ``largest_block`` (largest
        |residual| of 8 x 8 blocks, in sigma) and ``outliers`` (share of bins beyond 3 sigma).
    """
    counts = expectation = outliers = bins = 0.0
    largest = 0.0
    for part, residual in zip(result.data.parts, result.residual(), strict=True):
        seen = part.weight > 0
        e = part.full_expectation(result.model) * part.weight
        counts += float(part.full_counts[seen].sum(dtype=np.float64))
        expectation += float(e[seen].sum(dtype=np.float64))
        outliers += float(np.count_nonzero(np.abs(residual[seen]) > 3))
        bins += float(np.count_nonzero(seen))
        off = block_residual(part.full_counts * seen, e)
        largest = max(largest, float(np.nanmax(np.abs(off), initial=0)))
    return {
        "counts": counts,
        "expectation": expectation,
        "ratio": expectation / counts,
        "largest_block": largest,
        "outliers": outliers / bins,
    }


def block_residual(counts: Array, expectation: Array) -> Array:
    """Return the residual in sigma of blocks of `BLOCK` bins along the last two axes.

    Summing first shows what single bins with few counts cannot show.
    """
    n, e = np.nan_to_num(counts), np.nan_to_num(expectation)
    for axis in range(n.ndim)[-2:]:
        starts = np.arange(0, n.shape[axis], BLOCK)
        n, e = np.add.reduceat(n, starts, axis=axis), np.add.reduceat(e, starts, axis=axis)
    return deviance_residual(n, e, (e > 0).astype(float))
