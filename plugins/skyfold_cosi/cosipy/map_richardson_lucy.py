"""Richardson-Lucy with priors as published, hook by hook."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np
from histpy import Histogram

from skyfold.model import Component
from skyfold.priors import Prior
from skyfold.priors.gamma import Gamma
from skyfold.sphere import Sphere
from skyfold_cosi.cosipy.model import with_numbers
from skyfold_cosi.cosipy.numbers import numbers
from skyfold_cosi.cosipy.results import Row
from skyfold_cosi.cosipy.richardson_lucy import JudgedRichardsonLucy
from skyfold_cosi.published_priors import PublishedEntropy, PublishedGamma, PublishedVariation


class MAP_RichardsonLucy(JudgedRichardsonLucy):
    """One-step-late EM: gamma priors in closed form, all others as an exponential filter.

    Parameters
    ----------
    initial_model, dataset, mask, parameter
        As for the base class.
    """

    algorithm = "MAP_RL"
    saved = ("model", "prior_filter")
    prior_classes: ClassVar[dict[str, type[Prior]]] = {
        "TSV": PublishedVariation,
        "entropy": PublishedEntropy,
    }

    def __init__(
        self, initial_model: Any, dataset: Sequence[Any], mask: Any, parameter: Any
    ) -> None:
        super().__init__(initial_model, dataset, mask, parameter)
        given = self.settings.priors
        self.prior_gamma_model: Gamma = PublishedGamma(**given.get("published_gamma", {}))
        self.prior_gamma_bkg = Gamma(**given.get("gamma_background", {}))
        self.priors = {
            name: kind(**given[published])
            for name, kind in self.prior_classes.items()
            if (published := f"published_{name.lower()}") in given
        }
        sky = initial_model.axes[0]
        self.component = Component(Sphere(sky.nside, nested=sky.is_nested))

    def Mstep(self) -> None:
        """Set the next model and the new normalisations."""
        ratio_list = self.calc_ratio_list()
        old, exposure = numbers(self.model), numbers(self.summed_exposure_map)
        prior = self.prior_gamma_model
        below = exposure + 1 / prior.theta
        above = old * self.calc_gain(ratio_list) * exposure + prior.k - 1
        conjugate = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
        conjugate = np.maximum(conjugate, self.floor)
        slope = np.zeros_like(conjugate)
        for other in self.priors.values():
            slope += other.gradient(conjugate, self.component)
        slope = np.divide(slope, below, out=np.zeros_like(below), where=below > 0)
        self.prior_filter = Histogram(self.model.axes, contents=np.exp(slope))
        new = np.exp(slope) * conjugate
        if self.do_response_weighting:
            before = self.results[-1]["model"] if self.results else self.initial_model
            new = numbers(before) + self.response_weighting_filter * (new - numbers(before))
        masked = numbers(self.masked(with_numbers(self.model, new)))
        self.model = with_numbers(self.model, np.maximum(masked, self.floor))
        if self.do_bkg_norm_optimization:
            prior = self.prior_gamma_bkg
            for key, norm in self.dict_bkg_norm.items():
                raised = norm * self.calc_summed_bkg_model_product(key, ratio_list) + prior.k - 1
                total = self.dict_summed_bkg_model[key] + 1 / prior.theta
                self.set_bkg_norm(key, raised / total)

    def post_processing(self) -> None:
        """Judge the new model."""
        self.judge()
        values = numbers(self.model)
        norms = np.array(list(self.dict_bkg_norm.values()))
        fitted = self.do_bkg_norm_optimization and norms.size
        self.log_priors = {
            "gamma_model": self.prior_gamma_model.value(values, self.component),
            "gamma_bkg": self.prior_gamma_bkg.value(norms, self.component) if fitted else 0.0,
            **{key: prior.value(values, self.component) for key, prior in self.priors.items()},
        }
        self.log_posterior = float(np.sum(self.log_likelihood_list)) + sum(self.log_priors.values())

    def register_result(self) -> None:
        """Append a row to the results."""
        self.results.append(
            Row(
                {
                    "iteration": self.iteration_count,
                    "model": deepcopy(self.model),
                    "prior_filter": self.prior_filter,
                    "background_normalization": dict(self.dict_bkg_norm),
                    "log-likelihood": self.log_likelihood_list,
                    "log-prior": self.log_priors,
                    "log-posterior": self.log_posterior,
                }
            )
        )
