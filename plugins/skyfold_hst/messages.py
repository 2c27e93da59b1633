"""What the programs told while they ran: the figures of each iteration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import sqrt

import numpy as np

from skyfold.algorithm import State
from skyfold.algorithms import plucy
from skyfold.data import DataInterface
from skyfold.observers import Observer
from skyfold.vector import Array
from skyfold_hst.frames import SKY, STARS

FIRST = 4  # stars whose fluxes are told
SAID = {"ok": "        ", "fixed": "fixed   ", "warning": "WARNING "}


def opening(data: DataInterface, say: Callable[[str], None]) -> None:
    """Tell what was found on opening the data."""
    for part in data.parts:
        say(f"data      {part.origin.name}")
        for role, path in part.origin.files:
            say(f"  file    {role}: {path}")
        for check in part.origin.checks:
            say(f"  {SAID[check.level]}{check.subject}: {check.message}")


class Messages(Observer):
    """Tells of each iteration: shares of light, residual, objective, step, convergence, stars.

    The objective and what stands above it are those with which an iteration begins, as its step
    is chosen by them; the fluxes of stars are those with which it ends.

    Parameters
    ----------
    data
        The data.
    total
        Number of iterations.
    magzero
        Magnitude of one count.
    say
        Where to tell it.
    """

    def __init__(
        self, data: DataInterface, total: int, magzero: float, say: Callable[[str], None]
    ) -> None:
        self.data, self.total, self.magzero, self.say = data, total, magzero, say
        self._steps = _Told()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to what the algorithm tells of its steps, however a run ends."""
        level = plucy.tell.level
        plucy.tell.addHandler(self._steps)
        plucy.tell.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            plucy.tell.removeHandler(self._steps)
            plucy.tell.setLevel(level)

    def on_start(self, state: State) -> None:
        """Tell what the search begins from."""
        self._before, self._rose = state, ""
        if STARS in state.model:
            self.say(f"start     background {np.mean(state.model[SKY]):.6g} per pixel")

    def on_iteration(self, state: State, trace: list[dict[str, float]]) -> None:
        """Tell of the iteration that ended."""
        before, notes, after = self._before, self._before.notes, state.notes
        self.say(f"iteration {state.iteration} of {self.total}")
        if "share_of_stars" in notes:
            share = 100 * notes["share_of_stars"]
            self.say(f"  light   stars {share:.2f} %, background {100 - share:.2f} %")
        self.say(f"  residual {self._residual(before)}")
        if "objective" in notes:
            entropy = f", entropy {notes['entropy']:.6g}" if "entropy" in notes else ""
            likelihood = f"log-likelihood {notes['mean_log_likelihood']:.6g}"
            self.say(f"  objective {notes['objective']:.12g}: {likelihood}{entropy}{self._rose}")
            change = after["objective"] - notes["objective"]
            self._rose = f"; {'rose' if change >= 0 else 'FELL'} by {abs(change):.7g}"
        if "largest_acceleration" in after:
            self.say(f"  longest {after['largest_acceleration']:.4f}: beyond, values are negative")
        for line in self._steps.taken():
            self.say(f"  {line}")
        if "acceleration" in after:
            self.say(f"  step    {after['acceleration']:.4f}")
        if "convergence" in after:
            self.say(f"  convergence {after['convergence']:.8g}")
        if "chi_square" in trace[-1]:
            self.say(f"  chi2    {trace[-1]['chi_square']:.6g} per pixel")
        self._tell_stars(state)
        self._before = state

    def on_finish(self, state: State, trace: list[dict[str, float]], reason: str) -> None:
        """Tell why it ended."""
        self.say(f"stopped   {reason}")

    def _tell_stars(self, state: State) -> None:
        fluxes = state.model[STARS] if STARS in state.model else np.zeros(0)
        for i, flux in enumerate(fluxes[:FIRST], 1):
            magnitude = f"{self.magzero - 2.5 * np.log10(flux):.3f}" if flux > 0 else "none"
            self.say(f"  star {i:<4d} {flux:.7g}, magnitude {magnitude}")
        if len(fluxes) > FIRST:
            self.say(f"  and {len(fluxes) - FIRST} more")

    def _residual(self, state: State) -> str:
        """Return what the model has more than the data, in words."""
        found = []
        for part in self.data.parts:
            expected = part.full_expectation(state.model) * part.weight
            off: Array = np.where(part.weight > 0, expected - part.full_counts, 0.0)
            *_, x = at = np.unravel_index(int(np.argmax(np.abs(off))), off.shape)
            place = f"({x + 1}, {at[-2] + 1})" if off.ndim > 1 else f"{x + 1}"
            rms = sqrt(float(np.mean(off**2)))
            found.append(f"rms {rms:.4g}, largest {float(off[at]):.4g} at {place}")
        return "; ".join(found)


class _Told(logging.Handler):
    """Collects what the algorithm tells of its steps."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        mark = "WARNING " if record.levelno >= logging.WARNING else ""
        self._lines.append(mark + record.getMessage().partition(": ")[2])

    def taken(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines
