"""Data as the algorithms see them: events, backgrounds, and products with the response."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from astropy import units as u
from histpy import Axes, Axis, HealpixAxis, Histogram

from skyfold.binned import BinnedData
from skyfold.data import EStep
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_cosi.cosipy.deferred import Deferred, step_of, was_seen
from skyfold_cosi.cosipy.numbers import numbers
from skyfold_cosi.cosipy.response import FullDetectorResponse
from skyfold_cosi.opener import ALMOST_ZERO, open_cosi
from skyfold_cosi.sky import FLUX


class ImageDeconvolutionDataInterfaceBase(ABC):
    """Events, backgrounds and response of one observation.

    Subclasses fill the attributes below and give `calc_expectation`, `calc_T_product` and
    `calc_bkg_model_product`; the algorithms know nothing else of them.

    Parameters
    ----------
    name
        Name of the data set.

    Attributes
    ----------
    _event
        Counts, a histpy histogram on ``_data_axes``.
    _bkg_models, _summed_bkg_models
        Expected counts of each background at normalisation 1, and their sums, by name.
    _exposure_map
        Transpose of the response times ones, a histogram on ``_model_axes``.
    _model_axes, _data_axes
        Axes of model and data.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._event: Any = None
        self._bkg_models: dict[str, Any] = {}
        self._summed_bkg_models: dict[str, float] = {}
        self._exposure_map: Any = None
        self._model_axes: Any = None
        self._data_axes: Any = None

    @property
    def name(self) -> str | None:
        """Name of the data set."""
        return self._name

    @property
    def event(self) -> Any:
        """Counts."""
        return self._event

    @property
    def exposure_map(self) -> Any:
        """Transpose of the response times ones."""
        return self._exposure_map

    @property
    def model_axes(self) -> Any:
        """Axes of the model."""
        return self._model_axes

    @property
    def data_axes(self) -> Any:
        """Axes of the counts."""
        return self._data_axes

    def keys_bkg_models(self) -> list[str]:
        """Return the names of the backgrounds."""
        return list(self._bkg_models)

    def bkg_model(self, key: str) -> Any:
        """Return the expected counts of a background at normalisation 1."""
        return self._bkg_models[key]

    def summed_bkg_model(self, key: str) -> float:
        """Return the sum of a background."""
        return self._summed_bkg_models[key]

    @abstractmethod
    def calc_expectation(
        self,
        model: Any,
        dict_bkg_norm: Mapping[str, float] | None = None,
        almost_zero: float = ALMOST_ZERO,
    ) -> Any:
        """Return the expected counts of a model.

        Parameters
        ----------
        model
            Model, on the model axes.
        dict_bkg_norm
            Normalisation of each background; no background by default.
        almost_zero
            Counts added to every bin, so that none expects nothing.
        """

    @abstractmethod
    def calc_T_product(self, dataspace_histogram: Any) -> Any:
        """Return the transpose of the response times a histogram on the data axes."""

    @abstractmethod
    def calc_bkg_model_product(self, key: str, dataspace_histogram: Any) -> float:
        """Return the sum of a background times a histogram on the data axes."""

    def calc_loglikelihood(self, expectation: Any) -> float:
        """Return the log-likelihood of an expectation, without the term of the counts alone."""
        counts, expected = numbers(self.event), numbers(expectation)
        return float(np.sum(counts * np.log(expected)) - np.sum(expected))

    def calc_log_likelihood(self, expectation: Any) -> float:
        """Return the same as `calc_loglikelihood`: the name that releases since 2025 use."""
        return self.calc_loglikelihood(expectation)

    def calc_ratio(self, expectation: Any) -> Any:
        """Return counts over expected counts."""
        return self.event / expectation


