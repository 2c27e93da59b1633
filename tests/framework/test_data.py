import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.errors import DataError
from skyfold.geometry import Grid, Normalisations
from skyfold.joint import JointData
from skyfold.likelihood import Damped
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.origin import Origin
from skyfold.response import Response
from skyfold_responses.psf import Psf


def problem(seed, *, bins=40, pixels=7, level=3.0, weight=None, dtype=np.float64):
    """A random response, a background, and counts drawn from them."""
    rng = np.random.default_rng(seed)
    matrix = rng.random((bins, pixels)) * (rng.random((bins, pixels)) > 0.4)
    background = rng.random(bins) + 0.05
    values = {"sky": rng.gamma(1.0, level, pixels), "background": np.array([1.2])}
    counts = rng.poisson(matrix @ values["sky"] + 1.2 * background)
    responses = {"sky": Matrix(matrix.astype(dtype)), "background": background.astype(dtype)}
    return BinnedData(counts, responses, weight, dtype=dtype), values, matrix, background


def log_likelihood(counts, expectation, weight):
    """The definition, over all bins."""
    seen = (counts > 0) & (weight > 0)
    return np.sum(counts[seen] * np.log(expectation[seen])) - np.sum(weight * expectation)


seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, level=st.sampled_from([0.01, 0.3, 30.0]), masked=st.booleans())
def test_only_bins_with_counts_are_needed(seed, level, masked):
    weight = (np.arange(40) % 3 > 0).astype(float) if masked else None
    data, values, matrix, background = problem(seed, level=level, weight=weight)
    weight = np.ones(40) if weight is None else weight
    expected = matrix @ values["sky"] + 1.2 * background
    step = data.e_step(values)
    truth = log_likelihood(data.full_counts, expected, weight)
    assert step.log_likelihood == pytest.approx(truth, rel=1e-12, abs=1e-9)
    assert step.expectation.total == pytest.approx(np.sum(weight * expected), rel=1e-12)
    ratio = np.where(weight > 0, data.full_counts / expected, 0)
    np.testing.assert_allclose(step.back["sky"], matrix.T @ ratio, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(step.back["background"], [background @ ratio], rtol=1e-11)


def test_few_counts_touch_few_rows():
    data, *_ = problem(1, level=0.02)
    assert data.counts.size < 40
    assert data.counts.min() > 0
    dense, *_ = problem(1, level=30)
    assert dense.counts.size == 40


@given(seed=seeds, k=st.integers(1, 5))
def test_parts_add_up_to_the_whole(seed, k):
    data, values, *_ = problem(seed, level=0.4)
    joint = JointData(data.split(k))
    one, many = data.e_step(values), joint.e_step(values)
    assert many.log_likelihood == pytest.approx(one.log_likelihood, rel=1e-12, abs=1e-10)
    for name in values:
        np.testing.assert_allclose(many.back[name], one.back[name], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(joint.sensitivity[name], data.sensitivity[name], rtol=1e-12)
    again = joint.back_project(joint.forward(values))
    assert again.log_likelihood == pytest.approx(one.log_likelihood, rel=1e-12, abs=1e-10)


@given(seed=seeds, joint=st.booleans(), damped=st.booleans())
def test_slope_is_the_derivative(seed, joint, damped):
    data, values, *_ = problem(seed)
    data = JointData(data.split(2)) if joint else data
    data = data.with_likelihood(Damped(2.0)) if damped else data
    direction = {name: np.random.default_rng(seed).random(v.shape) for name, v in values.items()}
    here, along = data.forward(values), data.forward(direction)
    h = 1e-5
    numeric = data.log_likelihood(here + along * h) - data.log_likelihood(here + along * -h)
    assert data.along(here, along, 0.0)[1] == pytest.approx(numeric / (2 * h), rel=1e-4, abs=1e-4)


@given(seed=seeds)
def test_every_count_is_attributed(seed):
    data, values, *_ = problem(seed)
    for again in (False, True):
        seen = data.resample(np.random.default_rng(seed)) if again else data
        drawn = seen.attribute(values, np.random.default_rng(seed)).back
        assert sum(int(part.sum()) for part in drawn.values()) == seen.counts.sum()


def test_attribution_has_the_mean_of_the_e_step():
    data, values, *_ = problem(3)
    rng = np.random.default_rng(0)
    mean = np.mean([data.attribute(values, rng).back["sky"] for _ in range(3000)], axis=0)
    expected = values["sky"] * data.e_step(values).back["sky"]
    np.testing.assert_allclose(mean, expected, atol=5 * np.sqrt(data.counts.sum() / 3000))


def test_what_is_kept_of_fixed_components_follows_their_values_and_responses():
    kernel, rng = np.array([0.2, 0.6, 0.2]), np.random.default_rng(1)
    responses = {"sky": Matrix(rng.random((4, 6))), "known": Psf(kernel, (4,), "same")}
    components = {"known": Component(Grid((4,)), fixed=True)}
    data = BinnedData([3, 1, 5, 9], responses, components=components)
    for by in (0, 0, 1, 2, 0):
        seen = data.at({"known": np.roll(kernel, by)}) if by else data
        for value in (1.0, 1.0, 3.0, 1.0):
            values = {"sky": np.ones(6), "known": value * np.arange(4.0)}
            step = seen.attribute(values, rng)
            expected = seen.forward(values).observed
            np.testing.assert_allclose(step.expectation.observed, expected)


def test_float32_is_kept():
    data, values, *_ = problem(5, dtype=np.float32)
    values = {name: value.astype(np.float32) for name, value in values.items()}
    step = data.e_step(values)
    assert step.expectation.observed.dtype == np.float32
    assert all(part.dtype == np.float32 for part in step.back.values())
    double, _, matrix, background = problem(5)
    assert step.log_likelihood == pytest.approx(double.e_step(values).log_likelihood, rel=1e-5)
    responses = {"sky": Matrix(matrix.astype(np.float32)), "background": background}
    mixed = BinnedData(data.full_counts, responses, dtype=np.float32).e_step(values)
    np.testing.assert_allclose(mixed.back["sky"], step.back["sky"], rtol=1e-5)


def test_bad_counts_are_refused():
    with pytest.raises(DataError, match=r"2 bins.*first -1 at index \(0, 1\)"):
        BinnedData(np.array([[1, -1], [2, -3]]), {"background": np.ones((2, 2))})
    with pytest.raises(DataError, match="nan"):
        BinnedData(np.array([1, np.nan]), {"background": np.ones(2)})
    weight = np.array([1.0, 0.0])
    assert BinnedData(np.array([1, np.nan]), {"background": np.ones(2)}, weight).counts.sum() == 1


def test_counts_that_nothing_can_make_are_refused():
    matrix = np.array([[1.0], [0.0], [0.0]])
    data = BinnedData([3, 2, 1], {"sky": Matrix(matrix)}, origin=Origin("flight 7"))
    expectation = data.forward(Model.start(data))
    with pytest.raises(DataError, match=r"flight 7: 2 bins hold 3 counts.*first at \(1\)"):
        data.require_explained(expectation)


def test_components_that_share_a_name_must_agree():
    def one(shape, unit=""):
        matrix = Matrix(np.ones((4, int(np.prod(shape)))), shape)
        return BinnedData(
            np.ones(4), {"sky": matrix}, components={"sky": Component(Grid(shape), unit)}
        )

    with pytest.raises(
        DataError, match=r"set 2 \('data'\) has another 'sky'.*\(2, 3\) against \(3, 2\)"
    ):
        JointData([one((2, 3)), one((3, 2))])
    with pytest.raises(DataError, match="unit 'ct' against 'ph'"):
        JointData([one((2, 3), "ct"), one((2, 3), "ph")])
    assert JointData([one((2, 3)), one((2, 3))]).sensitivity["sky"].sum() == 48


def test_expectation_is_linear():
    data, values, *_ = problem(9)
    e = data.forward(values)
    double = data.forward({name: 2 * value for name, value in values.items()})
    np.testing.assert_allclose((e * 3 + e * -1).observed, double.observed, rtol=1e-12)
    assert (e + e).total == pytest.approx(double.total)


class Transposed(Response):
    """Returns views that are not contiguous, as a stranger's response may."""

    model_shape, data_shape = (5, 4), (4, 5)

    def forward(self, values):
        return values.T

    def adjoint(self, weights):
        return weights.T


def test_layout_of_what_a_response_returns_does_not_matter():
    counts = np.arange(20.0).reshape(4, 5)
    data = BinnedData(counts, {"sky": Transposed(), "background": np.ones((4, 5))})
    state = RichardsonLucy().start(data, Model.start(data))
    state = RichardsonLucy().step(state, data)
    assert state.expectation.total == pytest.approx(counts.sum())


def test_a_shared_component_is_fitted_by_all_or_none():
    def seen(**component):
        part = Component(Normalisations(), **component)
        return BinnedData(np.full(4, 3.0), {"level": np.ones(4)}, components={"level": part})

    assert JointData([seen(fixed=True), seen(fixed=True)]).components["level"].fixed
    with pytest.raises(DataError, match=r"'level'.*held fixed there, fitted here"):
        JointData([seen(fixed=True), seen()])
    with pytest.raises(DataError, match="bounds"):
        JointData([seen(), seen(bounds=(0.5, 2.0))])


def test_joint_data_have_one_dtype():
    single, *_ = problem(1, dtype=np.float32)
    double, *_ = problem(1)
    with pytest.raises(DataError, match=r"data set 2.*float64.*float32"):
        JointData([single, double])


def test_changed_data_no_longer_come_from_their_files():
    data, *_ = problem(1)
    opened = data.with_origin(options={"instrument": "image", "counts": "counts.fits"})
    assert opened.with_likelihood(Damped()).origin.options
    assert not opened.with_counts(2 * opened.full_counts).origin.options
    assert not any(part.origin.options for half in opened.split(2) for part in half.parts)
