"""Point-spread functions from files, as a calibration of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyfold.data import DataInterface
from skyfold.errors import ConfigError, DataError
from skyfold.healpix_table import opened_fits
from skyfold.sampling.chains.calibration import Calibration
from skyfold.sampling.chains.library import Library
from skyfold.sampling.chains.principal import Components
from skyfold.vector import Array

MOST_LOST = 0.01  # of the light of a PSF that may lie outside of the frame
EXTENSION, COLUMN = "WEIGHTS", "WEIGHT"


def calibration_of(
    data: DataInterface,
    source: Path | Sequence[Path] | Array,
    components: int | None = None,
    weights: Array | None = None,
) -> Calibration:
    """Return the PSFs of a library as what may be the PSF of the data.

    Each is centred in the frame of the PSF that the data were opened with, and brought to its sum:
    the library tells of shapes, not of efficiencies.

    Parameters
    ----------
    data
        The data, opened with a PSF.
    source
        Files, or kernels of shape (members, y, x), (members, x) or (members, energy, y, x). A file
        holds one image, or a cube whose first axis counts the members, and may hold their weights
        as the column ``WEIGHT`` of a table ``WEIGHTS``.
    components
        Draw so many principal components instead of members.
    weights
        Probability of each member; those of the files, or all alike, by default.

    Raises
    ------
    ConfigError
        If the data have no PSF, or several that differ in shape, or weights do not fit.
    DataError, FileError
        If a file holds no PSFs, or they do not fit into the frame.
    """
    known = data.parameters
    shapes = {value.shape for value in known.values()}
    if len(shapes) != 1:
        found = "have no PSF" if not shapes else f"have PSFs of different shapes {sorted(shapes)}"
        raise ConfigError(f"the data {found}: a library of PSFs is for images opened with --psf")
    (shape,) = shapes
    kernels: Sequence[Array]
    if isinstance(source, np.ndarray):
        kernels, name = list(source), "the library"
    else:
        paths = [Path(source)] if isinstance(source, str | Path) else [Path(p) for p in source]
        kernels, stored = _read(paths, len(shape))
        weights, name = stored if weights is None else weights, str(paths[0])
    total = float(next(iter(known.values())).sum())
    members = np.array([_fitted(kernel, shape, total, name) for kernel in kernels])
    library = Library(tuple(known), members, weights)
    return library if components is None else Components.of(library, components)


def _read(paths: Sequence[Path], axes: int) -> tuple[list[Array], Array | None]:
    """Return the kernels of files, and their weights where each file has some."""
    kernels: list[Array] = []
    weights: list[Array] = []
    for path in paths:
        with opened_fits(path) as hdus:
            images = [
                h for h in hdus if h.is_image and h.header.get("NAXIS", 0) in (axes, axes + 1)
            ]
            if not images:
                raise DataError(
                    f"{path}: no PSFs in it: give an image of {axes} axes, or a cube with one axis "
                    "more, which counts the PSFs"
                )
            values = np.asarray(images[0].data, dtype=np.float64)
            own = values[None] if values.ndim == axes else values
            kernels.extend(own)
            if EXTENSION in hdus:
                weights.append(np.asarray(hdus[EXTENSION].data[COLUMN], dtype=np.float64))
    return kernels, np.concatenate(weights) if weights else None


def _fitted(kernel: Array, shape: tuple[int, ...], total: float, name: str) -> Array:
    """Return a kernel in the middle of a frame, with the given sum."""
    kernel = np.asarray(kernel, dtype=np.float64)
    if not np.all(np.isfinite(kernel)) or np.min(kernel, initial=0) < 0 or kernel.sum() <= 0:
        raise DataError(f"{name}: a PSF is above zero and finite everywhere; one of these is not")
    if kernel.ndim != len(shape) or (len(shape) == 3 and kernel.shape[0] != shape[0]):
        raise DataError(
            f"{name}: a PSF of shape {kernel.shape} does not fit that of the data, {shape}: give "
            "one for each energy where the data have that, and one for all where they have not"
        )
    framed, into, part = np.zeros(shape), [], []
    for n, k in zip(shape, kernel.shape, strict=True):
        begin = (n - 1) // 2 - (k - 1) // 2  # element (k - 1) // 2 is where the light came from
        length = min(n - max(begin, 0), k - max(-begin, 0))
        into.append(slice(max(begin, 0), max(begin, 0) + length))
        part.append(slice(max(-begin, 0), max(-begin, 0) + length))
    framed[tuple(into)] = kernel[tuple(part)]
    if (lost := 1 - framed.sum() / kernel.sum()) > MOST_LOST:
        raise DataError(
            f"{name}: {100 * lost:.2g} % of a PSF of shape {kernel.shape} lies outside of the "
            f"frame of that of the data, {shape}: open the data with a PSF as large"
        )
    scaled: Array = framed * (total / framed.sum())
    return scaled
