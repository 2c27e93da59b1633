"""What skyfold itself offers, announced like any plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyfold.hooks import hookimpl

if TYPE_CHECKING:
    from skyfold.registry import Registry


@hookimpl
def skyfold_register(registry: Registry) -> None:
    """Offer the algorithms, methods, refinements and stopping rules of the framework."""
    registry.methods.add("rl", "skyfold.methods.rl:RL")
    registry.algorithms.add("richardson-lucy", "skyfold.algorithms.richardson_lucy:RichardsonLucy")
    for name, entry in {
        "response_weighting": "ResponseWeighting",
        "smoothing": "Smoothing",
        "acceleration": "Acceleration",
        "floor": "Floor",
        "sky_mask": "Mask",
    }.items():
        registry.refinements.add(name, f"skyfold.refinements:{entry}")
    for name, entry in {
        "iterations": "MaxIterations",
        "wall_time": "WallTime",
        "delta_log_likelihood": "DeltaLogLikelihood",
    }.items():
        registry.stopping_rules.add(name, f"skyfold.stopping:{entry}")
