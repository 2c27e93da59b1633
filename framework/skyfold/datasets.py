"""Public data sets by name: where they lie, how they are fetched and how they are checked.

A data set is a folder ``<where>/<data set>/<file>``. Every file is trusted only while its size
and checksum are those of its registry entry, whoever put it there.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from skyfold.errors import FileError

CHUNK = 1 << 16
KINDS = {"sha256": "SHA-256", "md5": "MD5"}


@dataclass(frozen=True)
class DataFile:
    """One file of a public data set.

    Parameters
    ----------
    name
        File name on disk, without folders.
    url
        Permanent http or https address, such as one that holds a commit or a version.
    checksum
        SHA-256 of the content, 64 lower-case hexadecimal digits; or ``md5:`` and its 32 digits
        where only that is published; None where nothing is.
    size
        Length in bytes.
    rounded
        Whether the length is published only roughly, to 10 %.
    """

    name: str
    url: str
    checksum: str | None
    size: int
    rounded: bool = False

    @property
    def digest(self) -> tuple[str, str] | None:
        """Kind, ``sha256`` or ``md5``, and digits of the checksum; None if none is published."""
        if self.checksum is None:
            return None
        kind, _, digits = self.checksum.rpartition(":")
        return kind or "sha256", digits

    @property
    def longest(self) -> int:
        """Bytes that it can have at most."""
        return self.size * 11 // 10 if self.rounded else self.size


@dataclass(frozen=True)
class DataSet:
    """A public data set: its files, and what one must know to use and cite them.

    Parameters
    ----------
    description
        One sentence: instrument, object, what the files hold.
    files
        The files, each with address, size and checksum.
    licence
        Under which terms the files are offered.
    source
        Where the files come from.
    """

    description: str
    files: tuple[DataFile, ...]
    licence: str
    source: str

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def info(dataset: DataSet) -> str:
    """Describe a data set in a few lines: content, source, licence, files with their sizes."""
    width = max((len(file.name) for file in dataset.files), default=0)
    lines = [
        dataset.description,
        f"source   {dataset.source}",
        f"licence  {dataset.licence}",
        f"size     {readable_size(dataset.size)} in {len(dataset.files)} files",
    ]
    for file in dataset.files:
        about = "about " if file.rounded else ""
        lines.append(f"  {file.name:{width}}  {about + readable_size(file.size):>14}  {file.url}")
        kind, digits = file.digest or ("checksum", "not published")
        lines.append(f"  {'':{width}}  {KINDS.get(kind, kind):>14}  {digits}")
    return "\n".join(lines)


def where() -> Path:
    """Return the folder of the data sets: ``SKYFOLD_DATA`` if set, else the user's cache."""
    chosen = os.environ.get("SKYFOLD_DATA")
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("skyfold"))


def present(name: str, dataset: DataSet) -> bool:
    """Return whether all files are on this machine in their size; gigabytes are not verified."""
    sizes = ((_size(where() / name / file.name), file) for file in dataset.files)
    return all(
        0 < size <= file.longest and (file.rounded or size == file.size) for size, file in sizes
    )


def locate(name: str, dataset: DataSet) -> dict[str, Path] | None:
    """Find a data set on this machine, without the network.

    Returns
    -------
    dict or None
        Path of each file by its name, all verified; None if a file is missing or damaged.
    """
    if any(state != "ok" for _, state in verify(name, dataset)):
        return None
    return {file.name: where() / name / file.name for file in dataset.files}


def verify(name: str, dataset: DataSet) -> list[tuple[str, str]]:
    """Compare the files on this machine with the registry.

    Returns
    -------
    list of (file name, state)
        The state is ``ok``, ``missing``, or ``damaged: `` and what is wrong.
    """
    return [(file.name, _state(where() / name / file.name, file)) for file in dataset.files]


def fetch(name: str, dataset: DataSet, progress: bool = True) -> list[Path]:
    """Download what is missing of a data set, and return the paths of its verified files.

    A download goes to ``FILE.part`` and is moved to its place once size and checksum are right; one
    that was interrupted goes on where it stopped. A file with the wrong content becomes
    ``FILE.bad``.

    Parameters
    ----------
    name
        Name of the data set in the registry, and of its folder below `where`.
    dataset
        The registry entry.
    progress
        Say on stderr what is downloaded, how large it is and where it goes; on a terminal also
        show a progress bar.

    Raises
    ------
    FileError
        If the folder cannot be written or is too full (before the download starts), if the server
        cannot be reached or does not have the file, or if the content is not the expected one.
    """
    from tqdm import tqdm

    folder = where() / name
    wanted = [file for file in dataset.files if _state(folder / file.name, file) != "ok"]
    if wanted:
        missing = _prepare(folder, wanted)
        if progress:
            tqdm.write(
                f"{name}: {len(wanted)} of {len(dataset.files)} files, "
                f"{readable_size(missing)} to download into {folder}",
                file=sys.stderr,
            )
        # disable=None: no bar where stderr is not a terminal
        hidden = None if progress else True
        with tqdm(total=missing, unit="B", unit_scale=True, desc=name, disable=hidden) as bar:
            for file in wanted:
                _download(file, folder / file.name, bar.update)
    return [folder / file.name for file in dataset.files]


