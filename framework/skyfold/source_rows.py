"""Tables of point sources: columns known by their names, with units, and what is wrong in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skyfold.errors import DataError
from skyfold.vector import Array

COLUMNS = "x and y, ra and dec, l and b, or lon and lat"
SKY = {("ra", "dec"): "icrs", ("l", "b"): "galactic", ("lon", "lat"): ""}
CARD = "pixorig"  # of FITS, where ORIGIN is something else


@dataclass(frozen=True, eq=False)
class Rows:
    """A table of point sources, as `skyfold.source_files.from_table` takes them.

    Parameters
    ----------
    table
        One row per source, as astropy has them.
    file
        Where it comes from: for messages.

    Raises
    ------
    DataError
        When something is asked for that the table cannot tell: row and column are named.
    """

    table: Any
    file: str = ""

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The columns by name."""
        from astropy.table import Table

        found: dict[str, Any] = {}
        for name, column in zip(self.table.colnames, Table(self.table).itercols(), strict=True):
            if found.setdefault(name.lower().strip(), column) is not column:
                raise DataError(f"{self.title}: two columns are called {name.lower()}")
        if not len(self.table):
            raise DataError(f"{self.title}: no star in it, the table has no rows")
        return found

    @property
    def title(self) -> str:
        """What the table is called in messages."""
        return self.file or "table of stars"

    @property
    def meta(self) -> dict[str, Any]:
        """What the table says of itself, by name in small letters."""
        return {str(key).lower(): value for key, value in self.table.meta.items()}

    @property
    def origin(self) -> int | None:
        """What the table says that it calls the first pixel."""
        stated = self.meta.get(CARD, self.meta.get("origin"))
        return stated if stated in (0, 1) else None

    def place(self, row: int, column: str) -> str:
        """Return in words where a number stands."""
        return f"{self.title}, row {row + 1}, column {column}"

    def unit(self, name: str) -> str:
        """Return the unit of a column as text, empty if there is none."""
        return str(getattr(self.columns.get(name), "unit", None) or "")

    def places(self) -> tuple[Array, str]:
        """Return positions as listed, and their frame."""
        from astropy.coordinates import SkyCoord

        for column in self.columns.values():
            if isinstance(column, SkyCoord):
                frame = "galactic" if column.frame.name == "galactic" else "icrs"
                found = column.transform_to(frame).spherical
                return np.stack([found.lon.deg, found.lat.deg], axis=1), frame
        for pair, usual in SKY.items():
            if set(pair) <= set(self.columns):
                frame = str(self.meta.get("frame", usual))
                if not frame:
                    raise DataError(
                        f"{self.title}: {' and '.join(pair)} of which frame? Write frame into its "
                        "metadata, or call the columns ra and dec, or l and b"
                    )
                return np.stack([self.angles(name) for name in pair], axis=1), frame
        if not {"x", "y"} <= set(self.columns):
            raise DataError(f"{self.title}: no columns {COLUMNS}; it has {', '.join(self.columns)}")
        return np.stack([self.numbers(name, "pix") for name in "xy"], axis=1), ""

    def names(self) -> tuple[str, ...]:
        """Return the names of the rows; their numbers where there is none."""
        given = self.columns.get("name", self.columns.get("id"))
        if given is None:
            return tuple(str(i + 1) for i in range(len(self.table)))
        cells = ["" if cell is np.ma.masked else str(cell).strip() for cell in given]
        return tuple(cell or str(i) for i, cell in enumerate(cells, 1))

    def stars(self, places: Array) -> tuple[Array, Array]:
        """Return the first row of each star, and the number of the star in each row, from 0.

        Those of a light curve, told apart by the column ``component``, are one star.
        """
        if "component" not in self.columns:
            return np.arange(len(places)), np.arange(len(places))
        rows = list(zip(self.names(), map(tuple, places), strict=True))
        numbers = {row: i for i, row in enumerate(dict.fromkeys(rows))}
        star = np.array([numbers[row] for row in rows])
        return np.unique(star, return_index=True)[1], star

    def flux(self) -> Array | None:
        """Return the light of each, that of all energies together."""
        if "flux" not in self.columns:
            return None
        values = self.numbers("flux", gaps=True)
        total: Array = values.reshape(len(values), -1).sum(axis=1)
        return total

    def psf(self) -> Array | None:
        """Return numbers of PSFs from 0."""
        if "psf" not in self.columns:
            return None
        values = self.numbers("psf")
        if np.any(wrong := (values < 1) | (values % 1 != 0)):
            i = int(np.argmax(wrong))
            raise DataError(
                f"{self.place(i, 'psf')}: {values[i]:g} is no number of a PSF: they count from 1"
            )
        return values.astype(int) - 1

    def angles(self, name: str) -> Array:
        """Return a column in degrees; text with colons or blanks is hours in ``ra``."""
        from astropy.coordinates import Angle

        column = self.columns[name]
        if column.dtype.kind not in "SU":
            return self.numbers(name, "deg")
        angles = np.empty(len(column))
        for i, cell in enumerate(column):
            text = "" if cell is np.ma.masked else str(cell).strip()
            hours = name == "ra" and re.search(r"\d[: ]+\d", text)
            try:
                angles[i] = Angle(text, unit="hourangle" if hours else "deg").deg
            except ValueError:
                said = f"{text!r} is no angle" if text else "nothing there"
                raise DataError(f"{self.place(i, name)}: {said}") from None
        return angles

    def numbers(self, name: str, unit: str = "", *, gaps: bool = False) -> Array:
        """Return a column in a unit; NaN where there is nothing, if there may be gaps."""
        column = self.columns[name]
        values = self._floats(name)
        if unit and column.unit is not None:
            from astropy.units import UnitsError, dimensionless_unscaled

            try:
                if column.unit != dimensionless_unscaled:
                    values = values * column.unit.to(unit)
            except UnitsError:
                raise DataError(
                    f"{self.title}: column {name} is in {column.unit}, not in {unit}"
                ) from None
        if np.any(wrong := np.isinf(values) | (np.isnan(values) & (not gaps))):
            i = int(np.argwhere(wrong)[0][0])
            said = "nothing there" if column[i] is np.ma.masked else f"{column[i]} is not finite"
            raise DataError(f"{self.place(i, name)}: {said}")
        return values

    def _floats(self, name: str) -> Array:
        column = self.columns[name]
        if column.dtype.kind in "iuf":
            return np.asarray(np.ma.filled(np.ma.asarray(column, float), np.nan), float)
        values = np.full(len(column), np.nan)
        for i, cell in enumerate(column):
            try:
                values[i] = np.nan if cell is np.ma.masked else float(str(cell))
            except ValueError:
                raise DataError(f"{self.place(i, name)}: {str(cell)!r} is no number") from None
        return values
