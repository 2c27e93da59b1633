"""Geweke's joint-distribution test of the Gibbs sampler with LIRA's law."""

from __future__ import annotations

import pytest
from tests.calibration import setups
from tests.calibration.calibration import geweke

NAMES = ("background", "sphere nested", "sampled origin")


def most(z):
    print(", ".join(f"{key} {v:.2f}" for key, v in z.items()))
    return max(map(abs, z.values()))


def test_fast():
    assert most(geweke("background", setups.SETUPS["background"](), 4000)) < 4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_slow(name):
    assert most(geweke(name, setups.SETUPS[name](), 100_000)) < 4


def test_strengths_as_published_fail():
    assert most(geweke("fault A", setups.fault_a(), 4000)) > 8
