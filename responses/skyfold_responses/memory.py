"""Where large arrays go: into memory while there is room, else into a file mapped into memory."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from skyfold.errors import FileError
from skyfold.files import explain
from skyfold.vector import Array

Storage = Literal["float32", "float64", "uint16"]


def usable_threads() -> int:
    """Return how many threads to use: OMP_NUM_THREADS, else the CPUs this process may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_needed(rows: int, values: int, storage: Storage = "float32") -> int:
    """Return the bytes that this many rows of a response take."""
    scales = 8 * rows if storage == "uint16" else 0
    return rows * values * np.dtype(storage).itemsize + scales


def free_memory() -> int | None:
    """Return the bytes that can be taken without swapping, or None where that is unknown."""
    free = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable:")]
    group = Path("/sys/fs/cgroup")  # a container may be given less than the machine has
    with suppress(OSError, ValueError):
        cache = dict(x.split() for x in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(cache["inactive_file"])
        free.append(int((group / "memory.max").read_text()) - used)  # "max": no limit
    return min(free, default=None)


def memory_limit(memory: int | None = None) -> int | None:
    """Return the bytes rows may take: as asked for, else 80 % of what is free."""
    free = free_memory() if memory is None else None
    return memory if free is None else int(0.8 * free)


def memory_sentence(
    rows: int, values: int, storage: Storage = "float32", memory: int | None = None
) -> str:
    """Say how much room the rows of a response need, and where they will go.

    Parameters
    ----------
    rows, values
        Bins with counts, and values of the model.
    storage
        How the numbers are stored.
    memory
        Bytes that the rows may take; 80 % of what is free by default.
    """
    needed, limit = memory_needed(rows, values, storage), memory_limit(memory)
    text = f"{rows} bins with counts x {values} values in {storage} need {_shown(needed)}"
    if limit is None:
        return text
    text += f", {_shown(limit)} may be used"
    return text if needed <= limit else f"{text}: streaming from disk ({tempfile.gettempdir()})"


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an uninitialised array that begins on a cache line."""
    size = prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    array: Array = room[start : start + size].view(dtype).reshape(shape)
    return array


def on_disk(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array in a temporary file, which vanishes with the array.

    Raises
    ------
    FileError
        If the disk has no room for it; nothing is written then.
    """
    folder = Path(tempfile.gettempdir())
    size = prod(shape) * np.dtype(dtype).itemsize
    free = shutil.disk_usage(folder).free
    if free < size:
        raise FileError(
            f"{folder}: {_shown(size)} are needed for a response that does not fit into memory, "
            f"only {_shown(free)} are free; set TMPDIR to a folder on a larger disk"
        )
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # a disk that fills up later would kill the process
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise FileError(explain(error, folder)) from error
    if hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_SEQUENTIAL)
    return np.frombuffer(mapped, dtype).reshape(shape)


def _shown(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
