"""Lists of point sources: text of x, y and magnitude, tables, and regions of DS9."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skyfold import healpix_table, region_files
from skyfold.errors import ConfigError, DataError, FileError
from skyfold.inputs import require_data, split_part
from skyfold.origin import Check
from skyfold.source_rows import Rows
from skyfold.sources import Sources
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import Table

LINE = (
    "a line is: x y magnitude [PSF number], and # or ! starts a comment; tables with named columns "
    "are files .csv, .ecsv or .fits"
)
MARKS = "mark stars by point(x, y) or circle(x, y, radius)"


def read_sources(
    path: str | Path,
    *,
    origin: int | None = None,
    magzero: float = 20.0,
    historical: bool = False,
) -> Sources:
    """Return the point sources that a file lists.

    It may be text with a star per line, ``x y magnitude [PSF number]``; a table (ECSV, CSV, FITS)
    with columns as `from_table` takes them; or a region file of DS9.

    Parameters
    ----------
    path
        The file; ``stars.fits[NAME]`` is one of several tables.
    origin
        What the file calls the first pixel, 0 or 1. By default what a table says of itself;
        otherwise 1, as in FITS, in DS9 and in lists of text.
    magzero
        Magnitude of one unit of flux: of one count, where there is no exposure.
    historical
        Whether magnitudes are converted by a factor 0.4 in single precision, as PLUCY does.

    Raises
    ------
    ConfigError
        If ``origin`` cannot be, or contradicts the file.
    DataError
        If the file is no list of stars; line, or row and column, are told.
    FileError
        If it cannot be read.
    MissingExtraError
        If it is a region file, and the package to read it is not installed.
    """
    file, part = split_part(path)
    if file.is_file() and not file.stat().st_size:
        raise DataError(f"{file}: no star in it, it is empty; to restore without stars, give none")
    require_data(file)
    kind = _kind(file)
    if part and kind != "fits":
        raise ConfigError(f"{file} has no parts, only FITS files have; leave [{part}] out")
    if kind == "regions":
        return _from_regions(file, origin)
    flux = _Magnitudes(magzero, historical)
    if kind == "text":
        return _from_text(file, origin, flux)
    return _from_rows(Rows(_table(file, kind, part), str(file)), origin, flux)


def from_table(
    table: Table, *, origin: int | None = None, magzero: float = 20.0, historical: bool = False
) -> Sources:
    """Return the point sources that a table in memory lists.

    Columns are known by their names, in capitals or not: positions are ``ra, dec``, or ``l, b``,
    or ``lon, lat`` with ``frame`` in the metadata, or one of coordinates, or else ``x, y`` in
    pixels, counted from ``origin`` in the metadata, or as Python counts; ``name`` or ``id``;
    ``flux`` or ``mag``; ``psf``, numbered from 1. Positions on the sky count before pixels: they
    hold on every image. A light curve, a row for each star and observation that the column
    ``component`` tells apart, is a list of its stars with their mean fluxes.

    Parameters
    ----------
    table
        One row per source.
    origin, magzero, historical
        As in `read_sources`.
    """
    return _from_rows(Rows(table), origin, _Magnitudes(magzero, historical), usual=0)


@dataclass(frozen=True)
class _Magnitudes:
    """How magnitudes become counts."""

    zero: float
    historical: bool

    def counts(self, magnitudes: Array, where: Callable[[int], str]) -> Array:
        """Return what magnitudes are in counts; not a number stays so."""
        factor = float(np.float32(-0.4)) if self.historical else -0.4
        with np.errstate(over="ignore"):
            counts: Array = 10.0 ** (factor * (magnitudes - self.zero))
        if np.any(wrong := np.isinf(counts)):
            i = int(np.argmax(wrong))
            raise DataError(
                f"{where(i)}: magnitude {magnitudes[i]:g} is too bright for a number, the "
                f"magnitude of one count being {self.zero:g}"
            )
        return counts

    @property
    def check(self) -> Check:
        text = f"first estimates from magnitudes; one count has magnitude {self.zero:g}"
        return Check("ok", "stars", text)


def _kind(file: Path) -> str:
    """Return how a list is to be read, by its beginning or its name."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    with file.open("rb") as opened:
        start = opened.read(80)
    if start.startswith(b"SIMPLE") or {".fits", ".fit", ".fts"} & set(suffixes):
        return "fits"
    if b"%ECSV" in start or ".ecsv" in suffixes:
        return "ecsv"
    if start.startswith((b"# Region file", b"#CRTF")) or {".reg", ".crtf"} & set(suffixes):
        return "regions"
    return "csv" if ".csv" in suffixes else "text"


