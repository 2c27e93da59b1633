"""The multi-scale law of LIRA: a total, and how each part of the sky shares its light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from math import log
from typing import Literal, Self

import numpy as np

from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.model import Component
from skyfold.sampling.chains.moves import Transfers
from skyfold.sampling.laws.coordinates import EveryTree
from skyfold.sampling.laws.hierarchy import Hierarchy, fitting
from skyfold.sampling.laws.law import Law
from skyfold.sampling.laws.shares import Shares
from skyfold.sampling.laws.strengths import HyperPrior, Lira
from skyfold.vector import Array

Unknowns = dict[str, Array]
Origin = Literal["fixed", "sampled", "random"]
SMOOTH = 1.0
"""Strength from which on light is shared out more evenly than at random."""


class MultiScale(Law):
    """A tree of Dirichlet proportions below a Gamma total (Esch et al. 2004, ApJ 610, 1213).

    Each node of a `Hierarchy` shares its light among its K children with Dirichlet parameters
    ``alpha K strength m_c / m_p``: the base measure m of the child over that of the node says what
    is expected, and alpha, one for every level and energy, how closely it is followed. The total
    of an energy, in counts that it would make if seen everywhere as well as at best, is Gamma
    distributed.

    The law has a density of totals and proportions, not of pixel values: `log_density` is that,
    complete with all normalisations, at the given origin.

    Parameters
    ----------
    component
        Whose values these are; where its mask is False there is no light.
    sensitivity
        Expected counts per unit of each value, shape of the component.
    alpha
        Strengths to start from, or those to keep: one for all, one for each level from the pixels
        up, or an array (energies, levels).
    hyper
        What is known of the strengths; None keeps them at ``alpha``.
    total
        Shape and rate of the Gamma density of the total.
    template
        Base measure, shape of the component; 0 for no light at all. Flat by default.
    strength
        Factor of alpha by pixel.
    factors
        Factor of alpha by level.
    origin
        Whether the place where the frame of an image begins is kept, an unknown like others, or
        drawn anew each time. The last is what LIRA does: it has no posterior that it leaves as it
        is, and is there to compare with.
    origins
        Where the frames of the chains begin, (row, column) or (pixel,), in turn.
    published
        Whether strengths follow alpha times their density, as those of the published code do.

    Raises
    ------
    ConfigError
        If options do not fit the geometry, or are out of range.
    """

    def __init__(
        self,
        component: Component,
        sensitivity: Array,
        *,
        alpha: float | Sequence[float] | Array = 0.1,
        hyper: HyperPrior | None = Lira(),  # noqa: B008
        total: tuple[float, float] = (1.0, 1e-3),
        template: Array | None = None,
        strength: Array | None = None,
        factors: Sequence[float] | None = None,
        origin: Origin = "fixed",
        origins: Sequence[tuple[int, ...]] = (),
        published: bool = False,
    ) -> None:
        geometry = component.geometry
        measure = None if template is None else fitting("template", template, geometry.shape)
        if component.mask is not None:
            measure = np.where(component.mask, 1.0 if measure is None else measure, 0.0)
        self._measure = measure
        self.hierarchy = Hierarchy(geometry, measure, strength, factors)
        self.shape = geometry.shape
        if published:
            if not isinstance(hyper, Lira):
                raise ConfigError("the published law of strengths is there for LIRA's density only")
            hyper = replace(hyper, kap1=hyper.kap1 + 1)
        self.hyper = hyper
        self._hyper = None if hyper is None else hyper.terms
        self.smooth = hyper is not None and hyper.largest >= SMOOTH
        self._total = total
        self._mode = origin if self.hierarchy.frame else "fixed"
        self._origins = [tuple(int(i) for i in o) for o in origins] or [
            (0,) * len(self.hierarchy.frame)
        ]
        each = (self.hierarchy.energies, self.hierarchy.levels)
        if np.ndim(alpha) == 1 and np.size(alpha) not in (1, each[1]):
            raise ConfigError(
                f"alpha: {np.size(alpha)} values, but there are {each[1]} levels from the pixels "
                "up to the whole; give one, or one for each"
            )
        self._alpha = np.ascontiguousarray(fitting("alpha", alpha, each))
        if not (np.all(self._alpha > 0) and min(total) > 0):
            raise ConfigError("alpha, and shape and rate of the total, must be above zero")
        self._scale, self._missed = self._seen(sensitivity)
        self._transfers = Transfers(self.hierarchy)

    def _seen(self, sensitivity: Array) -> tuple[Array, Array | None]:
        """Return the best sensitivity of each energy, and what others lack; None if nothing."""
        s = np.asarray(sensitivity, dtype=np.float64).reshape(self.shape)
        axes = (
            (0,) if not self.hierarchy.frame else tuple(range(s.ndim))[-len(self.hierarchy.frame) :]
        )
        best = np.max(s, axis=axes, keepdims=True)
        best = np.where(best > 0, best, best.max() or 1.0)
        missed = np.ascontiguousarray(best - s)
        missed[missed < 64 * np.finfo(sensitivity.dtype).eps * best] = 0  # rounding
        return best.ravel(), missed if missed.any() else None

    def start(self, values: Array, group: int, rng: np.random.Generator) -> tuple[Array, Unknowns]:
        """Return values times Gamma noise of relative width 0.7, and strengths over a factor e."""
        mean = np.mean(values, dtype=np.float64)
        start = np.maximum(values, 1e-3 * mean) * rng.gamma(2.0, 0.5, self.shape)
        if self._measure is not None:
            start[self._measure <= 0] = 0
        alpha = self._alpha.copy()
        if self._hyper is not None:
            alpha *= np.exp(rng.normal(size=alpha.shape))
        origin = self._origins[group % len(self._origins)]
        if self._mode != "fixed":
            origin = self._anywhere(rng)
        return start, self._unknowns(alpha, origin)

    def draw(
        self,
        attributed: Array,
        values: Array,
        unknowns: Mapping[str, Array],
        rng: np.random.Generator,
    ) -> tuple[Array, Unknowns, float]:
        """Draw the counts that were missed, the origin if it is not kept, strengths and values."""
        key = rng.bit_generator.random_raw(2)
        drawn, alpha, origin, density = self.hierarchy.forest.draw(
            self._anywhere(rng) if self._mode == "random" else self._origin(unknowns),
            self._steps(rng) if self._mode == "sampled" else [],
            attributed,
            values,
            self._missed,
            unknowns["alpha"],
            self._hyper,
            self._total,
            self._scale,
            key,
        )
        return drawn, self._unknowns(alpha, origin), density

    def maximise(
        self, attributed: Array, values: Array, unknowns: Mapping[str, Array]
    ) -> tuple[Array, Unknowns, float]:
        """Return the mode of the strengths, and of proportions and total given these.

        The proportions are the mean of their Dirichlet density, which is the mode of the density
        of their logarithms; that density is the one returned. With kept strengths no step lowers
        its sum with the log-likelihood.
        """
        counts = np.asarray(attributed, dtype=np.float64)
        if self._missed is not None:
            counts = counts + self._missed * values
        origin = self._origin(unknowns)
        best, alpha, density = self.hierarchy.trees(origin).maximise(
            counts, unknowns["alpha"], self._hyper, self._total, self._scale
        )
        return best, self._unknowns(alpha, origin), density

    def simulate(self, rng: np.random.Generator) -> tuple[Array, Unknowns]:
        """Draw strengths, total and proportions; the origin is one of those given, or any."""
        origin = self._origins[rng.integers(len(self._origins))]
        if self._mode != "fixed":
            origin = self._anywhere(rng)
        drawn, alpha, _ = self.hierarchy.trees(origin).draw(
            np.zeros(self.shape, dtype=np.int64),
            self._alpha,
            self._hyper,
            self._total,
            self._scale,
            False,
            rng.bit_generator.random_raw(2),
        )
        return drawn, self._unknowns(alpha, origin)

    def log_density(self, values: Array, unknowns: Mapping[str, Array]) -> float:
        """Return that of strengths, totals and proportions; values below 1e-300 count as that."""
        return self.hierarchy.trees(self._origin(unknowns)).log_density(
            values, unknowns["alpha"], self._hyper, self._total, self._scale
        )

    def log_marginal(self, counts: Array, unknowns: Mapping[str, Array]) -> float:
        """Return the log-probability of complete counts given strengths and origin alone.

        It is the product of a negative binomial for the total and a Dirichlet-multinomial for
        each split.

        Parameters
        ----------
        counts
            Counts of each value, int64, as if all were seen as well as the best.
        """
        return self.hierarchy.trees(self._origin(unknowns)).log_marginal(
            counts, unknowns["alpha"], self._total
        )

    def move(
        self,
        name: str,
        data: DataInterface,
        values: Mapping[str, Array],
        unknowns: Mapping[str, Array],
        sweep: int,
        rng: np.random.Generator,
    ) -> Array | None:
        """Transfer light between neighbours (see `skyfold.sampling.chains.moves`).

        Not with random origins: where chains go that obey a different prior each time depends on
        all that they do.
        """
        if self._mode == "random":
            return None
        return self._transfers(name, data, values, unknowns, sweep, rng)

    def coordinates(self, unknowns: Mapping[str, Array]) -> EveryTree | None:
        """Return totals and shares, and strengths if they may be large: small ones are kept.

        None where the tree changes from sweep to sweep.
        """
        if self._mode != "fixed":
            return None
        trees = []
        for energy, (alpha, scale) in enumerate(zip(unknowns["alpha"], self._scale, strict=True)):
            nodes = self._transfers.nodes(energy, self._origin(unknowns))
            own = Shares(nodes, alpha, self._total, self._hyper if self.smooth else None)
            trees.append((nodes.places, float(scale), own))
        return EveryTree(self.shape, trees)

    def hotter(self, factor: float) -> Self:
        """Return the law whose strengths are larger by a factor: smoother skies, fewer modes.

        Raises
        ------
        ConfigError
            If origins are random: such chains have no posterior.
        """
        if self._mode == "random":
            raise ConfigError("chains with random origins cannot be tempered: take one rung")
        same = copy(self)
        same._alpha = self._alpha * factor
        if self._hyper is not None:
            k1, k2, k3, s, c = self._hyper
            same._hyper = k1, k2 / factor**k3, k3, s * factor, c - (k1 + 1) * log(factor)
        return same

    def adopt(self, unknowns: Unknowns) -> Unknowns:
        """Return the unknowns of a hotter or colder law, with the strengths that this one keeps."""
        return unknowns if self._hyper is not None else {**unknowns, "alpha": self._alpha}

    def _anywhere(self, rng: np.random.Generator) -> tuple[int, ...]:
        frame = self.hierarchy.frame
        drawn = rng.bit_generator.random_raw(len(frame)).tolist()
        return tuple(
            number % side for number, side in zip(drawn, frame, strict=True)
        )  # powers of 2

    def _steps(self, rng: np.random.Generator) -> list[tuple[float, Sequence[int]]]:
        """Propose an origin anywhere, then one next to it, or to the one of before.

        Beside each stands the logarithm of a uniform number: by more than that the log-probability
        of the counts over all values must rise (Metropolis-Hastings).
        """
        beside = [int(rng.integers(-1, 2)) for _ in self.hierarchy.frame]
        anywhere = self._anywhere(rng)
        odds = np.log(rng.random(2)).tolist()
        return list(zip(odds, (anywhere, beside), strict=True))

    def _origin(self, unknowns: Mapping[str, Array]) -> tuple[int, ...]:
        return tuple(unknowns["origin"].tolist()) if self.hierarchy.frame else ()

    def _unknowns(self, alpha: Array, origin: Sequence[int]) -> Unknowns:
        return {"alpha": alpha} | ({"origin": np.array(origin)} if self.hierarchy.frame else {})
