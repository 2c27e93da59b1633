"""HDF5 files that are whole and stand alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyfold.errors import DataError, FileError, MissingExtraError, SkyfoldError
from skyfold.inputs import AGAIN, require_data

if TYPE_CHECKING:
    import h5py

PACKED = {
    b"\x1f\x8b": "gunzip",
    b"PK": "unzip",
    b"7z": "7z x",
    b"BZh": "bunzip2",
    b"\xfd7z": "unxz",
}
BITSHUFFLE = 32008  # registered number of the filter


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; what goes wrong while it is read is blamed on the file.

    Raises
    ------
    FileError
        If it is empty, damaged, packed, no HDF5 file, or leads to another file.
    """
    import h5py

    require_data(path)
    if not h5py.is_hdf5(path):
        raise FileError(f"{path} {_instead_of_hdf5(path)}")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except SkyfoldError:
        raise
    except (OSError, RuntimeError) as error:
        raise FileError(f"{path} is damaged: {error}. {AGAIN}") from error


def text(value: Any) -> str:
    """Return a text attribute, which HDF5 holds as text or as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def require_numbers(dataset: h5py.Dataset, where: str) -> None:
    """Refuse a dataset that cannot be read as numbers.

    Raises
    ------
    DataError
        If it holds text, objects or records.
    MissingExtraError
        If it is packed with a filter that is not installed.
    """
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "biuf":
        raise DataError(f"{where} holds no numbers")
    packing = dataset.id.get_create_plist()
    for i in range(packing.get_nfilters()):
        number = packing.get_filter(i)[0]
        if not h5py.h5z.filter_avail(number) and not _found_filter(number):
            name = "Bitshuffle" if number == BITSHUFFLE else str(number)
            raise MissingExtraError(
                f"{where} is packed with the HDF5 filter {name}, which needs hdf5plugin: "
                "python -m pip install hdf5plugin"
            )


def _found_filter(number: int) -> bool:
    import importlib

    import h5py

    try:
        importlib.import_module("hdf5plugin")  # registers its filters
    except ImportError:
        return False
    return bool(h5py.h5z.filter_avail(number))


def _instead_of_hdf5(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(8)
    for magic, command in PACKED.items():
        if start.startswith(magic):
            return f"is a packed file: unpack it first ({command} {path.name})"
    return f"is no HDF5 file: it starts with {start!r}"
