"""Total squared variation: neighbours are alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from skyfold.priors.pairs import Pairs
from skyfold.priors.pairwise import Squares


@dataclass(frozen=True)
class TotalSquaredVariation(Squares):
    """Draw neighbouring pixels together: ``-c sum_i sum_m (x_i - x_m)^2``, m the neighbours of i.

    A pixel has up to eight neighbours, diagonal ones with the same weight; every pair enters
    twice. Energies are independent. Concave.

    Parameters
    ----------
    coefficient
        Strength c, per squared unit of the component.
    components
        Names of the components; by default all skies.
    """

    coefficient: Annotated[float, Field(ge=0)]
    components: tuple[str, ...] | None = None

    def weight(self, pairs: Pairs) -> float:
        """Return 2: every pair enters twice."""
        return 2.0
