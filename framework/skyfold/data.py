"""What an algorithm may know of an instrument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from skyfold.dataspace import DataSpace
from skyfold.errors import DataError
from skyfold.geometry import Geometry, Grid, Normalisations
from skyfold.likelihood import Likelihood, Poisson
from skyfold.model import Component
from skyfold.response import Response, as_response
from skyfold.vector import Array, Vector


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


@dataclass(frozen=True)
class Check:
    """One thing that was looked at when the data were opened.

    Parameters
    ----------
    level
        ``ok``, ``fixed`` (put right, and said) or ``warning``.
    subject
        What was looked at: counts, psf, exposure, ...
    message
        What was found, in one sentence.
    """

    level: str
    subject: str
    message: str


@dataclass(frozen=True)
class Origin:
    """Where data come from: for people, reports and files, never for the numbers.

    Parameters
    ----------
    name
        Name of the data set.
    instrument
        Name of the instrument that opened it.
    files
        Role and path of each input file.
    checks
        What was looked at on opening.
    geometry
        Places of the counts, if they form an image.
    header
        FITS cards to hand on to the results.
    options
        What the instrument was asked for, so that the data can be opened again; empty if they were
        changed since.
    remedy
        What to do about counts that nothing can make.
    advice
        What to do with such data when nobody says otherwise: ``method`` with its options, and
        ``iterations``, as in a configuration.
    """

    name: str = "data"
    instrument: str = ""
    files: tuple[tuple[str, str], ...] = ()
    checks: tuple[Check, ...] = ()
    geometry: Geometry | None = None
    header: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = "Mask these bins, or add a background"
    advice: Mapping[str, Any] = field(default_factory=dict)


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
        """Draw which value of which component each count came from."""

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


class BinnedData(DataInterface):
    """Binned counts: ``counts ~ Poisson(w . sum over components of R_c x_c)``.

    Parameters
    ----------
    counts
        Counts, any shape.
    responses
        For each component a `Response`, or an array shaped like the counts: a background
        template, whose normalisation is the component.
    weight
        One weight per bin: a data mask (0, 1), a thinning (1 - f), a subset; ones by default.
    likelihood
        How an expectation is judged.
    components
        What is particular to a component: geometry, unit, whether it is fixed. Skies on a plain
        grid and fitted normalisations by default.
    origin
        Where the data come from.
    dtype
        float64, or float32 where that was found to be enough.

    Raises
    ------
    DataError
        If counts are negative or not finite, or shapes disagree.
    """

    def __init__(
        self,
        counts: Any,
        responses: Mapping[str, Response | Array],
        weight: Array | None = None,
        *,
        likelihood: Likelihood | None = None,
        components: Mapping[str, Component] | None = None,
        origin: Origin | None = None,
        dtype: Any = np.float64,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.full_counts = np.ascontiguousarray(counts, dtype=self.dtype)
        self.shape = self.full_counts.shape
        self.weight: Array = (
            np.broadcast_to(np.ones((), self.dtype), self.shape)  # takes no memory
            if weight is None
            else np.ascontiguousarray(weight, self.dtype)
        )
        if self.weight.shape != self.shape:
            raise DataError(f"weight has shape {self.weight.shape}, the counts {self.shape}")
        _require_counts(self.full_counts, self.weight)
        self.likelihood = likelihood or Poisson()
        self.origin = origin or Origin()
        self.parts = (self,)

        whole = {name: as_response(given, self.shape, name) for name, given in responses.items()}
        # the heaviest comes last: it alone is fused with the back-projection
        self.whole = dict(sorted(whole.items(), key=lambda item: np.prod(item[1].model_shape)))
        given = components or {}
        self.components = {
            name: given.get(name) or _default_component(response)
            for name, response in self.whole.items()
        }
        for name, response in self.whole.items():
            if self.components[name].geometry.shape != response.model_shape:
                raise DataError(
                    f"component {name!r}: its geometry has shape "
                    f"{self.components[name].geometry.shape}, the response takes "
                    f"{response.model_shape}"
                )
        self._select()

    def _select(self) -> None:
        """Choose the bins that the products visit: those with counts, unless that is most."""
        held = (self.full_counts > 0) & (self.weight > 0)
        *_, heaviest = self.whole.values()
        always = heaviest.rows_pay_below >= 1  # rows are then what is held in memory
        if not self.likelihood.sparse:
            held = np.ones(self.shape, bool)
        if not always and np.count_nonzero(held) > heaviest.rows_pay_below * held.size:
            self.bins, self.responses = None, self.whole
            self.counts = np.where(self.weight > 0, self.full_counts, 0).ravel()
            self._seen_weight = self.weight.ravel()
        else:
            self.bins = np.flatnonzero(held)
            self.responses = {name: r.rows(self.bins) for name, r in self.whole.items()}
            self.counts, self._seen_weight = self.full_counts[held], self.weight[held]
        self._accuracy = max(r.accuracy for r in self.responses.values())

    @cached_property
    def sensitivity(self) -> Vector:  # type: ignore[override]
        """Expected counts per unit of each value; zero where it is no more than rounding noise."""
        return Vector({name: self._sensitivity_of(r) for name, r in self.whole.items()})

    def _sensitivity_of(self, response: Response) -> Array:
        made = response.sensitivity(self.weight)
        noise = response.accuracy * float(np.max(made, initial=0.0))
        return np.ascontiguousarray(np.where(made <= noise, 0, made), self.dtype)

    def forward(self, values: Mapping[str, Array]) -> Expectation:
        """Return the expected counts of the components given."""
        parts = [r.forward(values[n]).ravel() for n, r in self.responses.items() if n in values]
        observed = sum(parts[1:], parts[0]) if parts else np.zeros(self.counts.size, self.dtype)
        return self._expectation(observed.astype(self.dtype, copy=False), values)

    def adjoint(self, weights: Array) -> Vector:
        """Return R^T w, for one weight per bin seen."""
        return Vector({name: self._adjoint_of(name, weights) for name in self.responses})

    def e_step(self, values: Mapping[str, Array]) -> EStep:
        """Return the E-step, the heaviest component fused with the back-projection."""
        if not isinstance(self.likelihood, Poisson):
            return super().e_step(values)
        *light, heavy = self.responses
        others = self.forward(Vector(values).only(frozenset(light))).observed if light else None
        observed, back, fit = self.responses[heavy].e_step(values[heavy], self.counts, others)
        expectation = self._expectation(observed, values)
        backs = {heavy: np.ascontiguousarray(back, self.dtype)}
        if light:
            ratio, _ = self._evaluate(expectation)
            backs |= {n: self._adjoint_of(n, ratio) for n in light}
        return EStep(expectation, Vector(backs), fit - expectation.total)

    def back_project(self, expectation: Expectation) -> EStep:
        """Return the E-step of a model whose expectation is known."""
        ratio, log_likelihood = self._evaluate(expectation)
        return EStep(expectation, self.adjoint(ratio), log_likelihood)

    def attribute(self, values: Mapping[str, Array], rng: np.random.Generator) -> EStep:
        """Draw component by component with binomials, then value by value."""
        parts = {n: np.maximum(r.forward(values[n]).ravel(), 0) for n, r in self.responses.items()}
        observed = sum(parts.values())
        left, rest = self.counts.astype(np.int64), np.array(observed)
        drawn: dict[str, Array] = {}
        for name, response in self.responses.items():
            last = len(drawn) == len(parts) - 1
            chance = np.clip(parts[name] / np.maximum(rest, np.finfo(float).tiny), 0, 1)
            mine = left if last else rng.binomial(left, chance)
            drawn[name] = response.attribute(values[name], mine.reshape(response.data_shape), rng)
            left, rest = left - mine, rest - parts[name]
        expectation = self._expectation(np.asarray(observed), values)
        return EStep(expectation, Vector(drawn), self.log_likelihood(expectation))

    def log_likelihood(self, expectation: Expectation) -> float:
        """Return the log-likelihood, up to a constant of the data."""
        return self._evaluate(expectation)[1]

    def along(
        self, here: Expectation, direction: Expectation, step: float
    ) -> tuple[float, float, float]:
        """Return value, slope and bend of the log-likelihood at ``here + step * direction``."""
        return self.likelihood.along(
            self.counts,
            (here.observed, direction.observed),
            self._seen_weight,
            (here.total, direction.total),
            step,
            self._accuracy,
        )

    def curvature(self, expectation: Expectation) -> Array:
        """Return minus the second derivative of the log-likelihood by each bin's expectation."""
        return self.likelihood.curvature(
            self.counts, expectation.observed, self._seen_weight, self._accuracy
        )

    @property
    def parameters(self) -> Vector:
        """What the responses depend on besides the model, by component."""
        held = {name: response.parameters for name, response in self.whole.items()}
        return Vector({name: value for name, value in held.items() if value is not None})

    def at(self, parameters: Mapping[str, Array]) -> BinnedData:
        """Return the same counts seen with other parameters; absent names keep theirs."""
        if not parameters:
            return self
        other = {n: r.at(parameters[n]) if n in parameters else r for n, r in self.whole.items()}
        origin = replace(self.origin, options={})
        return self._through(other, components=self.components, origin=origin)

    def tangent(self, values: Mapping[str, Array], suffix: str = "") -> BinnedData:
        """Return the same counts as a linear problem in the parameters, by component."""
        tangents = {n + suffix: self.whole[n].tangent(values[n]) for n in self.parameters}
        components = {n: _default_component(response) for n, response in tangents.items()}
        return self._through(tangents, components=components)

    def _through(self, whole: dict[str, Response], **changes: Any) -> BinnedData:
        """Return the same bins seen through other responses."""
        seen = whole if self.bins is None else {n: r.rows(self.bins) for n, r in whole.items()}
        same = self._described(whole=whole, responses=seen, **changes)
        same._accuracy = max([self._accuracy, *(r.accuracy for r in seen.values())])
        vars(same).pop("sensitivity", None)
        return same

    @property
    def complete(self) -> bool:
        """Whether every bin that a photon could fall into is here: event lists are not."""
        return all(response.complete for response in self.whole.values())

    def full_expectation(self, values: Mapping[str, Array]) -> Array:
        """Return the expected counts of all bins, shaped like the counts, masked ones included."""
        total = np.zeros(self.shape)
        for name, response in self.whole.items():
            total += response.forward(values[name])
        return np.maximum(total, 0, out=total)

    def require_explained(self, expectation: Expectation) -> None:
        """Refuse counts in bins that neither response nor background can reach."""
        noise = self._accuracy * float(np.max(expectation.observed, initial=0.0))
        lost = np.flatnonzero((self.counts > 0) & ~(expectation.observed > noise))
        if lost.size:
            first = int(lost[0] if self.bins is None else self.bins[lost[0]])
            raise DataError(
                f"{self.origin.name}: {lost.size} bins hold {self.counts[lost].sum():g} counts, "
                "but neither response nor background can produce any there; first at "
                f"{self._place_of(first)}. {self.origin.remedy}"
            )

    def _place_of(self, bin_: int) -> str:
        place = [int(i) for i in np.unravel_index(bin_, self.shape)]
        if isinstance(self.origin.geometry, DataSpace):
            axes = self.origin.geometry.axes
            return ", ".join(f"{a.label}={i}" for a, i in zip(axes, place, strict=True))
        order = "x, y" if len(place) == 2 else "last axis first"
        return f"({', '.join(map(str, place[::-1]))}) ({order})"

    def with_likelihood(self, likelihood: Likelihood) -> BinnedData:
        """Return the same data judged by another likelihood."""
        return self._copy(likelihood=likelihood)

    def with_counts(self, counts: Array) -> BinnedData:
        """Return other counts seen through the same responses: a simulation, a bootstrap."""
        return self._copy(counts, origin=replace(self.origin, options={}))

    def with_origin(self, **changes: Any) -> BinnedData:
        """Return the same data with another description."""
        return self._described(origin=replace(self.origin, **changes))

    def with_components(self, **components: Component) -> BinnedData:
        """Return the same data with other starts, masks or bounds of some components."""
        return self._described(components={**self.components, **components})

    def _described(self, **changes: Any) -> BinnedData:
        """Return a copy that shares all that is costly."""
        same = copy(self)
        vars(same).update(changes, parts=(same,))
        return same

    @property
    def divisions(self) -> int:
        """Into how many parts the bins of the heaviest response can be divided."""
        *_, heaviest = self.responses.values()
        return heaviest.divisions

    def split(self, k: int) -> list[DataInterface]:
        """Return ``k`` parts: each has some of the bins with counts, and its share of the rest."""
        from skyfold.subsets import split

        return list(split(self, k))

    def folds(self, k: int, rng: np.random.Generator) -> Iterator[tuple[BinnedData, BinnedData]]:
        """Divide the photons at random into k parts; yield all but one, and that one, in turn."""
        whole = np.rint(self.counts)
        if np.any(whole != self.counts):
            raise DataError(
                f"{self.origin.name}: the counts are not whole numbers, so they cannot be divided "
                "photon by photon; say how many iterations, or how strong a prior, instead"
            )
        left = whole.astype(np.int64)
        for i in range(k):
            held = rng.binomial(left, 1 / (k - i))
            left -= held
            unseen = Recounted(self, held, 1 / k)
            unseen.likelihood = Poisson()
            yield Recounted(self, whole - held, 1 - 1 / k), unseen

    def resample(self, rng: np.random.Generator) -> BinnedData:
        """Return a bootstrap sample: each bin drawn from a Poisson law around its own counts."""
        return Recounted(self, rng.poisson(self.counts), 1.0)

    def _copy(self, counts: Array | None = None, **changes: Any) -> BinnedData:
        same: dict[str, Any] = {
            "weight": self.weight,
            "likelihood": self.likelihood,
            "components": self.components,
            "origin": self.origin,
            "dtype": self.dtype,
        }
        counts = self.full_counts if counts is None else counts
        return BinnedData(counts, self.whole, **{**same, **changes})

    def _expectation(self, observed: Array, values: Mapping[str, Array]) -> Expectation:
        return Expectation(observed, np.array([self.sensitivity.dot(values)]))

    def _evaluate(self, expectation: Expectation) -> tuple[Array, float]:
        return self.likelihood.evaluate(
            self.counts, expectation.observed, self._seen_weight, expectation.total, self._accuracy
        )

    def _adjoint_of(self, name: str, weights: Array) -> Array:
        response = self.responses[name]
        back = response.adjoint(weights.reshape(response.data_shape))
        return np.ascontiguousarray(back, self.dtype)


