"""Photon flux of a spectrum in energy bins."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from astropy import units as u

FLUX_PER_ENERGY = u.Unit("1 / (cm2 s keV)")


def integrated_flux(spectrum: Any, edges: u.Quantity) -> u.Quantity:
    """Return the photon flux in each energy bin, in 1/(cm2 s).

    Parameters
    ----------
    spectrum
        A one-dimensional function as astromodels has them: called with an energy in keV, its
        parameters by name in ``parameters``, each with ``unit`` and ``is_normalization``.
        A function called ``DiracDelta`` has all its flux at its ``zero_point``.
    edges
        Edges of the bins, a quantity.
    """
    from scipy.integrate import quad

    unit, energies = _unit(spectrum), edges.to_value("keV")
    if type(spectrum).__name__ == "DiracDelta":
        line, strength = float(spectrum.zero_point.value), float(spectrum.value.value)
        fluxes = [strength * (low <= line <= high) for low, high in pairwise(energies)]
    else:
        fluxes = [quad(spectrum, low, high)[0] for low, high in pairwise(energies)]
    return (fluxes * unit * u.keV).to("1 / (cm2 s)")


def _unit(spectrum: Any) -> u.Unit:
    """Return the unit of a spectrum's values: that of its normalisation, per energy."""
    for name in getattr(spectrum, "parameters", {}):
        parameter = getattr(spectrum, name)
        if getattr(parameter, "is_normalization", False) and parameter.unit is not None:
            unit = u.Unit(parameter.unit)
            return unit / u.keV if unit.is_equivalent("1 / (cm2 s)") else unit
    return FLUX_PER_ENERGY
