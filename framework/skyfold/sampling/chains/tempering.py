"""Chains of hotter laws beside one, which carry it from one mode of the posterior to another.

A law of larger strengths makes smoother skies, and its posterior has fewer modes. Chains on a
ladder of such laws see the same counts, and neighbours exchange where they are (parallel tempering:
Geyer 1991; Hukushima & Nemoto 1996). The likelihoods are the same for all and cancel; what decides
are the densities of the laws. Strengths that are drawn go along: what decides then are their own
densities, a few numbers, however large the sky. The coldest chain draws from the posterior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from skyfold.vector import Array

if TYPE_CHECKING:
    from skyfold.sampling.chains.chains import Chain
    from skyfold.sampling.laws.law import Law

SPACING = 1.3  # of the strengths from rung to rung: a fifth of the exchanges is accepted, about


def ladder(laws: Mapping[str, Law], rungs: int) -> tuple[Mapping[str, Law], ...]:
    """Return the laws of all rungs, those given first."""
    hot = ({n: law.hotter(SPACING**k) for n, law in laws.items()} for k in range(1, rungs))
    return (laws, *hot)


def numbered(chain: int, rung: int) -> int:
    """Return what the random numbers of a chain and rung depend on."""
    return chain + (rung << 32)


def exchange(rungs: Sequence[Chain], rng: np.random.Generator) -> Array:
    """Propose to pairs of neighbours to exchange where they are: every other pair, at random which.

    Returns
    -------
    swaps
        For each pair of neighbours whether it was proposed, and whether it was accepted, shape
        (rungs - 1, 2).
    """
    swaps = np.zeros((len(rungs) - 1, 2))
    for i in range(int(rng.integers(2)), len(swaps), 2):
        a, b = rungs[i], rungs[i + 1]
        # by the values that floats hold: where those of draws were smaller, it cancels
        into_a, into_b = _gains(a, b), _gains(b, a)
        accepted = bool(np.log(rng.random()) < sum(into_a.values()) + sum(into_b.values()))
        if accepted:
            _swap(a, b)
            a.densities, b.densities = (
                {name: density + gains[name] for name, density in guest.items()}
                for guest, gains in ((b.densities, into_a), (a.densities, into_b))
            )
        swaps[i] = 1, accepted
    return swaps


def _gains(host: Chain, guest: Chain) -> dict[str, float]:
    """Return how much the log-densities of where a chain is are larger by the laws of another."""
    return {
        name: law.log_density(guest.values[name], law.adopt(guest.unknowns[name]))
        - guest.laws[name].log_density(guest.values[name], guest.unknowns[name])
        for name, law in host.laws.items()
    }


def _swap(a: Chain, b: Chain) -> None:
    """Exchange where two chains are."""
    a.values, b.values = b.values, a.values
    a.setting, b.setting = b.setting, a.setting
    a.view, b.view = b.view, a.view
    a.unknowns, b.unknowns = (
        {name: law.adopt(guest.unknowns[name]) for name, law in host.laws.items()}
        for host, guest in ((a, b), (b, a))
    )
