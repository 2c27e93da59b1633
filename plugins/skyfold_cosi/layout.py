"""Results in cosipy's own files: ``model.hdf5`` and others, and ``results.fits``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.algorithm import State
from skyfold.data import DataInterface, Expectation
from skyfold.errors import ConfigError
from skyfold.files import replacing
from skyfold.observers import Observer
from skyfold.sphere import Sphere
from skyfold_cosi.container import write_into
from skyfold_cosi.histogram import Axis, Histogram

if TYPE_CHECKING:
    import h5py

Tables = dict[str, dict[int, dict[str, float]]]  # by name and iteration

STEPS = ("model", "delta_model", "processed_delta_model")
PRIORS = {"gamma": "gamma_model", "gamma_background": "gamma_bkg", "tsv": "TSV"}
COLUMNS = 998  # more, and FITS cannot hold them


@dataclass
class CosipyLayout(Observer):
    """Write the results of a run as cosipy does, into its subfolder ``cosipy``.

    Models of all iterations are written as they come; files are moved into place at the end.
    ``processed_delta_model`` is what the model changed by, divided by the factor of acceleration.
    With priors there are tables of them instead of steps, and no ``prior_filter``.

    Parameters
    ----------
    folder
        The run folder.
    data
        The data.
    only_final_result
        Write only the last model; the tables are complete nevertheless.
    """

    folder: Path
    data: DataInterface
    only_final_result: bool = False

    def __post_init__(self) -> None:
        self._sky = _sky(self.data)
        self._tables: Tables = {}

    def on_start(self, state: State) -> None:
        """Open the files; those of an interrupted run are gone on with."""
        folder, again = self.folder / "cosipy", state.iteration > 0
        names = STEPS[:1] if "log_posterior" in state.notes else STEPS
        if again and (folder / "results.fits").is_file():
            self._tables = read_tables(folder / "results.fits", state.iteration)
        self._before = state
        self._files = ResultFiles(folder, names, self.only_final_result, again).__enter__()

    def on_iteration(self, state: State, trace: list[dict[str, float]]) -> None:
        """Write what this iteration has found."""
        maps = {"model": state.model[self._sky]}
        if "delta_model" in self._files.names:
            maps |= self._steps(state)
        axes, unit = _axes(state, self._sky), state.model.components[self._sky].unit
        found = {name: Histogram(axes, values, unit) for name, values in maps.items()}
        self._files.add(state.iteration, found)
        for name, row in self._rows(state).items():
            self._tables.setdefault(name, {})[state.iteration] = row
        self._before = state

    def on_finish(self, state: State, trace: list[dict[str, float]], reason: str) -> None:
        """Move the files into place."""
        self._files.__exit__(None, None, None)
        write_tables(self.folder / "cosipy" / "results.fits", self._tables)

    def _steps(self, state: State) -> dict[str, Any]:
        old, back = self._before.model[self._sky], self._before.back[self._sky]
        sensitivity = self.data.sensitivity[self._sky]
        gain = np.divide(back, sensitivity, out=np.ones_like(back), where=sensitivity > 0)
        step = old * (gain - 1)
        mask = state.model.components[self._sky].mask
        return {
            "delta_model": step if mask is None else np.where(mask, step, 0),
            "processed_delta_model": (state.model[self._sky] - old) / _alpha(state),
        }

    def _rows(self, state: State) -> dict[str, dict[str, float]]:
        norms = {
            f"{name}{f'[{i}]' if values.size > 1 else ''}": float(value)
            for name, values in state.model.items()
            if not state.model.components[name].geometry.sky and name != "almost_zero"
            for i, value in enumerate(values)
        }
        likelihoods = self._likelihoods(state)
        if "log_posterior" not in state.notes:
            alpha = {"alpha": _alpha(state)}
            return {"ALPHA": alpha, "BKG_NORM": norms, "LOG-LIKELIHOOD": likelihoods}
        priors = {
            PRIORS.get(name := key.removeprefix("prior_").removeprefix("published_"), name): value
            for key, value in state.notes.items()
            if key.startswith("prior_")
        }
        return {
            "LOG-POSTERIOR": {"log-posterior": state.objective},
            "BKG_NORM": norms,
            "LOG-PRIOR": priors,
            "LOG-LIKELIHOOD": likelihoods,
        }

    def _likelihoods(self, state: State) -> dict[str, float]:
        """Return the log-likelihood of each observation, by its name."""
        parts = self.data.parts
        if len(parts) == 1:
            return {parts[0].origin.name: state.log_likelihood}
        ends = np.cumsum([part.counts.size for part in parts])[:-1]
        pieces = np.split(state.expectation.observed, ends)
        return {
            part.origin.name: part.log_likelihood(Expectation(piece, total[None]))
            for part, piece, total in zip(parts, pieces, state.expectation.totals, strict=True)
        }


@dataclass
class ResultFiles:
    """HDF5 files with a group for each iteration, and ``result`` for the last.

    A context manager: the files appear at its end, and not at all if it ends with an error.

    Parameters
    ----------
    folder
        Where they go; made if it is not there.
    names
        Names of the files, one for each quantity.
    only_final_result
        Leave out all but ``result``.
    again
        Go on with files that are there.
    """

    folder: Path
    names: tuple[str, ...]
    only_final_result: bool = False
    again: bool = False
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _files: dict[str, h5py.File] = field(default_factory=dict, init=False)
    _last: Mapping[str, Histogram] = field(default_factory=dict, init=False)

    def __enter__(self) -> ResultFiles:
        import h5py

        self.folder.mkdir(parents=True, exist_ok=True)
        for name in self.names:
            path = self.folder / f"{name}.hdf5"
            partial, again = (
                self._stack.enter_context(replacing(path)),
                self.again and path.is_file(),
            )
            if again:
                shutil.copy(path, partial)
            file = h5py.File(partial, "a" if again else "w")
            self._files[name] = self._stack.enter_context(file)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._write("result", self._last)
        self._stack.__exit__(kind, error, traceback)

    def add(self, iteration: int, found: Mapping[str, Histogram]) -> None:
        """Write the histograms of an iteration, by the names of the files."""
        self._last = found
        if not self.only_final_result:
            self._write(f"iteration{iteration}", found)

    def _write(self, group: str, found: Mapping[str, Histogram]) -> None:
        for name, histogram in found.items():
            if group in self._files[name]:
                del self._files[name][group]
            write_into(self._files[name], group, histogram)


def write_tables(path: Path, tables: Tables) -> None:
    """Write tables of one row per iteration as FITS; very wide ones are cut into several.

    Raises
    ------
    FileError
        If that cannot be done.
    """
    from astropy.io import fits

    hdus = [fits.PrimaryHDU()]
    for name, rows in tables.items():
        numbers = fits.Column("iteration", "K", array=list(rows))
        first = next(iter(rows.values()), {})
        columns = [
            fits.Column(key, "D", array=[row[key] for row in rows.values()]) for key in first
        ]
        for i, start in enumerate(range(0, len(columns), COLUMNS)):
            part = [numbers, *columns[start : start + COLUMNS]]
            hdus.append(fits.BinTableHDU.from_columns(part, name=f"{name}{i or ''}"))
    with replacing(path) as partial:
        fits.HDUList(hdus).writeto(partial, overwrite=True)


def read_tables(path: Path, upto: int) -> Tables:
    """Read such tables up to an iteration."""
    from astropy.io import fits

    tables: Tables = {}
    with fits.open(path) as file:
        for hdu in file[1:]:
            table = tables.setdefault(hdu.name.rstrip("0123456789"), {})
            for name in hdu.data.names[1:]:
                for i, value in zip(hdu.data["iteration"], hdu.data[name], strict=True):
                    if i <= upto:
                        table.setdefault(int(i), {})[name] = float(value)
    return tables


def _sky(data: DataInterface) -> str:
    """Return the component that is the sky."""
    skies = [name for name, c in data.components.items() if isinstance(c.geometry, Sphere)]
    if len(skies) != 1:
        raise ConfigError("layout cosipy: it holds one whole sky in HEALPix pixels; this model "
                          f"has {len(skies)}")  # fmt: skip
    return skies[0]


def _axes(state: State, sky: str) -> tuple[Axis, Axis]:
    geometry = state.model.components[sky].geometry
    assert isinstance(geometry, Sphere)
    edges = geometry.energy_edges
    energies = np.array([0.0, 1.0]) if edges is None else edges.to_value("keV")
    scheme = "NESTED" if geometry.nested else "RING"
    image = Axis.healpix("lb", geometry.nside, geometry.frame, scheme)
    return image, Axis("Ei", np.asarray(energies, float), "keV", "log")


def _alpha(state: State) -> float:
    return float(state.notes.get("acceleration", 1.0))