class Recounted(BinnedData):
    """Other counts in the bins that a data set visits, by a part of its exposure.

    Responses are shared, and what would be large is made only when it is asked for.
    """

    def __init__(self, whole: BinnedData, counts: Array, share: float) -> None:
        vars(self).update(vars(whole))
        vars(self).pop("weight", None)
        vars(self).pop("full_counts", None)
        self.origin, self.parts = replace(whole.origin, options={}), (self,)
        self._whole, self._share = whole, self.dtype.type(share)
        self.counts = counts.astype(self.dtype)
        self._seen_weight = whole._seen_weight * self._share
        self.sensitivity = whole.sensitivity * share

    @cached_property
    def full_counts(self) -> Array:  # type: ignore[override]
        """Counts of all bins."""
        full = np.zeros(self.shape, self.dtype)
        full.flat[slice(None) if self.bins is None else self.bins] = self.counts
        return full

    @cached_property
    def weight(self) -> Array:  # type: ignore[override]
        """One weight per bin."""
        return np.asarray(self._whole.weight * self._share)


def _default_component(response: Response) -> Component:
    """Take a response of one value for a normalisation, any other for a plain sky."""
    if response.model_shape == (1,):
        return Component(Normalisations())
    return Component(Grid(response.model_shape))


def _require_counts(counts: Array, weight: Array) -> None:
    bad = ~np.isfinite(counts) | (counts < 0)
    bad &= weight > 0
    if np.any(bad):
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{np.count_nonzero(bad)} bins have negative or non-finite counts, first "
            f"{counts[first]:g} at index {first}; mask them, or give raw counts"
        )
