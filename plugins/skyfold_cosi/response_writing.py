"""Responses written in the layouts of all generations, and converted from text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skyfold.errors import DataError
from skyfold.files import replacing
from skyfold.vector import Array
from skyfold_cosi import container, rsp_text
from skyfold_cosi.histogram import Axis

if TYPE_CHECKING:
    import h5py

    from skyfold_responses.matrix import Slabs

Layout = Literal["galactic", "dense", "sparse", "counts"]

DESCRIPTIONS = {
    "NuLambda": "Direction of the source in the detector frame",
    "Ei": "Energy of the photon",
    "Pol": "Polarisation angle",
    "Em": "Measured energy",
    "Phi": "Compton angle",
    "PsiChi": "Direction of the scattered photon",
    "SigmaTau": "Direction of the recoil electron",
    "Dist": "Distance between the first two interactions",
}
PACKED = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


def write_response(
    path: Path | str,
    axes: tuple[Axis, ...],
    slabs: Slabs | Array,
    layout: Layout,
    *,
    unit: str | None = None,
    area: Array | None = None,
    fields: Mapping[str, str] | None = None,
) -> None:
    """Write a response, piece by piece.

    Parameters
    ----------
    path
        HDF5 file.
    axes
        NuLambda, Ei, any others, Em, Phi, PsiChi, any others.
    slabs
        Contents over values (NuLambda, Ei) and all other bins, piece by piece, or as an array.
    layout
        ``galactic``: pre-computed, a histogram of histpy; ``dense`` or ``sparse``: detector
        response of DC2 and DC3; ``counts``: version 2, whole counts and the area of one.
    unit
        Unit of the contents; cm2 s for a pre-computed one and cm2 for a detector's by default.
    area
        Area in cm2 for each bin of Ei, for ``counts``.
    fields
        Header of the simulation, for ``counts``.

    Raises
    ------
    DataError
        If slabs are missing or do not fit, or counts are not whole or negative.
    FileError
        If the file cannot be written; what was there before stays.
    """
    import h5py

    shape = tuple(axis.size for axis in axes)
    if isinstance(slabs, np.ndarray):
        slabs = _Whole(slabs.reshape(prod(shape[:2]), -1))
    if tuple(slabs.shape) != (prod(shape[:2]), prod(shape[2:])):
        raise DataError(f"slabs of shape {tuple(slabs.shape)} do not fit axes of {shape}")
    with replacing(Path(path)) as partial, h5py.File(partial, "w") as file:
        if layout == "galactic":
            group = container.create_group(file, "hist", axes, unit or "cm2 s")
            _fill(group, "contents", slabs, shape)
            return
        group = file.create_group("DRM")
        group.attrs["UNIT"] = unit or "cm2"
        group.attrs["SPARSE"] = layout == "sparse"
        if layout == "counts":
            _write_counts(group, axes, slabs, area, fields or {})
            return
        _write_old_axes(group.create_group("AXES", track_order=True), axes)
        if layout == "sparse":
            _write_sparse(group, slabs, shape)
        else:
            chunks = (1, 1, *shape[2:])
            _fill(group, "CONTENTS", slabs, shape, dtype=np.float64, chunks=chunks, **PACKED)


def convert_text(
    source: Path | str,
    path: Path | str,
    *,
    layout: Literal["dense", "sparse", "counts"] = "counts",
    spectrum: str | None = None,
) -> None:
    """Convert a response from MEGAlib's text to HDF5; polarisation is kept, SigmaTau and Dist not.

    Parameters
    ----------
    source
        The .rsp or .rsp.gz file.
    path
        HDF5 file that is written.
    layout
        As for `write_response`.
    spectrum
        Spectrum of the simulation, where the file does not state it; see `rsp_text.effective_area`.
    """
    source = Path(source)
    axes, counts, header = rsp_text.read(source)
    area = rsp_text.effective_area(source, header, spectrum)
    unused = tuple(i for i, axis in enumerate(axes) if axis.label in ("SigmaTau", "Dist"))
    axes = tuple(axis for i, axis in enumerate(axes) if i not in unused)
    counts = counts.sum(axis=unused) if unused else counts
    if layout == "counts":
        write_response(path, axes, counts, layout, area=area, fields=header.fields)
    else:
        weights = area.reshape(1, -1, *(1,) * (counts.ndim - 2))
        write_response(path, axes, counts * weights, layout)


class _Whole:
    """An array as its only slab."""

    def __init__(self, matrix: Array) -> None:
        self.shape, self._matrix = matrix.shape, matrix

    def __iter__(self) -> Iterator[tuple[int, Array]]:
        yield 0, self._matrix


def _by_pixel(slabs: Slabs, shape: tuple[int, ...]) -> Iterator[tuple[int, Array]]:
    """Yield (first pixel, contents of shape (pixels, *shape[1:])), whole pixels only."""
    energies, bins = shape[1], prod(shape[2:])
    reached, rest = 0, np.empty((0, bins))
    for first, rows in slabs:
        if first != reached or rows.shape[1:] != (bins,):
            raise DataError(f"slab of shape {rows.shape} at value {first}; expected {reached}")
        reached += len(rows)
        joined = np.concatenate([rest, rows]) if len(rest) else rows
        whole = len(joined) // energies
        rest = joined[whole * energies :]
        if whole:
            pixel = (reached - len(joined)) // energies
            yield pixel, joined[: whole * energies].reshape(whole, *shape[1:])
    if reached != prod(shape[:2]):
        raise DataError(f"slabs end at value {reached} of {prod(shape[:2])}")


def _fill(
    group: h5py.Group, name: str, slabs: Slabs, shape: tuple[int, ...], **options: Any
) -> None:
    """Write a dataset, by default with the type of the first slab."""
    dataset = None
    for pixel, contents in _by_pixel(slabs, shape):
        if dataset is None:
            options = {"dtype": contents.dtype, "track_times": False, **options}
            dataset = group.create_dataset(name, shape, **options)
        dataset[pixel : pixel + len(contents)] = contents


def _write_old_axes(group: h5py.Group, axes: tuple[Axis, ...]) -> None:
    for axis in axes:
        dataset = group.create_dataset(axis.label, data=axis.edges, track_times=False)
        dataset.attrs["DESCRIPTION"] = DESCRIPTIONS[axis.label]
        if axis.nside is None:
            dataset.attrs["TYPE"] = axis.scale
            dataset.attrs["UNIT"] = axis.unit
        else:
            dataset.attrs["TYPE"] = "healpix"
            dataset.attrs["NSIDE"] = axis.nside
            dataset.attrs["SCHEME"] = axis.scheme.lower()


def _write_sparse(group: h5py.Group, slabs: Slabs, shape: tuple[int, ...]) -> None:
    import h5py

    def lists(name: str, dtype: type) -> Any:
        kind = h5py.vlen_dtype(dtype)
        return group.create_dataset(name, shape[:1], kind, chunks=(1,), track_times=False)

    numbers, contents = lists("BIN_NUMBERS", np.int64), lists("CONTENTS", np.float64)
    for pixel, some in _by_pixel(slabs, shape):
        for i, one in enumerate(some, start=pixel):
            found = np.nonzero(one)
            numbers[i] = np.concatenate(found)
            contents[i] = one[found]


def _write_counts(
    group: h5py.Group,
    axes: tuple[Axis, ...],
    slabs: Slabs,
    area: Array | None,
    fields: Mapping[str, str],
) -> None:
    shape = tuple(axis.size for axis in axes)
    if area is None or area.shape != shape[1:2]:
        raise DataError(f"counts need the area that one stands for, for {shape[1]} bins of Ei")
    group.attrs["VERSION"] = 2
    keys = list(fields)
    group.attrs["HEADER_ORDER"] = np.array([sorted(keys).index(key) for key in keys], np.int64)
    headers = group.create_group("HEADERS")
    for key, value in fields.items():
        headers.attrs[key] = value
    container.write_axes(group.create_group("AXES"), axes)
    told = group.create_group("AXIS_DESCRIPTIONS")
    for axis in axes:
        told.attrs[axis.label] = DESCRIPTIONS[axis.label]
    group.create_dataset("EFF_AREA", data=np.asarray(area, np.float64), track_times=False)
    inner = [1 if axis.label in ("NuLambda", "Ei", "Pol") else axis.size for axis in axes]
    _fill(group, "COUNTS", slabs, shape, dtype=_smallest(slabs), chunks=tuple(inner), **PACKED)


def _smallest(slabs: Slabs) -> np.dtype[Any]:
    """Return the smallest unsigned integer type that holds all counts."""
    largest = 0
    for first, rows in slabs:
        if np.any(rows < 0) or np.any(rows != np.rint(rows)):
            raise DataError(f"counts from value {first} on are negative or not whole")
        largest = max(largest, int(rows.max(initial=0)))
    return np.min_scalar_type(largest)
