"""Files by the names that the programs gave them: found, kept from harm, and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skyfold import files
from skyfold.errors import ConfigError, FileError
from skyfold.inputs import require_data, split_part
from skyfold.pixels import Shared
from skyfold.points import point_components
from skyfold.source_tables import historical_table, source_table
from skyfold.sources import Sources, placed
from skyfold.vector import Array
from skyfold_hst.frames import SKY, STARS

if TYPE_CHECKING:
    from astropy.io.fits import Header

    from skyfold.result import Result

ENDINGS = (".fits", ".fit", ".fts")


def image_name(name: str) -> str:
    """Return the name of an image that is there, with or without its ending.

    Raises
    ------
    FileError
        If there is none.
    """
    path, part = split_part(name)
    for found in (path, *(path.with_name(path.name + ending) for ending in ENDINGS)):
        if found.is_file():
            return f"{found}[{part}]" if part else str(found)
    raise FileError(f"{name}: there is no such image, nor {path.name}{ENDINGS[0]}")


def image_names(text: str) -> list[str]:
    """Return the images of a list: names with commas, or ``@FILE`` with a name in each line."""
    if text.startswith("@"):
        path = Path(text[1:])
        require_data(path)
        names = path.read_text(encoding="utf-8").split()
    else:
        names = [name.strip() for name in text.split(",") if name.strip()]
    return [image_name(name) for name in names]


def new_image(name: str | None) -> Path | None:
    """Return the file of an image to be written."""
    if name is None or name.lower().endswith(ENDINGS):
        return None if name is None else Path(name)
    return Path(f"{name}{ENDINGS[0]}")


def require_free(paths: Mapping[str, Path | None]) -> None:
    """Refuse to replace a file, and to write two into one; ``paths`` are by their parameters.

    Raises
    ------
    ConfigError
        If two have one name.
    FileError
        If there is such a file, or it cannot be written.
    """
    seen: dict[Path, str] = {}
    for name, path in paths.items():
        if path is None:
            continue
        if (other := seen.setdefault(path.absolute(), name)) != name:
            raise ConfigError(f"{other} and {name} are both {path}: give each a name of its own")
        if path.exists():
            raise FileError(f"{name}: {path} exists already; remove it, or give another name")
        files.require_place(path.absolute().parent)


def total_image(result: Result) -> Array:
    """Return the sky with the stars in it; those between pixels are shared among the four."""
    image: Array = result.model[SKY].astype(float)
    if STARS in result.model:
        places = sky_places(result)
        image = image + Shared(places, image.shape).forward(result.model[STARS])
    return image


def sky_places(result: Result) -> Array:
    """Return x and y of the stars in pixels of the restored image, from 0."""
    points = point_components(result.model.components)[STARS]
    fine, coarse = result.model[SKY].shape[::-1], result.data.parts[0].shape[::-1]
    places: Array = (points.places + 0.5) * np.array(fine) / np.array(coarse) - 0.5
    return places


def star_image(result: Result) -> Array:
    """Return the stars as the detector sees them."""
    (part,) = result.data.parts
    return part.whole[STARS].forward(result.model[STARS])


def write_images(result: Result, images: Sequence[tuple[Path | None, Array]]) -> None:
    """Write images with the coordinates of the restored image or, by their size, of the data."""
    restored, *others = result.to_fits()
    counts = next(hdu for hdu in others if hdu.name == "COUNTS")
    for path, values in images:
        if path is None:
            continue
        same = values.shape == restored.data.shape
        header = (restored if same else counts).header.copy(strip=True)
        for key in ("EXTNAME", "EXTVER", "CHECKSUM", "DATASUM"):
            header.remove(key, ignore_missing=True)
        write_plain(path, values, header)


def write_plain(path: Path, values: Array, header: Header | None = None) -> None:
    """Write an image in double precision."""
    from astropy.io import fits

    with files.replacing(path) as partial:
        fits.PrimaryHDU(np.asarray(values, float), header).writeto(partial, overwrite=True)


def write_table(result: Result, listed: Sources, path: Path, header: Mapping[str, object]) -> None:
    """Write fluxes and magnitudes as PLUCY did, with the places of the list; FITS by its name."""
    grid = result.model.components[SKY].geometry
    table = source_table(listed, grid, placed_in_list(result, listed), result.model[STARS])
    if path.suffix.lower() not in (".fits", ".fit"):
        historical_table(table, path, header)
        return
    with files.replacing(path) as partial:
        table.write(partial, format="fits")


def placed_in_list(result: Result, listed: Sources) -> Array:
    """Return x and y of stars as their list has them, from 0; by the image if they are angles."""
    if not listed.frame:
        return listed.places
    geometry = result.data.parts[0].origin.geometry
    assert geometry is not None
    return placed(listed, geometry)
