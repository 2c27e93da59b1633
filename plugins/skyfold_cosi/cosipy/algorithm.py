"""The loop of cosipy: hooks, called in their order."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from astropy import units as u

from skyfold_cosi.opener import ALMOST_ZERO

log = logging.getLogger(__name__)


class DeconvolutionAlgorithmBase(ABC):
    """An image deconvolution as a series of hooks, which subclasses give.

    `iteration` calls pre_processing, Estep, Mstep, post_processing, register_result and
    check_stopping_criteria; initialization comes before the first, finalization after the last.

    Parameters
    ----------
    initial_model
        Model to start from.
    dataset
        Data interfaces.
    mask
        Histogram that is true where the model may differ from zero, or None.
    parameter
        The section ``deconvolution:parameter`` of a parameter file.

    Attributes
    ----------
    results
        One row per iteration.
    dict_bkg_norm
        Normalisation of each background; a name that several data sets share is one background.
    dict_dataset_indexlist_for_bkg_models
        Which data sets have each background.
    minimum_flux
        Smallest value of the model, in its unit.
    iteration_count, iteration_max
        Iterations done, and asked for.
    """

    def __init__(
        self, initial_model: Any, dataset: Sequence[Any], mask: Any, parameter: Any
    ) -> None:
        self.initial_model = initial_model
        self.dataset = dataset
        self.mask = mask
        self.parameter = parameter
        self.results: list[Any] = []
        self.dict_dataset_indexlist_for_bkg_models: dict[str, list[int]] = {}
        for index, data in enumerate(dataset):
            for key in data.keys_bkg_models():
                self.dict_dataset_indexlist_for_bkg_models.setdefault(key, []).append(index)
        self.dict_bkg_norm = dict.fromkeys(self.dict_dataset_indexlist_for_bkg_models, 1.0)
        unit = parameter.get("minimum_flux:unit", initial_model.unit)
        self.minimum_flux: Any = parameter.get("minimum_flux:value", 0.0)
        if unit is not None:
            self.minimum_flux = float(self.minimum_flux) * u.Unit(unit)
        self.iteration_count = 0
        self.iteration_max = parameter.get("iteration_max", parameter.get("iteration", 1))

    @abstractmethod
    def initialization(self) -> None:
        """Prepare for the first iteration."""

    @abstractmethod
    def pre_processing(self) -> None:
        """Do what comes before the E-step."""

    @abstractmethod
    def Estep(self) -> None:
        """Set ``expectation_list``, unless another hook does."""

    @abstractmethod
    def Mstep(self) -> None:
        """Set ``delta_model``."""

    @abstractmethod
    def post_processing(self) -> None:
        """Treat ``delta_model``, and set ``model``."""

    @abstractmethod
    def register_result(self) -> None:
        """Append a row to ``results``."""

    @abstractmethod
    def check_stopping_criteria(self) -> bool:
        """Return whether this iteration is the last."""

    @abstractmethod
    def finalization(self) -> None:
        """Do what comes after the last iteration."""

    def iteration(self) -> bool:
        """Go through the hooks once, and return whether to stop."""
        self.iteration_count += 1
        log.info("iteration %d of at most %d", self.iteration_count, self.iteration_max)
        self.pre_processing()
        self.Estep()
        self.Mstep()
        self.post_processing()
        self.register_result()
        return self.check_stopping_criteria()

    def calc_expectation_list(
        self,
        model: Any,
        dict_bkg_norm: Mapping[str, float] | None = None,
        almost_zero: float = ALMOST_ZERO,
    ) -> list[Any]:
        """Return the expected counts of each data set.

        Parameters
        ----------
        model
            Model.
        dict_bkg_norm
            Normalisation of each background; no background by default.
        almost_zero
            Counts added to every bin.
        """
        return [data.calc_expectation(model, dict_bkg_norm, almost_zero) for data in self.dataset]

    def calc_loglikelihood_list(self, expectation_list: Sequence[Any]) -> list[float]:
        """Return the log-likelihood of each data set."""
        return self.calc_log_likelihood_list(expectation_list)

    def calc_log_likelihood_list(self, expectation_list: Sequence[Any]) -> list[float]:
        """Return the log-likelihood of each data set: the name that releases since 2025 use."""
        pairs = zip(self.dataset, expectation_list, strict=True)
        return [data.calc_log_likelihood(expectation) for data, expectation in pairs]

    def calc_summed_exposure_map(self) -> Any:
        """Return the exposure of all data sets together."""
        return _summed([data.exposure_map for data in self.dataset])

    def calc_summed_bkg_model(self, key: str) -> float:
        """Return the sum of a background over all data sets that have it."""
        having = self.dict_dataset_indexlist_for_bkg_models[key]
        return float(sum(self.dataset[i].summed_bkg_model(key) for i in having))

    def calc_summed_T_product(self, dataspace_histogram_list: Sequence[Any]) -> Any:
        """Return the transposes of the responses times one histogram per data set, added up."""
        pairs = zip(self.dataset, dataspace_histogram_list, strict=True)
        return _summed([data.calc_T_product(histogram) for data, histogram in pairs])

    def calc_summed_bkg_model_product(
        self, key: str, dataspace_histogram_list: Sequence[Any]
    ) -> float:
        """Return a background times one histogram per data set, added up."""
        having = self.dict_dataset_indexlist_for_bkg_models[key]
        given = dataspace_histogram_list
        return float(sum(self.dataset[i].calc_bkg_model_product(key, given[i]) for i in having))


def _summed(histograms: Sequence[Any]) -> Any:
    first, *others = histograms
    for histogram in others:
        first = first + histogram
    return first
