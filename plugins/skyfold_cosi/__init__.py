"""COSI: the whole sky from Compton events; files, attitude, data space, cosipy's recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skyfold.hooks import hookimpl

if TYPE_CHECKING:
    from skyfold.registry import Registry


@hookimpl
def skyfold_register(registry: Registry) -> None:
    """Offer the instrument."""
    registry.instruments.add("cosi", "skyfold_cosi.opener:open_cosi")


@hookimpl
def skyfold_identify(path: Path) -> str | None:
    """Recognise COSI's files by what they hold."""
    from skyfold_cosi.recognise import is_cosi

    return "cosi" if is_cosi(path) else None