def _text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{file} is no text: byte {error.start} is none; {LINE}") from error
    if "\0" in text:
        raise FileError(f"{file} is no text: it holds zeros; {LINE}")
    return text


def _from_text(file: Path, origin: int | None, flux: _Magnitudes) -> Sources:
    rows, lines = [], []
    for number, line in enumerate(_text(file).splitlines(), 1):
        words = re.split("[#!]", line, maxsplit=1)[0].replace(",", " ").split()
        if words:
            rows.append(_star(words, f"{file}, line {number}"))
            lines.append(number)
    if not rows:
        raise DataError(f"{file}: no star in it, only comments or empty lines; {LINE}")
    for number, row in zip(lines, rows, strict=True):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{file}, line {number}: {len(row)} numbers, but line {lines[0]} has "
                f"{len(rows[0])}: give the number of the PSF for all stars or for none"
            )
    numbers = np.array(rows)
    counts = flux.counts(numbers[:, 2], lambda i: f"{file}, line {lines[i]}")
    psf = numbers[:, 3].astype(int) - 1 if numbers.shape[1] > 3 else None
    names = tuple(str(i + 1) for i in range(len(rows)))
    sources = Sources(
        names, numbers[:, :2], "", counts, psf,
        file=str(file), checks=(flux.check,), magzero=flux.zero,
    )  # fmt: skip
    return _counted(sources, origin)


def _star(words: Sequence[str], place: str) -> list[float]:
    """Return the numbers of a line."""
    numbers = []
    for word in words:
        try:
            numbers.append(float(word))
        except ValueError:
            raise DataError(f"{place}: {word!r} is no number; {LINE}") from None
        if not np.isfinite(numbers[-1]):
            raise DataError(f"{place}: {word!r} is not finite; {LINE}")
    if len(numbers) not in (3, 4):
        only = f"{len(numbers)} number{'s' * (len(numbers) > 1)}"
        raise DataError(f"{place}: {only}; {LINE}")
    if len(numbers) == 4 and (numbers[3] < 1 or numbers[3] % 1):
        raise DataError(f"{place}: {words[3]} is no number of a PSF: they count from 1; {LINE}")
    return numbers


def _from_regions(file: Path, origin: int | None) -> Sources:
    """Return the centres of points and circles."""
    from astropy.coordinates import SkyCoord

    names, centres = [], []
    for i, region in enumerate(region_files.opened(file, MARKS), 1):
        kind = type(region).__name__
        if not kind.startswith(("Point", "Circle")) or "Annulus" in kind:
            raise DataError(f"{file}: region {i} is a {kind}; {MARKS}")
        if not region.meta.get("include", True):
            raise DataError(f"{file}: region {i} is excluded by a minus sign; leave it out")
        names.append(region_files.label(region, str(i)))
        centres.append(region.center)
    sky = [isinstance(centre, SkyCoord) for centre in centres]
    if len(set(sky)) > 1:
        raise DataError(f"{file} mixes pixels and positions on the sky; give all in one way")
    if sky[0]:
        galactic = all(centre.frame.name == "galactic" for centre in centres)
        frame = "galactic" if galactic else "icrs"
        turned = [centre.transform_to(frame).spherical for centre in centres]
        listed = np.array([(place.lon.deg, place.lat.deg) for place in turned])
    else:  # the package counts from 0, and takes the file to count from 1
        frame, listed = "", np.array([(centre.x + 1, centre.y + 1) for centre in centres])
    return _counted(Sources(tuple(names), listed, frame, file=str(file)), origin)


