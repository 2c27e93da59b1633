"""Contents of responses as matrices (values, bins), piece by piece.

Values are (NuLambda, Ei), bins (Em, Phi, PsiChi), both in C order; all else is summed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import DataError
from skyfold.vector import Array
from skyfold_cosi.hdf5 import opened
from skyfold_cosi.histogram import Sparse

LABELS = ("NuLambda", "Ei", "Em", "Phi", "PsiChi")
PIECE = 1 << 24  # bytes of a slab, about; larger ones fall out of the cache
LARGEST = 1 << 28  # bytes of a slab where less would unpack chunks of the file several times

Reader = Callable[[np.dtype[Any], int], Iterator[tuple[int, Array]]]


@dataclass(frozen=True, eq=False)
class FileSlabs:
    """A response as a matrix (values, bins) that is read piece by piece, as often as needed.

    Parameters
    ----------
    shape
        Number of values and of bins.
    dtype
        Type of the numbers.
    piece
        Bytes of a piece, about.
    read
        Yields (first value, numbers of shape (some values, all bins)).
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    piece: int
    read: Reader

    def __iter__(self) -> Iterator[tuple[int, Array]]:
        """Yield the pieces in order, without gaps."""
        return self.read(self.dtype, self.piece)


def dense_reader(
    path: Path,
    place: str,
    labels: tuple[str, ...],
    inside: tuple[slice, ...],
    area: Array | None = None,
) -> Reader:
    """Return a reader of a dense array with NuLambda and Ei in front, by hyperslab.

    Parameters
    ----------
    path, place
        File, and dataset in it.
    labels
        Its axes; those that are not kept are summed out.
    inside
        The part that is no under- or overflow.
    area
        What the numbers are multiplied with, for each bin of Ei.
    """
    others = tuple(i for i, label in enumerate(labels) if label not in LABELS)

    def read(dtype: np.dtype[Any], piece: int) -> Iterator[tuple[int, Array]]:
        with opened(path) as file:
            dataset = file[place]
            within = [range(n)[part] for n, part in zip(dataset.shape, inside, strict=True)]
            sizes = [len(one) for one in within]
            bulk = prod(sizes[2:]) * dataset.dtype.itemsize
            offset = within[0].start
            for pixels, energies in _pieces(sizes[:2], bulk, piece, dataset.chunks, offset):
                rows, columns = within[0][pixels], within[1][energies]
                part = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
                slab = dataset[(*part, *inside[2:])]  # numpy converts faster than HDF5
                if others:
                    slab = slab.sum(axis=others, dtype=np.float64)
                if area is not None:
                    slab = slab * area[energies, None, None, None]
                matrix = slab.reshape(slab.shape[0] * slab.shape[1], -1)
                yield pixels.start * sizes[1] + energies.start, matrix.astype(dtype, copy=False)

    return read


def _pieces(
    sizes: list[int], bulk: int, piece: int, chunks: tuple[int, ...] | None, offset: int
) -> Iterator[tuple[slice, slice]]:
    """Yield ranges of pixels and energies whose contents take about ``piece`` bytes.

    Whole chunks are taken along the pixels where that is not too much, so that none is unpacked
    twice; a single pixel that is too large is split by energy.

    Parameters
    ----------
    sizes
        Number of pixels and energies.
    bulk
        Bytes for one pixel and one energy.
    piece
        Bytes of a piece.
    chunks
        Shape of the chunks of the file.
    offset
        Place of the first pixel in the file.
    """
    pixels, energies = sizes
    step = max(1, piece // (bulk * energies))
    if chunks is not None and chunks[0] * bulk * energies <= LARGEST:
        step = ceil(step / chunks[0]) * chunks[0]
    several = energies if bulk * energies <= LARGEST else max(1, piece // bulk)
    for start in range(-offset, pixels, step):
        first, last = max(start, 0), min(start + step, pixels)
        for energy in range(0, energies if last > first else 0, several):
            yield slice(first, last), slice(energy, min(energy + several, energies))


def sparse_reader(path: Path, labels: tuple[str, ...], sizes: tuple[int, ...]) -> Reader:
    """Return a reader of lists of bin numbers and contents, one of each for a pixel of NuLambda.

    The bin numbers are those of Ei for all bins, then those of Em, and so on.
    """
    kept = [i for i, label in enumerate(labels[1:]) if label in LABELS]
    shape = tuple(sizes[1:][i] for i in kept)

    def rows(numbers: Array, contents: Array) -> Array:
        coords = np.reshape(numbers, (len(sizes) - 1, -1))
        try:
            flat = np.ravel_multi_index(tuple(coords[i] for i in kept), shape)
        except ValueError:
            raise DataError(f"{path}: DRM/BIN_NUMBERS names bins outside the axes") from None
        return np.bincount(flat, contents, prod(shape)).reshape(shape[0], -1)

    def read(dtype: np.dtype[Any], piece: int) -> Iterator[tuple[int, Array]]:
        with opened(path) as file:
            numbers, contents = file["DRM/BIN_NUMBERS"], file["DRM/CONTENTS"]
            step = max(1, piece // (prod(shape) * dtype.itemsize))
            for first in range(0, sizes[0], step):
                part = slice(first, min(first + step, sizes[0]))
                pixels = zip(numbers[part], contents[part], strict=True)
                slab = np.concatenate([rows(*one).astype(dtype, copy=False) for one in pixels])
                yield first * shape[0], slab

    return read


def array_slabs(whole: Array, dtype: np.dtype[Any], piece: int) -> Iterator[tuple[int, Array]]:
    """Yield the pieces of an array of shape (NuLambda, Ei, ...)."""
    matrix = whole.reshape(whole.shape[0] * whole.shape[1], -1)
    step = max(1, piece // (matrix.shape[1] * dtype.itemsize))
    for first in range(0, len(matrix), step):
        yield first, matrix[first : first + step].astype(dtype, copy=False)


def sparse_slabs(whole: Sparse, dtype: np.dtype[Any], piece: int) -> Iterator[tuple[int, Array]]:
    """Yield the pieces of sparse contents over (NuLambda, Ei, ...)."""
    values, bins = prod(whole.shape[:2]), prod(whole.shape[2:])
    step = max(1, piece // (bins * dtype.itemsize))
    for first in range(0, values, step):
        last = min(first + step, values)
        low, high = np.searchsorted(whole.index, (first * bins, last * bins))
        rows = np.zeros((last - first) * bins, dtype)
        rows[whole.index[low:high] - first * bins] = whole.values[low:high]
        yield first, rows.reshape(-1, bins)
