"""Multi-scale Dirichlet: how light is split between the parts of each part of the sky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from skyfold.errors import ConfigError
from skyfold.model import Component
from skyfold.multiscale import Tree, tree_of
from skyfold.priors import Prior
from skyfold.priors.gamma import Gamma
from skyfold.priors.raised import above_zero, raised
from skyfold.vector import Array

Strength = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Dirichlet(Prior):
    """Split the light of each node of a tree by a Dirichlet density: ``sum (a - 1) log share``.

    The sum goes over all nodes of the tree and the shares of light of their children: images are
    halved along both axes down to the pixels, the sphere into its 12 base pixels and each of these
    into fours (Esch et al. 2004, ApJ 610, 1213). With a below 1 light gathers in few pixels, with
    a above 1 it spreads, 1 is flat. The density is that of the shares, and so is its maximum;
    edges of the blocks may show. Energies are independent.

    Not concave, unless a is 1 everywhere: there may be several maxima. An image t times as bright
    has the same value, but for ``total``.

    Parameters
    ----------
    alpha
        Strength a: one for all scales, or a list, from the pixels up to the whole, with one for
        each: log2 of the longer side of an image, rounded up, or of nside, plus 1.
    total
        Gamma density of the sum of all values of an energy, as ``{k: 1, theta: 20}``; none by
        default.
    epsilon
        What is added to each value, as a share of the mean of its energy, so that shares are not
        zero.
    components
        Names of the components; by default all skies.
    """

    alpha: Strength | tuple[Strength, ...]
    total: Gamma | None = None
    epsilon: Annotated[float, Field(gt=0)] = 1e-6
    components: tuple[str, ...] | None = None

    @property
    def concave(self) -> bool:
        """Whether it is flat in the shares, and concave in the total."""
        flat = bool(np.all(np.equal(self.alpha, 1)))
        return flat and (self.total is None or self.total.concave)

    def value(self, values: Array, component: Component) -> float:
        """Return the log-density, without its normalisation."""
        nodes, powers = self._nodes(values, component)
        log = sum(float(np.sum(p * np.log(n))) for p, n in zip(powers, nodes, strict=True))
        return log - float(np.sum(values)) * self._decay

    def gradient(self, values: Array, component: Component) -> Array:
        """Return the derivative by each value."""
        nodes, powers = self._nodes(values, component)
        slope = tree_of(component.geometry).gather(
            [p / n for p, n in zip(powers, nodes, strict=True)]
        )
        return component.confined(raised(slope, self.epsilon, component) - self._decay)

    def curvature(self, values: Array, component: Component) -> Array:
        """Return ``1 / x`` times the sum, over the nodes above, of positive powers by node sums.

        It bounds minus the second derivative as ``(sum v)^2 <= sum x sum v^2 / x``.
        """
        tree = tree_of(component.geometry)
        nodes, powers = self._nodes(values, component)
        bend = tree.gather([np.maximum(p, 0) / n for p, n in zip(powers, nodes, strict=True)])
        bend /= tree.values(nodes[0])
        return (1 + self.epsilon) * raised(bend, self.epsilon, component)

    def hessian(self, values: Array, direction: Array, component: Component) -> Array:
        """Return the second derivative times a direction."""
        tree = tree_of(component.geometry)
        nodes, powers = self._nodes(values, component)
        moves = tree.sums(raised(direction, self.epsilon, component))
        change = [-p * m / n**2 for p, m, n in zip(powers, moves, nodes, strict=True)]
        return raised(tree.gather(change), self.epsilon, component)

    def lift(self, component: Component) -> float:
        """Return what the total adds, for each energy: the shares do not depend on the level."""
        if self.total is None:
            return 0.0
        totals = tree_of(component.geometry).sums(component.support.astype(np.float64))[-1]
        return max(self.total.k - 1, 0) * np.count_nonzero(totals)

    @property
    def _decay(self) -> float:
        return 0.0 if self.total is None else 1 / self.total.theta

    def _nodes(self, values: Array, component: Component) -> tuple[list[Array], list[Array]]:
        """Return the sum of each node, and the power with which it enters the density.

        A node is above the line in the share of its parent, with a - 1, and below the line in
        those of its children, with a - 1 of theirs for each; not if all below it is masked.
        """
        tree = tree_of(component.geometry)
        powers, (lit, children) = [np.zeros(1)] * (tree.splits + 1), _lit(tree, component.mask)
        for level, alpha in enumerate(self._alphas(tree)):
            powers[level] = powers[level] + (alpha - 1) * lit[level]
            powers[level + 1] = -(alpha - 1) * children[level]
        if self.total is not None:
            powers[-1] = powers[-1] + (self.total.k - 1) * lit[-1]
        return tree.sums(above_zero(values, self.epsilon, component)), powers

    def _alphas(self, tree: Tree) -> Sequence[float]:
        if not isinstance(self.alpha, Sequence):
            return (self.alpha,) * tree.splits
        if len(self.alpha) != tree.splits:
            raise ConfigError(
                f"alpha: {len(self.alpha)} strengths, but there are {tree.splits} scales from the "
                "pixels up to the whole; give one for each, or one for all"
            )
        return self.alpha


def _lit(tree: Tree, mask: Array | None) -> tuple[Sequence[Array], Sequence[Array]]:
    """Return which nodes a mask leaves, as ones, and how many such children those above have."""
    if mask is None:
        return [np.ones(1)] * (tree.splits + 1), tree.children
    lit = [np.minimum(number, 1.0) for number in tree.sums(mask.astype(np.float64))]
    return lit, [tree.up(nodes) for nodes in lit[:-1]]
