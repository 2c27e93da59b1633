"""From a request to a result: the only loop with observers and stopping."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skyfold.algorithm import Proposal
from skyfold.config import RunConfig, demo_of, open_data, options_of
from skyfold.errors import ConfigError
from skyfold.model import Model
from skyfold.stopping import RelativeGap, StoppingRule

if TYPE_CHECKING:
    from skyfold.algorithm import Algorithm, State
    from skyfold.data import DataInterface
    from skyfold.heldout import Curve
    from skyfold.observers import Observer
    from skyfold.result import Result
    from skyfold.simulate import Demo
    from skyfold.strength import Strengths

log = logging.getLogger(__name__)
FACTORS = 16  # of one component that the trace tells at most


@dataclass(frozen=True, eq=False)
class Problem:
    """All that the loop needs.

    Parameters
    ----------
    config
        The request.
    data, algorithm, start
        The data as the method sees them, the loop, and the state it starts from.
    stop
        When to stop.
    demo
        The simulation that the data come from, if they do.
    curve, strengths
        What the number of iterations, and the strength of the priors, was chosen from, if it was.
    """

    config: RunConfig
    data: DataInterface
    algorithm: Algorithm
    start: State
    stop: StoppingRule
    demo: Demo | None = None
    curve: Curve | None = None
    strengths: Strengths | None = None

    def row(self, state: State, seconds: float) -> dict[str, float]:
        """Return the row of the trace for a state: what is worth knowing and is one number."""
        return {
            "iteration": state.iteration,
            "log_likelihood": state.log_likelihood,
            "expected": state.expectation.total,
            "products": state.products,
            "seconds": seconds,
            **state.model.normalisations(most=FACTORS),
            **state.notes,
            **self.stop.columns(state, self.data.at(state.parameters), self.algorithm),
        }


def prepare(
    config: RunConfig, data: DataInterface | None = None, own: StoppingRule | None = None
) -> Problem:
    """Open the data, unless they are given, and do everything else but iterate.

    The configuration of the problem names the files from the root, so that it can be repeated
    from anywhere.

    Raises
    ------
    SkyfoldError
        If anything in the request or in the files is wrong.
    """
    if config.method:
        config.build_stop(config.build_method().until, own)  # errors come before the data
    demo = demo_of(config) if data is None else None
    if data is None:
        data = demo.data if demo else open_data(config)
    stars = config.build_stars() if config.stars else None
    if stars:
        data = stars.added_to(data)
    config = config.advised(data)
    method = config.build_method()
    stop = config.build_stop(method.until, own)
    config = replace(config.with_files(), data=[dict(part.origin.options) for part in data.parts])
    seen, algorithm = method.prepare(data)
    limit = config.iterations if isinstance(config.iterations, int) else None
    algorithm = replace(algorithm, seed=config.seed, limit=limit)
    if stars:
        algorithm = stars.loop(algorithm, seen)
    start = algorithm.start(seen, Model.start(seen))
    for refine in algorithm.refinements:  # what one of them refuses is said before the work
        refine(start, Proposal(start.model.vector.only(start.model.free)), seen)
    problem = Problem(config, seen, algorithm, start, stop, demo)
    row = problem.row(start, 0.0)
    if isnan(row.get("gap", 0.0)) and (
        "relative_gap" in config.stop or isinstance(own, RelativeGap)
    ):
        raise ConfigError(
            "relative_gap: nothing bounds the way left, because a prior, or the damped likelihood, "
            "is not concave; use delta_log_posterior or delta_log_likelihood"
        )
    stop.reason([row])
    return problem


def solve(
    problem: Problem,
    observers: Sequence[Observer] = (),
    state: State | None = None,
    trace: Sequence[Mapping[str, float]] = (),
) -> tuple[State, list[dict[str, float]], str, bool]:
    """Run the loop until the rule stops it, or a signal does.

    Parameters
    ----------
    problem
        What to solve.
    observers
        Who watches.
    state, trace
        Where to go on from; the beginning by default.

    Returns
    -------
    state, trace, reason, interrupted
        The last state, one row per iteration, why it is the last, and whether that was a signal.
    """
    rows = [dict(row) for row in trace]
    began = time.monotonic() - (rows[-1]["seconds"] if rows else 0.0)
    with signals() as received:
        state = state or problem.start
        if not rows:
            rows.append(problem.row(state, time.monotonic() - began))
        for observer in observers:
            observer.on_start(state)
        states = problem.algorithm.iterate(problem.data, state)
        next(states)
        reason = problem.stop.reason(rows)
        while reason is None:
            state = next(states)
            rows.append(problem.row(state, time.monotonic() - began))
            for observer in observers:
                observer.on_iteration(state, rows)
            reason = problem.stop.reason(rows)
            if received and reason is None:
                reason = f"interrupted by {signal.Signals(received[0]).name}"
        for observer in observers:
            observer.on_finish(state, rows, reason)
        return state, rows, reason, reason.startswith("interrupted by")


def read(*sources: Any, instrument: str | None = None, **options: Any) -> DataInterface:
    """Open the data of an instrument.

    Parameters
    ----------
    sources
        Counts: one file or array per observation. Several are one joint data set.
    instrument
        Name of the instrument; recognised from the first file by default.
    options
        What the instrument takes: ``psf``, ``exposure``, ``background``, ... Each may be a file,
        an array or a value, as in a configuration file.

    Returns
    -------
    data
        To be handed to `run` or `iterate`.

    Raises
    ------
    ConfigError
        If an option is unknown or wrong, or no instrument recognises the file.
    DataError, FileError
        If a file is not what it should be.

    Examples
    --------
    >>> data = skyfold.read("counts.fits", psf="psf.fits")  # doctest: +SKIP
    """
    if not sources:
        raise ConfigError("read() needs at least one file or array of counts")
    entries = [{"instrument": instrument, "source": source, **options} for source in sources]
    data = open_data(RunConfig.of(data=entries))
    for check in data.checks:
        if check.level == "warning":
            log.warning("%s: %s", check.subject, check.message)
    return data


def run(
    data: Any,
    method: str | None = None,
    iterations: int | Literal["auto"] | None = None,
    *,
    stars: Any = None,
    stop: StoppingRule | Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    seed: int | None = None,
    observers: Sequence[Observer] = (),
    overwrite: bool = False,
    progress: bool = True,
    **options: Any,
) -> Result:
    """Restore a sky.

    Parameters
    ----------
    data
        Opened data, several of them, counts as a file or an array, or a configuration file
        (``.yaml``), which the other arguments then overrule.
    method
        Name of the method; by default what the instrument advises, else "rl", with a prior "map".
    iterations
        When to stop, if ``stop`` does not say otherwise; "auto" lets the method decide, and is
        the default unless there is a rule or the instrument advises a number.
    stars
        Point sources that are restored with the sky, as the component ``stars``: a file; ``find``;
        `Sources`; a table; or x and y of each in pixels from 0 at the centre of the first, shape
        ``(n, 2)``. Or a mapping with any of these as ``list`` and what else a configuration may
        say: ``{"list": places, "free": True}``.
    stop
        A stopping rule of your own: ``DeltaLogLikelihood(0.1) | MaxIterations(500)``, or rules by
        name, as in a configuration: ``{"relative_gap": 1e-3}``.
    output
        Run folder to write; nothing is written by default.
    seed
        Seed of all that is random; 0 by default.
    observers
        Further observers.
    overwrite
        Replace an existing run folder.
    progress
        Show progress.
    options
        Options of the method: ``smoothing={"fwhm": "2 pix"}``, ``acceleration=True``; and of the
        instrument, if ``data`` are not opened yet: ``psf="psf.fits"``.

    Returns
    -------
    result
        The last state and the way there.

    Raises
    ------
    SkyfoldError
        If the request or the data are wrong.
    Interrupted
        If a signal ended the run; what was reached is its ``result``, and in ``output``.
    """
    from skyfold.runfolder import run_in_folder, run_in_memory
    from skyfold.star_request import in_words

    named = dict(stop) if isinstance(stop, Mapping) else {}
    own = None if isinstance(stop, Mapping) else stop
    listed = in_words(stars)
    if isinstance(data, str | Path) and Path(data).suffix in (".yaml", ".yml"):
        said: dict[str, Any] = {"iterations": iterations, "seed": seed, "method.name": method}
        said |= {"stars": listed or None}
        said |= {f"method.{name}": value for name, value in options.items()}
        said |= {f"stop.{name}": value for name, value in named.items()}
        given = {key: value for key, value in said.items() if value is not None}
        problem = prepare(RunConfig.read(Path(data), given=given), own=own)
    else:
        opened, options = _open(data, options)
        config = RunConfig.of(
            data=[],
            stars=listed,
            method={**({"name": method} if method else {}), **options},
            iterations=iterations,
            stop=named,
            seed=seed or 0,
        )
        problem = prepare(config, opened, own)
    if output is None:
        return run_in_memory(problem, observers, progress)
    return run_in_folder(problem, Path(output), observers, progress, overwrite)


def iterate(data: Any, method: str = "rl", **options: Any) -> Iterator[State]:
    """Yield one state after another, for ever; leave the loop when you like.

    Parameters
    ----------
    data, method, options
        As for `run`. The picture so far is ``state.model.images["sky"]``, margins included.

    Examples
    --------
    >>> for state in skyfold.iterate(data):            # doctest: +SKIP
    ...     if state.iteration == 50:
    ...         break
    """
    from skyfold.settling import settle

    opened, options = _open(data, options)
    request = RunConfig.of(data=[], method={"name": method, **options}, iterations=0)
    problem = settle(prepare(request, opened))
    return problem.algorithm.iterate(problem.data, problem.start)


def resume(
    folder: str | Path,
    iterations: int | None = None,
    *,
    data: Any = None,
    progress: bool = True,
) -> Result:
    """Go on with an interrupted run, or extend a finished one.

    It ends with the same numbers as a run that was never interrupted.

    Parameters
    ----------
    folder
        The run folder.
    iterations
        New total number of iterations.
    data
        The same data again, for a run that was started from arrays.
    progress
        Show progress.
    """
    from skyfold.runfolder import resume_in_folder

    opened = None if data is None else _open(data, {})[0]
    return resume_in_folder(Path(folder), iterations, progress, opened)


def open(folder: str | Path, *, data: Any = None) -> Result:
    """Return the result of a run folder; nothing in it is changed.

    Parameters
    ----------
    folder
        The run folder.
    data
        The same data again, for a run that was started from arrays.

    Raises
    ------
    ConfigError
        If the folder holds no run, or one that never came as far as a state.
    DataError
        If the data are not what they were.

    Examples
    --------
    >>> skyfold.open("out").posterior.diagnostics()  # doctest: +SKIP
    """
    from skyfold.runfolder import reopen

    return reopen(Path(folder), None if data is None else _open(data, {})[0])


def _open(data: Any, given: dict[str, Any]) -> tuple[DataInterface, dict[str, Any]]:
    """Return opened data, and the options that are not the instrument's."""
    from skyfold.data import DataInterface
    from skyfold.mosaic import together

    if isinstance(data, DataInterface):
        return data, given
    if isinstance(data, list | tuple) and data and all(isinstance(d, DataInterface) for d in data):
        return together(data), given
    takes = {"instrument", *options_of(data, given.get("instrument"))}
    own = {name: value for name, value in given.items() if name in takes}
    return read(data, **own), {name: value for name, value in given.items() if name not in own}


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying; a second one interrupts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
