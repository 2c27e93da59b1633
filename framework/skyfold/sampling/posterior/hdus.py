"""Draws as FITS: maps of their scatter, and the trace of the parameters as Pylira writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.products import sky_hdu
from skyfold.sampling.posterior.images import field_of
from skyfold.sampling.posterior.posterior import Posterior
from skyfold.sphere import Sphere
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.table import Table

    from skyfold.result import Result

LEVEL = 0.68
TRACE = "PARAMETER_TRACE"
TOTAL_COUNTS, SCALE = "expectedMSCounts", "bkgScale"
PYLIRA = {"log_posterior": "logPost", "origin[0]": "cycleSpinRow", "origin[1]": "cycleSpinCol"}


def posterior_hdus(result: Result) -> Iterator[Any]:
    """Yield standard deviation and credible interval of each value of the sky, and the trace.

    ``POSTERIOR_STD``, ``INTERVAL_LOW`` and ``INTERVAL_HIGH`` (68 %) are laid out like the restored
    sky, and left out where nothing was drawn after burn-in. ``PARAMETER_TRACE`` has a row for each
    sweep of each chain, burn-in included (see `trace_table`).
    """
    from astropy.io import fits

    posterior, name = result.posterior, result.sky
    if posterior.kept_sweeps.size:
        low, high = posterior.interval(LEVEL, name)
        found = {"INTERVAL_LOW": low.value, "INTERVAL_HIGH": high.value}
        for key, values in {"POSTERIOR_STD": posterior.deviation(name), **found}.items():
            whole = np.zeros(result.model[name].shape, values.dtype)
            whole[field_of(result.model, name)] = values
            hdu = sky_hdu(result, name, whole, key)
            if key in found:
                hdu.header["LEVEL"] = (LEVEL, "part of the posterior between low and high")
            yield hdu
    trace = fits.BinTableHDU(trace_table(posterior, _scale(result)), name=TRACE)
    trace.header["BURN"] = (posterior.burn, "sweeps that do not count")
    yield trace


def trace_table(posterior: Posterior, scale: Mapping[str, float]) -> Table:
    """Return all parameters but blocks and bright pixels, one row per sweep and chain.

    Columns that Pylira has too bear its names: ``iteration``, ``logPost`` (complete here, and of
    the same state as the rest), ``smoothingParam0``, ... (0 is the finest level),
    ``expectedMSCounts``, ``bkgScale``, ``cycleSpinRow`` and ``cycleSpinCol``. What it does not
    have keeps its own name. Of a sky of several energies there is no ``expectedMSCounts``: each
    energy has its own exposure, and Pylira knows one.

    Parameters
    ----------
    posterior
        The draws.
    scale
        Counts per flux where it is seen best, by sky: what makes a total flux the total of
        Pylira.
    """
    from astropy.table import Table

    chains, sweeps, _ = posterior.table.shape
    columns: dict[str, Array] = {
        "iteration": np.tile(np.arange(sweeps), chains),
        "chain": np.repeat(np.arange(chains), sweeps),
    }
    (sky,) = posterior.kept if len(posterior.kept) == 1 else ("",)
    names = pylira_names(posterior.columns, sky)
    for name in posterior.columns:
        if re.search(r"\.(block|pixel)\[", name):
            continue
        values = posterior.parameter(name).ravel()
        columns[names.get(name, name)] = values
        if name == f"{sky}.total":
            columns[TOTAL_COUNTS] = values * scale[sky]
    return Table(columns)


def pylira_names(columns: Sequence[str], sky: str) -> dict[str, str]:
    """Return what Pylira calls columns, by column; those that it does not have are left out.

    Parameters
    ----------
    columns
        Parameters of a sampler.
    sky
        Name of the sky.
    """
    others = {name for name in columns if "." not in name and name[:4] != "log_"}
    names = {}
    for name in columns:
        own = name.removeprefix(f"{sky}.")
        if level := re.fullmatch(r"alpha\[(\d+)\]", own):
            names[name] = f"smoothingParam{level[1]}"
        elif others == {name}:
            names[name] = SCALE
        elif own in PYLIRA:
            names[name] = PYLIRA[own]
    return names


def _scale(result: Result) -> dict[str, float]:
    """Return the counts per flux of each sky, where it is seen best.

    The sensitivity is that to a value; on a sphere a flux is a value times the solid angle of its
    pixel.
    """
    found = {}
    for name in result.samples:
        geometry = result.data.components[name].geometry
        cell = geometry.pixel_area if isinstance(geometry, Sphere) else 1.0
        found[name] = float(np.max(result.data.sensitivity[name])) / cell
    return found
