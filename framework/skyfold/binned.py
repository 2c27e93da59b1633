"""Counts in bins, and the responses of the components that make them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from skyfold._kernels import dot
from skyfold.data import DataInterface, EStep, Expectation
from skyfold.dataspace import DataSpace
from skyfold.errors import DataError
from skyfold.geometry import Grid, Normalisations
from skyfold.likelihood import Likelihood, Poisson
from skyfold.matrices import as_response
from skyfold.model import Component
from skyfold.origin import Origin
from skyfold.pixels import Shared
from skyfold.response import Chain, Response
from skyfold.vector import Array, Vector


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

    _kept: tuple[Any, Mapping[str, Array], Array | None] = (None, {}, None)

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
            masked = np.any(self.weight <= 0)
            counts = np.where(self.weight > 0, self.full_counts, 0) if masked else self.full_counts
            self.counts, self._seen_weight = counts.reshape(-1), self.weight.reshape(-1)  # views
        else:
            self.bins = np.flatnonzero(held)
            self.responses = {name: r.rows(self.bins) for name, r in self.whole.items()}
            self.counts, self._seen_weight = self.full_counts[held], self.weight[held]
        self._accuracy = max(r.accuracy for r in self.responses.values())

    @cached_property
    def sensitivity(self) -> Vector:  # type: ignore[override]
        """Expected counts per unit of each value; zero where it is no more than rounding noise."""
        return Vector({name: self.sensitivity_of(r) for name, r in self.whole.items()})

    def sensitivity_of(self, response: Response) -> Array:
        """Return the expected counts of one unit of each value behind a response."""
        made = response.sensitivity(self.weight)
        noise = response.accuracy * float(np.max(made, initial=0.0))
        if made.dtype == self.dtype and not any(made.strides) and np.min(made) > noise:
            return made  # one number for all takes no memory
        return np.ascontiguousarray(np.where(made <= noise, 0, made), self.dtype)

    def forward(self, values: Mapping[str, Array]) -> Expectation:
        """Return the expected counts of the components given."""
        parts = [r.forward(v).ravel() for r, v in self._through_each(values)]
        observed = sum(parts[1:], parts[0]) if parts else np.zeros(self.counts.size, self.dtype)
        return self._expectation(observed.astype(self.dtype, copy=False), values)

    def adjoint(self, weights: Array) -> Vector:
        """Return R^T w, for one weight per bin seen."""
        hosts = self._hosts
        return self._with_guests(
            {n: self._adjoint_of(n, weights) for n in self.responses if n not in hosts}
        )

    def e_step(self, values: Mapping[str, Array]) -> EStep:
        """Return the E-step, the heaviest component fused with the back-projection."""
        if not isinstance(self.likelihood, Poisson):
            return super().e_step(values)
        hosts = self._hosts
        *light, heavy = [name for name in self.responses if name not in hosts]
        *before, (response, most) = self._through_each(values)
        parts = [r.forward(v).ravel() for r, v in before]
        others = sum(parts[1:], parts[0]).astype(self.dtype, copy=False) if parts else None
        observed, back, fit = response.e_step(most, self.counts, others)
        expectation = self._expectation(observed, values)
        backs = {heavy: np.ascontiguousarray(back, self.dtype)}
        if light:
            ratio, _ = self._evaluate(expectation)
            backs |= {n: self._adjoint_of(n, ratio) for n in light}
        return EStep(expectation, self._with_guests(backs), fit - expectation.total)

    def back_project(self, expectation: Expectation) -> EStep:
        """Return the E-step of a model whose expectation is known."""
        hosts = self._hosts
        *light, heavy = [name for name in self.responses if name not in hosts]
        if light or not isinstance(self.likelihood, Poisson):
            ratio, log_likelihood = self._evaluate(expectation)
            return EStep(expectation, self.adjoint(ratio), log_likelihood)
        back, fit = self.responses[heavy].back_project(
            self.counts, expectation.observed, self._accuracy
        )
        backs = self._with_guests({heavy: np.ascontiguousarray(back, self.dtype)})
        return EStep(expectation, backs, fit - expectation.total)

    def attribute(self, values: Mapping[str, Array], rng: np.random.Generator) -> EStep:
        """Draw for the heaviest component and all others together, then for these one by one."""
        *light, heavy = self.responses
        fitted = [name for name in light if not self.components[name].fixed]
        below = [self._known({name: values[name] for name in light if name not in fitted})]
        for name in fitted:
            part = self._made(name, values[name])
            below.append(part if below[-1] is None else below[-1] + part)
        first = self.responses[heavy].attribute(values[heavy], self._whole_counts, below.pop(), rng)
        drawn, left = {heavy: first.drawn}, first.left
        for name in reversed(fitted):
            drawn[name], _, left = self.responses[name].attribute(
                values[name], left, below.pop(), rng
            )
        expectation = self._expectation(first.expectation.astype(self.dtype, copy=False), values)
        return EStep(expectation, Vector(drawn), self.log_likelihood(expectation))

    def _made(self, name: str, values: Array) -> Array:
        """Return what a component is expected to make in the bins seen, nothing below zero."""
        return np.maximum(self.responses[name].forward(values).ravel(), 0)

    def _known(self, values: Mapping[str, Array]) -> Array | None:
        """Return what fixed components are expected to make; it is kept for the same values."""
        if not values:
            return None
        responses, before, known = self._kept
        same = responses is self.responses and before.keys() == values.keys()
        if not same or not all(np.array_equal(values[n], v) for n, v in before.items()):
            parts = [self._made(name, own) for name, own in values.items()]
            known = sum(parts[1:], parts[0])
            self._kept = self.responses, {n: v.copy() for n, v in values.items()}, known
        return known

    @cached_property
    def _whole_counts(self) -> Array:
        """The counts as integers."""
        whole = np.rint(self.counts)
        if np.any(whole != self.counts):
            raise DataError(
                f"{self.origin.name}: the counts are not whole numbers, so none can be said to "
                "come from one place; sampling needs raw counts"
            )
        return whole.astype(np.int64)

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
        same = self._through(other, components=self.components, origin=origin)
        moved = {n: same.sensitivity_of(other[n]) for n in other if n in parameters}
        same.sensitivity = Vector({**self.sensitivity, **moved})
        return same

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

    def with_responses(
        self,
        responses: Mapping[str, Response | Array],
        components: Mapping[str, Component] | None = None,
    ) -> BinnedData:
        """Return the same counts, with further components or seen through other responses."""
        return self._copy(
            whole={**self.whole, **responses}, components={**self.components, **(components or {})}
        )

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
        from skyfold.subsets import Recounted

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
        from skyfold.subsets import Recounted

        return Recounted(self, rng.poisson(self.counts), 1.0)

    def _copy(
        self,
        counts: Array | None = None,
        whole: Mapping[str, Response | Array] | None = None,
        **changes: Any,
    ) -> BinnedData:
        same: dict[str, Any] = {
            "weight": self.weight,
            "likelihood": self.likelihood,
            "components": self.components,
            "origin": self.origin,
            "dtype": self.dtype,
        }
        counts = self.full_counts if counts is None else counts
        return BinnedData(counts, whole or self.whole, **{**same, **changes})

    def _expectation(self, observed: Array, values: Mapping[str, Array]) -> Expectation:
        total = sum(dot(seen, values[n]) for n, seen in self.sensitivity.items() if n in values)
        return Expectation(observed, np.array([total]))

    def _evaluate(self, expectation: Expectation) -> tuple[Array, float]:
        return self.likelihood.evaluate(
            self.counts, expectation.observed, self._seen_weight, expectation.total, self._accuracy
        )

    @property
    def _hosts(self) -> dict[str, str]:
        """Components that go through the response of another one, and which: they cost no more."""
        return {
            guest: host
            for guest, chain in self.responses.items()
            if type(chain) is Chain
            for host, response in self.responses.items()
            if chain.outer is response
        }

    def _through_each(self, values: Mapping[str, Array]) -> Iterator[tuple[Response, Array]]:
        """Yield responses, and all that goes through each."""
        hosts = self._hosts
        for name, response in self.responses.items():
            if name in hosts:
                continue
            light = values.get(name)
            for guest in (g for g, host in hosts.items() if host == name and g in values):
                chain = self.responses[guest]
                assert isinstance(chain, Chain)
                if light is not None and isinstance(chain.inner, Shared):
                    light = chain.inner.onto(light.copy(), values[guest])
                else:
                    made = chain.inner.forward(values[guest])
                    light = made if light is None else light + made
            if light is not None:
                yield response, light

    def _with_guests(self, backs: dict[str, Array]) -> Vector:
        """Return back-projections in the order of the responses, with those of the guests."""
        hosts, found = self._hosts, {}
        for name, chain in self.responses.items():
            back = backs.get(name)
            if back is None:
                assert isinstance(chain, Chain)
                back = np.ascontiguousarray(chain.inner.adjoint(backs[hosts[name]]), self.dtype)
            found[name] = back
        return Vector(found)

    def _adjoint_of(self, name: str, weights: Array) -> Array:
        response = self.responses[name]
        back = response.adjoint(weights.reshape(response.data_shape))
        return np.ascontiguousarray(back, self.dtype)


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
