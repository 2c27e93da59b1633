"""The classes under the name of the subpackage that holds them in Pylira."""

from skyfold_image.pylira import (
    LIRADeconvolver,
    LIRADeconvolverResult,
    LIRASignificanceEstimator,
)

__all__ = ["LIRADeconvolver", "LIRADeconvolverResult", "LIRASignificanceEstimator"]
