"""What a run leaves behind: the model, the way there, and a folder that others can read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold import files
from skyfold.algorithm import State
from skyfold.data import DataInterface
from skyfold.dataspace import BLOCK, DataSpace
from skyfold.errors import DataError
from skyfold.geometry import Grid
from skyfold.model import Model
from skyfold.priors import derivative
from skyfold.residuals import Explained, explain
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from astropy.table import Table
    from astropy.units import Quantity
    from matplotlib.figure import Figure
    from mhealpy import HealpixMap

    from skyfold.fluxes import Fluxes
    from skyfold.regions import Region
    from skyfold.runner import Problem
    from skyfold.sampling.posterior.posterior import Posterior
    from skyfold.simulate import Demo

PIXELS = f"{BLOCK} x {BLOCK} pixels"


@dataclass(frozen=True, eq=False)
class Result:
    """The last state of a run, and how it came about.

    Parameters
    ----------
    data
        The data that were restored.
    state
        The last state.
    trace
        One row per iteration.
    reason
        Why the run ended.
    manifest
        Settings, inputs, versions, seeds and timings, as in ``manifest.json``.
    demo
        The simulation that was restored, if it was one.
    problem
        The run that it is the result of, so that it can be repeated.
    samples
        Images of the skies that a sampler kept, by component, shape (chains, kept, ...).
    """

    data: DataInterface
    state: State
    trace: list[dict[str, float]]
    reason: str
    manifest: dict[str, Any] = field(default_factory=dict)
    demo: Demo | None = None
    problem: Problem | None = field(default=None, repr=False)
    samples: Mapping[str, Array] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        skies = ", ".join(f"{n} {self.model[n].shape}" for n in sorted(self.model.skies))
        reason = f", {self.reason}" if self.reason else ""
        return (
            f"<Result: {skies}; log-likelihood {self.state.log_likelihood:.8g} "
            f"after iteration {self.state.iteration}{reason}>"
        )

    @property
    def doubts(self) -> list[str]:
        """What speaks against the result, in a sentence each; nothing if all is well."""
        from skyfold.report.verdict import doubts

        return doubts(self.manifest, set(self.model) - self.model.free)

    @cached_property
    def model(self) -> Model:
        """The restored model: images, where values of the state stand for such."""
        return self.state.model.images

    @property
    def sky(self) -> str:
        """Name of the one sky that was restored.

        Raises
        ------
        DataError
            If the model has none or several.
        """
        skies = [n for n, c in self.model.components.items() if c.geometry.sky]
        if len(skies) != 1:
            raise DataError(
                f"the model has {len(skies)} skies ({', '.join(skies)}); name one of them"
            )
        return skies[0]

    @property
    def image(self) -> Quantity:
        """The restored image, on the grid that the data cover; ``(pixel, energy)`` on a sphere."""
        return self.model.quantity(self.sky)[self.field]

    @property
    def sphere(self) -> Sphere:
        """The places of the restored image, if it is a whole sky.

        Raises
        ------
        DataError
            If it is none.
        """
        geometry = self.model.components[self.sky].geometry
        if not isinstance(geometry, Sphere):
            raise DataError(f"{self.sky!r} is no whole sky in HEALPix pixels")
        return geometry

    @property
    def normalisations(self) -> dict[str, float]:
        """Fitted or fixed factors of backgrounds and baselines."""
        return self.model.normalisations()

    @cached_property
    def posterior(self) -> Posterior:
        """What was drawn from the posterior: intervals, traces, diagnostics.

        Raises
        ------
        ConfigError
            If the run was none of a sampler.
        """
        from skyfold.sampling.posterior.posterior import posterior_of

        return posterior_of(self)

    @cached_property
    def explained(self) -> tuple[Explained, ...]:
        """What the model makes of each observation; worked out once."""
        totals = self.state.expectation.totals
        pairs = zip(self.data.parts, totals, strict=True)
        return tuple(explain(part, self.state.model, float(total)) for part, total in pairs)

    @property
    def block(self) -> str:
        """Size of the blocks whose residual is judged, in words."""
        spaces = [part.origin.geometry for part in self.data.parts]
        told = [s.block if isinstance(s, DataSpace) else PIXELS for s in spaces]
        return " and ".join(dict.fromkeys(told))

    def residual(self) -> list[Array]:
        """Return the residual of each observation in sigma (see `deviance_residual`).

        Raises
        ------
        DataError
            If an observation is an event list, or too large to keep a residual for every bin.
        """
        return [
            _every_bin(explained.residual, part.origin.name)
            for part, explained in zip(self.data.parts, self.explained, strict=True)
        ]

    def significance(self, probes: int = 64, seed: int = 0) -> Array:
        """Return how many sigma more (or less) light the counts ask for, on the grid of `image`.

        A score test of each value: what it means and costs, see `skyfold.significance`.
        """
        from skyfold.significance import significance

        return significance(self.state, self.data, probes, seed)[self.sky][self.field]

    @cached_property
    def stars(self) -> Table:
        """What was measured of the point sources: see `skyfold.photometry.photometry`.

        Raises
        ------
        ConfigError
            If the run has none.
        """
        from skyfold.photometry import photometry

        return photometry(self)

    @property
    def total(self) -> Quantity:
        """The restored image with the point sources, each shared among the pixels around it."""
        from astropy import units as u

        from skyfold.star_products import total

        component = self.model.components[self.sky]
        return (total(self) * u.Unit(component.unit))[self.field]

    def flux(self, region: str | Path | Region, component: str | None = None) -> Quantity:
        """Return the flux of a region, one for each energy (see `errors` for what a region is)."""
        from skyfold.fluxes import flux
        from skyfold.region_files import find

        (found,) = find([region])
        return flux(self, found, component)

    def errors(
        self,
        *regions: str | Path | Region,
        method: str | Sequence[str] | None = None,
        component: str | None = None,
        replicas: int = 50,
        seed: int = 0,
        level: float = 0.68,
        progress: bool = True,
    ) -> Fluxes:
        """Return the fluxes of regions with their errors.

        Parameters
        ----------
        regions
            Shapes like ``core = circle(17h45m40s, -29d00m28s, 10 arcsec)`` or, in pixels counted
            from 0, ``circle(40, 52, 6)``; region files of DS9; masks as FITS images or HEALPix
            maps.
        method
            ``sandwich``: scatter of a maximum with priors, the usual for these; ``laplace``: width
            of the posterior; ``bootstrap``: repetition of the whole run on resampled counts, the
            usual without priors. Or several of them. After a sampler ``posterior``: its draws.
        component
            Name of the sky, where there are several.
        replicas, seed
            Repetitions of the bootstrap, and what they are drawn from.
        level
            Which part of the replicas or draws lies between ``low`` and ``high``.
        progress
            Show progress on a terminal.

        Raises
        ------
        ConfigError
            If a region is none or holds no pixel; or if ``sandwich`` or ``laplace`` is asked of a
            run that ended before its maximum.
        """
        from skyfold.fluxes import fluxes
        from skyfold.region_files import find

        methods = (method,) if isinstance(method, str) else method
        chosen = {"component": component, "replicas": replicas, "seed": seed, "level": level}
        return fluxes(self, find(regions), methods, **chosen, progress=progress)  # type: ignore[arg-type]

    def trace_table(self) -> Table:
        """Return the trace as a table, one row per iteration."""
        from astropy.table import Table

        columns = dict.fromkeys(name for row in self.trace for name in row)
        return Table({name: [row.get(name, np.nan) for row in self.trace] for name in columns})

    def plot(self) -> Figure:
        """Return a figure of counts, restored image and residual."""
        from skyfold.plotting import overview

        return overview(self)

    def write(self, folder: Path | str) -> Path:
        """Write result, trace and manifest into a folder, each file whole or not at all.

        Of point sources also the table ``stars.ecsv`` and ``stars.reg``, their places as regions
        of DS9. After a sampler also ``posterior.nc``, which ArviZ reads.

        Returns
        -------
        path
            The file with the image: ``result.fits``, or ``result.h5`` for models that are not one
            image.

        Raises
        ------
        FileError
            If the folder cannot be written to.
        """
        from skyfold import star_products
        from skyfold.products import write_hdf5
        from skyfold.sampling.posterior import netcdf

        folder = Path(folder)
        files.require_writable(folder, space=8 * sum(v.size for v in self.model.values()))
        single = [c.geometry for c in self.model.components.values() if c.geometry.sky]
        image = len(single) == 1 and (
            isinstance(single[0], Sphere)
            or (isinstance(single[0], Grid) and len(single[0].shape) <= 3)
        )
        path = folder / ("result.fits" if image else "result.h5")
        with files.replacing(path) as partial:
            if image:
                self.to_fits().writeto(partial, overwrite=True, checksum=True)
            else:
                write_hdf5(self, partial)
        with files.replacing(folder / "trace.ecsv") as partial:
            self.trace_table().write(partial, format="ascii.ecsv", overwrite=True)
        star_products.write(self, folder)
        if any(images.shape[1] for images in self.samples.values()):
            netcdf.write(self.posterior, folder / netcdf.FILE)
        files.write_text(folder / "manifest.json", json.dumps(self.manifest, indent=1, default=str))
        return path

    def to_fits(self) -> HDUList:
        """Return the result as FITS.

        The primary HDU is the restored image on the grid of the data. Images: ``COUNTS``,
        ``EXPECTATION`` and ``RESIDUAL`` (sigma) of each observation, numbered by EXTVER;
        ``SENSITIVITY``, ``MASK`` (1 where the sky was restored) and, where the model reaches
        beyond the data, ``EXTENDED``; ``PSF``, if it was restored too; ``TRUTH`` of a demo.
        Tables: ``TRACE``, ``COMPONENTS``, and ``EBOUNDS`` where there are energies. With point
        sources the image ``TOTAL``, where they are added to the sky, and the table ``STARS``.

        After a sampler the restored sky is the posterior mean, and there are ``POSTERIOR_STD``,
        ``INTERVAL_LOW`` and ``INTERVAL_HIGH`` (68 %), and the table ``PARAMETER_TRACE``.

        A whole sky is the HEALPix table ``SKY`` instead, one column per energy, and so are its
        sensitivity, mask and truth; the primary HDU is empty. Of counts that form no image there
        is a table ``PROJECTION_`` with the label of each axis, and the images only where they
        have up to ten million bins; of event lists there is neither.
        """
        from skyfold.products import to_fits

        return to_fits(self)

    def to_healpy(self) -> Quantity:
        """Return the restored sphere as healpy takes it: shape ``(energies, pixels)``, RING order.

        Raises
        ------
        DataError
            If the restored sky is no whole sky.
        """
        from skyfold.healpix_table import ring

        rows: Quantity = ring(self.image, self.sphere).T
        return rows

    def to_mhealpy(self) -> list[HealpixMap]:
        """Return the restored sphere as maps of mhealpy, one for each energy.

        Raises
        ------
        DataError
            If the restored sky is no whole sky.
        """
        from skyfold.healpix_table import to_mhealpy

        return to_mhealpy(self.image, self.sphere)

    @property
    def field(self) -> tuple[slice, ...]:
        """The part of the restored sky that the data cover."""
        return self.model.components[self.sky].geometry.inside


def _every_bin(residual: Array | None, name: str) -> Array:
    if residual is None:
        found = f"{name} has no residual for every bin: it is an event list, or too large"
        raise DataError(f"{found}; look at the projections (result.explained)")
    return residual


def summary(result: Result) -> Mapping[str, Any]:
    """Return the figures that tell whether a restoration explains its counts.

    Returns
    -------
    figures
        ``counts``, ``expectation`` (total) and ``ratio`` of the two; where the data hold all bins,
        ``largest_block`` (largest absolute residual of blocks, in sigma; see `Result.block`),
        ``blocks`` (their number) and ``outliers`` (share of bins beyond 3 sigma).
        ``observations`` says the same of each observation, with its C-statistic
        (see `Explained.figures`), ``components`` how many counts are expected of each component.
        ``balance`` is the ratio that the priors ask for: at the maximum of the log-posterior the
        expected counts are those observed plus ``x . (slope of the log-priors)``.
    """
    explained, seen = result.explained, result.data.sensitivity
    counts, expected = sum(e.counts for e in explained), sum(e.expected for e in explained)
    figures: dict[str, Any] = {
        "counts": counts,
        "expectation": expected,
        "ratio": expected / counts,
        "observations": [
            {"name": part.origin.name, **one.figures}
            for part, one in zip(result.data.parts, explained, strict=True)
        ],
        "components": {
            name: seen.only(frozenset([name])).dot(result.state.model) for name in result.model
        },
    }
    algorithm = result.problem.algorithm if result.problem else None
    if algorithm and algorithm.priors and not algorithm.keeps_flux:
        model = result.state.model
        pull = derivative(algorithm.priors, model).dot(model)
        figures["balance"] = 1 + pull / counts
    if bins := sum(e.bins for e in explained):
        figures["largest_block"] = max(e.largest_block for e in explained)
        figures["blocks"] = sum(e.blocks for e in explained)
        figures["outliers"] = sum(e.outliers for e in explained) / bins
    return figures
