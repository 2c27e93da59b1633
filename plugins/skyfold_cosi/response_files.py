"""Response files of all generations, read piece by piece.

Whatever the layout, a response is a matrix of values (NuLambda, Ei) and bins (Em, Phi, PsiChi).
All other axes are summed out:

- SigmaTau and Dist, which imaging does not measure;
- Pol. A bin of the polarisation angle holds the photons simulated with such an angle, but its area
  is counted per photon of any angle, so that all of them together make the area for unpolarised
  light. (The mean over the bins, which cosipy takes for the unpolarised part of a source, would be
  smaller by their number.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skyfold.errors import DataError
from skyfold.inputs import require_data
from skyfold.origin import Check
from skyfold.vector import Array
from skyfold_cosi import container, rsp_text
from skyfold_cosi.hdf5 import opened, require_numbers, text
from skyfold_cosi.histogram import Axis, Histogram, Sparse, from_histpy
from skyfold_cosi.recognise import start_of
from skyfold_cosi.response_slabs import (
    LABELS,
    PIECE,
    FileSlabs,
    Reader,
    array_slabs,
    dense_reader,
    sparse_reader,
    sparse_slabs,
)

if TYPE_CHECKING:
    import h5py

DETECTOR = ("NuLambda", "Ei", "Pol", "Em", "Phi", "PsiChi", "SigmaTau", "Dist")
KNOWN = (
    "a pre-computed response (histpy, axes NuLambda or lb, Ei, Em, Phi, PsiChi), a detector "
    "response of DC2 or DC3 (DRM/CONTENTS, dense or sparse), one of 2025 and later (DRM VERSION 2: "
    "counts and effective area), or MEGAlib's text (.rsp.gz)"
)

Precision = Literal["float32", "float64"]


@dataclass(frozen=True, eq=False)
class ResponseFile:
    """An opened response; no contents are read before they are asked for.

    Parameters
    ----------
    path
        The file; None for a histogram in memory.
    layout
        Its layout, in words.
    axes
        NuLambda, Ei, Em, Phi, PsiChi. NuLambda is the sky in a Galactic response.
    frame
        ``galactic`` or ``spacecraftframe``.
    unit
        Unit of the contents: cm2 s with the exposure, cm2 without.
    checks
        What was put right, for the report.
    fields
        Lines of the header of the simulation, where they are kept: TS, SA, SP, ...
    reader
        Reads the slabs.
    """

    path: Path | None
    layout: str
    axes: tuple[Axis, ...]
    frame: str
    unit: str
    checks: tuple[Check, ...]
    fields: dict[str, str]
    reader: Reader

    def __getitem__(self, label: str) -> Axis:
        """Return an axis by its label."""
        return self.axes[LABELS.index(label)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of bins along each axis."""
        return tuple(axis.size for axis in self.axes)

    def slabs(self, dtype: Precision = "float64", piece: int = PIECE) -> FileSlabs:
        """Return the response as a matrix of values (NuLambda, Ei) and bins (Em, Phi, PsiChi).

        Parameters
        ----------
        dtype
            Type of the numbers.
        piece
            Bytes that are held in memory at a time, about: at least one bin of Ei of one pixel,
            with all that is summed out, and whole chunks of the file where they are not too large.
        """
        shape = prod(self.shape[:2]), prod(self.shape[2:])
        return FileSlabs(shape, np.dtype(dtype), piece, self.reader)

    def require_detector(self) -> None:
        """Refuse a response that is no longer in the frame of the detector.

        Raises
        ------
        DataError
            If it is Galactic already.
        """
        if self.frame != "spacecraftframe":
            raise DataError(
                f"{self.path}: this response is in Galactic coordinates, with its exposure "
                f"({self.unit}); give the response of the detector, in cm2"
            )

    def load(self, dtype: Precision = "float64") -> Histogram:
        """Return the whole response; for small files."""
        slabs = self.slabs(dtype)
        contents = np.empty(slabs.shape, slabs.dtype)
        for first, rows in slabs:
            contents[first : first + len(rows)] = rows
        return Histogram(self.axes, contents.reshape(self.shape), self.unit)


