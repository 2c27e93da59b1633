"""What skyfold itself offers, announced like any plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyfold.hooks import hookimpl

if TYPE_CHECKING:
    from skyfold.registry import Registry


@hookimpl
def skyfold_register(registry: Registry) -> None:
    """Offer the algorithms, methods, refinements, priors and rules of the framework."""
    registry.methods.add("rl", "skyfold.methods.rl:RL")
    registry.methods.add("blind", "skyfold.methods.blind:Blind")
    registry.methods.add("ml", "skyfold.methods.ml:ML")
    registry.methods.add("lira", "skyfold.methods.lira:LIRA")
    registry.methods.add("lira-mode", "skyfold.methods.lira:LIRAMode")
    registry.methods.add("map", "skyfold.methods.map:MAP")
    registry.methods.add("two-channel", "skyfold.methods.two_channel:TwoChannel")
    registry.methods.add("plucy", "skyfold.methods.plucy:PLUCY")
    registry.methods.add("coadd", "skyfold.methods.coadd:Coadd")
    registry.algorithms.add("richardson-lucy", "skyfold.algorithms.richardson_lucy:RichardsonLucy")
    registry.algorithms.add("blind", "skyfold.algorithms.blind:Blind")
    registry.algorithms.add("gibbs", "skyfold.algorithms.gibbs:Gibbs")
    registry.algorithms.add("law-em", "skyfold.algorithms.law_em:LawEM")
    registry.algorithms.add("em-pcg", "skyfold.algorithms.em_pcg:EMConjugateGradient")
    registry.algorithms.add("momentum-em", "skyfold.algorithms.momentum_em:MomentumEM")
    registry.algorithms.add("one-step-late", "skyfold.algorithms.one_step_late:OneStepLate")
    registry.algorithms.add("sgp", "skyfold.algorithms.sgp:ScaledGradientProjection")
    registry.algorithms.add("ordered-subsets", "skyfold.algorithms.ordered_subsets:OrderedSubsets")
    registry.algorithms.add("plucy", "skyfold.algorithms.plucy:Plucy")
    registry.algorithms.add("coadd", "skyfold.algorithms.coadd:Coadd")
    registry.algorithms.add("lbfgs", "skyfold.algorithms.lbfgs:LBFGS")
    for name, entry in {
        "response_weighting": "ResponseWeighting",
        "smoothing": "Smoothing",
        "acceleration": "Acceleration",
        "floor": "Floor",
        "sky_mask": "Mask",
    }.items():
        registry.refinements.add(name, f"skyfold.refinements:{entry}")
    for name, entry in {
        "tsv": "total_squared_variation:TotalSquaredVariation",
        "gamma": "gamma:Gamma",
        "gamma_background": "gamma:GammaBackground",
        "entropy": "entropy:Entropy",
        "relative_difference": "relative_difference:RelativeDifference",
        "huber": "huber:Huber",
        "log_smoothness": "log_smoothness:LogSmoothness",
        "log_blur": "log_blur:LogBlur",
        "dirichlet": "dirichlet:Dirichlet",
    }.items():
        registry.priors.add(name, f"skyfold.priors.{entry}")
    for name, entry in {
        "iterations": "MaxIterations",
        "wall_time": "WallTime",
        "delta_log_likelihood": "DeltaLogLikelihood",
        "delta_log_posterior": "DeltaLogPosterior",
        "discrepancy": "Discrepancy",
        "chi_square": "ChiSquare",
        "relative_gap": "RelativeGap",
    }.items():
        registry.stopping_rules.add(name, f"skyfold.stopping:{entry}")
    registry.stopping_rules.add("mixed", "skyfold.sampling.chains.mixing:Mixed")
    registry.stopping_rules.add("held_out", "skyfold.heldout:HeldOut")
    registry.commands.add("structure", "skyfold.sampling.structure.structure_command:structure")
