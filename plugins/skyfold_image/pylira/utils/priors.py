"""Hyper-priors of the smoothing parameters alpha; none is normalised."""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.vector import Array


def f_hyperprior_lira(
    alpha: Any, ms_al_kap1: float = 0, ms_al_kap2: float = 1000, ms_al_kap3: float = 3
) -> Array:
    """Return ``(kap2 kap3 alpha)^kap1 exp(-kap2 alpha^kap3)``, the hyper-prior that is sampled."""
    alpha = np.asarray(alpha, dtype=float)
    power = (ms_al_kap2 * ms_al_kap3 * alpha) ** ms_al_kap1
    return np.asarray(power * np.exp(-ms_al_kap2 * alpha**ms_al_kap3))


def f_hyperprior_esch(
    alpha: Any, delta: float = 1, index_alpha: float = 1, index: float = 0
) -> Array:
    """Return ``alpha^index exp(-delta alpha^index_alpha / index_alpha)``.

    Esch et al. (2004, ApJ 610, 1213) have an ``index_alpha`` of 3 and an ``index`` of 0.
    """
    alpha = np.asarray(alpha, dtype=float)
    return np.asarray(alpha**index * np.exp(-delta * alpha**index_alpha / index_alpha))