def readable_size(size: float) -> str:
    """Write a number of bytes for people: 999 B, 24.7 kB, 3.2 MB."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def _state(path: Path, file: DataFile) -> str:
    """Return ``ok``, ``missing`` or ``damaged: why`` for one file."""
    import pooch

    try:
        if not path.is_file():
            return "missing"
        with path.open("rb") as stream:
            page = _html_line(stream.read(CHUNK))
        if page:
            return f"damaged: an HTML page, not data (first line: {page})"
        size = path.stat().st_size
        if size < file.size and not file.rounded:
            return f"damaged: cut off, {size} of {file.size} bytes"
        if size > file.longest:
            return f"damaged: too long, {size} bytes where {file.size} are expected"
        if file.digest is None:
            return "ok"
        kind, expected = file.digest
        digest = pooch.file_hash(str(path), alg=kind)
    except OSError as error:
        return f"damaged: cannot be read ({error.strerror})"
    if digest != expected:
        return f"damaged: {KINDS[kind]} is {digest}, expected {expected}"
    return "ok"


def _html_line(head: bytes) -> str | None:
    """Return the first line of a web page, or None if these first bytes are not of one."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text[:14].lower().startswith((b"<!doctype html", b"<html")):
        return None
    return text.splitlines()[0][:80].decode("utf-8", "replace")


def _prepare(folder: Path, wanted: list[DataFile]) -> int:
    """Make the folder, refuse it if read-only or too full, and return the bytes still to come."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise FileError(
            f"cannot write into {folder} ({error.strerror}); nothing was downloaded. "
            "Name a folder that you may write in SKYFOLD_DATA."
        ) from error
    needed = sum(file.size - min(file.size, _size(_part(folder / file.name))) for file in wanted)
    if free < needed:
        raise FileError(
            f"{folder} has {readable_size(free)} free, {readable_size(needed)} are needed; nothing "
            "was downloaded. Free some room, or name another folder in SKYFOLD_DATA."
        )
    return needed


def _download(file: DataFile, target: Path, advance: Callable[[int], object]) -> None:
    """Download one file, verify it, and move it into place."""
    part, bad = _part(target), target.with_name(target.name + ".bad")
    again = f"skyfold data get {target.parent.name}"
    try:
        if _size(part) > file.longest:
            part.unlink()
        if file.rounded or _size(part) < file.size:
            _receive(file, target, advance)
        state = _state(part, file)
        if state == "ok":
            if target.exists():
                target.replace(bad)
            part.replace(target)
            return
        fault = f"{file.name} from {file.url} is {state}"
        if _size(part) < file.size and not file.rounded:
            raise FileError(f"{fault}; it is kept as {part}, `{again}` goes on from there")
        part.replace(bad)
        raise FileError(
            f"{fault}; it is kept as {bad}, `{again}` downloads it anew. If this happens twice, "
            "the file was changed at its source or on the way."
        )
    except FileError:
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise FileError(
                f"disk full: {part} holds {_size(part)} of {file.size} bytes. Free some room; "
                f"`{again}` goes on from there."
            ) from error
        raise FileError(f"cannot write {target}: {error.strerror or error}") from error


def _receive(file: DataFile, target: Path, advance: Callable[[int], object]) -> None:
    """Add to the part of a file what it lacks: by HTTP Range, or all anew if the server cannot."""
    # pooch's own downloader does not show the status of the answer, which resuming depends on.
    import requests
    from urllib3.exceptions import HTTPError

    part = _part(target)
    have = _size(part)
    # identity: a .gz file is to arrive as it is, not unpacked on the way
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    local_copy = (
        f"Without a network, put a copy of the file at {target}, or set SKYFOLD_DATA to a folder "
        f"that holds {target.parent.name}/{target.name}."
    )
    try:
        with requests.get(file.url, headers=headers, stream=True, timeout=30) as answer:
            if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
                if file.rounded:
                    return None  # nothing is missing: the checksum tells whether it is right
                part.unlink()
                return _receive(file, target, advance)
            if answer.status_code >= 400:
                raise FileError(
                    f"no {file.name}: {file.url} answers {answer.status_code} {answer.reason}. "
                    f"{local_copy}"
                )
            resumed = answer.status_code == requests.codes.partial_content
            chunks = answer.raw.stream(CHUNK, decode_content=False)
            return _write(chunks, file, part, "ab" if resumed else "wb", advance)
    except (requests.RequestException, HTTPError) as error:
        kept = f"What has arrived is kept as {part}. " if _size(part) else ""
        raise FileError(
            f"the download of {file.url} failed: {error}. {kept}{local_copy}"
        ) from error


def _write(
    chunks: Iterator[bytes], file: DataFile, part: Path, mode: str, advance: Callable[[int], object]
) -> None:
    """Write what arrives to disk, but no web page and no more than the file can need."""
    chunk = next(chunks, b"")
    page = _html_line(chunk)
    if page:
        raise FileError(
            f"{file.url} sends an HTML page, not {file.name} (first line: {page}). Is there a "
            "login page or a proxy between here and the server?"
        )
    with part.open(mode) as stream:
        while chunk and stream.tell() <= file.longest:
            stream.write(chunk)
            advance(len(chunk))
            chunk = next(chunks, b"")
        stream.flush()
        os.fsync(stream.fileno())


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
