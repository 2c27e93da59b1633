"""Files as people name them, and what is wrong with those that hold no data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyfold.errors import ConfigError, FileError

if TYPE_CHECKING:
    import h5py

AGAIN = "Download it again (skyfold data verify)"


def split_part(source: str | Path, folder: Path = Path()) -> tuple[Path, str | None]:
    """Return file and part of ``counts.fits[SCI]``; brackets of an existing file are its name.

    Parameters
    ----------
    source
        What was given.
    folder
        Where relative names start.

    Raises
    ------
    ConfigError
        If it cannot be the name of a file.
    """
    if "\0" in str(source):
        raise ConfigError(f"{str(source)!r} cannot be the name of a file")
    path = folder / Path(source).expanduser()
    matched = re.fullmatch(r"(.+)\[([^\[\]]+)\]", str(path), re.DOTALL)
    if matched and not path.exists():
        return Path(matched[1]), matched[2].strip()
    return path, None


def by_name(given: Any, name: str) -> dict[str, Any]:
    """Return things by component name: those of a mapping, or one under its usual name.

    Raises
    ------
    ConfigError
        If a name is empty.
    """
    if given is None:
        return {}
    named = dict(given) if isinstance(given, Mapping) else {name: given}
    if not all(isinstance(key, str) and key.strip() for key in named):
        raise ConfigError(f"{name}: each needs a name, as in {name}: {{galaxy: FILE}}")
    return named


def require_data(path: Path) -> None:
    """Refuse a file that nobody could read: a folder, an empty or damaged file, a web page.

    Raises
    ------
    FileError
        If it is one of these.
    """
    if path.is_dir():
        raise FileError(f"{path} is a folder; give a file")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    if trouble := trouble_of(start):
        raise FileError(f"{path} {trouble}")
    if start.startswith(b"\x89HDF"):
        _require_whole_hdf5(path)


def trouble_of(start: bytes) -> str | None:
    """Say what a file with this beginning is, if it is surely no data."""
    text = start.lstrip()
    if not start:
        return "is empty: a download or copy failed"
    if text.lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        first = text.decode("utf-8", "replace").splitlines()[0][:60]
        return f"is an HTML page (first line: {first}): the download failed. Download it again"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: fetch it with git lfs pull"
    return None


def _require_whole_hdf5(path: Path) -> None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            outside = _outside(file)
    except OSError as error:
        sizes = re.search(r"eof = (\d+).*stored_eof = (\d+)", str(error))
        if sizes:
            raise FileError(
                f"{path} is cut off: {sizes[1]} of {sizes[2]} bytes. {AGAIN}"
            ) from error
        raise FileError(f"{path} is damaged and cannot be opened: {error}. {AGAIN}") from error
    if outside:
        name, target = outside
        raise FileError(
            f"{path}: {name!r}: links to another file are not followed ({target}); give that file "
            "itself, or make a copy that holds the data (h5repack)"
        )


def _outside(file: h5py.File) -> tuple[str, str] | None:
    """Return what in an HDF5 file lies in another file, and in which."""
    import h5py

    def link(name: bytes) -> tuple[str, str] | None:
        found = file.get(name.decode(), getlink=True)
        return (name.decode(), found.filename) if isinstance(found, h5py.ExternalLink) else None

    def contents(name: str, found: Any) -> tuple[str, str] | None:
        if isinstance(found, h5py.Dataset) and found.external:
            return name, found.external[0][0]
        if isinstance(found, h5py.Dataset) and found.is_virtual:
            return name, found.virtual_sources()[0].file_name
        return None

    outside: tuple[str, str] | None = file.id.links.visit(link) or file.visititems(contents)
    return outside
