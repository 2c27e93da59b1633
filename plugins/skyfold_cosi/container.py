"""Histograms in HDF5 as histpy writes them: a group with axes and contents.

All versions are read: dense, coo and the older gcxs, with and without bins for under- and
overflow, which are left out. Squared weights (``sumw2``) are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError
from skyfold.files import replacing
from skyfold.vector import Array
from skyfold_cosi.hdf5 import opened, require_numbers, text
from skyfold_cosi.histogram import Axis, Histogram, Sparse

if TYPE_CHECKING:
    import h5py
    from numpy.typing import DTypeLike

CLASSES = {False: ("histpy.axis", "Axis"), True: ("histpy.healpix_axis", "HealpixAxis")}
GZIP = 4
LISTED = 8  # names of histograms that an error message gives


@dataclass(frozen=True)
class Header:
    """What a file says of a histogram before its contents are read.

    Parameters
    ----------
    name
        Its group in the file.
    axes
        The axes, without flow bins.
    unit
        Unit of the contents; empty for counts.
    form
        ``dense``, ``coo`` or ``gcxs``.
    stored
        Shape of the contents in the file.
    """

    name: str
    axes: tuple[Axis, ...]
    unit: str
    form: str
    stored: tuple[int, ...]

    @property
    def flow(self) -> tuple[bool, ...]:
        """Whether the contents have bins for under- and overflow, for each axis."""
        return tuple(
            size == axis.size + 2 for size, axis in zip(self.stored, self.axes, strict=True)
        )

    @property
    def inside(self) -> tuple[slice, ...]:
        """The part of the stored contents that lies on the axes."""
        return tuple(slice(1, -1) if flow else slice(None) for flow in self.flow)


def read(path: Path | str, name: str | None = None, *, dtype: DTypeLike | None = None) -> Histogram:
    """Read a histogram; bins for under- and overflow are left out, and never loaded if dense.

    Parameters
    ----------
    path
        HDF5 file.
    name
        Group of the histogram; not needed where there is only one.
    dtype
        Type of the numbers in memory (``float32`` halves it); by default as in the file.

    Raises
    ------
    FileError
        If the file is empty, damaged, no HDF5 file, or leads to another file.
    DataError
        If there is no such histogram, several and no name, or axes and contents do not agree.
    """
    return read_noting(path, name, dtype=dtype)[0]


def read_noting(
    path: Path | str, name: str | None = None, *, dtype: DTypeLike | None = None
) -> tuple[Histogram, bool]:
    """Read a histogram, and say whether bins for under- and overflow were left out; see `read`."""
    path = Path(path)
    with opened(path) as file:
        header = header_of(path, file, name)
        contents = _contents(path, file[header.name], header, dtype)
        return Histogram(header.axes, contents, header.unit), any(header.flow)


def read_header(path: Path | str, name: str | None = None) -> Header:
    """Read what the file says of a histogram, without its contents; see `read`."""
    path = Path(path)
    with opened(path) as file:
        return header_of(path, file, name)


def read_axes(path: Path | str, name: str | None = None) -> tuple[Axis, ...]:
    """Read the axes of a histogram; see `read`."""
    return read_header(path, name).axes


def names(file: h5py.File) -> list[str]:
    """Return the groups of all histograms in an open file."""
    found: list[str] = []

    def look(name: str, group: Any) -> None:
        if hasattr(group, "keys") and {"axes", "contents"} <= set(group.keys()):
            found.append(name)

    file.visititems(look)
    return found


def header_of(path: Path, file: h5py.File, name: str | None = None) -> Header:
    """Return the header of a histogram in an open file; see `read`."""
    name = _choose(path, names(file), name)
    group = file[name]
    form = text(group.attrs.get("format", "dense"))
    if form not in ("dense", "coo", "gcxs"):
        raise DataError(f"{path}: format {form!r} of {name!r} is unknown; known: dense, coo, gcxs")
    axes = axes_of(path, group["axes"])
    contents = group["contents"]
    if form == "dense":
        require_numbers(contents, f"{path}: {name}/contents")
        stored = tuple(contents.shape)
    else:
        stored = tuple(int(n) for n in _array(path, contents, "shape"))
    if len(stored) != len(axes) or any(
        size not in (axis.size, axis.size + 2) for size, axis in zip(stored, axes, strict=True)
    ):
        raise DataError(
            f"{path}: {name}: contents of shape {stored} do not fit the axes, which have "
            f"{', '.join(f'{axis.label} {axis.size}' for axis in axes)} bins"
        )
    unit = text(group.attrs.get("unit", ""))
    _require_unit(unit, f"{path}: {name}")
    return Header(name, axes, unit, form, stored)


def axes_of(path: Path, group: h5py.Group) -> tuple[Axis, ...]:
    """Return the axes of an open group, whose names are numbers, in their order."""
    try:
        order = sorted(group, key=int)
    except ValueError:
        raise DataError(
            f"{path}: {group.name}: axes are called {', '.join(group)}; expected 0, 1, 2, ..."
        ) from None
    axes = []
    for name in order:
        try:
            axes.append(_axis(group[name], f"axis {name}"))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
    return tuple(axes)


def write(path: Path | str, histogram: Histogram, name: str = "hist") -> None:
    """Write a histogram so that histpy 1.1 and 2 read it; sparse contents are compressed.

    Raises
    ------
    FileError
        If it cannot be written; a file that was there before stays.
    """
    write_all(path, {name: histogram})


def write_all(path: Path | str, histograms: Mapping[str, Histogram]) -> None:
    """Write several histograms into one file; see `write`."""
    import h5py

    with replacing(Path(path)) as partial, h5py.File(partial, "w") as file:
        for name, histogram in histograms.items():
            write_into(file, name, histogram)


def write_into(file: h5py.File, name: str, histogram: Histogram) -> None:
    """Write a histogram into an open file."""
    group = create_group(file, name, histogram.axes, histogram.unit)
    _write_contents(group, histogram.contents)


def create_group(file: h5py.File, name: str, axes: tuple[Axis, ...], unit: str) -> h5py.Group:
    """Make the group of a histogram whose contents are still to be written."""
    group = file.create_group(name)
    if unit:
        group.attrs["unit"] = unit
    group.attrs["format"] = "dense"
    write_axes(group.create_group("axes"), axes)
    return group


def write_axes(group: h5py.Group, axes: tuple[Axis, ...]) -> None:
    """Write axes under their numbers."""
    for i, axis in enumerate(axes):
        healpix = axis.nside is not None
        dataset = group.create_dataset(str(i), data=axis.edges, track_times=False)
        dataset.attrs["__class__"] = CLASSES[healpix]
        dataset.attrs["label"] = axis.label
        dataset.attrs["scale"] = axis.scale
        if axis.unit:
            dataset.attrs["unit"] = axis.unit
        if healpix:
            dataset.attrs["nside"] = axis.nside
            dataset.attrs["scheme"] = axis.scheme
            if axis.frame:
                dataset.attrs["coordsys"] = axis.frame


def _write_contents(group: h5py.Group, contents: Array | Sparse) -> None:
    if not isinstance(contents, Sparse):
        group.create_dataset("contents", data=contents, track_times=False)
        return
    group.attrs["format"] = "coo"
    inner = group.create_group("contents")
    packed: dict[str, Any] = {"track_times": False}
    if contents.values.size:
        packed |= {"compression": "gzip", "compression_opts": GZIP}
    coords = np.array(contents.coords, dtype=np.int64).reshape(len(contents.shape), -1)
    inner.create_dataset("coords", data=coords, **packed)
    inner.create_dataset("data", data=contents.values, **packed)
    inner.create_dataset("shape", data=np.array(contents.shape, np.int64), track_times=False)
    inner.create_dataset("fill_value", data=contents.values.dtype.type(0), track_times=False)


def _choose(path: Path, found: list[str], name: str | None) -> str:
    listed = ", ".join(found[:LISTED]) + (f", ... ({len(found)})" if len(found) > LISTED else "")
    if not found:
        raise DataError(f"{path}: there is no histogram in it (a group with axes and contents)")
    if name is None:
        if len(found) > 1:
            raise DataError(f"{path}: there are several histograms; name one of {listed}")
        return found[0]
    if name.strip("/") not in found:
        raise DataError(f"{path}: there is no histogram {name!r}, only {listed}")
    return name.strip("/")


def _axis(dataset: h5py.Dataset, where: str) -> Axis:
    attributes = dataset.attrs
    label = text(attributes.get("label", ""))
    where = f"axis {label!r}" if label else where
    require_numbers(dataset, where)
    edges, unit = dataset[()], text(attributes.get("unit", ""))
    kind = text(attributes["__class__"][1]) if "__class__" in attributes else "Axis"
    if kind in ("TimeAxis", "TimeDeltaAxis"):
        edges, unit = _seconds(edges, kind, attributes), "s"
    if "nside" not in attributes:
        _require_unit(unit, where)
        return Axis(label, edges, unit, text(attributes.get("scale", "linear")))
    frame = attributes.get("coordsys")
    return Axis(
        label,
        edges,
        nside=int(attributes["nside"]),
        scheme=text(attributes.get("scheme", "RING")).upper(),
        frame=None if frame is None else text(frame),
    )


def _seconds(days: Array, kind: str, attributes: Any) -> Array:
    """Return the edges of a time axis of histpy 2, two numbers in days each, in seconds (unix)."""
    from astropy.time import Time

    scale = text(attributes.get("time_scale", "utc"))
    instants = kind == "TimeAxis"
    seconds: Array = (
        Time(days[0], days[1], format="jd", scale=scale).unix
        if instants
        else (days[0] + days[1]) * 86400.0
    )
    return seconds


def _require_unit(unit: str, where: str) -> None:
    from astropy import units as u

    try:
        u.Unit(unit)
    except ValueError:
        raise DataError(f"{where}: {unit!r} is no unit") from None


def _contents(
    path: Path, group: h5py.Group, header: Header, dtype: DTypeLike | None
) -> Array | Sparse:
    contents = group["contents"]
    if header.form == "dense":
        native = contents.dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
        loaded: Array = contents.astype(native)[header.inside]
        return loaded
    if np.any(_array(path, contents, "fill_value") != 0):
        raise DataError(f"{path}: {header.name}: sparse contents are filled with other than zero")
    values = _array(path, contents, "data")
    coords = (_coordinates if header.form == "coo" else _coordinates_of_gcxs)(
        path, contents, header.stored
    )
    coords = coords - np.array(header.flow, dtype=np.int64)[:, None]
    shape = tuple(axis.size for axis in header.axes)
    inside = np.all((coords >= 0) & (coords < np.array(shape)[:, None]), axis=0)
    if not any(header.flow) and not np.all(inside):
        raise DataError(f"{path}: {header.name}: there are coordinates outside the axes")
    made = Sparse.from_coordinates(shape, coords[:, inside], values[inside])
    return Sparse(shape, made.index, made.values.astype(dtype or values.dtype, copy=False))


def _coordinates(path: Path, group: h5py.Group, stored: tuple[int, ...]) -> Array:
    coords = _array(path, group, "coords").astype(np.int64, copy=False)
    if coords.shape != (len(stored), group["data"].shape[0]):
        raise DataError(f"{path}: {group.name}: coordinates of shape {coords.shape} do not fit")
    return coords


def _coordinates_of_gcxs(path: Path, group: h5py.Group, stored: tuple[int, ...]) -> Array:
    """Return coordinates from compressed rows; the rows are some axes, the columns all others."""
    pointers, indices = _array(path, group, "indptr"), _array(path, group, "indices")
    if "compressed_axes" in group:
        rows = [int(i) for i in _array(path, group, "compressed_axes")]
    else:
        fitting = [k for k in range(len(stored) + 1) if prod(stored[:k]) == len(pointers) - 1]
        rows = list(range(fitting[0] if fitting else 0))
    columns = [i for i in range(len(stored)) if i not in rows]
    row = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    coords = np.empty((len(stored), len(indices)), dtype=np.int64)
    for places, flat in ((rows, row), (columns, indices)):
        if places:
            coords[places] = np.unravel_index(flat, tuple(stored[i] for i in places))
    return coords


def _array(path: Path, group: h5py.Group, name: str) -> Array:
    if not hasattr(group, "keys") or name not in group:
        raise DataError(f"{path}: {group.name} holds no {name!r}")
    require_numbers(group[name], f"{path}: {group.name}/{name}")
    loaded: Array = np.asarray(group[name][()])
    return loaded
