"""What a run is told of its point sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skyfold.document import shown
from skyfold.errors import ConfigError
from skyfold.geometry import Grid
from skyfold.points import fineness, places_of, with_points
from skyfold.source_files import from_table, read_sources
from skyfold.source_finding import find_sources
from skyfold.sources import Sources
from skyfold.stars import star_fwhm

if TYPE_CHECKING:
    from skyfold.algorithm import Algorithm
    from skyfold.binned import BinnedData
    from skyfold.data import DataInterface

FIND = "find"
FARTHEST = 1.5  # widths of the PSF that a star may go from where it was listed


@dataclass(frozen=True)
class StarList:
    """Point sources as numbers and text, which a configuration holds: they read back exactly.

    Parameters
    ----------
    names
        One for each source.
    places
        x and y of each in pixels, from 0 at the centre of the first, or longitude and latitude in
        degrees.
    frame
        Frame of longitude and latitude; empty for pixels.
    flux
        First estimate of the light of each, where there is one.
    psf
        Number of the PSF of each, from 0.
    unit
        Unit of the flux; empty for counts.
    origin
        What messages and tables call the first pixel, 0 or 1.
    """

    names: tuple[str, ...]
    places: tuple[tuple[float, float], ...]
    frame: str = ""
    flux: tuple[float | None, ...] | None = None
    psf: tuple[int, ...] | None = None
    unit: str = ""
    origin: Literal[0, 1] = 0

    @classmethod
    def of(cls, sources: Sources) -> StarList:
        """Return what there is to say of sources."""
        flux, psf = sources.flux, sources.psf
        return cls(
            tuple(map(str, sources.names)),
            tuple((float(x), float(y)) for x, y in sources.places),
            sources.frame,
            None if flux is None else tuple(float(f) if f == f else None for f in flux),
            None if psf is None else tuple(map(int, psf)),
            sources.unit,
            1 if sources.origin else 0,
        )

    @property
    def sources(self) -> Sources:
        """The sources."""
        return Sources(
            self.names,
            np.array(self.places, float),
            self.frame,
            None if self.flux is None else np.array(self.flux, float),
            None if self.psf is None else np.array(self.psf, int),
            self.unit,
            self.origin,
        )


@dataclass(frozen=True)
class Stars:
    """Point sources that are restored with the sky.

    Parameters
    ----------
    list
        File with their places: text with a star per line, ``x y magnitude``; a table (ECSV, CSV,
        FITS) with columns ``x, y`` or ``ra, dec``; regions of DS9. Or ``find``: sought in the
        image. Or the numbers themselves: ``names`` and ``places``, shape ``(n, 2)``, from 0.
    origin
        Number of the first pixel; by default what a table says of itself, else 1.
    magzero
        Magnitude of one unit of flux: of one count, where there is no exposure.
    free
        Fit the positions too, starting from those of the list.
    each
        Fit the fluxes of each observation separately: light curves.
    threshold
        Significance in sigma above which a star is found.
    errors
        Work out the errors of the fluxes; by default where that does not take long.
    """

    list: Path | Literal["find"] | StarList
    origin: Literal[0, 1] | None = None
    magzero: float = 20.0
    free: bool = False
    each: bool = False
    threshold: float = 5.0
    errors: bool | None = None

    def added_to(self, data: DataInterface) -> DataInterface:
        """Return data with the point sources as one more component, ``stars``.

        Raises
        ------
        ConfigError
            If numbers are given, and an ``origin`` other than theirs.
        DataError
            If the list is none, or a star is not on the data.
        FileError
            If it cannot be read.
        """
        if isinstance(self.list, StarList):
            if self.origin is not None:
                raise ConfigError(
                    "stars.origin: places given as numbers count from 0: leave it out"
                )
            sources = self.list.sources
        elif str(self.list) == FIND:
            sources = self._found(data.parts[0])
        else:
            sources = read_sources(self.list, origin=self.origin, magzero=self.magzero)
        sources = replace(sources, magzero=self.magzero)
        return with_points(data, sources, each=self.each, free=self.free)

    def loop(self, algorithm: Algorithm, data: DataInterface) -> Algorithm:
        """Return the algorithm, which moves the sources too if their places are to be fitted.

        Raises
        ------
        ConfigError
            If they cannot be, with this algorithm.
        """
        if not self.free:
            return algorithm
        from skyfold.algorithms.recentred import Recentred

        if not algorithm.takes_places:
            raise ConfigError(
                f"stars.free: {type(algorithm).__name__} holds stars at their places; the methods "
                "two-channel, map, ml and rl can fit them"
            )
        part = data.parts[0]
        (sky,) = (name for name, c in part.components.items() if c.geometry.sky)
        grid, own = part.components[sky].geometry, places_of(part)
        if not (isinstance(grid, Grid) and isinstance(own, Grid)):
            raise ConfigError("stars.free: on a whole sky sources stay where they are listed")
        fwhm = star_fwhm(part.whole[sky])
        return Recentred.around(algorithm, FARTHEST * fwhm * float(max(fineness(own, grid))))

    def _found(self, data: BinnedData) -> Sources:
        (sky,) = (name for name, part in data.components.items() if part.geometry.sky)
        image = np.where(data.weight > 0, data.full_counts, np.nan)
        image = image if image.ndim < 3 else image.sum(axis=0)
        fwhm = star_fwhm(data.whole[sky])
        return find_sources(image, fwhm, self.threshold)


def in_words(given: Any) -> dict[str, Any]:
    """Return what a configuration says of point sources that are given in Python.

    Parameters
    ----------
    given
        A file, ``find``, a mapping as in a configuration, or what `as_sources` takes; nothing for
        None.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        given = {"list": given}
    if isinstance(given.get("list", ""), str | Path | Mapping):
        return dict(given)
    sources = as_sources(given["list"])
    return {"magzero": sources.magzero, **given, "list": asdict(StarList.of(sources))}


def as_sources(given: Any) -> Sources:
    """Return point sources from a table, or from x and y of each, from 0.

    Parameters
    ----------
    given
        Sources, which are returned as they are; a table; places of shape ``(n, 2)``, or ``(2,)``
        for one.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if isinstance(given, Sources):
        return given
    if hasattr(given, "colnames"):
        return from_table(given)
    expected = f"stars: expected a table, or x and y of each, got {shown(given)}"
    try:
        places = np.atleast_2d(np.asarray(given, float))
    except (TypeError, ValueError):
        raise ConfigError(expected) from None
    if places.shape[1:] != (2,):
        raise ConfigError(f"{expected}; for more, give a table with columns such as x, y, flux")
    return Sources(tuple(str(i + 1) for i in range(len(places))), places)
