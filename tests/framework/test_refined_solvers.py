"""Refinements together with solvers that go to the optimum."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

import skyfold
from skyfold.algorithm import State
from skyfold.refinements import Acceleration
from skyfold.registry import default_registry

SOLVERS = ["em-pcg", "sgp", "lbfgs", "momentum-em", "ordered-subsets"]


@pytest.fixture
def data(rng):
    matrix = rng.random((90, 25)) ** 4
    counts = rng.poisson(matrix @ np.where(np.arange(25) % 7 == 0, 30.0, 1.0))
    return skyfold.BinnedData(counts, {"sky": skyfold.Matrix(matrix, (5, 5))})


@pytest.mark.parametrize("solver", SOLVERS)
def test_masks_and_floors_hold_at_the_optimum(data, solver):
    mask = np.ones((5, 5))
    mask[:2] = 0  # sources shine there
    result = skyfold.run(data, "ml", solver=solver, sky_mask={"pixels": mask}, progress=False)
    assert np.all(result.image.value[:2] == 0)
    em = skyfold.run(data, "rl", 3000, sky_mask={"pixels": mask}, progress=False)
    assert result.state.log_likelihood > em.state.log_likelihood - 0.1
    raised = skyfold.run(data, "ml", solver=solver, floor={"minimum": 0.7}, progress=False)
    assert raised.image.value.min() >= 0.7
    assert raised.state.log_likelihood > raised.trace[0]["log_likelihood"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_accelerated_step_is_remembered_like_any_other(data, solver):
    algorithm = default_registry().algorithms[solver](refinements=(Acceleration(),))
    start = algorithm.start(data, skyfold.Model.start(data))
    state = algorithm.step(algorithm.step(start, data), data)
    own = {f.name for f in fields(start)} - {f.name for f in fields(State)}
    assert any(not _same(getattr(start, name), getattr(state, name)) for name in own)


def _same(first, second):
    if isinstance(first, skyfold.Vector):
        return set(first) == set(second) and all(np.array_equal(first[n], second[n]) for n in first)
    return first == second


def test_subsets_hand_over_to_a_solver_that_heeds_priors(data):
    run = skyfold.run(data, prior={"tsv": 0.01}, solver="ordered-subsets", progress=False)
    best = skyfold.run(data, prior={"tsv": 0.01}, progress=False)
    assert run.state.objective == pytest.approx(best.state.objective, abs=0.1)


def test_a_map_without_a_prior_is_refused(data):
    with pytest.raises(skyfold.errors.ConfigError, match="map needs a prior"):
        skyfold.run(data, "map", progress=False)


def test_other_rules_end_the_way_to_the_optimum_sooner_not_later(tmp_path):
    from skyfold.command_line import parser
    from skyfold.requests import from_arguments

    counts = tmp_path / "counts.fits"
    from astropy.io import fits

    fits.writeto(counts, np.ones((4, 4), np.int32))
    words = ["run", str(counts), "--converge", "--stop", "wall_time=5 min"]
    arguments, arguments_rest = parser().parse_known_args(words)
    arguments.rest = arguments_rest
    assert from_arguments(arguments).iterations == "auto"
