"""Several data sets seen as one: the sum of its parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from skyfold.data import DataInterface, EStep, Expectation
from skyfold.errors import DataError
from skyfold.likelihood import Likelihood
from skyfold.model import Component
from skyfold.subsets import deal
from skyfold.vector import Array, Vector


class JointData(DataInterface):
    """The sum of its parts: observations, frames, subsets, blocks.

    Parameters
    ----------
    parts
        Data interfaces of one dtype. A component that several of them name is one component, and
        must be the same everywhere: geometry, unit, bounds, and whether it is fixed.

    Raises
    ------
    DataError
        If a shared component, or the dtype, differs between the parts.
    """

    def __init__(self, parts: Sequence[DataInterface]) -> None:
        self.members = tuple(parts)
        self.parts = tuple(part for member in parts for part in member.parts)
        self.counts = np.concatenate([part.counts for part in parts])
        self.dtype = parts[0].dtype
        self._ends = np.cumsum([part.counts.size for part in parts])[:-1]
        self.components = {}
        for i, part in enumerate(parts, 1):
            label = f"data set {i} ({part.parts[0].origin.name!r})"
            if part.dtype != self.dtype:
                raise DataError(
                    f"{label} is in {part.dtype}, the sets before it in {self.dtype}; open all "
                    "with the same dtype"
                )
            for name, component in part.components.items():
                known = self.components.get(name)
                self.components[name] = (
                    component if known is None else _shared(name, known, component, label)
                )

    @cached_property
    def sensitivity(self) -> Vector:  # type: ignore[override]
        """Sum of the parts' sensitivities."""
        return _sum(part.sensitivity for part in self.members)

    def forward(self, values: Mapping[str, Array]) -> Expectation:
        """Return the expected counts of all parts, one after the other."""
        return self._join([part.forward(values) for part in self.members])

    def adjoint(self, weights: Array) -> Vector:
        """Return the sum of the parts' adjoints."""
        pieces = np.split(weights, self._ends)
        return _sum(part.adjoint(w) for part, w in zip(self.members, pieces, strict=True))

    def e_step(self, values: Mapping[str, Array]) -> EStep:
        """Return the sum of the parts' E-steps."""
        return self._add([part.e_step(values) for part in self.members])

    def back_project(self, expectation: Expectation) -> EStep:
        """Return the sum of the parts' E-steps."""
        pairs = zip(self.members, self._cut(expectation), strict=True)
        return self._add([part.back_project(piece) for part, piece in pairs])

    def attribute(self, values: Mapping[str, Array], rng: np.random.Generator) -> EStep:
        """Attribute part by part."""
        return self._add([part.attribute(values, rng) for part in self.members])

    def log_likelihood(self, expectation: Expectation) -> float:
        """Return the sum of the parts' log-likelihoods."""
        pairs = zip(self.members, self._cut(expectation), strict=True)
        return sum(part.log_likelihood(piece) for part, piece in pairs)

    def along(
        self, here: Expectation, direction: Expectation, step: float
    ) -> tuple[float, float, float]:
        """Return the sums of the parts' values, slopes and bends."""
        triples = zip(self.members, self._cut(here), self._cut(direction), strict=True)
        value, slope, bend = np.sum([part.along(e, d, step) for part, e, d in triples], axis=0)
        return float(value), float(slope), float(bend)

    def curvature(self, expectation: Expectation) -> Array:
        """Return the parts' curvatures, one after the other."""
        pairs = zip(self.members, self._cut(expectation), strict=True)
        return np.concatenate([part.curvature(piece) for part, piece in pairs])

    def require_explained(self, expectation: Expectation) -> None:
        """Ask each part."""
        for part, piece in zip(self.members, self._cut(expectation), strict=True):
            part.require_explained(piece)

    def with_likelihood(self, likelihood: Likelihood) -> JointData:
        """Return the same parts judged by another likelihood."""
        return JointData([part.with_likelihood(likelihood) for part in self.members])

    @property
    def divisions(self) -> int:
        """Sum over the parts: one that cannot be divided may go into a piece as it is."""
        return sum(part.divisions for part in self.members)

    def split(self, k: int) -> list[DataInterface]:
        """Split each part, or deal out whole those whose pieces would cost more than their share.

        If there are fewer of these than ``k``, and no others, they are split nevertheless.
        """
        whole = [part for part in self.members if part.divisions < k]
        if len(whole) == len(self.members) < k:
            whole = []
        pieces: list[list[DataInterface]] = [[] for _ in range(k)]
        for part in self.members:
            if part not in whole:
                for piece, own in zip(pieces, part.split(k), strict=True):
                    piece.append(own)
        totals = np.array([np.sum(part.counts, dtype=np.float64) for part in whole])
        for piece, chosen in zip(pieces, deal(totals, k), strict=True):
            piece.extend(whole[i] for i in chosen)
        return [JointData(piece) for piece in pieces]

    @property
    def parameters(self) -> Vector:
        """The parameters of all members; the number of the member stands behind: ``sky[2]``."""
        members = enumerate(self.members, 1)
        return Vector({f"{n}[{i}]": v for i, part in members for n, v in part.parameters.items()})

    def at(self, parameters: Mapping[str, Array]) -> JointData:
        """Hand each member its parameters."""

        def own(tail: str) -> dict[str, Array]:
            return {n.removesuffix(tail): v for n, v in parameters.items() if n.endswith(tail)}

        if not parameters:
            return self
        return JointData([part.at(own(f"[{i}]")) for i, part in enumerate(self.members, 1)])

    def tangent(self, values: Mapping[str, Array], suffix: str = "") -> JointData:
        """Return the members as linear problems, each in its own parameters."""
        members = enumerate(self.members, 1)
        return JointData([part.tangent(values, f"[{i}]{suffix}") for i, part in members])

    def folds(self, k: int, rng: np.random.Generator) -> Iterator[tuple[JointData, JointData]]:
        """Divide each member."""
        for pairs in zip(*(member.folds(k, rng) for member in self.members), strict=True):
            kept, held = zip(*pairs, strict=True)
            yield JointData(kept), JointData(held)

    def resample(self, rng: np.random.Generator) -> JointData:
        """Resample each part."""
        return JointData([part.resample(rng) for part in self.members])

    def _cut(self, expectation: Expectation) -> list[Expectation]:
        ends = np.cumsum([len(part.parts) for part in self.members])[:-1]
        observed, totals = (
            np.split(expectation.observed, self._ends),
            np.split(expectation.totals, ends),
        )
        return [Expectation(*piece) for piece in zip(observed, totals, strict=True)]

    @staticmethod
    def _join(parts: Sequence[Expectation]) -> Expectation:
        observed = np.concatenate([part.observed for part in parts])
        return Expectation(observed, np.concatenate([part.totals for part in parts]))

    def _add(self, steps: Sequence[EStep]) -> EStep:
        return EStep(
            self._join([step.expectation for step in steps]),
            _sum(step.back for step in steps),
            sum(step.log_likelihood for step in steps),
        )


def _sum(vectors: Iterable[Vector]) -> Vector:
    first, *others = vectors
    return sum(others, first)


def _shared(name: str, first: Component, second: Component, label: str) -> Component:
    difference = first.geometry.difference(second.geometry)
    if difference is None and first.unit != second.unit:
        difference = f"unit {first.unit!r} against {second.unit!r}"
    if difference is None and first.fixed != second.fixed:
        words = {True: "held fixed", False: "fitted"}
        difference = f"{words[first.fixed]} there, {words[second.fixed]} here"
    if difference is None and first.bounds != second.bounds:
        difference = f"bounds {first.bounds} against {second.bounds}"
    if difference is not None:
        raise DataError(
            f"{label} has another {name!r} than the sets before it: {difference}. "
            "Components that share a name must agree; rename one, or bring the data to one grid"
        )
    if first.mask is None or second.mask is None:
        return replace(first, mask=None)
    return replace(first, mask=first.mask | second.mask)
