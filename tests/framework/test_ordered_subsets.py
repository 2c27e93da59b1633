"""Subsets of the data, and the algorithm that visits them before another one goes on."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold import checkpoint
from skyfold.algorithms.ordered_subsets import OrderedSubsets, _order
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.algorithms.sgp import ScaledGradientProjection
from skyfold.ascent import certificate
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError
from skyfold.geometry import Grid, Normalisations
from skyfold.joint import JointData
from skyfold.likelihood import Damped
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.priors.total_squared_variation import TotalSquaredVariation
from skyfold.response import Response
from skyfold.subsets import deal

PIXELS = 12
seeds = st.integers(0, 2**32 - 1)


class Indivisible(Response):
    """A matrix whose rows are chosen from the full product only, as those of an FFT."""

    def __init__(self, matrix):
        self.matrix = matrix
        self.data_shape, self.model_shape = (len(matrix),), (matrix.shape[1],)

    def forward(self, values):
        return self.matrix @ values

    def adjoint(self, weights):
        return self.matrix.T @ weights


def observation(
    seed, *, bins=600, level=3.0, own="background", whole=False, dtype=np.float64, **sky
):
    """Counts of a random sky through a random sparse response, with a background to fit."""
    rng = np.random.default_rng(seed)
    matrix = rng.random((bins, PIXELS)) * (rng.random((bins, PIXELS)) > 0.7)
    background = rng.random(bins) + 0.05
    counts = rng.poisson(matrix @ rng.gamma(0.5, level, PIXELS) + 1.2 * background)
    components = {"sky": Component(Grid((PIXELS,)), **sky), own: Component(Normalisations())}
    response = Indivisible(matrix) if whole else Matrix(matrix.astype(dtype))
    responses = {"sky": response, own: background.astype(dtype)}
    return BinnedData(counts, responses, components=components, dtype=dtype)


def laps(algorithm, data, n):
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    return [next(states) for _ in range(n + 1)]


@given(seed=seeds, size=st.integers(0, 300), k=st.integers(1, 30))
def test_parts_are_balanced_and_spread(seed, size, k):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.3, 10.0, size)).astype(float)
    parts = deal(counts, k)
    assert sorted(np.concatenate(parts)) == list(range(size))
    sums = [counts[part].sum() for part in parts]
    assert max(sums) - min(sums) <= max(counts, default=0)
    for start in range(0, size - k + 1, k):  # each has one of all neighbours
        assert all(np.sum((part >= start) & (part < start + k)) == 1 for part in parts)


def test_parts_do_not_follow_the_axes():
    for part in deal(np.ones(64 * 64), 16):
        row, column = np.divmod(part, 64)
        assert np.bincount(row, minlength=64).min() > 0
        assert np.bincount(column, minlength=64).max() < 16


@pytest.mark.parametrize("kind", ["masked", "sparse", "damped", "thinned", "part"])
def test_a_part_is_a_data_set_of_its_own(kind):
    data = observation(1, level=0.05 if kind == "sparse" else 3.0)
    if kind == "masked":
        data = data._copy(weight=(np.arange(600) % 7 > 0) * 0.5)
    if kind == "damped":
        data = data.with_likelihood(Damped(2.0))
    if kind == "thinned":
        data, _ = next(data.folds(3, np.random.default_rng(0)))
    if kind == "part":
        data = data.split(2)[1]
    values = {"sky": np.random.default_rng(2).random(PIXELS), "background": np.array([1.1])}
    others = {"sky": np.ones(PIXELS), "background": np.array([0.7])}

    def fits(some):
        """Log-likelihood of one model, and by how much another is better."""
        now = some.e_step(values).log_likelihood
        return np.array([now, some.e_step(others).log_likelihood - now])

    total = np.zeros(2)
    for part in data.split(7):
        again = BinnedData(
            part.full_counts, part.whole, part.weight, likelihood=part.likelihood, dtype=part.dtype
        )
        assert fits(part)[1] == pytest.approx(fits(again)[1], rel=1e-11, abs=1e-11)
        total += fits(part)
        for name in values:
            ours, theirs = part.e_step(values).back[name], again.e_step(values).back[name]
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
            np.testing.assert_allclose(part.sensitivity[name], again.sensitivity[name], rtol=1e-11)
    np.testing.assert_allclose(total, fits(data), rtol=1e-11)


def test_observations_that_cannot_be_divided_are_dealt_whole():
    members = [observation(i, own=f"level_{i}", whole=True, bins=40) for i in range(8)]
    joint = JointData(members)
    assert joint.divisions == 8
    parts = joint.split(4)
    assert sorted(id(m) for part in parts for m in part.members) == sorted(map(id, members))
    sums = [part.counts.sum() for part in parts]
    assert max(sums) - min(sums) <= max(m.counts.sum() for m in members)
    mixed = JointData([*members[:2], observation(9, own="level_9")])
    for whole, k in ((joint, 3), (mixed, 5), (JointData(members[:2]), 3)):
        values = {n: np.ones(c.geometry.shape) for n, c in whole.components.items()}
        apart = [part.e_step(values).log_likelihood for part in whole.split(k)]
        assert len(apart) == k
        assert sum(apart) == pytest.approx(whole.e_step(values).log_likelihood, rel=1e-12)


def test_neighbours_in_an_epoch_are_far_apart():
    for n in range(1, 100):
        order = list(_order(n))
        assert sorted(order) == list(range(n))
        assert n < 8 or np.all(abs(np.diff(order)) > 1)


@given(
    seed=seeds,
    level=st.sampled_from([0.1, 3.0, 100.0]),
    kind=st.sampled_from(["plain", "masked", "bounded", "joint", "whole", "float32"]),
    subsets=st.sampled_from([1, 3, 20]),
)
@settings(max_examples=15, deadline=None)
def test_likelihood_never_falls_and_bounds_hold(seed, level, kind, subsets):
    part = {
        "masked": {"mask": np.arange(PIXELS) % 3 > 0},
        "bounded": {"bounds": (0.1, 2.0)},
        "whole": {"whole": True},
        "float32": {"dtype": np.float32},
    }.get(kind, {})
    data = observation(seed, level=level, **part)
    if kind == "joint":
        data = JointData([data, observation(seed + 1, level=level, own="other")])
    states = laps(OrderedSubsets(subsets=subsets), data, 4)
    levels = np.array([state.log_likelihood for state in states])
    rounding = 10 * np.finfo(data.dtype).eps * (abs(levels).max() + data.counts.sum())
    assert np.diff(levels).min() >= -rounding
    for state in states:
        for name, component in data.components.items():
            low, high = component.bounds
            seen = slice(None) if component.mask is None else component.mask
            assert np.all((state.model[name][seen] >= low) & (state.model[name][seen] <= high))
            assert component.mask is None or not state.model[name][~component.mask].any()


@pytest.mark.parametrize("joint", [False, True])
def test_the_end_is_the_maximum(joint):
    data = observation(3)
    if joint:
        data = JointData([data, observation(4, own="other")])
    slow = laps(RichardsonLucy(), data, 500)[-1]
    state = laps(OrderedSubsets(subsets=4), data, 60)[-1]
    assert state.log_likelihood >= slow.log_likelihood - 1e-6
    assert certificate(state, data, {}) < 1.0


def test_three_epochs_are_worth_many_laps():
    data = observation(5, bins=3000)
    state = laps(OrderedSubsets(subsets=8), data, 1)[-1]
    assert state.products == 1 + 3 + 1.5
    assert state.log_likelihood > laps(RichardsonLucy(), data, 15)[-1].log_likelihood


def test_resumed_is_uninterrupted(tmp_path):
    data = observation(6)
    algorithm = OrderedSubsets(subsets=5)
    straight = laps(algorithm, data, 4)
    for lap in (0, 1, 2):
        checkpoint.save(tmp_path / "state", straight[lap], [])
        again = OrderedSubsets(subsets=5)
        state, _ = checkpoint.load(tmp_path / "state", again.start(data, Model.start(data)))
        for expected in straight[lap + 1 :]:
            state = again.step(state, data)
            assert np.array_equal(state.model["sky"], expected.model["sky"])
            assert state.log_likelihood == expected.log_likelihood
            assert state.products == expected.products


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (observation(7, whole=True), "each cost as much as all data"),
        (observation(7, bins=30), "hold too few counts"),
    ],
)
def test_where_subsets_are_of_no_use_the_solver_starts(data, why, caplog):
    algorithm = OrderedSubsets()
    with caplog.at_level(logging.INFO):
        ours = laps(algorithm, data, 3)
    assert why in caplog.text
    theirs = laps(algorithm.solver, data, 3)
    assert [s.log_likelihood for s in ours] == [s.log_likelihood for s in theirs]
    assert ours[-1].products == theirs[-1].products


def test_without_the_guard_the_whole_way_is_gone():
    data = observation(8)
    state = laps(OrderedSubsets(guard=False, subsets=4), data, 1)[-1]
    assert state.notes["step"] == 1


def test_priors_are_heeded_by_the_solver_and_the_guard():
    data = observation(9)
    priors = {"tsv": TotalSquaredVariation(5.0)}
    states = laps(OrderedSubsets(priors=priors, subsets=4, then="sgp"), data, 60)
    levels = [state.objective for state in states]
    assert np.diff(levels).min() >= -1e-9 * max(map(abs, levels))
    straight = laps(ScaledGradientProjection(priors=priors), data, 60)[-1]
    assert levels[-1] == pytest.approx(straight.objective, abs=1e-3)
    chosen = laps(OrderedSubsets(priors=priors, subsets=4), data, 60)[-1]
    assert chosen.objective == states[-1].objective
    with pytest.raises(ConfigError, match="heeds no priors"):
        laps(OrderedSubsets(priors=priors, then="em-pcg"), data, 0)
