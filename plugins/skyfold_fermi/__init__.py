"""Fermi-LAT: products of the Science Tools, and the one-file MapDataset layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skyfold.hooks import hookimpl

if TYPE_CHECKING:
    from skyfold.registry import Registry


@hookimpl
def skyfold_register(registry: Registry) -> None:
    """Offer Fermi-LAT data; the heavy imports wait until somebody opens some."""
    from skyfold_fermi.datasets import DATASETS

    registry.instruments.add("fermi", "skyfold_fermi.opener:open_fermi")
    for name, dataset in DATASETS.items():
        registry.datasets.add(name, dataset)


@hookimpl
def skyfold_identify(path: Path) -> str | None:
    """Recognise the LAT by its name in the header, and a MapDataset by its first extension."""
    from skyfold_image.fitsfile import peek

    header = peek(path)
    if header is None:
        return None
    telescope, instrument = (str(header.get(key, "")).strip() for key in ("TELESCOP", "INSTRUME"))
    lat = telescope.upper() == "GLAST" and instrument.upper() == "LAT"
    mapdataset = header.get("EXTNAME") == "COUNTS" and header.get("BANDSHDU") == "COUNTS_BANDS"
    return "fermi" if lat or mapdataset else None