class DataIF_COSI_DC2(ImageDeconvolutionDataInterfaceBase):
    """Binned data of COSI, in Galactic coordinates or in the detector frame. Made by `load`."""

    data: BinnedData

    @classmethod
    def load(
        cls,
        name: str,
        event_binned_data: Histogram,
        dict_bkg_binned_data: Mapping[str, Histogram],
        rsp: Histogram | FullDetectorResponse,
        coordsys_conv_matrix: Histogram | None = None,
        is_miniDC2_format: bool = False,
    ) -> DataIF_COSI_DC2:
        """Bring together counts, backgrounds and response.

        Parameters
        ----------
        name
            Name of the data set.
        event_binned_data
            Counts.
        dict_bkg_binned_data
            Backgrounds by name; the dictionary is left as it is.
        rsp
            Pre-computed Galactic response, or a detector response.
        coordsys_conv_matrix
            Coordinate conversion matrix, for a detector response.
        is_miniDC2_format
            Not needed: axes without unit are understood anyway.

        Raises
        ------
        DataError, ConfigError
            If they do not fit together.
        """
        new = cls(name)
        new.data = open_cosi(
            event_binned_data,
            rsp.file if isinstance(rsp, FullDetectorResponse) else rsp,
            background=dict(dict_bkg_binned_data),
            conversion=coordsys_conv_matrix,
            reference=True,
            name=name,
        )
        axes = rsp.axes
        exposed = [] if coordsys_conv_matrix is None else [event_binned_data.axes[0]]
        new._data_axes = Axes([*exposed, *(axes[label] for label in ("Em", "Phi", "PsiChi"))])
        sky = axes["NuLambda"] if coordsys_conv_matrix is None else coordsys_conv_matrix.axes["lb"]
        image = HealpixAxis(nside=sky.nside, scheme=sky.scheme, coordsys="galactic", label="lb")
        new._model_axes = Axes([image, Axis(axes["Ei"].edges, label="Ei", scale="log")])
        new._event = Deferred(new._data_axes, new.data.full_counts.copy)
        sums = new.data.sensitivity
        exposure = sums["sky"] * u.Unit("cm2 s sr")
        new._exposure_map = Histogram(new._model_axes, contents=exposure)
        for key in dict_bkg_binned_data:
            new._bkg_models[key] = Deferred(new._data_axes, partial(new._background, key))
            new._summed_bkg_models[key] = float(sums[key][0])
        return new

    def calc_expectation(
        self,
        model: Any,
        dict_bkg_norm: Mapping[str, float] | None = None,
        almost_zero: float = ALMOST_ZERO,
    ) -> Any:
        """Return the expected counts of a model; see the base class."""
        self._take_over()
        norms = {} if dict_bkg_norm is None else {k: dict_bkg_norm[k] for k in self._bkg_models}
        values = {
            "sky": np.ascontiguousarray(numbers(model, FLUX)),
            "almost_zero": np.array([almost_zero / ALMOST_ZERO]),
            **{key: np.array([float(norm)]) for key, norm in norms.items()},
        }
        step = self.data.e_step(values)
        return Deferred(self._data_axes, partial(self._expected, values), step)

    def calc_ratio(self, expectation: Any) -> Any:
        """Return counts over expected counts; see the base class."""
        step = step_of(expectation)
        if step is None:
            return super().calc_ratio(expectation)
        return Deferred(self._data_axes, partial(self._ratio, step), step)

    def calc_T_product(self, dataspace_histogram: Any) -> Any:
        """Return the transpose of the response times a histogram on the data axes."""
        step = step_of(dataspace_histogram)
        if step is None:
            back = self.data.whole["sky"].adjoint(numbers(dataspace_histogram))
        else:
            back = step.back["sky"]
        return Histogram(self._model_axes, contents=back * u.Unit("cm2 s sr"))

    def calc_bkg_model_product(self, key: str, dataspace_histogram: Any) -> float:
        """Return the sum of a background times a histogram on the data axes."""
        step = step_of(dataspace_histogram)
        if step is None:
            return float(self.data.whole[key].adjoint(numbers(dataspace_histogram))[0])
        return float(step.back[key][0])

    def calc_loglikelihood(self, expectation: Any) -> float:
        """Return the log-likelihood of an expectation, without the term of the counts alone."""
        step = step_of(expectation)
        return super().calc_loglikelihood(expectation) if step is None else step.log_likelihood

    def _take_over(self) -> None:
        """Use the counts and backgrounds that somebody has put in place of those loaded."""
        counts = numbers(self._event) if was_seen(self._event) else self.data.full_counts
        seen = {key: numbers(one) for key, one in self._bkg_models.items() if was_seen(one)}
        new = {k: v for k, v in seen.items() if not np.array_equal(v, self._background(k))}
        if new or not np.array_equal(counts, self.data.full_counts):
            old = self.data
            whole: dict[str, Response | Array] = {**old.whole, **new}
            self.data = BinnedData(counts, whole, components=old.components, origin=old.origin)

    def _background(self, key: str) -> Array:
        return self.data.whole[key].forward(np.ones(1))

    def _expected(self, values: Mapping[str, Array]) -> Array:
        total = np.zeros(self.data.shape)
        for name, given in values.items():
            total += self.data.whole[name].forward(given)
        return total

    def _ratio(self, step: EStep) -> Array:
        ratio = np.zeros(self.data.full_counts.size)
        bins = slice(None) if self.data.bins is None else self.data.bins
        ratio[bins] = self.data.counts / step.expectation.observed
        return ratio.reshape(self.data.shape)
