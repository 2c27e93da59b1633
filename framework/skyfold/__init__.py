"""From photon counts to images, for every instrument.

>>> import skyfold
>>> data = skyfold.read("counts.fits", psf="psf.fits")        # doctest: +SKIP
>>> result = skyfold.run(data, method="rl", iterations=100)   # doctest: +SKIP
>>> result.write("out")                                       # doctest: +SKIP

Names are imported when they are first used, so that ``import skyfold`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skyfold.algorithm import Algorithm, Proposal, Refinement, State
    from skyfold.binned import BinnedData
    from skyfold.data import DataInterface, Expectation
    from skyfold.geometry import Grid, Normalisations
    from skyfold.heldout import HeldOut
    from skyfold.hooks import hookimpl
    from skyfold.joint import JointData
    from skyfold.likelihood import Damped, Likelihood, Poisson
    from skyfold.matrices import Matrix, Template
    from skyfold.methods import Method
    from skyfold.model import Component, Model
    from skyfold.observers import Observer
    from skyfold.origin import Check, Origin
    from skyfold.pixels import Diagonal
    from skyfold.priors import Prior
    from skyfold.response import Response, check_adjoint
    from skyfold.result import Result
    from skyfold.runner import iterate, read, resume, run
    from skyfold.runner import open as open
    from skyfold.sphere import Sphere
    from skyfold.stopping import (
        DeltaLogLikelihood,
        DeltaLogPosterior,
        Discrepancy,
        MaxIterations,
        RelativeGap,
        StoppingRule,
        WallTime,
    )
    from skyfold.vector import Array, Vector

_HOMES = {
    "algorithm": ("Algorithm", "Proposal", "Refinement", "State"),
    "binned": ("BinnedData",),
    "data": ("DataInterface", "Expectation"),
    "geometry": ("Grid", "Normalisations"),
    "heldout": ("HeldOut",),
    "hooks": ("hookimpl",),
    "joint": ("JointData",),
    "likelihood": ("Damped", "Likelihood", "Poisson"),
    "matrices": ("Matrix", "Template"),
    "methods": ("Method",),
    "model": ("Component", "Model"),
    "observers": ("Observer",),
    "origin": ("Check", "Origin"),
    "pixels": ("Diagonal",),
    "priors": ("Prior",),
    "response": ("Response", "check_adjoint"),
    "result": ("Result",),
    "runner": ("iterate", "open", "read", "resume", "run"),
    "sphere": ("Sphere",),
    "stopping": (
        "DeltaLogLikelihood",
        "DeltaLogPosterior",
        "Discrepancy",
        "MaxIterations",
        "RelativeGap",
        "StoppingRule",
        "WallTime",
    ),
    "vector": ("Array", "Vector"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Algorithm",
    "Array",
    "BinnedData",
    "Check",
    "Component",
    "Damped",
    "DataInterface",
    "DeltaLogLikelihood",
    "DeltaLogPosterior",
    "Diagonal",
    "Discrepancy",
    "Expectation",
    "Grid",
    "HeldOut",
    "JointData",
    "Likelihood",
    "Matrix",
    "MaxIterations",
    "Method",
    "Model",
    "Normalisations",
    "Observer",
    "Origin",
    "Poisson",
    "Prior",
    "Proposal",
    "Refinement",
    "RelativeGap",
    "Response",
    "Result",
    "Sphere",
    "State",
    "StoppingRule",
    "Template",
    "Vector",
    "WallTime",
    "check_adjoint",
    "hookimpl",
    "iterate",
    "read",
    "resume",
    "run",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("skyfold")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'skyfold' has no attribute {name!r}")
    return getattr(import_module(f"skyfold.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "open", "__version__"]  # a star import leaves Python's own open alone
