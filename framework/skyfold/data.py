"""What an algorithm may know of an instrument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skyfold.likelihood import Likelihood
from skyfold.model import Component
from skyfold.origin import Check
from skyfold.vector import Array, Vector

if TYPE_CHECKING:
    from skyfold.binned import BinnedData


@dataclass(frozen=True)
class Expectation:
    """Expected counts: on the observed bins, and their weighted total over all bins.

    It is linear in the model, so trial steps along a direction cost no response product.

    Parameters
    ----------
    observed
        Expected counts of the bins that the products visit, flat.
    totals
        Weighted total over all bins, one for each observation.
    """

    observed: Array
    totals: Array

    @property
    def total(self) -> float:
        """Weighted total over all bins of all observations."""
        return float(np.sum(self.totals))

    def __add__(self, other: Expectation) -> Expectation:
        return Expectation(self.observed + other.observed, self.totals + other.totals)

    def __mul__(self, factor: float) -> Expectation:
        return Expectation(self.observed * self.observed.dtype.type(factor), self.totals * factor)


class EStep(NamedTuple):
    """What a model says of the counts.

    Attributes
    ----------
    expectation
        Expected counts.
    back
        R^T q with q the slope of the log-likelihood (n/e for Poisson), per component; or the
        counts that a sampler attributed to each value.
    log_likelihood
        Log-likelihood, up to a constant of the data.
    """

    expectation: Expectation
    back: Vector
    log_likelihood: float


class DataInterface(ABC):
    """Counts, and the linear map from the components of a model to expected counts.

    Attributes
    ----------
    counts
        Counts of the bins seen by the products, flat: all bins with counts are among them.
    components
        The components that the data respond to.
    sensitivity
        R^T w over all bins: expected counts per unit of each value.
    dtype
        Type of all arrays handed in and out.
    parts
        The observations it is made of; itself, if it is one.
    """

    counts: Array
    components: Mapping[str, Component]
    sensitivity: Vector
    dtype: np.dtype[Any]
    parts: tuple[BinnedData, ...]

    @property
    @abstractmethod
    def parameters(self) -> Vector:
        """What the responses depend on besides the model, by name (see `Response.parameters`)."""

    @abstractmethod
    def at(self, parameters: Mapping[str, Array]) -> DataInterface:
        """Return the same counts seen with other parameters; absent names keep theirs."""

    @abstractmethod
    def tangent(self, values: Mapping[str, Array], suffix: str = "") -> DataInterface:
        """Return the same counts as a linear problem in the parameters, at a model held fixed.

        Its components are the parameters, its responses the tangents at ``values``; components
        without parameters have no part in it. The suffix stands behind the names.
        """

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was looked at when the data were opened."""
        return tuple(check for part in self.parts for check in part.origin.checks)

    def __repr__(self) -> str:
        seen = ", ".join(f"{p.origin.name} {p.shape}" for p in self.parts)
        return f"<{type(self).__name__}: {seen}; components {', '.join(self.components)}>"

    @abstractmethod
    def forward(self, values: Mapping[str, Array]) -> Expectation:
        """Return the expected counts of the components given."""

    @abstractmethod
    def adjoint(self, weights: Array) -> Vector:
        """Return R^T w, for one weight per bin seen."""

    @abstractmethod
    def back_project(self, expectation: Expectation) -> EStep:
        """Return the E-step of a model whose expectation is known."""

    def e_step(self, values: Mapping[str, Array]) -> EStep:
        """Return the E-step of a model: forward and adjoint, in one pass where the response can."""
        return self.back_project(self.forward(values))

    @abstractmethod
    def attribute(self, values: Mapping[str, Array], rng: np.random.Generator) -> EStep:
        """Draw which value of which component each count came from.

        Components that are fixed may be left out; the expectation may be left at zero in bins
        without counts.

        Raises
        ------
        DataError
            If the counts are not whole numbers, or no value can make some of them.
        """

    @abstractmethod
    def log_likelihood(self, expectation: Expectation) -> float:
        """Return the log-likelihood, up to a constant of the data."""

    @abstractmethod
    def along(
        self, here: Expectation, direction: Expectation, step: float
    ) -> tuple[float, float, float]:
        """Return value, slope and bend of the log-likelihood at ``here + step * direction``.

        The slope is its derivative by the step, the bend minus the second one; see
        `Likelihood.along`.
        """

    @abstractmethod
    def curvature(self, expectation: Expectation) -> Array:
        """Return minus the second derivative of the log-likelihood by each bin's expectation."""

    def hessian(self, expectation: Expectation, values: Mapping[str, Array]) -> Vector:
        """Return the observed information times ``values``: R^T (n/e^2 . R x), one product."""
        return self.adjoint(self.curvature(expectation) * self.forward(values).observed)

    @abstractmethod
    def require_explained(self, expectation: Expectation) -> None:
        """Refuse counts that no model can make.

        Raises
        ------
        DataError
            If a bin holds counts where nothing is expected of any sky or background.
        """

    @abstractmethod
    def with_likelihood(self, likelihood: Likelihood) -> DataInterface:
        """Return the same data judged by another likelihood."""

    @property
    @abstractmethod
    def divisions(self) -> int:
        """Into how many parts it can be split that cost about their share of a product."""

    @abstractmethod
    def split(self, k: int) -> list[DataInterface]:
        """Return ``k`` parts whose log-likelihoods, counts and sensitivities add up.

        Each has about the same counts, which are what the fit expects, from all over the data.
        """

    @abstractmethod
    def folds(
        self, k: int, rng: np.random.Generator
    ) -> Iterator[tuple[DataInterface, DataInterface]]:
        """Divide the photons at random into k parts; yield all but one, and that one, in turn.

        Poisson counts divided photon by photon are independent Poisson counts, each of a part of
        the exposure. All see the same bins through the same responses: an expectation of what
        was kept, divided by ``k - 1``, judges what was held out without a product. What was held
        out is judged by the plain Poisson likelihood.

        Raises
        ------
        DataError
            If the counts are not whole numbers.
        """

    @abstractmethod
    def resample(self, rng: np.random.Generator) -> DataInterface:
        """Return a bootstrap sample: each bin drawn from a Poisson law around its own counts."""
