"""Counts and backgrounds, brought to the bins of a response."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import ConfigError, DataError, FileError
from skyfold.origin import Check
from skyfold_cosi.binning import bin_events
from skyfold_cosi.histogram import Axis, Histogram, Sparse, from_histpy
from skyfold_cosi.recognise import kind_of
from skyfold_cosi.unbinned import Unbinned, read_blocks

EXPOSED = ("Time", "ScAtt")
UNITS = {"Time": "s", "Em": "keV", "Phi": "deg"}  # in which events are told
ALL_TIMES = Axis("Time", np.array([-np.inf, np.inf]), "s")


@dataclass(frozen=True, eq=False)
class Opened:
    """A histogram or a file of events, where it came from, and what was found.

    Parameters
    ----------
    histogram
        The histogram; None for events that are yet to be binned.
    path
        Its file, if it has one.
    checks
        What was looked at.
    """

    histogram: Histogram | None
    path: Path | None = None
    checks: tuple[Check, ...] = ()

    def events(self) -> Iterator[Unbinned]:
        """Yield the events of the file, block by block."""
        assert self.path is not None
        return read_blocks(self.path)


def open_histogram(
    given: Any, role: str, read: Callable[[Path], Histogram] | None = None
) -> Opened:
    """Return a histogram from a file, one of ours, or one of histpy.

    Parameters
    ----------
    given
        What was given.
    role
        What it is for.
    read
        Reads the file, if it is not a plain histogram.

    Raises
    ------
    ConfigError
        If it is none of these.
    FileError, DataError
        If the file holds no histogram.
    """
    if isinstance(given, Histogram):
        return Opened(given)
    if not isinstance(given, str | Path):
        if not hasattr(given, "axes"):
            raise ConfigError(f"{role}: expected a file name or a histogram, got {given!r}")
        return Opened(from_histpy(given))
    from skyfold_cosi.container import read_noting

    path = Path(given)
    if not path.exists():
        raise FileError(f"{role}: {path}: there is no such file")
    if read is not None:
        return Opened(read(path), path)
    if kind_of(path) == "unbinned":
        return Opened(None, path)
    histogram, flow = read_noting(path)
    text = "bins for under- and overflow left out"
    return Opened(histogram, path, (Check("fixed", role, text),) if flow else ())


def on_bins(opened: Opened, axes: Sequence[Axis], role: str) -> tuple[Histogram, list[Check]]:
    """Return counts on exactly these axes: summed over all others, in their order, edges compared.

    Raises
    ------
    DataError
        If an axis is missing or has other bins.
    """
    if opened.histogram is None:
        return _binned(opened, axes, role)
    found, name = opened.histogram, str(opened.path or role)
    wanted = [axis.label for axis in axes]
    if strange := {"NuLambda", "Ei", "lb"} & set(found.labels):
        raise DataError(
            f"{name} holds no counts: it has an axis {', '.join(sorted(strange))}, as responses do "
            f"(unit {found.unit or 'none'}). Is it the file for another flag?"
        )
    if missing := [label for label in wanted if label not in found.labels]:
        raise DataError(
            f"{name}: there is no axis {missing[0]!r}: the file has {', '.join(found.labels)}, "
            f"the response {', '.join(wanted)}. {_advice(found, missing[0])}"
        )
    _require_frame(found, axes[-1].frame, name)
    checks = list(opened.checks)
    summed = [axis for axis in found.axes if axis.label not in wanted]
    if told := [f"{axis.label} ({axis.size} bins)" for axis in summed if axis.size > 1]:
        checks.append(Check("fixed", role, f"summed over {', '.join(told)}"))
    found = found.project(*wanted)
    for mine, theirs in zip(found.axes, axes, strict=True):
        compare(mine, theirs, name)
        if mine.unit != theirs.unit and mine.unit and theirs.unit:
            text = f"axis {mine.label} is in {mine.unit}, the response in {theirs.unit}: converted"
            checks.append(Check("fixed", role, text))
    return replace(found, axes=tuple(axes)), checks


def _binned(opened: Opened, axes: Sequence[Axis], role: str) -> tuple[Histogram, list[Check]]:
    """Bin events as the response wants them."""
    exposed, *measured = axes if axes[0].label in EXPOSED else (ALL_TIMES, *axes)
    if exposed.label == "ScAtt":
        raise ConfigError(
            f"{role}: {opened.path} holds events; bin them by attitude with the exposure table of "
            "the conversion matrix first: skyfold cosi bin --exposure-table"
        )
    made = bin_events(opened.events(), in_units_of_events((exposed, *measured)))
    told = ", ".join(f"{number} {reason}" for reason, number in made.outside.items())
    text = f"{made.accepted} of {made.events} events binned" + (
        f"; outside: {told}" if told else ""
    )
    counts = made.histogram.project(*(axis.label for axis in axes))
    return replace(counts, axes=tuple(axes)), [Check("fixed", role, text)]


def in_units_of_events(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Return the same bins in the units in which events are told: s, keV and degrees."""
    return tuple(axis.in_unit(UNITS.get(axis.label, axis.unit)) for axis in axes)


