"""Chandra: counts images, exposure maps and ray-traced PSFs of CIAO."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skyfold.hooks import hookimpl

if TYPE_CHECKING:
    from skyfold.registry import Registry


@hookimpl
def skyfold_register(registry: Registry) -> None:
    """Offer the instrument and its public data."""
    from skyfold_chandra.datasets import DATASETS

    registry.instruments.add("chandra", "skyfold_chandra.opener:open_chandra")
    for name, dataset in DATASETS.items():
        registry.datasets.add(name, dataset)


@hookimpl
def skyfold_identify(path: Path) -> str | None:
    """Recognise a FITS file whose header says TELESCOP = CHANDRA."""
    from skyfold_image.fitsfile import peek

    header = peek(path)
    if header is None or str(header.get("TELESCOP", "")).strip().upper() != "CHANDRA":
        return None
    return "chandra"
