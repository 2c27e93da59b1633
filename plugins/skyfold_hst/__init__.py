"""Hubble: the restoration programs of its first years by their own names, and a demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyfold.hooks import hookimpl

if TYPE_CHECKING:
    from skyfold.registry import Registry


@hookimpl
def skyfold_register(registry: Registry) -> None:
    """Offer the programs, data as they took them, and a field of stars over a galaxy."""
    registry.instruments.add("plucy", "skyfold_hst.frames:open_plucy")
    registry.instruments.add("lucy", "skyfold_hst.lucy_frame:open_lucy")
    for name in ("plucy", "cplucy", "acoadd", "lucy"):
        registry.commands.add(name, f"skyfold_hst.commands:{name}")
    registry.demos.add("hst-stars", "skyfold_hst.demos:hst_stars")
