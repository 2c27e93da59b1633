"""The compiled element-wise steps, against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold._kernels import (
    dot,
    em_update,
    entropy_along,
    entropy_step,
    poisson_ratio,
    relative_entropy,
    scaled_slope,
    unscaled_slope,
)

FLOATS = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def _problem(size: int, dtype: type, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    expectation = rng.lognormal(0, 3, size).astype(dtype)
    return rng.poisson(expectation.clip(max=1e6)).astype(dtype), expectation


@FLOATS
@given(size=st.integers(0, 3000), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_ratio_and_sum_agree_with_numpy(dtype: type, size: int, seed: int) -> None:
    counts, expectation = _problem(size, dtype, seed)
    before, ratio = expectation.copy(), np.empty_like(expectation)
    found = poisson_ratio(counts, expectation, 0.0, ratio)
    np.testing.assert_array_equal(expectation, before)
    np.testing.assert_allclose(ratio, counts / expectation, rtol=4 * np.finfo(dtype).eps)
    terms = counts.astype(float) * np.log(expectation.astype(float))
    tolerance = 1e-14 if dtype is np.float64 else 1e-7
    # the rounding of each logarithm, not of the sum, is what float32 may add
    assert abs(found - terms.sum()) <= tolerance * (np.abs(terms).sum() + counts.sum(dtype=float))


def test_the_logarithm_is_good_to_the_last_digits() -> None:
    rng = np.random.default_rng(3)
    around_one = 1 + rng.uniform(-1e-3, 1e-3, 2000)
    edge = np.array([1.0, np.nextafter(1, 0), np.nextafter(1, 2), 2**-0.5, 2**0.5, 2.3e-308, 1e307])
    x = np.concatenate([np.exp(rng.uniform(-700, 700, 2000)), around_one, edge])
    one, ratio = np.ones(1), np.empty(1)
    found = np.array([poisson_ratio(one, np.array([v]), 0.0, ratio) for v in x])
    np.testing.assert_allclose(found, np.log(x), rtol=1e-15, atol=0)


@FLOATS
def test_others_are_added_to_the_expectation(dtype: type) -> None:
    counts, expectation = _problem(2500, dtype)
    others = np.linspace(0.1, 5, 2500).astype(dtype)
    total = expectation + others
    ratio, expected = np.empty_like(total), np.empty_like(total)
    fit = poisson_ratio(counts, total.copy(), 1e-6, expected)
    assert poisson_ratio(counts, expectation, 1e-6, ratio, others) == fit
    np.testing.assert_array_equal(expectation, total)
    np.testing.assert_array_equal(ratio, expected)


@FLOATS
def test_expectations_within_the_rounding_noise_are_raised_to_it(dtype: type) -> None:
    counts = np.array([5, 1, 2, 0], dtype)
    expectation = np.array([100, 0, -1e-5, 1e-9], dtype)
    ratio = np.empty_like(counts)
    fit = poisson_ratio(counts, expectation, 1e-4, ratio)
    np.testing.assert_allclose(ratio, [0.05, 100, 200, 0], rtol=1e-6)
    assert fit == pytest.approx(5 * np.log(100) + 3 * np.log(0.01), rel=1e-6)


@FLOATS
def test_the_noise_of_all_bins_holds_for_some_of_them(dtype: type) -> None:
    counts, expectation = _problem(3000, dtype)
    whole, ratio = np.empty_like(counts), np.empty_like(counts)
    fit, top, parts = poisson_ratio(counts, expectation, 0.3, whole), expectation.max(), 0.0
    for some in (slice(0, 1100), slice(1100, 3000)):
        parts += poisson_ratio(counts[some], expectation[some], 0.3, ratio[some], top=top)
    np.testing.assert_array_equal(ratio, whole)
    assert parts == pytest.approx(fit, rel=1e-14)


@FLOATS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("held", [0, 3])
def test_what_is_not_finite_is_not_hidden(dtype: type, bad: float, held: int) -> None:
    counts, expectation = np.ones(1500, dtype), np.ones(1500, dtype)
    counts[1234], expectation[1234] = held, bad
    assert np.isnan(poisson_ratio(counts, expectation, 1e-15, np.empty_like(counts)))


@FLOATS
def test_threads_change_nothing(dtype: type) -> None:
    counts, expectation = _problem(300_000, dtype)
    others = np.full_like(counts, 0.25)
    results = []
    for threads in (1, 2, 3, 7):
        e, ratio = expectation.copy(), np.empty_like(counts)
        fit = poisson_ratio(counts, e, 1e-15, ratio, others, threads)
        updated = np.empty_like(counts)
        em_update(e, ratio, expectation, updated, threads)
        results.append((fit, ratio, e, updated))
    for fit, *arrays in results[1:]:
        assert fit == results[0][0]
        for one, other in zip(arrays, results[0][1:], strict=True):
            np.testing.assert_array_equal(one, other)


@FLOATS
def test_update_agrees_with_numpy(dtype: type) -> None:
    rng = np.random.default_rng(5)
    x, back, s = (rng.random(1025).astype(dtype) for _ in range(3))
    expected = x * back / s
    out = np.empty_like(x)
    em_update(x, back, s, out)
    np.testing.assert_array_equal(out, expected)
    em_update(x, back, s, x)  # in place
    np.testing.assert_array_equal(x, expected)


def test_update_is_zero_where_nothing_is_seen_and_never_negative() -> None:
    out = np.empty(5)
    em_update(np.ones(5), np.array([1, -1, np.nan, 1, 1]), np.array([0, 2, 2, -1, np.nan]), out)
    np.testing.assert_array_equal(out, [0, 0, np.nan, 0, np.nan])


def _ratio(*arrays: np.ndarray) -> float:
    return poisson_ratio(arrays[0], arrays[1], 0.0, arrays[2], arrays[3])


@pytest.mark.parametrize("kernel", [_ratio, em_update])
@pytest.mark.parametrize("wrong", range(4))
def test_sizes_must_agree(kernel: Callable[..., object], wrong: int) -> None:
    arrays = [np.ones(4 + (i == wrong)) for i in range(4)]
    with pytest.raises(ValueError, match="same"):
        kernel(*arrays)


@pytest.mark.parametrize("kernel", [_ratio, em_update])
@pytest.mark.parametrize(
    "wrong",
    [np.ones(4, np.float32), np.ones(4, int), np.ones(8)[::2]],
    ids=["f4", "int", "strided"],
)
@pytest.mark.parametrize("place", range(4))
def test_nothing_is_converted_behind_the_back(
    kernel: Callable[..., object], wrong: np.ndarray, place: int
) -> None:
    arrays = [np.ones(4) for _ in range(4)]
    arrays[place] = wrong
    with pytest.raises(TypeError):
        kernel(*arrays)


def test_there_is_at_least_one_thread() -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match="threads"):
        poisson_ratio(one, one, 0.0, one.copy(), None, 0)
    with pytest.raises(ValueError, match="threads"):
        em_update(one, one, one, one.copy(), 0)


def _sky(size: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.lognormal(0, 3, size) for _ in range(5)]


@given(size=st.integers(0, 3000), seed=st.integers(0, 99), floor=st.sampled_from((0.0, 1.5)))
@settings(max_examples=20, deadline=None)
def test_entropy_and_its_step_agree_with_numpy(size: int, seed: int, floor: float) -> None:
    x, b, s, m, g = _sky(size, seed)
    s[::7], x[::5] = 0, 0
    log = np.log(np.where(x > 0, x, m) / m)
    terms = x * log
    value, low, top = relative_entropy(x, m)
    assert abs(value + terms.sum()) <= 1e-13 * np.abs(terms).sum()
    assert (low, top) == (m.min(initial=np.inf), m.max(initial=0))
    scale = np.maximum(s, floor)
    part = np.divide(x, scale, out=np.zeros(size), where=scale > 0)
    first, second = part * (b - 0.7 * s), part * (0.3 * (g - 1 - log) + 0.2 * s)
    step = np.empty(size)
    *squares, reach = entropy_step(x, b, s, x / m, g, (0.3, -0.7, 0.2), floor, step)
    np.testing.assert_allclose(step, first + second, rtol=1e-11, atol=1e-11)
    expected = [np.sum(first**2), np.sum(second**2), np.sum(step**2)]
    np.testing.assert_allclose(squares, expected, rtol=1e-10)
    falling = step < 0
    assert reach == pytest.approx(np.min(x[falling] / -step[falling], initial=np.inf), rel=1e-14)


@given(size=st.integers(1, 3000), seed=st.integers(0, 99), share=st.floats(0.01, 0.9))
@settings(max_examples=20, deadline=None)
def test_entropy_along_a_step_agrees_with_numpy(size: int, seed: int, share: float) -> None:
    x, m, _, d, q = _sky(size, seed)
    d, q = -0.9 * x + 0.3 * np.minimum(d, x), -0.5 * m + 0.1 * np.minimum(q, m)
    x[::6] = 0  # there the step leads below zero
    p, c = x + share * d, m + share * q
    on = (p > 0) & (c > 0)
    p, c, d_on, q_on = p[on], c[on], d[on], q[on]
    terms = p * q_on / c - (np.log(p / c) + 1) * d_on
    slope, bend = entropy_along(x, d, m, q, share)
    assert slope == pytest.approx(terms.sum(), abs=1e-12 * np.abs(terms).sum())
    assert bend == pytest.approx(np.sum(p * (q_on / c - d_on / p) ** 2), rel=1e-10)


def test_a_slope_is_what_was_scaled() -> None:
    x, z, s, last, g = _sky(2100)
    x[::9] = 0
    rise, mixed = unscaled_slope(x, z, s, last, g)
    expected = np.divide(z * s, x, out=np.zeros_like(x), where=x > 0)
    np.testing.assert_allclose(g, expected, rtol=1e-14)
    assert rise == pytest.approx(np.sum(z * expected), rel=1e-12)
    assert mixed == pytest.approx(np.sum(z * last), rel=1e-12)


def test_threads_do_not_change_the_entropy() -> None:
    x, b, s, m, g = _sky(300_001)
    outs = [np.empty_like(x), np.empty_like(x)]
    found = [
        (
            relative_entropy(x, m, threads),
            entropy_step(x, b, s, m, g, (0.3, -0.7, 0.2), 0.0, out, threads),
            entropy_along(x, b, m, g, 0.5, threads),
        )
        for threads, out in zip((1, 3), outs, strict=True)
    ]
    assert found[0] == found[1]
    np.testing.assert_array_equal(*outs)


def test_arrays_of_the_entropy_must_match() -> None:
    x, short = np.ones(5), np.ones(4)
    with pytest.raises(ValueError, match="same size"):
        relative_entropy(x, short)
    with pytest.raises(ValueError, match="same size"):
        entropy_step(x, x, short, x, x, (1.0, 1.0, 1.0), 0.0, x)
    with pytest.raises(ValueError, match="same size"):
        entropy_along(x, x, x, short, 1.0)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        entropy_along(x, x, x, x, 1.0, threads=0)


def test_one_number_may_stand_for_all_sensitivities() -> None:
    x, b, m, g, last = _sky(2500)
    one = np.broadcast_to(np.float64(0.7), x.shape)

    def found(s: np.ndarray) -> list[object]:
        kernels = [
            lambda out: em_update(x, b, s, out),
            lambda out: entropy_step(x, b, s, x / m, g, (0.3, -0.7, 0.2), 0.1, out),
            lambda out: unscaled_slope(x, b, s, last, out),
            lambda out: scaled_slope(x, b, s, 1e-2, 0.0, np.inf, last, out, np.empty_like(x)),
            lambda out: dot(s, x),
        ]
        outs = [np.zeros_like(x) for _ in kernels]
        sums = [kernel(out) for kernel, out in zip(kernels, outs, strict=True)]
        return [sums, np.array(outs).tobytes()]

    assert found(one) == found(one.copy())


@pytest.mark.parametrize("one", [np.float32, np.float64])
@pytest.mark.parametrize("other", [np.float32, np.float64, np.int64])
def test_a_dot_product_is_summed_in_double_whatever_the_types(one, other):
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 9, (50, 70)).astype(one), rng.normal(0, 9, (50, 70)).astype(other)
    products = a.astype(np.float64) * b
    near = pytest.approx(np.sum(products), abs=1e-13 * np.sum(np.abs(products)))
    assert dot(a, b) == near
    assert dot(a.T, b.T) == near
    with pytest.raises(ValueError, match="same size"):
        dot(a, b[1:])
