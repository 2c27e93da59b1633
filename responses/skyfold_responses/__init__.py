"""Linear operators: from a sky to expected counts. They know no instrument."""

from skyfold_responses.image import BlockSum
from skyfold_responses.psf import Psf

__all__ = ["BlockSum", "Psf"]
