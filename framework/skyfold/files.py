"""Files that are whole or absent: atomic writes, checksums, one process per run folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skyfold.errors import FileError

PARTIAL = ".partial"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; move it there, flushed to disk, if all went well.

    Raises
    ------
    FileError
        If the disk is full or the folder cannot be written to. What was there before stays.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(explain(error, path)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def explain(error: OSError, path: Path) -> str:
    """Return what an error of the operating system means for the user."""
    if error.errno in FULL:
        folder = path if path.is_dir() else path.parent
        free = shutil.disk_usage(folder).free
        return (
            f"disk full: {path.name} could not be written ({error.strerror}), "
            f"{free / 1e6:.0f} MB free in {folder}"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path}: no permission to write there ({error.strerror}); choose another folder"
    return f"{path}: {error.strerror or error}"


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_place(folder: Path) -> None:
    """Refuse a folder that surely cannot be made or written to; nothing is touched.

    Raises
    ------
    FileError
        If a file is in the way, or permission is lacking.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise FileError(f"{nearest} is a file, so {folder} cannot be a folder; choose another")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise FileError(f"{nearest}: no permission to write there; choose another folder")


def require_writable(folder: Path, space: int = 0) -> None:
    """Create the folder and prove, before any work is done, that results will fit there.

    Parameters
    ----------
    folder
        Where results shall go.
    space
        Bytes that are needed.

    Raises
    ------
    FileError
        If the folder cannot be created or written to, or too little space is left.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe{PARTIAL}"
        try:
            probe.write_bytes(b"\0" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        told = explain(error, folder)
        with suppress(OSError):
            for path in made:
                path.rmdir()
        raise FileError(told) from error
    free = shutil.disk_usage(folder).free
    if free < space:
        raise FileError(
            f"{folder}: about {space / 1e6:.0f} MB are needed, only {free / 1e6:.0f} MB are free"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run folder; a lock left by a dead process does not count.

    Raises
    ------
    FileError
        If another living process holds the folder.
    """
    lock = folder / ".lock"
    me = {"pid": os.getpid(), "host": socket.gethostname()}
    while True:
        try:
            handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            holder = _holder(lock)
            if holder is not None and _alive(*holder):
                raise FileError(
                    f"{folder} is in use by process {holder[0]} on {holder[1]}; wait, choose "
                    f"another folder, or remove {lock} if that process is gone"
                ) from None
            lock.unlink(missing_ok=True)
        except OSError as error:
            raise FileError(explain(error, lock)) from error
        else:
            break
    with os.fdopen(handle, "w") as file:
        json.dump(me, file)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _holder(lock: Path) -> tuple[int, str] | None:
    """Return process and host that hold a lock, or None if its writer died while filling it."""
    for patience in (0.2, 0):
        try:
            holder = json.loads(lock.read_text())
            return int(holder["pid"]), str(holder["host"])
        except (OSError, ValueError, TypeError, KeyError):
            time.sleep(patience)
    return None


def _alive(pid: int, host: str) -> bool:
    if host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()
