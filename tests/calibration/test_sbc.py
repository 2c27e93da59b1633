"""Simulation-based calibration of the Gibbs sampler with LIRA's law, on every kind of model."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from tests.calibration import setups
from tests.calibration.calibration import calibrate

FAST = ("background", "border", "sphere 2", "moves")


@cache
def p_values(name, sets):
    return calibrate(name, setups.SETUPS[name](), sets)


def missed(names, sets):
    """Return in words the quantities that fail, and the share of p-values below 0.05."""
    p = {f"{name}: {key}": v for name in names for key, v in p_values(name, sets).items()}
    low = [f"{key} {v:.2g}" for key, v in p.items() if v <= 1e-4]
    return low, float(np.mean(np.array(list(p.values())) < 0.05))


def test_fast_set():
    low, share = missed(FAST, 100)
    assert not low
    assert share <= 0.1


def test_strengths_as_published_are_rejected():
    assert min(calibrate("fault A", setups.fault_a(), 150).values()) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", setups.SETUPS)
def test_each(name):
    p = p_values(name, 400)
    print(f"\n{name}: " + ", ".join(f"{key} {v:.2g}" for key, v in p.items()))
    low, _ = missed([name], 400)
    assert not low


@pytest.mark.slow
def test_all_together():
    _, share = missed(setups.SETUPS, 400)
    assert share <= 0.1


@pytest.mark.slow
def test_a_new_origin_in_every_sweep_is_rejected():
    assert min(calibrate("fault B", setups.fault_b(), 400).values()) < 1e-6
