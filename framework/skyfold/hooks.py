"""The hooks by which an installed package joins in. None of them runs inside the numeric loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from skyfold.config import RunConfig
    from skyfold.document import Document
    from skyfold.observers import Observer
    from skyfold.registry import Registry

hookspec = pluggy.HookspecMarker("skyfold")
hookimpl = pluggy.HookimplMarker("skyfold")


@hookspec
def skyfold_register(registry: Registry) -> None:
    """Add instruments, methods, refinements and so on. Called once, when plugins are loaded."""


@hookspec(firstresult=True)
def skyfold_identify(path: Path) -> str | None:
    """Name the instrument that wrote ``path``, or return None. The first answer wins."""


@hookspec(firstresult=True)
def skyfold_translate(document: Document, flags: Sequence[str]) -> Document | None:
    """Translate a configuration written for another program, or return None.

    ``flags`` are those of the command line. The notes of the answer say what became of each key.
    """


@hookspec
def skyfold_observers(config: RunConfig) -> list[Observer]:  # type: ignore[empty-body]
    """Return observers for a run that is about to start. All answers are used."""
