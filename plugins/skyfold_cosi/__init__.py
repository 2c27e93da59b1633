"""COSI: the whole sky from Compton events; files, attitude, data space, cosipy's recipes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skyfold.hooks import hookimpl

if TYPE_CHECKING:
    from skyfold.document import Document
    from skyfold.registry import Registry


@hookimpl
def skyfold_register(registry: Registry) -> None:
    """Offer the instrument, its commands, and the recipes and layout of cosipy."""
    from skyfold_cosi.datasets import DATASETS

    registry.instruments.add("cosi", "skyfold_cosi.opener:open_cosi")
    registry.refinements.add("published", "skyfold_cosi.published:Published")
    for name, prior in (("tsv", "Variation"), ("gamma", "Gamma"), ("entropy", "Entropy")):
        registry.priors.add(f"published_{name}", f"skyfold_cosi.published_priors:Published{prior}")
    for name, dataset in DATASETS.items():
        registry.datasets.add(name, dataset)
    for name, command in (
        ("bin", "bin_events"),
        ("select", "select_events"),
        ("combine", "combine_counts"),
    ):
        registry.commands.add(f"cosi {name}", f"skyfold_cosi.commands:{command}")
    for name in ("exposure", "conversion", "response"):
        registry.commands.add(f"cosi {name}", f"skyfold_cosi.commands_attitude:make_{name}")
    registry.demos.add("compton", "skyfold_cosi.demos:compton")
    registry.demos.add("compton-attitude", "skyfold_cosi.demos:compton_attitude")
    registry.commands.add("simulate compton", "skyfold_cosi.simulation.challenge:simulate_compton")
    registry.layouts.add("cosipy", "skyfold_cosi.layout:CosipyLayout")


@hookimpl
def skyfold_translate(document: Document, flags: Sequence[str]) -> Document | None:
    """Understand the parameter files of cosipy."""
    from skyfold_cosi.dialects import translate

    return translate(document, flags)


@hookimpl
def skyfold_identify(path: Path) -> str | None:
    """Recognise COSI's files by what they hold."""
    from skyfold_cosi.recognise import is_cosi

    return "cosi" if is_cosi(path) else None
