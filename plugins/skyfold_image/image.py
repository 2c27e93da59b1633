"""An image as it was given: plain numbers, coordinates, and what was noticed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.datasets import readable_size
from skyfold.errors import DataError
from skyfold.geometry import Grid
from skyfold.origin import Check
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.units import Quantity
    from astropy.wcs import WCS

ALWAYS_READ = 1 << 28  # bytes that are read without asking, however small the file
PLAUSIBLE_RATIO = 100  # how many times larger than its file an image may be


@dataclass(frozen=True, eq=False)
class Image:
    """An image as it was given.

    Parameters
    ----------
    values
        Shape ``(x,)``, ``(y, x)`` or ``(energy, y, x)``, native float64.
    file
        What to call it in messages.
    role
        What it is: ``counts``, ``psf``, ``exposure``, ``background``, ``baseline``, ``mask``.
    wcs
        Celestial coordinates of the last two axes.
    header
        FITS header of the image, without the cards that describe its layout.
    unit
        Unit of the values as written in the file.
    energy_edges
        Edges of the energy bins along the first axis.
    missing
        True where the file says that it holds no value; the value is zero there.
    saturated
        True where the value is the largest that the stored type can hold.
    ceiling
        That largest value; None for wide types.
    path
        The file; None for arrays.
    checks
        What was noticed on reading.
    """

    values: Array
    file: str
    role: str = "image"
    wcs: WCS | None = None
    header: Header | None = None
    unit: str = ""
    energy_edges: Quantity | None = None
    missing: Array | None = None
    saturated: Array | None = None
    ceiling: float | None = None
    path: Path | None = None
    checks: tuple[Check, ...] = ()

    @property
    def grid(self) -> Grid:
        """Places of the pixels."""
        return Grid(self.values.shape, self.wcs, self.energy_edges)

    def noting(self, level: str, message: str, **changes: Any) -> Image:
        """Return the image with one more check, and perhaps other changes."""
        return replace(self, checks=(*self.checks, Check(level, self.role, message)), **changes)


def native(
    raw: Any, file: str, role: str, *, missing: Array | None = None, bits: int = 0, **known: Any
) -> Image:
    """Return an image of numbers as they come: any byte order, layout, or number of axes up to 3.

    Parameters
    ----------
    raw
        Values of a real type.
    file, role, known
        As in `Image`.
    missing
        True where there is no value.
    bits
        Bits of a stored unsigned integer, where its type does not say.

    Raises
    ------
    DataError
        If it is no array of real numbers, or has more than three axes longer than one.
    """
    given = np.asarray(raw)
    if given.dtype.kind not in "biuf":
        raise DataError(f"{file}: values of type {given.dtype} are no real numbers")
    if given.size == 0 or given.ndim == 0:
        raise DataError(f"{file}: shape {given.shape} holds no pixels")
    dropped = given
    while dropped.ndim > 2 and dropped.shape[0] == 1:
        dropped = dropped[0]
        missing = None if missing is None else missing[0]
    if dropped.ndim > 3:
        raise DataError(
            f"{file}: shape {given.shape} has more than three axes; "
            "expected (x,), (y, x) or (energy, y, x)"
        )
    values = np.ascontiguousarray(dropped, dtype=np.float64)
    ceiling: float | None = None
    if given.dtype.kind in "iu" and (bits or 8 * given.dtype.itemsize) <= 16:
        ceiling = float(2**bits - 1 if bits else np.iinfo(given.dtype).max)
    if missing is not None:
        values = np.where(missing, 0.0, values)
    image = Image(
        values,
        file,
        role,
        missing=missing,
        saturated=None if ceiling is None else values >= ceiling,
        ceiling=ceiling,
        **known,
    )
    if dropped.shape != given.shape:
        shapes = f"{given.shape} -> {dropped.shape}"
        image = image.noting("fixed", f"axes of length 1 dropped: {shapes}")
    if not given.dtype.isnative or not given.flags.c_contiguous:
        kind = given.dtype.str if not given.dtype.isnative else "strided"
        image = image.noting("fixed", f"converted {kind} -> float64 native, contiguous")
    if missing is not None and missing.any():
        image = image.noting("fixed", f"{np.count_nonzero(missing)} blank pixels masked")
    return image


def one_of(names: list[str], part: str | None, role: str, file: str, what: str) -> tuple[int, bool]:
    """Return which of several images to take, and whether nobody said which.

    Parameters
    ----------
    names
        Their names, empty where they have none.
    part
        Name or number that was asked for.
    role, file
        Role of the image: one of that name is taken before others.
    what
        What the parts are called: ``HDU``, ``array``, ``page``.
    """
    if part is None:
        upper = [name.upper() for name in names]
        wanted = [upper.index(name) for name in (role.upper(), "SCI") if name in upper]
        return (wanted or [0])[0], len(names) > 1
    if part.isdigit() and int(part) < len(names):
        return int(part), False
    if part.upper() in (name.upper() for name in names):
        return [name.upper() for name in names].index(part.upper()), False
    there = ", ".join(f"{i} {name!r}" if name else str(i) for i, name in enumerate(names))
    raise DataError(f"{file} has no {what} {part!r}; it has {there}")


@dataclass(frozen=True)
class SizeLimit:
    """Refuses images that are absurdly larger than their file.

    Parameters
    ----------
    file
        The file.
    size
        Its size in bytes.
    allow_large
        Whether the user said that it is all right.
    """

    file: str
    size: int
    allow_large: bool = False

    @property
    def bytes(self) -> int:
        """Largest size of what the file may hold."""
        return max(ALWAYS_READ, PLAUSIBLE_RATIO * self.size)

    def require(self, nbytes: int, what: str) -> None:
        """Refuse to read that many bytes.

        Raises
        ------
        DataError
            If they are more than the limit.
        """
        if nbytes > self.bytes and not self.allow_large:
            raise DataError(
                f"{self.file}: {what} = {readable_size(nbytes)} from a file of "
                f"{readable_size(self.size)}; --allow-large to read it"
            )
