"""Photon attribution: where counts came from, by every response, and its columns."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skyfold.errors import DataError
from skyfold.matrices import Matrix, Template
from skyfold.pixels import Diagonal
from skyfold.response import Response
from skyfold_responses import Psf
from skyfold_responses.events import EventRows
from skyfold_responses.image import BlockSum
from skyfold_responses.local import LocalFrame
from skyfold_responses.matrix import RowMatrix
from skyfold_responses.rows import HeldRows

BOUNDARIES = ["extended", "same", "reflect", "periodic"]
SHAPES = [
    pytest.param((5, 7), (8, 6), id="odd"),
    pytest.param((4, 6), (8, 7), id="even"),
    pytest.param((9,), (13,), id="line"),
    pytest.param((9, 12), (4, 3), id="psf-larger-than-image"),
    pytest.param((3, 18, 2), (3, 5, 4), id="psf-per-energy"),
    pytest.param((4, 35), (2, 3, 40), id="one-psf-for-all-energies"),
]
EXTREMES = [0, 0, 1, 2, 6, 7, 12, 13, 100, 3000, 3001]


def dense(response: Response) -> np.ndarray:
    units = np.eye(prod(response.model_shape)).reshape(-1, *response.model_shape)
    return np.stack([response.forward(unit).ravel() for unit in units], axis=1)


def from_columns(response: Response, places: np.ndarray) -> np.ndarray:
    start, bins, weights = response.columns(places)
    assert start[0] == 0
    assert start[-1] == len(bins) == len(weights)
    matrix = np.zeros((prod(response.data_shape), len(places)))
    for j in range(len(places)):
        at = slice(start[j], start[j + 1])
        assert np.all(np.diff(bins[at]) > 0), "each bin once, in order"
        matrix[bins[at], j] = weights[at]
    return matrix


def check_law(
    response: Response,
    matrix: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    others: np.ndarray | None,
    rng: np.random.Generator,
    draws: int = 400,
) -> None:
    """Compare means, variances and covariances of many draws with those of the multinomials."""
    background = np.zeros(len(matrix)) if others is None else others
    own = matrix * values.ravel()
    e = own.sum(axis=1) + background
    seen = counts.ravel() > 0
    n = counts.ravel()[seen].astype(float)
    chance, lost = own[seen] / e[seen, None], background[seen] / e[seen]
    drawn, left = [], []
    for _ in range(draws):
        one, expectation, other = response.attribute(values, counts, others, rng)
        assert one.dtype == other.dtype == np.int64
        assert one.shape == response.model_shape
        assert one.min() >= 0 <= other.min()
        assert one.sum() + other.sum() == counts.sum()
        assert np.all(other <= counts.ravel())
        np.testing.assert_allclose(expectation[seen], e[seen], rtol=1e-10)
        drawn.append(one.ravel())
        left.append(other[seen])

    mean, variance = n @ chance, n @ (chance * (1 - chance))
    assert_normal(np.mean(drawn, axis=0) - mean, variance / draws, draws)
    spread = n * lost * (1 - lost)
    assert_normal(np.mean(left, axis=0) - n * lost, spread / draws, draws)
    often = spread > 0.5
    assert np.all(np.abs(np.var(left, axis=0)[often] / spread[often] - 1) < 12 / np.sqrt(draws))
    # along a random direction the variance holds all covariances
    for _ in range(4 if mean.sum() > 0.5 else 0):
        direction = rng.standard_normal(len(mean))
        expected = n @ (chance @ direction**2 - (chance @ direction) ** 2)
        found = np.var(np.array(drawn) @ direction)
        assert abs(found - expected) < (10 / np.sqrt(draws)) * expected + 1e-9


def assert_normal(difference: np.ndarray, variance: np.ndarray, draws: int) -> None:
    z = (difference / np.sqrt(np.maximum(variance, 1e-300)))[variance * draws**2 > 20]
    if len(z):
        assert np.max(np.abs(z)) < 6
        assert np.mean(z**2) < 1 + 6 * np.sqrt(2 / len(z)) + 20 / len(z)


@pytest.mark.parametrize(("kernel", "data"), SHAPES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_law_of_a_convolution(rng, kernel, data, boundary):
    psf = Psf(rng.random(kernel), data, boundary)
    counts = rng.choice(EXTREMES, size=data)
    values = rng.gamma(0.3, size=psf.model_shape)
    others = rng.random(prod(data)) * rng.choice([0, 5], size=prod(data))
    check_law(psf, dense(psf), values, counts, others, rng, 120)


@pytest.mark.parametrize("count", [0, 1, 6, 7, 12, 13, 3000, 3001, 10**6])
@pytest.mark.parametrize("background", [None, 0.0, 3.0, 300.0])
def test_extreme_counts_in_one_pixel(rng, count, background):
    psf = Psf(rng.random((4, 5)), (6, 6), "same")
    counts = np.zeros((6, 6), int)
    counts[2, 3] = count
    others = None if background is None else np.full(36, background)
    check_law(psf, dense(psf), rng.random((6, 6)), counts, others, rng, 200)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kernel=st.tuples(st.integers(1, 20), st.integers(1, 34)),
    data=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20)),
    boundary=st.sampled_from(BOUNDARIES),
    engine=st.sampled_from(["direct", "scipy"]),
    dtype=st.sampled_from([np.float64, np.float32]),
    background=st.booleans(),
)
def test_nothing_is_lost(seed, kernel, data, boundary, engine, dtype, background):
    rng = np.random.default_rng(seed)
    psf = Psf(rng.random(kernel), data, boundary, engine, dtype)
    values = rng.gamma(0.05, size=psf.model_shape).astype(dtype) + dtype(1e-6)
    counts = rng.poisson(rng.gamma(0.2, 20, size=data))
    others = rng.random(prod(data)) if background else None
    drawn, expectation, left = psf.attribute(values, counts, others, rng)
    assert drawn.sum() + left.sum() == counts.sum()
    assert np.all(drawn >= 0)
    assert np.all((left >= 0) & (left <= counts.ravel()))
    exact = Psf(psf.kernel, data, boundary, "direct").forward(values.astype(float)).ravel()
    expected = exact if others is None else exact + others
    seen = counts.ravel() > 0
    np.testing.assert_allclose(expectation[seen], expected[seen], rtol=1e-9)
    # no count comes from a pixel without light
    assert not drawn[values == 0].any()


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("kernel", "data"), SHAPES)
def test_columns_are_the_light_of_single_pixels(rng, kernel, data, boundary):
    psf = Psf(rng.standard_normal(kernel), data, boundary)
    places = rng.permutation(prod(psf.model_shape))[:40]
    np.testing.assert_allclose(from_columns(psf, places), dense(psf)[:, places], atol=1e-12)


def test_a_margin_is_part_of_the_model(rng):
    psf = Psf(rng.random((7, 9)), (6, 8), margin=(1, 3))
    places = np.arange(prod(psf.model_shape))
    np.testing.assert_allclose(from_columns(psf, places), dense(psf), atol=1e-12)
    counts = rng.poisson(5.0, (6, 8))
    check_law(psf, dense(psf), rng.random(psf.model_shape), counts, None, rng, 200)


def test_threads_change_no_bit(rng):
    kernel, counts = rng.random((9, 9)), rng.poisson(rng.gamma(0.1, 50, (60, 50)))
    others, found = np.full(counts.size, 0.3), []
    for workers in (1, 2, 5):
        psf = Psf(kernel, counts.shape, workers=workers)
        values = np.random.default_rng(3).random(psf.model_shape)
        found.append(psf.attribute(values, counts, others, np.random.default_rng(7)))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_each_call_draws_anew(rng):
    psf, counts = Psf(rng.random((3, 3)), (9, 9)), np.full((9, 9), 5)
    values = np.ones(psf.model_shape)
    first, second = (psf.attribute(values, counts, None, rng).drawn for _ in range(2))
    again = psf.attribute(values, counts, None, np.random.default_rng(2)).drawn
    same = psf.attribute(values, counts, None, np.random.default_rng(2)).drawn
    assert np.any(first != second)
    np.testing.assert_array_equal(again, same)


def test_counts_that_nothing_can_make_are_refused(rng):
    psf = Psf(np.ones((3, 3)), (2, 5, 6), "same")
    values, counts = np.zeros((2, 5, 6)), np.zeros((2, 5, 6), int)
    values[:, 0, 0] = 1
    counts[1, 4, 3] = 7
    with pytest.raises(DataError, match="pixel x=3 y=4 of plane 1 holds 7 counts"):
        psf.attribute(values, counts, None, rng)
    others = np.zeros(60)
    others[np.ravel_multi_index((1, 4, 3), (2, 5, 6))] = 0.1
    drawn, _, left = psf.attribute(values, counts, others, rng)
    assert drawn.sum() == 0
    assert left.sum() == 7
    values[1, 4, 3] = np.nan
    with pytest.raises(DataError, match="expects nan"):
        psf.attribute(values, counts, others, rng)


def test_a_kernel_with_negative_elements_is_refused(rng):
    psf = Psf([[0.1, -0.01, 1.0]], (4, 4))
    with pytest.raises(DataError, match=r"negative elements, down to -0\.01.*set them to zero"):
        psf.attribute(np.ones(psf.model_shape), np.ones((4, 4), int), None, rng)


def kinds(rng: np.random.Generator) -> dict[str, Response]:
    numbers = rng.random((30, 150)) * (rng.random((30, 150)) < 0.6)
    fine = Psf(rng.random((5, 4)), (8, 9), "reflect")
    exposed = BlockSum(2, (4, 4)) @ Psf(rng.random((3, 3)), (8, 8), "same")
    detector = RowMatrix(rng.random((12, 40)), (4, 3), (40,), storage="uint16")
    frame = LocalFrame(sparse.random_array((5 * 4, 17), density=0.3, rng=rng), detector)
    cells = frame.rows(rng.permutation(200)[:70])
    template = Template(rng.random((6, 5)), rng.integers(0, 3, (6, 1)))
    return {
        "dense": Matrix(numbers.astype(np.float32), (10, 15), (5, 6)),
        "transposed": Matrix(numbers.T, data_shape=(15, 10)),
        "whole numbers": Matrix(rng.integers(0, 4, (20, 9))),
        "sparse": Matrix(sparse.csc_array(numbers), (150,), (30,)),
        "sparse matrix": Matrix(sparse.coo_matrix(numbers.astype(np.float32))),
        "held rows": HeldRows(numbers, (150,), np.array([7, 3, 3, 29]), rng.random(30)),
        "integers": HeldRows(
            rng.integers(0, 60_000, (9, 70), np.uint16), (7, 10), None, rng.random(9)
        ),
        "row matrix": detector.rows(np.arange(3, 33, 2)),
        "cells": cells,
        "some cells": cells.rows(np.arange(20, 5, -1)),
        "events": EventRows(lambda at: numbers[at], np.ones(150), 30),
        "held events": EventRows(numbers, np.ones(150)).rows(np.array([4, 2, 9])),
        "rows of a convolution": fine.rows(rng.permutation(72)[:30]),
        "exposure": fine @ Diagonal(rng.random((8, 9))),
        "rows of a chain": (fine @ Diagonal(rng.random((8, 9)))).rows(np.arange(5, 70, 3)),
        "blocks": exposed,
        "rows of blocks": exposed.rows(np.array([3, 9, 1])),
        "template": template,
        "rows of a template": template.rows(np.array([3, 9, 29])),
        "one normalisation": Template(rng.random(9)),
    }


@pytest.mark.parametrize("name", kinds(np.random.default_rng(0)))
def test_law_and_columns_of_every_response(rng, name):
    response = kinds(rng)[name]
    matrix = dense(response)
    places = rng.permutation(matrix.shape[1])[:25]
    found = from_columns(response, places)
    np.testing.assert_allclose(found, matrix[:, places], rtol=1e-10, atol=1e-14)
    values = rng.gamma(0.5, size=response.model_shape) + 1e-3
    others = rng.random(len(matrix)) * matrix.mean() * values.size
    counts = rng.choice(EXTREMES, size=response.data_shape)
    check_law(response, matrix, values, counts, others, rng, 120)
    counts.ravel()[matrix.sum(axis=1) == 0] = 0
    check_law(response, matrix, values, counts, None, rng, 120)


def test_rows_in_memory_tell_of_counts_that_nothing_can_make(rng):
    numbers = rng.random((4, 6))
    numbers[2] = 0
    for response in (Matrix(numbers), Matrix(sparse.csr_array(numbers)), HeldRows(numbers, (6,))):
        with pytest.raises(DataError, match="bin 2 of those observed holds 5 counts"):
            response.attribute(np.ones(6), np.array([1, 0, 5, 0]), None, rng)
        others = np.array([0, 0, 1e-9, 0])
        assert response.attribute(np.ones(6), np.array([1, 0, 5, 0]), others, rng).left[2] == 5
    for negative in (Matrix(-numbers), Matrix(-sparse.csr_array(numbers))):
        with pytest.raises(DataError, match="negative elements"):
            negative.attribute(np.ones(6), np.array([1, 0, 0, 0]), None, rng)


def test_threads_change_no_bit_of_sparse_attributions(rng, monkeypatch):
    detector = RowMatrix(rng.random((48, 300)).astype(np.float32), (48, 1), (300,))
    frame = LocalFrame(sparse.random_array((40 * 48, 700), density=0.2, rng=rng), detector)
    bins = rng.permutation(40 * 300)[:5000]
    values, counts = rng.random((700, 1)), rng.integers(0, 30, 5000)
    others, found = rng.random(5000) * 200, []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        cells = frame.rows(bins)
        found.append(cells.attribute(values, counts, others, np.random.default_rng(5)))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
