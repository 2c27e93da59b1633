"""Coordinate conversion matrices: for how long a pixel of the sky stayed in one of the detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyfold.errors import DataError, require
from skyfold.vector import Array
from skyfold_cosi.exposure import ExposureTable
from skyfold_cosi.histogram import Axis, Histogram, Sparse
from skyfold_responses.attitude import pixel_centres, quaternion_rotations, rotations

if TYPE_CHECKING:
    from scipy.sparse import csr_array

BINS = "Time", "ScAtt"
MERGING = 8


def conversion_histogram(
    table: ExposureTable,
    local: Axis,
    nside: int | None = None,
    *,
    nested: bool = False,
    averaged: bool = False,
    occultation: bool = True,
    reference: bool = False,
) -> Histogram:
    """Return the conversion matrix of an exposure table.

    Each sky pixel stands for its centre, and each moment is shared out among the four detector
    pixels around it (bilinear interpolation).

    Parameters
    ----------
    table
        Pointings, in bins of attitude or of time.
    local
        Pixels of the detector response, its axis ``NuLambda``.
    nside
        Resolution of the sky, which may be finer than the detector's; the same by default.
    nested
        Whether sky pixels are numbered in NESTED order.
    averaged
        Whether each bin counts as one attitude, the mean of its pointings: much faster, and
        as sharp as the bins are small. By default every pointing counts, but those closer
        together than an eighth of a detector pixel count as one.
    occultation
        Whether what is behind the Earth is not seen.
    reference
        Whether to follow what cosipy published until 2025: every pointing, no occultation, and
        axes that are not quite perpendicular, as averaged ones are, become rotations as in the
        SciPy of that time. The table should be made alike.

    Returns
    -------
    Histogram
        Seconds, sparse, on the axes ``Time`` or ``ScAtt``, ``lb`` and ``NuLambda``. Summed over
        ``NuLambda`` they are the exposure of each sky pixel in each bin.

    Raises
    ------
    DataError
        If the detector's axis has no pixels, or the place of the Earth is needed and not known.
    """
    if local.nside is None:
        raise DataError(f"axis {local.label!r} of the detector response has no HEALPix pixels")
    sky = Axis.healpix("lb", nside or local.nside, "galactic", "NESTED" if nested else "RING")
    assert sky.nside is not None
    pointings = table.pointings
    if not averaged and not reference:
        pointings = pointings.merged(MERGING * local.nside)
    matrix = pointings.sojourn(
        local.nside,
        pixel_centres(sky.nside, nested),
        averaged=averaged,
        occultation=occultation and not reference,
        rotation=_published_rotations if reference else rotations,
    )
    if local.scheme == "NESTED":
        healpy = require("healpy", "healpix")

        matrix.indices = healpy.ring2nest(local.nside, matrix.indices)
        matrix.has_sorted_indices = False
        matrix.sort_indices()
    axes = table.axis, sky, _local_axis(local)
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    index = rows * local.size + matrix.indices
    return Histogram(axes, Sparse(tuple(a.size for a in axes), index, matrix.data), "s")


def conversion_matrix(histogram: Histogram) -> csr_array:
    """Return a conversion matrix as `skyfold_responses.local` takes it.

    Axes may stand in any order; files of before 2024 begin with ``lb``.

    Returns
    -------
    csr_array
        Seconds, shape (attitudes * local pixels, sky pixels).

    Raises
    ------
    DataError
        If the axes are not those of a conversion matrix.
    """
    from scipy.sparse import coo_array

    bins = [label for label in histogram.labels if label in BINS]
    if len(bins) != 1 or set(histogram.labels) != {bins[0], "lb", "NuLambda"}:
        raise DataError(
            f"axes {', '.join(histogram.labels)} are not those of a conversion matrix: "
            "Time or ScAtt, lb, NuLambda"
        )
    contents = histogram.sparse
    place: dict[str, Array] = dict(zip(histogram.labels, contents.coords, strict=True))
    size = {axis.label: axis.size for axis in histogram.axes}
    row = place[bins[0]] * size["NuLambda"] + place["NuLambda"]
    shape = size[bins[0]] * size["NuLambda"], size["lb"]
    return coo_array((contents.values, (row, place["lb"])), shape=shape).tocsr()


def _local_axis(local: Axis) -> Axis:
    assert local.nside is not None
    return Axis.healpix("NuLambda", local.nside, local.frame or "spacecraftframe", local.scheme)


def _published_rotations(x: Array, z: Array) -> Array:
    return quaternion_rotations(np.stack([x, np.cross(z, x), z], axis=1))
