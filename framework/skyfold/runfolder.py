"""A run and its folder: results, log, checkpoint, manifest, report; interrupted and resumed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from skyfold import (
    checkpoint,
    files,
    heldout,
    manifest,
    photometry,
    report,
    star_products,
    strength,
)
from skyfold.algorithm import State
from skyfold.config import RunConfig
from skyfold.config_help import in_force
from skyfold.data import DataInterface
from skyfold.document import Document
from skyfold.errors import ConfigError, DataError, FileError, Interrupted
from skyfold.fluxes import PRODUCTS as ERRORS
from skyfold.observers import Checkpoint, Log, Observer, Progress
from skyfold.points import point_components
from skyfold.residuals import keeps_bins
from skyfold.result import Result, summary
from skyfold.runner import Problem, prepare, signals, solve
from skyfold.sampling.chains import samples
from skyfold.sampling.posterior import netcdf
from skyfold.sampling.structure import structure_run
from skyfold.settling import settle
from skyfold.significance import FILE as SIGNIFICANCE
from skyfold.simulate import score
from skyfold.stopping import MaxIterations

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.npz"
CHOICES = (heldout.FILE, strength.FILE)
DRAWN = (samples.FILE, netcdf.FILE)
RESULTS = (
    "result.fits",
    "result.h5",
    "trace.ecsv",
    *star_products.PRODUCTS,
    *DRAWN,
    *CHOICES,
    "report.html",
)
LATER = (*ERRORS, SIGNIFICANCE, *structure_run.PRODUCTS)  # what is worked out from a result
PRODUCTS = (*RESULTS, *LATER, "manifest.json", "log.txt", CHECKPOINT)


def run_in_memory(problem: Problem, observers: Sequence[Observer], progress: bool) -> Result:
    """Run without leaving anything on disk."""
    problem = _settled(problem, progress, "")
    keeper = samples.keeper(problem.algorithm, problem.start)
    watching = [*([keeper] if keeper else []), *_watching(problem, observers, progress)]
    state, trace, reason, interrupted = solve(problem, watching)
    notes = manifest.begin(problem.config.to_dict()) | manifest.describe(problem.data)
    result = _result(problem, notes, state, trace, reason, keeper)
    notes["status"] = "interrupted" if interrupted else "finished"
    if interrupted:
        raise Interrupted(f"{reason} after iteration {state.iteration}", result)
    for doubt in result.doubts if progress else ():
        log.warning("%s", doubt)
    return result


def run_in_folder(
    problem: Problem,
    folder: Path,
    observers: Sequence[Observer] = (),
    progress: bool = True,
    overwrite: bool = False,
) -> Result:
    """Run and leave everything in a folder.

    Raises
    ------
    FileError
        If the folder exists, is in use, or cannot be written to: said before the work starts.
    Interrupted
        If a signal ended the run; state and partial result are in the folder.
    """
    claim(folder, overwrite)
    values = sum(v.size for v in problem.start.model.values())
    bins = sum(part.full_counts.size for part in problem.data.parts if keeps_bins(part))
    space = 8 * (5 * values + 4 * bins) + 10_000_000
    files.require_writable(folder, space)
    with files.locked(folder):
        claim(folder, overwrite)  # again, now that nobody else can
        _require_inputs_elsewhere(problem, folder)
        _clear(folder)
        notes = manifest.begin(problem.config.to_dict()) | manifest.describe(problem.data)
        _write_manifest(folder, notes)
        return _go(problem, folder, notes, observers, progress)


def resume_in_folder(
    folder: Path, iterations: int | None, progress: bool, data: DataInterface | None = None
) -> Result:
    """Go on from the checkpoint of a run folder, or from the start where there is none."""
    notes = read_manifest(folder)
    config = RunConfig.from_document(Document(notes["config"], str(folder / "manifest.json")))
    if iterations is not None:
        done = notes.get("results", {}).get("iterations", 0)
        if iterations < done:
            raise ConfigError(
                f"the run in {folder} has done {done} iterations already; ask for more than that"
            )
        counting = ("iterations", "held_out")
        stop = {rule: value for rule, value in config.stop.items() if rule not in counting}
        config = replace(config, iterations=iterations, stop=stop)
    with files.locked(folder):
        if outdated := [name for name in LATER if (folder / name).exists()]:
            log.warning(
                "%s: %s are removed: they belong to the state that the run leaves; work them out "
                "again in the end",
                folder, ", ".join(outdated),
            )  # fmt: skip
        _clear(folder, LATER)
        problem, state, trace = _opened_again(folder, notes, config, data)
        if iterations is None and notes.get("status") == "finished":
            log.warning("%s: this run has ended already; --iterations N goes on", folder)
        notes |= {"status": "running", "config": config.to_dict()}
        notes["resumed"] = [*notes.get("resumed", []), manifest.now()]
        _write_manifest(folder, notes)
        return _go(problem, folder, notes, (), progress, state, trace)


def reopen(folder: Path, data: DataInterface | None = None) -> Result:
    """Return the result that a run folder holds, its data opened again; nothing is written.

    Raises
    ------
    ConfigError
        If the folder holds no run, or one that never came as far as a state.
    DataError
        If the data are not what they were.
    """
    notes = read_manifest(folder)
    config = RunConfig.from_document(Document(notes["config"], str(folder / "manifest.json")))
    problem, state, trace = _opened_again(folder, notes, config, data)
    if state is None:
        raise ConfigError(
            f"the run in {folder} has no state yet; go on with: skyfold resume {folder}"
        )
    if notes.get("status") != "finished":
        log.warning(
            "the run in %s has not ended: this is what it held after iteration %d; go on with: "
            "skyfold resume %s",
            folder, state.iteration, folder,
        )  # fmt: skip
    reason = str(notes.get("results", {}).get("stop_reason", ""))
    keeper = samples.keeper(problem.algorithm, problem.start, folder)
    return _made(problem, notes, state, trace, reason, keeper)


def _opened_again(
    folder: Path, notes: dict[str, Any], config: RunConfig, data: DataInterface | None
) -> tuple[Problem, State | None, list[dict[str, float]]]:
    """Return the problem of a run folder, and where it stands."""
    if data is None and not all(_is_stored(entry) for entry in config.data):
        raise ConfigError(
            f"the run in {folder} was started from arrays, which it does not keep: "
            "open them again and go on with skyfold.resume(folder, data=data)"
        )
    problem = prepare(config, data)
    _require_same_inputs(notes, manifest.describe(problem.data), folder)
    if not (folder / CHECKPOINT).exists():
        return problem, None, []
    return problem, *checkpoint.load(folder / CHECKPOINT, problem.start)


def claim(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds another run, or cannot hold one.

    Raises
    ------
    FileError
        If there is one and it may not be overwritten, or the folder cannot be written to.
    """
    files.require_place(folder)
    held = [name for name in PRODUCTS if (folder / name).exists()]
    if held and not overwrite:
        raise FileError(
            f"run folder {folder} exists and holds {', '.join(held)}: use --overwrite to replace "
            f"it, another folder with -o, or `skyfold resume {folder}` to go on"
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a run folder.

    Raises
    ------
    ConfigError
        If the folder holds no run.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise ConfigError(f"{folder} holds no run: there is no manifest.json in it")
    try:
        notes: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileError(f"{path} is damaged: {error}") from error
    return notes


def _go(
    problem: Problem,
    folder: Path,
    notes: dict[str, Any],
    observers: Sequence[Observer],
    progress: bool,
    state: State | None = None,
    trace: Sequence[Mapping[str, float]] = (),
) -> Result:
    interval = float(problem.config.checkpoint.to_value("s"))
    own: list[Observer] = [Log(), Checkpoint(folder / CHECKPOINT, interval)]
    with _logging_to(folder / "log.txt"), _resumable(folder):
        for check in notes["checks"]:
            log.info("%s %s: %s", check["level"], check["subject"], check["message"])
        own += problem.config.build_layouts(folder, problem.data)
        problem = _settled(problem, progress, f"; begin again with: skyfold resume {folder}")
        for name, chosen in zip(CHOICES, (problem.curve, problem.strengths), strict=True):
            if chosen is not None:
                with files.replacing(folder / name) as partial:
                    chosen.table().write(partial, format="ascii.ecsv", overwrite=True)
        notes |= {"config": problem.config.to_dict(), "settings": in_force(problem.config)}
        _write_manifest(folder, notes)
        keeper = samples.keeper(problem.algorithm, problem.start, folder)
        own = [*([keeper] if keeper else []), *own]  # before the checkpoint that counts them
        watching = [*own, *_watching(problem, observers, progress)]
        state, trace, reason, interrupted = solve(problem, watching, state, trace)
        result = _result(problem, notes, state, trace, reason, keeper)
        notes["status"] = "interrupted" if interrupted else "finished"
        result.write(folder)
        report.write(folder)
    if interrupted:
        raise Interrupted(
            f"{reason} after iteration {state.iteration}; go on with: skyfold resume {folder}",
            result,
        )
    return result


def _result(
    problem: Problem,
    notes: dict[str, Any],
    state: State,
    trace: list[dict[str, float]],
    reason: str,
    keeper: samples.Samples | None,
) -> Result:
    notes["ended"] = manifest.now()
    notes["timings"] = {"iterating": trace[-1]["seconds"], "products": state.products}
    notes["peak_memory"] = manifest.peak_memory()
    result = _made(problem, notes, state, trace, reason, keeper)
    notes["results"] = {
        "iterations": state.iteration,
        "stop_reason": reason,
        "log_likelihood": state.log_likelihood,
        **({"log_posterior": state.objective} if state.log_prior else {}),
        **summary(result),
        "block": result.block,
        "normalisations": result.normalisations,
        **_stars(result),
        **({"normalisation_errors": result.posterior.normalisation_errors} if keeper else {}),
        **problem.algorithm.figures(state, problem.data),
        **({"score": score(problem.demo, result)} if problem.demo else {}),
    }
    return result


def _stars(result: Result) -> dict[str, Any]:
    """Return the figures of point sources, if there are any."""
    found = bool(point_components(result.model.components))
    return {"stars": photometry.figures(result)} if found else {}


def _made(
    problem: Problem,
    notes: dict[str, Any],
    state: State,
    trace: list[dict[str, float]],
    reason: str,
    keeper: samples.Samples | None,
) -> Result:
    data = problem.data.at(state.parameters)
    kept = keeper.arrays(state) if keeper else {}
    return Result(data, state, trace, reason, notes, problem.demo, problem, kept)


def _settled(problem: Problem, progress: bool, remedy: str) -> Problem:
    """Return the problem with what held-out photons choose.

    Raises
    ------
    Interrupted
        If a signal ended the search; nothing of it is kept.
    """
    observer = Progress(None, doing="choosing by held-out photons") if progress else Observer()
    with signals() as received:
        return settle(problem, _Interruptible(observer, received, remedy))


class _Interruptible(Observer):
    """Hands on what it sees, and ends the search when a signal was received."""

    def __init__(self, observer: Observer, received: Sequence[int], remedy: str) -> None:
        self.observer, self.received, self.remedy = observer, received, remedy

    def on_start(self, state: State) -> None:
        """Hand it on."""
        self.observer.on_start(state)

    def on_iteration(self, state: State, trace: list[dict[str, float]]) -> None:
        """Hand it on, or end."""
        if self.received:
            raise Interrupted(f"interrupted while held-out photons were choosing{self.remedy}")
        self.observer.on_iteration(state, trace)

    def on_finish(self, state: State, trace: list[dict[str, float]], reason: str) -> None:
        """Hand it on."""
        self.observer.on_finish(state, trace, reason)


def _watching(problem: Problem, observers: Sequence[Observer], progress: bool) -> list[Observer]:
    from skyfold.registry import default_registry

    answers = default_registry().hook.skyfold_observers(config=problem.config)
    stop, total = problem.stop, problem.config.iterations
    if isinstance(stop, MaxIterations):  # of the method itself
        total = stop.iterations
    bar = [Progress(total if isinstance(total, int) else None)] if progress else []
    return [*observers, *(observer for found in answers for observer in found), *bar]


def _require_inputs_elsewhere(problem: Problem, folder: Path) -> None:
    """Refuse to replace what is read."""
    own = {(folder / name).resolve() for name in PRODUCTS}
    for part in problem.data.parts:
        for role, path in part.origin.files:
            if Path(path).resolve() in own:
                raise ConfigError(
                    f"{path} is the {role} of this run and would be replaced: give another folder"
                )


def _require_same_inputs(before: dict[str, Any], after: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with other data than the run began with."""
    had, has = (", ".join(notes.get("components", ())) for notes in (before, after))
    if had and had != has:
        raise DataError(
            f"the run in {folder} was begun with the components {had}; these data have {has}: "
            "give them as they were then"
        )
    was = {entry["path"]: entry["sha256"] for entry in before.get("inputs", [])}
    for entry in after["inputs"]:
        if was and was.get(entry["path"]) != entry["sha256"]:
            raise DataError(
                f"{entry['path']} is not what it was when {folder} was begun (SHA-256 "
                f"{entry['sha256'][:12]}..., was {was.get(entry['path'], 'absent')[:12]}...); "
                "restore the file, or start a new run"
            )


def _is_stored(entry: Mapping[str, Any]) -> bool:
    """Return whether the data can be opened again from what the manifest says of them."""
    return bool(entry) and not any(isinstance(v, dict) and "array" in v for v in entry.values())


def _write_manifest(folder: Path, notes: dict[str, Any]) -> None:
    files.write_text(folder / "manifest.json", json.dumps(notes, indent=1, default=str))


def _clear(folder: Path, products: Sequence[str] = PRODUCTS) -> None:
    """Remove products, and what a killed process left unfinished."""
    for path in (*(folder / name for name in products), *folder.glob(f".*{files.PARTIAL}")):
        path.unlink(missing_ok=True)


class _LogFile(logging.FileHandler):
    """A log that a full disk cuts short silently; the next checkpoint says why."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Go on without the line."""

    def close(self) -> None:
        """Close the file even if its last lines find no place."""
        with suppress(OSError):
            super().close()


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Say how to go on after a disk was full."""
    try:
        yield
    except FileError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in files.FULL:
            raise FileError(f"{error}; after freeing space: skyfold resume {folder}") from error
        raise


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Append what skyfold logs to a file."""
    logger = logging.getLogger("skyfold")
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(logging.INFO, level or logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
