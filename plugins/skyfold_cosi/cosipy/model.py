"""Models of the sky: histograms that know how to begin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from astropy import units as u
from histpy import Axes, Axis, HealpixAxis, Histogram

from skyfold.sphere import Sphere
from skyfold_cosi.container import read
from skyfold_cosi.cosipy.numbers import numbers
from skyfold_cosi.cosipy.spectrum import integrated_flux
from skyfold_cosi.published import harmonic_smoothing
from skyfold_cosi.sky import FLUX

M = TypeVar("M", bound=Histogram)
FWHM_PER_SIGMA = 2.354820  # rounded, as published


class ModelBase(Histogram, ABC):  # type: ignore[misc]
    """A model: values on axes, made and filled from parameters. Subclasses say how."""

    @classmethod
    @abstractmethod
    def instantiate_from_parameters(cls, parameter: Any) -> Any:
        """Return a model with the axes that the parameters ask for.

        Parameters
        ----------
        parameter
            The section ``model_definition:property`` of a parameter file.
        """

    @abstractmethod
    def set_values_from_parameters(self, parameter: Any) -> None:
        """Fill in the first values.

        Parameters
        ----------
        parameter
            The section ``model_definition:initialization`` of a parameter file.
        """

    def mask_pixels(self, mask: Histogram, fill_value: Any = 0) -> Any:
        """Return a copy with other values outside a mask.

        Parameters
        ----------
        mask
            Histogram on the axes of the model, true inside.
        fill_value
            Value outside, in the unit of the model if it has none itself.
        """
        value = fill_value.to_value(self.unit) if hasattr(fill_value, "to_value") else fill_value
        return with_numbers(self, np.where(mask.contents, numbers(self), value))


class AllSkyImageModel(ModelBase):
    """Photon flux in HEALPix pixels and energy bins.

    Parameters
    ----------
    nside
        HEALPix resolution.
    energy_edges
        Edges of the energy bins, a quantity.
    scheme
        ``ring`` or ``nested``.
    coordsys
        Frame of the sky.
    label_image, label_energy
        Labels of the axes.
    unit
        Unit of the values.
    """

    def __init__(
        self,
        nside: int,
        energy_edges: u.Quantity,
        scheme: str = "ring",
        coordsys: str = "galactic",
        label_image: str = "lb",
        label_energy: str = "Ei",
        unit: Any = "1/(s*cm*cm*sr)",
    ) -> None:
        image = HealpixAxis(nside=nside, scheme=scheme, coordsys=coordsys, label=label_image)
        energy = Axis(energy_edges.to("keV"), label=label_energy, scale="log")
        super().__init__(Axes([image, energy]), sparse=False, unit=unit)

    @property
    def nside(self) -> int:
        """HEALPix resolution."""
        return int(self.axes[0].nside)

    @property
    def scheme(self) -> str:
        """``ring`` or ``nested``."""
        return str(self.axes[0].scheme).lower()

    @property
    def coordsys(self) -> Any:
        """Frame of the sky."""
        return self.axes[0].coordsys

    @property
    def energy_edges(self) -> u.Quantity:
        """Edges of the energy bins."""
        return self.axes[1].edges

    @property
    def label_image(self) -> str:
        """Label of the axis of pixels."""
        return str(self.axes[0].label)

    @property
    def label_energy(self) -> str:
        """Label of the axis of energies."""
        return str(self.axes[1].label)

    @classmethod
    def open(cls, filename: str | Path, name: str = "hist") -> AllSkyImageModel:
        """Read a model from a histogram in HDF5.

        Raises
        ------
        FileError, DataError
            If the file holds no such histogram.
        """
        found = read(filename, name)
        sky, energy = found.axes
        edges = energy.edges * u.Unit(energy.unit or "keV")
        labels = {"label_image": sky.label, "label_energy": energy.label}
        frame = sky.frame or "galactic"
        new = cls(sky.nside or 1, edges, sky.scheme, frame, unit=found.unit or FLUX, **labels)
        return with_numbers(new, found.dense)

    @classmethod
    def instantiate_from_parameters(cls, parameter: Any) -> AllSkyImageModel:
        """Return an empty model; ``parameter`` holds nside, energy_edges, scheme, coordinate, unit.

        Energy edges without a unit, as in files of before 2024, are in keV.
        """
        edges = parameter["energy_edges"]
        edges = edges if isinstance(edges, dict) else {"value": edges, "unit": "keV"}
        return cls(
            parameter["nside"],
            np.array(edges["value"], float) * u.Unit(edges["unit"]),
            parameter["scheme"],
            parameter["coordinate"],
            unit=u.Unit(parameter.get("unit", FLUX)),
        )

    def set_values_from_parameters(self, parameter: Any) -> None:
        """Fill each energy bin with one value: the algorithm is ``flat``.

        Raises
        ------
        ValueError
            If the algorithm is another, or there is not one value for each energy bin.
        """
        if parameter["algorithm"] != "flat":
            raise ValueError(f"algorithm {parameter['algorithm']!r} is not known, only 'flat'")
        inside = parameter.get("parameter") or parameter["parameter_flat"]
        values = np.atleast_1d(inside["value"] if "value" in inside else inside["values"])
        if values.size != self.axes[1].nbins:
            raise ValueError(f"{values.size} values for {self.axes[1].nbins} energy bins")
        unit = u.Unit(inside.get("unit", self.unit))
        self[:] = np.broadcast_to(values.astype(float), self.contents.shape) * unit

    def set_values_from_extendedmodel(self, extendedmodel: Any) -> None:
        """Fill in an extended source of astromodels, or whatever answers the same calls.

        Parameters
        ----------
        extendedmodel
            ``spectrum.main.shape`` is called with an energy in keV, ``spatial_shape`` with
            Galactic longitude and latitude in degrees; it returns the flux per sr.
        """
        flux = integrated_flux(extendedmodel.spectrum.main.shape, self.axes[1].edges.to("keV"))
        sky = Sphere(self.nside, nested=self.scheme == "nested")
        shape = np.asarray(extendedmodel.spatial_shape(*sky.directions()), float)
        self[:] = shape[:, None] * flux[None] / u.sr

    def smoothing(self, fwhm: Any = None, sigma: Any = None) -> AllSkyImageModel:
        """Return the map smoothed by a Gaussian in spherical harmonics, each energy by itself.

        Parameters
        ----------
        fwhm
            Full width at half maximum, an angle.
        sigma
            Standard deviation, instead of it.
        """
        width = sigma * FWHM_PER_SIGMA if sigma is not None else fwhm
        if width is None:
            return with_numbers(self, numbers(self))
        sky = Sphere(self.nside, nested=self.scheme == "nested")
        return with_numbers(self, harmonic_smoothing(sky, numbers(self), width))


def with_numbers(model: M, values: Any) -> M:
    """Return a copy of a model with other values, plain numbers in its unit."""
    new = deepcopy(model)
    new[:] = values if model.unit is None else values * model.unit
    return new
