"""Richardson-Lucy as published, hook by hook."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np
from histpy import Histogram

from skyfold_cosi.cosipy.algorithm import DeconvolutionAlgorithmBase
from skyfold_cosi.cosipy.model import with_numbers
from skyfold_cosi.cosipy.numbers import numbers
from skyfold_cosi.cosipy.results import Row
from skyfold_cosi.cosipy.saving import save_results
from skyfold_cosi.cosipy.settings import settings
from skyfold_cosi.published import largest_factor

log = logging.getLogger(__name__)


class RichardsonLucySimple(DeconvolutionAlgorithmBase):
    """Richardson-Lucy with response weighting, floor, mask and background normalisations.

    Parameters
    ----------
    initial_model, dataset, mask, parameter
        As for the base class. Parameters of every generation are understood; one that none of them
        knows is refused, unless a subclass has parameters of its own.
    """

    algorithm: ClassVar[str] = "RLsimple"
    saved: ClassVar[tuple[str, ...]] = ("model", "delta_model")

    def __init__(
        self, initial_model: Any, dataset: Sequence[Any], mask: Any, parameter: Any
    ) -> None:
        super().__init__(initial_model, dataset, mask, parameter)
        own = "algorithm" not in vars(type(self))  # a subclass may have parameters of its own
        found = settings(self.algorithm, parameter, strict=not own)
        self.settings = found
        self.do_bkg_norm_optimization = found.fit_background
        self.dict_bkg_norm_range = {key: found.range_of(key) for key in self.dict_bkg_norm}
        self.do_response_weighting = found.weighting is not None
        self.response_weighting_index = found.weighting
        self.save_results = found.folder is not None
        self.save_results_directory = str(found.folder or "./results")
        self.save_only_final_result = found.only_final_result

    def initialization(self) -> None:
        """Begin anew with the initial model; pixels without exposure are masked."""
        self.iteration_count = 0
        self.results.clear()
        self.dict_bkg_norm = dict.fromkeys(self.dict_bkg_norm, 1.0)
        self.model = deepcopy(self.initial_model)
        self.summed_exposure_map = self.calc_summed_exposure_map()
        exposure = numbers(self.summed_exposure_map)
        if self.mask is None and np.any(exposure == 0):
            self.mask = Histogram(self.model.axes, contents=exposure > 0)
            self.model = self.model.mask_pixels(self.mask)
            log.info("pixels without exposure are masked")
        if self.do_response_weighting:
            weights = (exposure / np.max(exposure)) ** self.response_weighting_index
            self.response_weighting_filter = weights
        if self.do_bkg_norm_optimization:
            self.dict_summed_bkg_model = {
                key: self.calc_summed_bkg_model(key) for key in self.dict_bkg_norm
            }

    def pre_processing(self) -> None:
        """Do nothing."""

    def Estep(self) -> None:
        """Set the expected counts of the model."""
        self.expectation_list = self.calc_expectation_list(self.model, self.dict_bkg_norm)

    def Mstep(self) -> None:
        """Set the step of the model, and the new normalisations, both from the same expectation."""
        ratio_list = self.calc_ratio_list()
        self.delta_model = self.masked(
            with_numbers(self.model, numbers(self.model) * (self.calc_gain(ratio_list) - 1))
        )
        if self.do_bkg_norm_optimization:
            for key, norm in self.dict_bkg_norm.items():
                product = self.calc_summed_bkg_model_product(key, ratio_list)
                self.set_bkg_norm(key, norm * (product / self.dict_summed_bkg_model[key]))

    def post_processing(self) -> None:
        """Add the step to the model, weighted if asked."""
        step = numbers(self.delta_model)
        if self.do_response_weighting:
            step = step * self.response_weighting_filter
        self.move(step)

    def register_result(self) -> None:
        """Append iteration, model, step and normalisations to the results."""
        self.results.append(
            Row(
                iteration=self.iteration_count,
                model=deepcopy(self.model),
                delta_model=self.delta_model,
                background_normalization=dict(self.dict_bkg_norm),
            )
        )

    def check_stopping_criteria(self) -> bool:
        """Return whether the number of iterations is reached."""
        return bool(self.iteration_count >= self.iteration_max)

    def finalization(self) -> None:
        """Write the results, if asked."""
        if self.save_results:
            save_results(self)

    def calc_ratio_list(self) -> list[Any]:
        """Return counts over expected counts of each data set."""
        pairs = zip(self.dataset, self.expectation_list, strict=True)
        return [
            data.calc_ratio(expectation)
            if hasattr(data, "calc_ratio")
            else data.event / expectation
            for data, expectation in pairs
        ]

    def calc_gain(self, ratio_list: Sequence[Any]) -> Any:
        """Return what each value is multiplied with by EM; nothing is gained without exposure."""
        thrown = self.calc_summed_T_product(ratio_list)
        exposure = self.summed_exposure_map
        unit = getattr(exposure, "unit", None)
        above, below = numbers(thrown, unit), numbers(exposure)
        return np.divide(above, below, out=np.ones_like(below), where=below > 0)

    def set_bkg_norm(self, key: str, norm: float) -> None:
        """Set a normalisation, within its range."""
        low, high = self.dict_bkg_norm_range[key]
        self.dict_bkg_norm[key] = min(max(float(norm), low), high)

    def move(self, step: Any) -> None:
        """Add a step to the model, with floor and mask."""
        values = np.maximum(numbers(self.model) + step, self.floor)
        self.model = self.masked(with_numbers(self.model, values))

    def masked(self, model: Any) -> Any:
        """Return a model that is zero outside the mask."""
        return model if self.mask is None else model.mask_pixels(self.mask)

    @property
    def floor(self) -> float:
        """Smallest value, in the unit of the model."""
        unit = self.initial_model.unit
        return float(self.minimum_flux if unit is None else self.minimum_flux.to_value(unit))


class JudgedRichardsonLucy(RichardsonLucySimple):
    """Richardson-Lucy whose model is judged at the end of each iteration, and that may stop early.

    Parameters
    ----------
    initial_model, dataset, mask, parameter
        As for the base class.
    """

    def __init__(
        self, initial_model: Any, dataset: Sequence[Any], mask: Any, parameter: Any
    ) -> None:
        super().__init__(initial_model, dataset, mask, parameter)
        self.stopping_criteria_statistics = self.settings.statistics
        self.stopping_criteria_threshold = self.settings.threshold

    def initialization(self) -> None:
        """Begin anew, with the expected counts of the initial model."""
        super().initialization()
        self.expectation_list = self.calc_expectation_list(self.initial_model, self.dict_bkg_norm)

    def Estep(self) -> None:
        """Do nothing: `post_processing` has set the expected counts."""

    def judge(self) -> None:
        """Set expected counts and log-likelihoods of the model."""
        self.expectation_list = self.calc_expectation_list(self.model, self.dict_bkg_norm)
        self.log_likelihood_list = self.calc_log_likelihood_list(self.expectation_list)

    def check_stopping_criteria(self) -> bool:
        """Return whether the iterations are done, or the statistics rose by too little.

        The first iteration is never the last, as published; a fall is only told.
        """
        if self.iteration_count == 1:
            return False
        if self.iteration_count >= self.iteration_max:
            return True
        name, threshold = self.stopping_criteria_statistics, self.stopping_criteria_threshold
        now, before = (float(np.sum(row[name])) for row in self.results[:-3:-1])
        if now < before:
            log.warning("iteration %d: the %s fell", self.iteration_count, name)
            return False
        return threshold is not None and now - before < threshold


class RichardsonLucy(JudgedRichardsonLucy):
    """Richardson-Lucy with response weighting, smoothing in harmonics, and the longest step.

    Knoedlseder et al. 1999, A&A 345, 813; Knoedlseder et al. 2005, A&A 441, 513; Siegert et al.
    2020, ApJ 897, 45. The likelihood may fall: that is how it is published.

    Parameters
    ----------
    initial_model, dataset, mask, parameter
        As for the base class.
    """

    algorithm = "RL"
    saved = ("model", "delta_model", "processed_delta_model")

    def __init__(
        self, initial_model: Any, dataset: Sequence[Any], mask: Any, parameter: Any
    ) -> None:
        super().__init__(initial_model, dataset, mask, parameter)
        self.do_acceleration = self.settings.acceleration is not None
        self.alpha_max = self.settings.acceleration
        self.do_smoothing = self.settings.smoothing is not None
        self.smoothing_fwhm = self.settings.smoothing
        if self.stopping_criteria_statistics != "log-likelihood":
            raise ValueError("stopping_criteria:statistics: only log-likelihood is known to RL")

    def post_processing(self) -> None:
        """Weight, smooth and lengthen the step, add it, and judge the new model."""
        step = deepcopy(self.delta_model)
        if self.do_response_weighting:
            step = with_numbers(step, numbers(step) * self.response_weighting_filter)
        if self.do_smoothing:
            step = step.smoothing(fwhm=self.smoothing_fwhm)
        self.processed_delta_model = step
        self.alpha = self.calc_alpha(step, self.model) if self.do_acceleration else 1.0
        self.move(numbers(step) * float(self.alpha))
        self.judge()

    def register_result(self) -> None:
        """Append a row to the results: also the treated step, its factor and the likelihoods."""
        super().register_result()
        self.results[-1].update(
            {
                "processed_delta_model": self.processed_delta_model,
                "alpha": float(self.alpha),
                "log-likelihood": self.log_likelihood_list,
            }
        )

    def calc_alpha(self, delta_model: Any, model: Any) -> float:
        """Return the largest factor of a step that keeps all values positive.

        Parameters
        ----------
        delta_model
            The step.
        model
            The model before it.
        """
        inside = True if self.mask is None else np.asarray(self.mask.contents, bool)
        assert self.alpha_max is not None
        return largest_factor(numbers(model), numbers(delta_model), inside, self.alpha_max)
