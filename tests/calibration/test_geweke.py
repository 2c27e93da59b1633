"""Geweke's joint-distribution test of the Gibbs sampler with LIRA's law.

Counts are drawn anew from the values, and values from the counts, again and again. With few counts
and strengths about one the light gets around; with many counts, or small strengths, it would stay
where it is for longer than any test.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.calibration import setups
from tests.calibration.calibration import geweke

from skyfold.sampling.laws.strengths import Lira

EASY = {"hyper": Lira(1, 2, 1), "total": (4.0, 0.4)}


def sky():
    return setups.image(exposure=True, backgrounds={"background": 0.2})


SETUPS = {
    "image": lambda: setups.setup(sky(), **EASY),
    "moves": lambda: setups.moved(setups.setup(sky(), **EASY)),
    "sampled origin": lambda: setups.setup(sky(), origin="sampled", **EASY),
    "sphere": lambda: setups.setup(setups.sphere(2, nested=True), **EASY),
}


def most(z):
    print(", ".join(f"{key} {v:.2f}" for key, v in z.items()))
    return max(map(abs, z.values()))


def test_few_cycles():
    assert most(geweke("image", SETUPS["image"](), 4000)) < 4


@pytest.mark.slow
def test_strengths_as_published_fail():
    right = SETUPS["image"]()
    wrong = setups.setup(sky(), published=True, **EASY)
    assert most(geweke("fault A", replace(wrong, true=right.laws), 4000)) > 8


@pytest.mark.slow
@pytest.mark.parametrize("name", SETUPS)
def test_many_cycles(name):
    assert most(geweke(name, SETUPS[name](), 100_000)) < 4
