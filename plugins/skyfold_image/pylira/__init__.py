"""Deconvolution with the classes of Pylira, by the samplers of skyfold.

Write ``skyfold_image.pylira`` for ``pylira`` in the import lines, and a script runs. The image is
square, 2^L pixels wide, and light that leaves it at one edge comes back at the opposite one, as in
Pylira; everything else offers more under ``skyfold.run(..., method="lira")``: any size, several
chains, any instrument.
"""

from skyfold_image.pylira.deconvolver import LIRADeconvolver
from skyfold_image.pylira.result import LIRADeconvolverResult
from skyfold_image.pylira.significance import LIRASignificanceEstimator

__all__ = ["LIRADeconvolver", "LIRADeconvolverResult", "LIRASignificanceEstimator"]
