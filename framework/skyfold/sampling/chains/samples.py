"""Images that the chains of a sampler pass through, kept one by one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from skyfold.algorithm import Algorithm, State
from skyfold.algorithms.gibbs import Gibbs, GibbsState
from skyfold.errors import FileError
from skyfold.observers import Observer
from skyfold.vector import Array

FILE = "samples.f32"


class Samples(Observer):
    """Keep the images of all chains, in float32, on the field that the data cover.

    In a run folder they are appended to a file, lap by lap; whatever a checkpoint does not know of
    is cut off when the run goes on.

    Parameters
    ----------
    algorithm
        The sampler.
    state
        A state of it.
    folder
        The run folder; in memory without one.
    """

    def __init__(self, algorithm: Gibbs, state: GibbsState, folder: Path | None = None) -> None:
        self.path = None if folder is None else folder / FILE
        self._thin = algorithm.thin
        self._fields: dict[str, Any] = {}
        shapes = []
        for name in sorted(set(state.draws) & state.model.skies):
            geometry = state.model.components[name].geometry
            self._fields[name] = (..., *geometry.inside)
            shape = np.empty(geometry.shape, bool)[geometry.inside].shape
            shapes.append((name, "<f4", (algorithm.chains, *shape)))
        self._record = np.dtype(shapes)
        self._held: list[Array] = []
        self._file: BinaryIO | None = None

    @property
    def space(self) -> int:
        """Bytes of one image of each chain."""
        return int(self._record.itemsize)

    def number(self, state: GibbsState) -> int:
        """Return how many images of each chain there are."""
        return -(-state.counted // self._thin)

    def on_start(self, state: State) -> None:
        """Open the file where the run goes on.

        Raises
        ------
        FileError
            If images are missing.
        """
        assert isinstance(state, GibbsState)
        if self.path is None:
            return
        size = self._size(state)
        self._file = self.path.open("r+b" if size else "wb")
        self._file.truncate(size)
        self._file.seek(size)

    def on_iteration(self, state: State, trace: list[dict[str, float]]) -> None:
        """Keep the images of this lap."""
        assert isinstance(state, GibbsState)
        number = next(iter(state.kept.values())).shape[1] if state.kept else 0
        images = np.empty(number, self._record)
        for name, field in self._fields.items():
            images[name] = np.moveaxis(state.kept[name][field], 1, 0)
        if self._file is None:
            self._held.append(images)
            return
        try:
            self._file.write(images.tobytes())
            self._file.flush()
        except OSError as error:
            raise FileError(f"{self.path} cannot be written: {error.strerror}") from error

    def on_finish(self, state: State, trace: list[dict[str, float]], reason: str) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def arrays(self, state: State) -> Mapping[str, Array]:
        """Return the images by component, shape (chains, kept, ...).

        Raises
        ------
        FileError
            If images are missing.
        """
        assert isinstance(state, GibbsState)
        images: Any = np.zeros(0, self._record)
        if self.path is None and self._held:
            images = np.concatenate(self._held)
        elif self.path is not None and self._size(state):
            images = np.memmap(self.path, self._record, "r", shape=(self.number(state),))
        return {name: np.moveaxis(images[name], 1, 0) for name in self._fields}

    def _size(self, state: GibbsState) -> int:
        """Return how long the file is, what the checkpoint does not know left out."""
        assert self.path is not None
        size = self.number(state) * self.space
        found = self.path.stat().st_size if self.path.exists() else 0
        if found < size:
            raise FileError(
                f"{self.path} holds {found} bytes, but the images that the checkpoint knows take "
                f"{size}: put the whole file back, or begin a new run"
            )
        return size


def keeper(algorithm: Algorithm, state: State, folder: Path | None = None) -> Samples | None:
    """Return who keeps the images of a sampler; None for everything else."""
    if isinstance(algorithm, Gibbs) and isinstance(state, GibbsState):
        return Samples(algorithm, state, folder)
    return None
