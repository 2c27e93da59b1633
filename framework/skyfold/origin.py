"""Where data come from, and what was found on opening them: for people, never for the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skyfold.geometry import Geometry


@dataclass(frozen=True)
class Check:
    """One thing that was looked at when the data were opened.

    Parameters
    ----------
    level
        ``ok``, ``fixed`` (put right, and said) or ``warning``.
    subject
        What was looked at: counts, psf, exposure, ...
    message
        What was found, in one sentence.
    """

    level: str
    subject: str
    message: str


@dataclass(frozen=True)
class Origin:
    """Where data come from: for people, reports and files, never for the numbers.

    Parameters
    ----------
    name
        Name of the data set.
    instrument
        Name of the instrument that opened it.
    files
        Role and path of each input file.
    checks
        What was looked at on opening.
    geometry
        Places of the counts, if they form an image.
    header
        FITS cards to hand on to the results.
    options
        What the instrument was asked for, so that the data can be opened again; empty if they were
        changed since.
    remedy
        What to do about counts that nothing can make.
    advice
        What to do with such data when nobody says otherwise: ``method`` with its options, and
        ``iterations``, as in a configuration.
    """

    name: str = "data"
    instrument: str = ""
    files: tuple[tuple[str, str], ...] = ()
    checks: tuple[Check, ...] = ()
    geometry: Geometry | None = None
    header: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = "Mask these bins, or add a background"
    advice: Mapping[str, Any] = field(default_factory=dict)
