"""Events as text of MEGAlib (``.tra``, ``.tra.gz``): Compton events from their interactions."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.errors import DataError, FileError
from skyfold.inputs import AGAIN
from skyfold.vector import Array
from skyfold_cosi.unbinned import BLOCK, Unbinned, from_vectors
from skyfold_responses.attitude import unit_vectors

if TYPE_CHECKING:
    from skyfold_cosi.orientation import Orientation

ELECTRON = 510.9989500015  # keV, the energy of an electron at rest
TEXT = 1 << 24
WANTED = re.compile(rb"^(SE|ET|TI|GX|GZ|CE|CH [01])\b(.*)$", re.MULTILINE)
Event = dict[bytes, bytes]
SINGLE = "records without a second interaction"
OTHER = "records that are no Compton event"


def read_tra(
    path: Path,
    *,
    size: int = BLOCK,
    orientation: Orientation | None = None,
    skipped: Counter[str] | None = None,
) -> Iterator[Unbinned]:
    """Read the Compton events of a text file, block by block.

    The energy is that of the scattered photon (E1) and of the electron (E2) together, the Compton
    angle phi follows from cos phi = 1 - mc2 (1 / E1 - 1 / (E1 + E2)).

    Parameters
    ----------
    path
        The file.
    size
        Most events in a block.
    orientation
        Where the detector pointed; used where the file has no lines GX and GZ. Without both the
        axes are NaN.
    skipped
        Takes the number of records that are left out, by reason.

    Raises
    ------
    FileError
        If the file is damaged, or a number cannot be read.
    DataError
        If it holds no events.
    """
    skipped = Counter() if skipped is None else skipped
    waiting: list[Event] = []
    found = False
    for event in _records(path):
        found = True
        if event.get(b"ET", b"").strip() != b"CO":
            skipped[OTHER] += 1
        elif b"CH 0" not in event or b"CH 1" not in event:
            skipped[SINGLE] += 1
        else:
            waiting.append(event)
        if len(waiting) == size:
            yield _block(waiting, orientation, path)
            waiting = []
    if waiting:
        yield _block(waiting, orientation, path)
    if not found:
        raise DataError(f"{path} holds no events: there is no line 'SE' or 'ET'")


def _records(path: Path) -> Iterator[Event]:
    """Yield the lines that are needed of each record, by their keyword."""
    event: Event = {}
    for text in _texts(path):
        for keyword, rest in WANTED.findall(text):
            if keyword == b"SE":
                if event:
                    yield event
                event = {}
            else:
                event.setdefault(keyword, rest)
    if event:
        yield event


def _texts(path: Path) -> Iterator[bytes]:
    """Yield the text in pieces that end with a line."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    opener: Any = gzip.open if packed else open
    rest = b""
    with opener(path, "rb") as file:
        try:
            while piece := file.read(TEXT):
                piece = rest + piece
                end = piece.rfind(b"\n") + 1
                yield piece[:end]
                rest = piece[end:]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FileError(f"{path} is cut off or damaged: {error}. {AGAIN}") from error
    yield rest


def _block(events: list[Event], orientation: Orientation | None, path: Path) -> Unbinned:
    """Return the events of complete records."""
    time = _numbers(events, b"TI", 1, path)[:, 0]
    energies = _numbers(events, b"CE", 3, path)
    photon, electron = energies[:, 0], energies[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = np.arccos(1.0 - ELECTRON * (1.0 / photon - 1.0 / (photon + electron)))
    step = _numbers(events, b"CH 0", 3, path) - _numbers(events, b"CH 1", 3, path)
    if all(b"GX" in event and b"GZ" in event for event in events):
        x, z = (unit_vectors(*_numbers(events, axis, 2, path).T) for axis in (b"GX", b"GZ"))
    elif orientation is not None:
        x, z, _, _ = orientation.at(time)
    else:
        x = z = np.full((len(events), 3), np.nan)
    return from_vectors(time, photon + electron, phi, x, z, step)


def _numbers(events: list[Event], keyword: bytes, count: int, path: Path) -> Array:
    """Return the first numbers of a line of each event, shape (events, count)."""
    try:
        return np.array([event[keyword].split()[:count] for event in events]).astype(np.float64)
    except (KeyError, ValueError):
        for event in events:
            line = event.get(keyword, b"")
            try:
                if len([float(word) for word in line.split()[:count]]) == count:
                    continue
            except ValueError:
                pass
            name, shown = keyword.decode(), line.strip()[:60].decode("utf-8", "replace")
            when = event.get(b"TI", b" ?").strip().decode("utf-8", "replace")
            raise FileError(
                f"{path}: event at TI {when}: expected {count} numbers after {name}, "
                f"found {shown!r}. {AGAIN}"
            ) from None
        raise
