"""What a run folder holds, as layers and tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyfold import heldout, strength
from skyfold.dataspace import Projection
from skyfold.errors import FileError
from skyfold.fluxes import TABLE as FLUXES
from skyfold.layers import Layer, Observation
from skyfold.report.read_fits import read_fits, read_significance
from skyfold.report.read_hdf5 import read_hdf5
from skyfold.significance import FILE as SIGNIFICANCE_FILE
from skyfold.star_products import TABLE as STARS

if TYPE_CHECKING:
    from astropy.table import Table

CHOICES = {"iteration": heldout.FILE, "strength": strength.FILE}


@dataclass(frozen=True)
class RunFolder:
    """A finished or interrupted run, read back.

    Parameters
    ----------
    path
        The folder.
    manifest
        Settings, inputs, versions, figures.
    trace
        One row per iteration.
    skies
        What was restored.
    scatter
        How far the draws of a sampler scatter: `SCATTER`, for each energy of the only sky.
    truth
        What the counts were simulated from, where that is known.
    sensitivity
        Expected counts per unit of a whole sky.
    significance
        How many sigma more light the counts ask for, where that was worked out.
    observations
        Counts, expectation and residual of each observation that is an image.
    projections
        Counts and expectation along each axis of the observations that are none.
    binning
        How many pixels were joined along each side, so that the page stays light.
    about
        Object, telescope and instrument, from the header of the counts.
    product
        Name of the file with the result.
    fixed
        Names of components that were not fitted.
    fluxes
        Fluxes of regions with their errors, if they were asked for: the rows of the table.
    stars, total
        Point sources, if there are any, as a table, and the sky with them.
    choices
        What held-out photons chose, ``iteration`` or ``strength``, and the rows they chose from.
    """

    path: Path
    manifest: dict[str, Any]
    trace: list[dict[str, float]]
    skies: list[Layer] = field(default_factory=list)
    scatter: list[Layer] = field(default_factory=list)
    truth: Layer | None = None
    sensitivity: Layer | None = None
    significance: Layer | None = None
    observations: list[Observation] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    binning: int = 1
    about: dict[str, str] = field(default_factory=dict)
    product: str = ""
    fixed: frozenset[str] = frozenset()
    fluxes: Table | None = None
    stars: Table | None = None
    total: Layer | None = None
    choices: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """Read whatever of a run is there.

        Raises
        ------
        FileError
            If nothing of a run is there, or a file is damaged.
        """
        manifest_file, trace_file = path / "manifest.json", path / "trace.ecsv"
        fits_file, hdf5_file = path / "result.fits", path / "result.h5"
        if not any(file.is_file() for file in (manifest_file, trace_file, fits_file, hdf5_file)):
            raise FileError(f"{path} holds no run: no manifest, no trace, no result in it")
        from astropy.table import Table

        with _readable(manifest_file):
            manifest = (
                json.loads(manifest_file.read_text("utf-8")) if manifest_file.exists() else {}
            )
            if not isinstance(manifest, dict):
                raise TypeError("it is not a mapping")
        with _readable(trace_file):
            trace = _read_trace(trace_file) if trace_file.exists() else []
        flux_file = path / FLUXES
        with _readable(flux_file):
            fluxes = Table.read(flux_file, format="ascii.ecsv") if flux_file.exists() else None
        star_file = path / STARS
        with _readable(star_file):
            stars = _read_stars(star_file) if star_file.exists() else None
        images: dict[str, Any] = {}
        restored = "Posterior mean" if _sampled(manifest) else "Restored"
        inputs = [str(entry.get("path", "")) for entry in manifest.get("inputs", [])]
        if fits_file.exists():
            with _readable(fits_file):
                images = read_fits(fits_file, inputs, restored) | {"product": fits_file.name}
        elif hdf5_file.exists():
            with _readable(hdf5_file):
                images = read_hdf5(hdf5_file, inputs, restored) | {"product": hdf5_file.name}
        tested = path / SIGNIFICANCE_FILE
        if tested.exists():
            with _readable(tested):
                images["significance"] = read_significance(tested, inputs)
        choices = {}
        for kind, name in CHOICES.items():
            with _readable(path / name):
                if (path / name).exists():
                    choices[kind] = _read_trace(path / name)
        return cls(path, manifest, trace, **images, fluxes=fluxes, stars=stars, choices=choices)

    @property
    def figures(self) -> dict[str, Any]:
        """What the manifest says of the outcome."""
        return dict(self.manifest.get("results", {}))

    @property
    def sampled(self) -> bool:
        """Whether the skies are means of draws from a posterior."""
        return _sampled(self.manifest)

    @property
    def normalisations(self) -> dict[str, float]:
        """Factors of backgrounds and baselines."""
        return dict(self.figures.get("normalisations", {}))

    @property
    def sources(self) -> list[dict[str, Any]]:
        """What the configuration says of the data, observation by observation."""
        entries = self.manifest.get("config", {}).get("data") or []
        return [entry for entry in entries if isinstance(entry, dict)]

    def holds(self, name: str) -> bool:
        """Return whether a normalisation was held fixed."""
        return name.partition("[")[0] in self.fixed


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{file} is damaged or was not written by skyfold: {error}") from error


def _read_trace(file: Path) -> list[dict[str, float]]:
    from astropy.table import Table

    table = Table.read(file, format="ascii.ecsv")
    return [{name: float(row[name]) for name in table.colnames} for row in table]


def _read_stars(file: Path) -> Table:
    """Return the table of stars; texts that are empty come back as such."""
    from astropy.table import Table

    table = Table.read(file, format="ascii.ecsv")
    for name in table.colnames:
        if table[name].dtype.kind == "U" and hasattr(table[name], "filled"):
            table[name] = table[name].filled("")
    return table


def _sampled(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest.get("results", {}).get("posterior", {}).get("draws"))