def open_response(given: Path | str | Any, *, spectrum: str | None = None) -> ResponseFile:
    """Open a response of any known layout, recognised by its content.

    Parameters
    ----------
    given
        File, or a histogram of ours or of histpy.
    spectrum
        Spectrum of the simulation, for text files that do not state it; see
        `skyfold_cosi.rsp_text.effective_area`.

    Raises
    ------
    FileError
        If the file is empty or damaged.
    DataError
        If the layout is unknown, or axes are missing, out of order, or cover a part of the sphere.
    MissingExtraError
        If the counts are packed with a filter that is not installed.
    """
    if not isinstance(given, str | Path):
        histogram = given if isinstance(given, Histogram) else from_histpy(given)
        return _in_memory(None, "histogram", histogram, ())
    path = Path(given)
    require_data(path)
    if not _is_hdf5(path) and _is_text(path):
        return _open_text(path, spectrum)
    with opened(path) as file:
        if "DRM" not in file:
            if not container.names(file):
                raise _unknown(path, f"it holds {', '.join(file) or 'nothing'}")
            return _open_container(path, file)
        version = int(file["DRM"].attrs.get("VERSION", 1))
        if version == 2:
            return _open_counts(path, file["DRM"])
        if version == 1 and {"AXES", "CONTENTS"} <= set(file["DRM"]):
            return _open_contents(path, file["DRM"])
        raise _unknown(path, f"group DRM of version {version} with {', '.join(file['DRM'])}")


def read_response(path: Path | str, dtype: Precision = "float64") -> Histogram:
    """Read a whole response of any layout; for small files. See `open_response`."""
    return open_response(path).load(dtype)


def read_conversion(path: Path | str, name: str | None = None) -> Histogram:
    """Read a coordinate conversion matrix, of any age, with axes Time or ScAtt, lb, NuLambda.

    Raises
    ------
    FileError
        If the file is empty or damaged.
    DataError
        If it holds other axes.
    """
    histogram = container.read(path, name)
    exposed = [label for label in ("Time", "ScAtt") if label in histogram.labels]
    if sorted(histogram.labels) != sorted([*exposed, "lb", "NuLambda"]) or len(exposed) != 1:
        raise DataError(
            f"{path}: axes {', '.join(histogram.labels)} are none of a conversion matrix; expected "
            "Time or ScAtt, lb, NuLambda"
        )
    return replace(histogram.project(exposed[0], "lb", "NuLambda"), unit=histogram.unit or "s")


def _is_hdf5(path: Path) -> bool:
    import h5py

    return bool(h5py.is_hdf5(path))


def _is_text(path: Path) -> bool:
    return b"\nAN " in start_of(path) or path.name.endswith((".rsp", ".rsp.gz"))


def _unknown(path: Path, found: str) -> DataError:
    return DataError(f"{path}: layout of the response not recognised: {found}. Known: {KNOWN}")


def _open_text(path: Path, spectrum: str | None) -> ResponseFile:
    header = rsp_text.read_header(path)
    labels = {axis.label: axis for axis in header.axes}
    axes = tuple(labels[label] for label in DETECTOR if label in labels)
    area = rsp_text.effective_area(path, header, spectrum)

    @cache
    def response() -> Array:
        found, counts, _ = rsp_text.read(path)
        others = tuple(i for i, axis in enumerate(found) if axis.label not in LABELS)
        whole: Array = counts.sum(axis=others) * area[:, None, None, None]
        return whole

    def read(dtype: np.dtype[Any], piece: int) -> Iterator[tuple[int, Array]]:
        yield from array_slabs(response(), dtype, piece)

    layout = "text of MEGAlib" + (", sparse" if header.sparse else "")
    kept, checks = _imaging_axes(path, axes)
    return ResponseFile(
        path, layout, kept, "spacecraftframe", "cm2", checks, dict(header.fields), read
    )


