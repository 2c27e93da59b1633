"""Watch a run from outside: progress, log, checkpoints. Observers never change a run."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from skyfold import checkpoint
from skyfold.algorithm import State

log = logging.getLogger(__name__)
Row = Mapping[str, float]


class Observer:
    """Override what you want to see."""

    def on_start(self, state: State) -> None:
        """See the state that the run starts or goes on from."""

    def on_iteration(self, state: State, trace: list[dict[str, float]]) -> None:
        """See a new state; the last row of the trace is its own."""

    def on_finish(self, state: State, trace: list[dict[str, float]], reason: str) -> None:
        """See the last state, and why it is the last."""


class Progress(Observer):
    """A bar with the time left on a terminal or in a notebook, now and then a line elsewhere.

    Parameters
    ----------
    total
        Iterations expected, or None.
    stream
        Where lines go in a batch log.
    interval
        Seconds between two lines in a batch log.
    doing
        What is going on.
    """

    def __init__(
        self,
        total: int | None,
        stream: TextIO | None = None,
        interval: float = 10,
        doing: str = "restoring",
    ) -> None:
        self.total, self.stream, self.interval = total, stream or sys.stderr, interval
        self.doing = doing
        self._bar: Any = None
        self._began = self._said = 0.0

    def on_start(self, state: State) -> None:
        """Open the bar."""
        self._began = self._said = time.monotonic()
        self._first = state.iteration
        if self.stream.isatty() or "ipykernel" in sys.modules:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=self.total, initial=state.iteration, unit="it", desc=self.doing,
                file=self.stream if self.stream.isatty() else None, dynamic_ncols=True,
            )  # fmt: skip

    def on_iteration(self, state: State, trace: list[dict[str, float]]) -> None:
        """Move on."""
        if self._bar is not None:
            self._bar.set_postfix_str(_summary(trace), refresh=False)
            self._bar.update(state.iteration - self._bar.n)
        elif time.monotonic() - self._said > self.interval:
            self._said = time.monotonic()
            left = ""
            if self.total:
                pace = (self._said - self._began) / (state.iteration - self._first)
                left = f" of {self.total}, {pace * (self.total - state.iteration):.0f} s left"
            self.stream.write(
                f"{self.doing}: iteration {state.iteration}{left}, {_summary(trace)}\n"
            )
            self.stream.flush()

    def on_finish(self, state: State, trace: list[dict[str, float]], reason: str) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


class Log(Observer):
    """Write one line per iteration to the log."""

    def on_iteration(self, state: State, trace: list[dict[str, float]]) -> None:
        """Write the likelihood and how it changed."""
        log.info("iteration %d: %s", state.iteration, _summary(trace))

    def on_finish(self, state: State, trace: list[dict[str, float]], reason: str) -> None:
        """Write the reason."""
        log.info("stopped after iteration %d: %s", state.iteration, reason)


class Checkpoint(Observer):
    """Store the state every few minutes, and at the end.

    Parameters
    ----------
    path
        File to write.
    interval
        Seconds between two writes.
    """

    def __init__(self, path: Path, interval: float) -> None:
        self.path, self.interval = path, interval
        self._last = time.monotonic()

    def on_iteration(self, state: State, trace: list[dict[str, float]]) -> None:
        """Store the state if it is time."""
        if time.monotonic() - self._last >= self.interval:
            checkpoint.save(self.path, state, trace)
            self._last = time.monotonic()

    def on_finish(self, state: State, trace: list[dict[str, float]], reason: str) -> None:
        """Store the last state."""
        checkpoint.save(self.path, state, trace)


def _summary(trace: list[dict[str, float]]) -> str:
    """Return log-likelihood and its last change in few words."""
    now = trace[-1]["log_likelihood"]
    if len(trace) < 2:
        return f"log L {now:.6g}"
    return f"log L {now:.8g} ({now - trace[-2]['log_likelihood']:+.3g})"