def _table(file: Path, kind: str, part: str | None) -> Table:
    from astropy.table import Table

    if kind == "fits":
        with healpix_table.opened_fits(file) as hdus:
            wanted = [
                hdu
                for i, hdu in enumerate(hdus)
                if hasattr(hdu, "columns") and part in (None, hdu.name, str(i))
            ]
            if not wanted:
                raise DataError(f"{file}: no table{f' {part}' if part else ''} in it")
            return Table.read(wanted[0])
    lines = _text(file).splitlines()
    try:
        table = Table.read(
            lines, format=f"ascii.{kind}", **({"comment": "#"} if kind == "csv" else {})
        )
    except Exception as error:  # its readers raise whatever they stumble over
        raise DataError(f"{file} is no {kind.upper()} table: {error}") from error
    return _with_units(table, file) if kind == "csv" else table


def _with_units(table: Table, file: Path) -> Table:
    """Return a table of CSV with the units that stand in brackets behind the names."""
    from astropy.units import Unit

    for title in table.colnames:
        if matched := re.fullmatch(r"(.*\S)\s*[\[(](.*)[\])]", title):
            try:
                table[title].unit = Unit(matched[2])
            except ValueError as error:
                raise DataError(f"{file}, column {title!r}: {error}") from error
            table.rename_column(title, matched[1])
    return table


def _from_rows(rows: Rows, origin: int | None, flux: _Magnitudes, usual: int = 1) -> Sources:
    listed, frame = rows.places()
    counts, psf = rows.flux(), rows.psf()
    checks = []
    if counts is None and "mag" in rows.columns:
        magnitudes = rows.numbers("mag", "mag", gaps=True)
        counts = flux.counts(magnitudes, lambda i: rows.place(i, "mag"))
        checks.append(flux.check)
    first, star = rows.stars(listed)
    if len(first) < len(star):
        checks.append(Check("ok", "stars", "light curves: each star starts at its mean flux"))
        counts = None if counts is None else _mean(counts, star)
    sources = Sources(
        tuple(rows.names()[i] for i in first), listed[first], frame, counts,
        None if psf is None else psf[first], rows.unit("flux"),
        file=rows.file, checks=tuple(checks), magzero=flux.zero,
    )  # fmt: skip
    return _counted(sources, origin, rows.origin, usual)


def _mean(values: Array, group: Array) -> Array:
    """Return the mean of each group, of the values that are numbers; NaN where there is none."""
    known = np.isfinite(values)
    number = np.bincount(group, known)
    total = np.bincount(group, np.where(known, values, 0))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _counted(
    sources: Sources, asked: int | None, stated: int | None = None, usual: int = 1
) -> Sources:
    """Return sources whose pixels are those of the list, counted from 0; from what is settled."""
    title = sources.file or "the table of stars"
    if asked not in (None, 0, 1):
        raise ConfigError(f"origin {asked}: the first pixel is called 0 or 1")
    if sources.frame and asked is not None:
        raise ConfigError(f"{title} has positions on the sky: leave origin {asked} out")
    if None not in (asked, stated) and asked != stated:
        raise ConfigError(f"{title} counts pixels from {stated}, as it says: leave origin out")
    origin, why = usual, "as FITS and DS9 do" if usual else "as Python does"
    if stated is not None:
        origin, why = stated, "as it says"
    elif asked is not None:
        origin, why = asked, "as asked"
    told = f"the list counts pixels from {origin}, {why}"
    if sources.frame:
        origin, told = 0, f"by their {sources.frame} coordinates"
    number = f"{len(sources)} star{'s' * (len(sources) > 1)}"
    said = Check("ok", "stars", f"{number}, {told}")
    places, checks = sources.places - origin, (said, *sources.checks)
    return replace(sources, places=places, origin=origin, checks=checks)