def _open_container(path: Path, file: h5py.File) -> ResponseFile:
    header = container.header_of(path, file)
    flow = (Check("fixed", "response", "flow bins removed"),) if any(header.flow) else ()
    if header.form != "dense":
        return _in_memory(path, "pre-computed, sparse", container.read(path), flow)
    axes, frame = _sky_axes(path, header.axes, header.unit)
    kept, checks = _imaging_axes(path, axes)
    place = f"{header.name}/contents"
    _require_digits(path, file[place].dtype)
    reader = dense_reader(path, place, tuple(a.label for a in axes), header.inside)
    return ResponseFile(
        path, "pre-computed, dense", kept, frame, header.unit, (*flow, *checks), {}, reader
    )


def _in_memory(
    path: Path | None, layout: str, histogram: Histogram, checks: tuple[Check, ...]
) -> ResponseFile:
    held = histogram.contents
    _require_digits(path, (held.values if isinstance(held, Sparse) else held).dtype)
    axes, frame = _sky_axes(path, histogram.axes, histogram.unit)
    kept, more = _imaging_axes(path, axes)
    whole = replace(histogram, axes=axes).project(*LABELS)

    def read(dtype: np.dtype[Any], piece: int) -> Iterator[tuple[int, Array]]:
        if isinstance(whole.contents, Sparse):
            yield from sparse_slabs(whole.contents, dtype, piece)
        else:
            yield from array_slabs(whole.contents, dtype, piece)

    return ResponseFile(path, layout, kept, frame, histogram.unit, (*checks, *more), {}, read)


def _open_contents(path: Path, group: h5py.Group) -> ResponseFile:
    """Open a detector response of DC2 and DC3."""
    sparse = "BIN_NUMBERS" in group
    axes = _old_axes(path, group["AXES"])
    kept, checks = _imaging_axes(path, axes)
    labels, sizes = tuple(axis.label for axis in axes), tuple(axis.size for axis in axes)
    if sparse:
        reader = sparse_reader(path, labels, sizes)
    else:
        _require_shape(path, group["CONTENTS"], sizes)
        _require_digits(path, group["CONTENTS"].dtype)
        reader = dense_reader(path, "DRM/CONTENTS", labels, (slice(None),) * len(sizes))
    unit = text(group.attrs.get("UNIT", "cm2"))
    layout = "detector response, " + ("sparse" if sparse else "dense")
    return ResponseFile(path, layout, kept, "spacecraftframe", unit, checks, {}, reader)


def _open_counts(path: Path, group: h5py.Group) -> ResponseFile:
    """Open a detector response of version 2: whole counts, and the area that one stands for."""
    if missing := {"AXES", "COUNTS", "EFF_AREA"} - set(group):
        raise _unknown(path, f"version 2 without {', '.join(sorted(missing))}")
    axes = tuple(
        replace(axis, frame=axis.frame or "spacecraftframe") if axis.nside is not None else axis
        for axis in container.axes_of(path, group["AXES"])
    )
    kept, checks = _imaging_axes(path, axes)
    labels, sizes = tuple(axis.label for axis in axes), tuple(axis.size for axis in axes)
    _require_shape(path, group["COUNTS"], sizes)
    area = group["EFF_AREA"][()]
    if area.shape != (kept[1].size,):
        raise DataError(f"{path}: {area.size} effective areas for {kept[1].size} bins of Ei")
    reader = dense_reader(path, "DRM/COUNTS", labels, (slice(None),) * len(sizes), area)
    unit, fields = text(group.attrs.get("UNIT", "cm2")), {}
    if "HEADERS" in group:
        keys = sorted(group["HEADERS"].attrs)
        order = [int(i) for i in group.attrs.get("HEADER_ORDER", range(len(keys)))]
        fields = {keys[i]: text(group["HEADERS"].attrs[keys[i]]) for i in order}
    layout = "detector response, counts x effective area"
    return ResponseFile(path, layout, kept, "spacecraftframe", unit, checks, fields, reader)


