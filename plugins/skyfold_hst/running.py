"""What the programs share: who runs, where to, and what is told."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from skyfold.commands.telling import say
from skyfold.config import RunConfig
from skyfold.errors import Interrupted
from skyfold.observers import Observer
from skyfold.result import Result
from skyfold.runfolder import claim, run_in_folder
from skyfold.runner import Problem, prepare
from skyfold_hst import outputs
from skyfold_hst.frames import SKY
from skyfold_hst.messages import Messages, opening

FOLDER = "_skyfold"
BANNERS = {
    "plucy": "after PLUCY 0.65 (1995)",
    "cplucy": "after CPLUCY 0.22 (1998)",
    "acoadd": "after ACOADD 1.6 (1998)",
    "lucy": "after the task lucy of STSDAS (1995)",
}


class Run:
    """The run of a program: says who it is, claims its files, restores, and says what it wrote.

    Parameters
    ----------
    name
        Name of the program.
    folder
        Run folder asked for.
    beside
        Image whose name it otherwise has, with _skyfold behind.
    verbose
        Whether anything is said.
    writes
        Files to be written, by their parameters.
    """

    def __init__(
        self,
        name: str,
        folder: str | None,
        beside: Path | None,
        verbose: bool,
        writes: Mapping[str, Path | None],
    ) -> None:
        self.verbose = verbose
        self.written = [str(path) for path in writes.values() if path is not None]
        stem = name if beside is None else beside.stem
        home = Path() if beside is None else beside.parent
        self.folder = Path(folder) if folder else home / f"{stem}{FOLDER}"
        outputs.require_free(writes)
        claim(self.folder, overwrite=False)
        self.say(f"{name:9} of skyfold {version('skyfold')}, {BANNERS[name]}")

    def say(self, text: str) -> None:
        """Tell something, unless nothing is to be told."""
        if self.verbose:
            say(text)

    def made(
        self,
        entries: Sequence[Mapping[str, Any]],
        method: Mapping[str, Any],
        laps: int,
        observers: Sequence[Observer] = (),
        magzero: float = 20.0,
        stop: Mapping[str, Any] | None = None,
    ) -> Result:
        """Return the result of a run.

        Raises
        ------
        Interrupted
            If a signal ended it; how to go on is told.
        """
        data = [{k: v for k, v in entry.items() if v is not None} for entry in entries]
        config = RunConfig.of(
            data=data, method=dict(method), iterations=laps, stop=dict(stop or {})
        )
        problem = prepare(config)
        listening: AbstractContextManager[None] = nullcontext()
        if self.verbose:
            opening(problem.data, say)
            messages = Messages(problem.data, laps, magzero, say)
            observers, listening = [*observers, messages], messages.listening()
        else:
            _warn(problem)
        try:
            with listening:
                return run_in_folder(problem, self.folder, observers, progress=False)
        except Interrupted as error:
            files = ", ".join(self.written)
            told = f"{error}. Its images are in result.fits there: {files} are not written then"
            raise Interrupted(told, error.result) from error

    def end(self) -> None:
        """Tell what was written."""
        self.say(f"written   {', '.join([*self.written, f'{self.folder}/'])}")


class Saves(Observer):
    """Writes the image every so many iterations, with their number behind its name."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_iteration(self, state: Any, trace: list[dict[str, float]]) -> None:
        """Write it if it is time."""
        if state.iteration % self.every == 0:
            path = self.path.with_stem(f"{self.path.stem}_{state.iteration}")
            outputs.require_free({"nsave": path})
            outputs.write_plain(path, state.model[SKY])


def _warn(problem: Problem) -> None:
    for check in problem.data.checks:
        if check.level == "warning":
            sys.stderr.write(f"WARNING   {check.subject}: {check.message}\n")