def compare(mine: Axis, theirs: Axis, name: str) -> None:
    """Refuse an axis whose bins are not those of the response.

    Raises
    ------
    DataError
        It says how they differ, and what to do.
    """
    if difference := mine.difference(theirs):
        if mine.nside is None and mine.size != theirs.size:
            difference = f"data has {mine.describe()}, response has {theirs.describe()}"
        raise DataError(
            f"{name}: axis {mine.label!r}: {difference}. They must agree: bin the events with the "
            "bins of the response (skyfold cosi bin), or give the response for these bins"
        )


def require_expected(found: Histogram, name: str) -> None:
    """Refuse a background that is negative or undefined somewhere.

    Raises
    ------
    DataError
        It names the first such bin.
    """
    held = found.contents
    values = held.values if isinstance(held, Sparse) else held.ravel()
    wrong = np.flatnonzero(~((values >= 0) & (values < np.inf)))
    if wrong.size:
        first = held.index[wrong[0]] if isinstance(held, Sparse) else wrong[0]
        place = zip(found.axes, np.unravel_index(first, found.shape), strict=True)
        raise DataError(
            f"{name}: {wrong.size} bins are negative or undefined, first {values[wrong[0]]:g} at "
            f"{', '.join(f'{axis.label}={i}' for axis, i in place)}; expected counts cannot be"
        )


def judge_copies(backgrounds: Mapping[str, Histogram], counts: Histogram) -> list[Check]:
    """Tell of backgrounds that are the counts themselves: the sky then has no part in them."""
    return [
        Check("warning", f"background {name}", "is the same, bin by bin, as the counts")
        for name, histogram in backgrounds.items()
        if histogram.total > 0 and np.array_equal(histogram.dense, counts.dense)
    ]


def judge_totals(backgrounds: Mapping[str, Histogram], counts: float) -> list[Check]:
    """Compare the backgrounds with the counts: rates and other units do not look like counts."""
    if not backgrounds:
        return []
    total = sum(histogram.total for histogram in backgrounds.values())
    ratio = total / counts if counts else 1.0
    text = f"{total:.6g} counts expected in all, {100 * ratio:.3g} % of those observed"
    if not 0.01 <= ratio <= 2.0:
        text += "; is it a rate, or for another livetime? A fitted normalisation makes up for it"
        return [Check("warning", "background", text)]
    return [Check("ok", "background", text)]


def _require_frame(found: Histogram, frame: str | None, name: str) -> None:
    """Refuse scatter directions in another frame than the response's, if both are stated."""
    own = found["PsiChi"].frame
    if own is not None and frame is not None and own != frame:
        raise DataError(
            f"{name}: scatter directions are in the frame {own!r}, the response is for {frame!r}. "
            "Counts in Galactic coordinates need a Galactic response; counts in the detector frame "
            "a detector response and a conversion matrix"
        )


def _advice(found: Histogram, missing: str) -> str:
    if missing in EXPOSED and any(label in found.labels for label in EXPOSED):
        return "Time bins and attitude bins need their own conversion matrix each"
    if missing in EXPOSED:
        return "Bin the events by time or attitude: skyfold cosi bin --help"
    return "Is this the right file?"