def _require_shape(path: Path, dataset: h5py.Dataset, sizes: tuple[int, ...]) -> None:
    require_numbers(dataset, f"{path}: {dataset.name}")
    if dataset.shape != sizes:
        raise DataError(f"{path}: {dataset.name} of shape {dataset.shape} on axes of {sizes}")


def _require_digits(path: Path | None, dtype: np.dtype[Any]) -> None:
    if dtype.itemsize < 4 and dtype.kind == "f":
        raise DataError(
            f"{path or 'response'}: contents are in {dtype}, which holds 3 digits, nothing above "
            "65504 and little below 6e-5; make it again in float32"
        )


def _old_axes(path: Path, group: h5py.Group) -> tuple[Axis, ...]:
    """Return the axes in the order in which they were created, which is that of the contents."""
    import h5py

    tracked = group.id.get_create_plist().get_link_creation_order() & h5py.h5p.CRT_ORDER_TRACKED
    labels = list(group) if tracked else [label for label in DETECTOR if label in group]
    try:
        return tuple(_old_axis(label, group[label]) for label in labels)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _old_axis(label: str, dataset: h5py.Dataset) -> Axis:
    require_numbers(dataset, f"axis {label!r}")
    edges, about = dataset[()], dataset.attrs
    kind = text(about.get("TYPE", "linear"))
    if kind != "healpix":
        return Axis(label, edges, text(about.get("UNIT", "")), kind)
    scheme = text(about.get("SCHEME", "ring")).upper()
    return Axis(label, edges, nside=int(about["NSIDE"]), scheme=scheme, frame="spacecraftframe")


def _sky_axes(path: Path | None, axes: tuple[Axis, ...], unit: str) -> tuple[tuple[Axis, ...], str]:
    """Return the axes of a pre-computed response under their usual names, and their frame."""
    from astropy import units as u

    axes = tuple(replace(a, label="NuLambda") if a.label == "lb" else a for a in axes)
    said = {axis.frame for axis in axes if axis.nside is not None and axis.frame}
    name = path or "response"
    if len(said) > 1:
        raise DataError(f"{name}: pixels in different frames: {' and '.join(sorted(said))}")
    exposed = u.Unit(unit).is_equivalent(u.cm**2 * u.s)
    frame = said.pop() if said else ("galactic" if exposed else "spacecraftframe")
    if frame not in ("galactic", "spacecraftframe"):
        raise DataError(
            f"{name}: pixels in the frame {frame!r}; expected galactic, or spacecraftframe"
        )
    return tuple(replace(a, frame=frame) if a.nside is not None else a for a in axes), frame


def _imaging_axes(
    path: Path | None, axes: tuple[Axis, ...]
) -> tuple[tuple[Axis, ...], tuple[Check, ...]]:
    """Return the axes that are kept, once they are what they must be, and what is summed out."""
    labels = tuple(axis.label for axis in axes)
    missing = [label for label in LABELS if label not in labels]
    if missing:
        raise DataError(
            f"{path or 'response'}: there is no axis {missing[0]!r}: it has {', '.join(labels)}; "
            f"expected {KNOWN}"
        )
    kept = tuple(axis for axis in axes if axis.label in LABELS)
    if tuple(axis.label for axis in kept) != LABELS:
        raise DataError(
            f"{path or 'response'}: axes are in the order {', '.join(labels)}; expected "
            f"{', '.join(LABELS)}"
        )
    for axis in (kept[0], kept[-1]):
        if axis.nside is None or axis.size != 12 * axis.nside**2:
            raise DataError(
                f"{path or 'response'}: axis {axis.label!r} is not the whole sphere in HEALPix "
                f"pixels, but has {axis.describe()}"
            )
    others = [f"{a.label} ({a.size} bins)" for a in axes if a.label not in LABELS]
    check = Check("fixed", "response", f"summed over {', '.join(others)}")
    return kept, (check,) if others else ()
