"""A dense response by rows does what the plain matrix does, from fewer and smaller numbers."""

from __future__ import annotations

import gc
import shutil
import tempfile
import tracemalloc
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skyfold
from skyfold.algorithms.ordered_subsets import OrderedSubsets
from skyfold.binned import BinnedData
from skyfold.errors import DataError, FileError
from skyfold.matrices import Matrix
from skyfold.model import Model
from skyfold.response import check_adjoint
from skyfold_responses.matrix import RowMatrix
from skyfold_responses.memory import (
    free_memory,
    memory_limit,
    memory_needed,
    memory_sentence,
    on_disk,
    usable_threads,
)
from skyfold_responses.rows import HeldRows

ROUNDING = {"float64": 1e-12, "float32": 1e-6, "uint16": 1e-4}


class Pieces:
    """Slabs of uneven height, and how often they were read."""

    def __init__(self, matrix: np.ndarray, *heights: int) -> None:
        self.matrix, self.heights, self.readings = matrix, heights, 0
        self.shape = matrix.shape

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        self.readings += 1
        at = 0
        for height in self.heights or (len(self.matrix),):
            yield at, self.matrix[at : at + height]
            at += height


def matrix_of(rng: np.random.Generator, values: int, bins: int) -> np.ndarray:
    """Return a matrix (values, bins) in which some bins and some entries are empty."""
    matrix = rng.random((values, bins)) * rng.choice([0, 1e-3, 1, 40], bins)
    return matrix * (rng.random(matrix.shape) < 0.7)


@given(
    st.tuples(st.sampled_from([1, 2, 5, 17, 64, 131]), st.sampled_from([1, 2, 3, 5, 97, 700])),
    st.sampled_from(sorted(ROUNDING)),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_rows_do_what_the_matrix_does(
    size: tuple[int, int], storage: str, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values, bins = size
    matrix = matrix_of(rng, values, bins)
    matrix[rng.integers(values), rng.integers(bins)] = 1.0
    observed = np.flatnonzero(rng.random(bins) < share)
    response = RowMatrix(matrix, (values,), (bins,), storage=storage, factor=0.25)
    rows = response.rows(observed)
    plain = Matrix(0.25 * matrix.T)
    tolerance = ROUNDING[storage]

    x, w = rng.random(values), rng.random(observed.size)
    scale = 0.25 * matrix.max()
    near = {"rtol": tolerance, "atol": tolerance * scale * max(size)}
    np.testing.assert_allclose(response.forward(x), plain.forward(x), **near)
    np.testing.assert_allclose(rows.forward(x), plain.forward(x)[observed], **near)
    np.testing.assert_allclose(rows.adjoint(w), plain.rows(observed).adjoint(w), **near)
    full = rng.random(bins)
    np.testing.assert_allclose(response.adjoint(full), plain.adjoint(full), **near)
    assert check_adjoint(response, seed) < 1e-12
    assert observed.size == 0 or check_adjoint(rows, seed) < 1e-12

    # what is stored is one matrix: whole, rows and column sums agree to the last digits
    np.testing.assert_allclose(rows.forward(x), response.forward(x)[observed], rtol=1e-12)
    sums = response.sensitivity(np.ones(bins))
    np.testing.assert_allclose(sums, response.adjoint(np.ones(bins)), rtol=1e-12)

    counts = rng.integers(0, 4, observed.size).astype(float)
    others = rng.random(observed.size)
    expected, back, fit = rows.e_step(x, counts, others)
    np.testing.assert_allclose(expected, rows.forward(x) + others, rtol=1e-12)
    np.testing.assert_allclose(back, rows.adjoint(counts / expected), rtol=1e-9)
    assert fit == pytest.approx(np.sum(counts * np.log(expected)), rel=1e-9, abs=1e-9)


def test_a_reconstruction_is_that_of_the_plain_matrix(rng: np.random.Generator) -> None:
    matrix = rng.random((12, 35))
    counts = rng.poisson(1.0, (5, 7))
    background = np.full((5, 7), 0.3)
    found = [
        skyfold.run(
            BinnedData(counts, {"sky": response, "background": background}),
            iterations=3,
            progress=False,
        ).state.model
        for response in (
            RowMatrix(Pieces(matrix, 3, 4, 5), (6, 2), (5, 7), storage="float64"),
            Matrix(matrix.T, (6, 2), (5, 7)),
        )
    ]
    for name in ("sky", "background"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-12)


def test_empty_bins_are_skipped_without_changing_anything(rng: np.random.Generator) -> None:
    matrix = rng.random((20, 300))
    counts = rng.poisson(0.4, 300)
    response = RowMatrix(matrix, (20,), (300,))
    values = {"sky": rng.random(20)}
    data = BinnedData(counts, {"sky": response})
    assert data.bins is not None
    assert data.bins.size == np.count_nonzero(counts)
    step = data.e_step(values)
    everything = response.rows(np.arange(300))
    expected, back, fit = everything.e_step(values["sky"], counts.astype(float), None)
    np.testing.assert_allclose(step.back["sky"], back, rtol=1e-12)
    assert step.log_likelihood == pytest.approx(fit - expected.sum(), rel=1e-12)
    np.testing.assert_allclose(data.full_expectation(values), expected, rtol=1e-12)


@pytest.mark.parametrize("storage", sorted(ROUNDING))
def test_threads_change_no_bit(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    matrix = rng.random((129, 3000))
    counts = rng.integers(0, 3, 2900).astype(float)
    found = []
    for count in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        response = RowMatrix(matrix, (129,), (3000,), storage=storage)
        rows = response.rows(np.arange(50, 2950))
        x = np.linspace(0.1, 1, 129)
        found.append([*rows.e_step(x, counts, None), rows.adjoint(counts), response.forward(x)])
        found[-1] += [response.sensitivity(np.ones(3000))]
        found[-1] += [rows.attribute(x, counts, None, np.random.default_rng(1)).drawn]
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_the_source_is_read_once_and_rows_are_shared(rng: np.random.Generator) -> None:
    slabs = Pieces(rng.random((30, 50)), 7, 20, 3)
    response = RowMatrix(slabs, (30,), (50,))
    counts = rng.poisson(0.7, 50)
    data = BinnedData(counts, {"sky": response})
    assert data.sensitivity["sky"].shape == (30,)
    assert slabs.readings == 1
    parts = data.split(2)
    again = data.with_counts(np.where(np.arange(50) < 20, counts, 0))
    assert slabs.readings == 1
    held = [part.responses["sky"] for part in (data, *parts, again)]
    assert all(rows.numbers is held[0].numbers for rows in held)
    x = rng.random(30)
    whole = response.forward(x)
    for part, rows in zip((data, *parts, again), held, strict=True):
        np.testing.assert_allclose(rows.forward(x), whole[part.bins], rtol=1e-12)
    data.with_counts(np.ones(50))  # bins that were never read
    assert slabs.readings == 3


@pytest.mark.parametrize("storage", sorted(ROUNDING))
def test_parts_are_views_of_the_rows(storage: str, rng: np.random.Generator) -> None:
    slabs = Pieces(rng.random((400, 2000)), 100, 300)
    response = RowMatrix(slabs, (400,), (2000,), storage=storage)
    data = BinnedData(rng.poisson(0.8, 2000), {"sky": response, "background": np.ones(2000)})
    values = {"sky": rng.random(400), "background": np.array([0.3])}
    whole = data.e_step(values)
    readings, numbers = slabs.readings, data.responses["sky"].numbers
    tracemalloc.start()
    parts = data.split(8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * numbers.nbytes
    backs = []
    for part in parts:
        rows = part.responses["sky"]
        assert np.shares_memory(rows.numbers, numbers)
        assert check_adjoint(rows) < 1e-12
        assert check_adjoint(rows.rows(np.arange(0, rows.data_shape[0], 3))) < 1e-12
        backs.append(part.e_step(values).back["sky"])
    np.testing.assert_allclose(sum(backs), whole.back["sky"], rtol=1e-12)
    assert slabs.readings == readings


def test_threads_change_no_bit_of_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    matrix, counts = rng.random((90, 3000)), rng.poisson(0.9, 3000)
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        data = BinnedData(counts, {"sky": RowMatrix(matrix, (90,), (3000,))})
        algorithm = OrderedSubsets(subsets=2)
        state = algorithm.step(algorithm.start(data, Model.start(data)), data)
        found.append((state.model["sky"], state.back["sky"], state.log_likelihood))
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_sensitivity_of_other_weights(rng: np.random.Generator) -> None:
    matrix = rng.random((8, 21))
    slabs = Pieces(matrix)
    response = RowMatrix(slabs, (8,), (3, 7), storage="float64")
    weight = rng.random((3, 7))
    np.testing.assert_allclose(response.sensitivity(weight), matrix @ weight.ravel(), rtol=1e-13)
    readings = slabs.readings
    for even in (np.ones((3, 7)), np.broadcast_to(0.5, (3, 7)), np.full((3, 7), 2.0)):
        expected = even[0, 0] * matrix.sum(axis=1)
        np.testing.assert_allclose(response.sensitivity(even), expected, rtol=1e-13)
    assert slabs.readings == readings + 1


def test_integers_are_off_by_half_a_step_at_most(rng: np.random.Generator) -> None:
    matrix = matrix_of(rng, 40, 60) * rng.choice([1e-30, 1e-3, 1e20], 60)
    response = RowMatrix(matrix, (40,), (60,), storage="uint16", factor=3.0)
    rows = response.rows(np.arange(60))
    stored = np.stack([rows.forward(unit) for unit in np.eye(40)])
    step = 3 * matrix.max(axis=0) / 65535
    assert np.all(abs(stored - 3 * matrix) <= 0.5000001 * step)
    # the sensitivity is that of the stored numbers, not of the given ones
    np.testing.assert_allclose(response.sensitivity(np.ones(60)), stored.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("storage", sorted(ROUNDING))
def test_rows_on_disk_are_those_in_memory(storage: str, rng: np.random.Generator) -> None:
    matrix = rng.random((61, 200))
    bins = np.flatnonzero(rng.random(200) < 0.6)
    x, counts = rng.random(61), np.ones(bins.size)
    inside = RowMatrix(matrix, (61,), (200,), storage=storage)
    expected = inside.rows(bins).e_step(x, counts, None)
    for memory in (0, 5_000, 13_000):  # strips of one value, of some, of many
        outside = RowMatrix(
            Pieces(matrix, 9, 30, 22), (61,), (200,), storage=storage, memory=memory
        )
        rows = outside.rows(bins)
        assert isinstance(rows.numbers.base, np.ndarray)
        for a, b in zip(expected, rows.e_step(x, counts, None), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="needs /proc to see mapped files")
def test_the_temporary_file_dies_with_the_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count(str(tmp_path))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = RowMatrix(np.ones((300, 100)), (300,), (100,), memory=0).rows(np.arange(100))
    assert mapped() == 1
    assert not list(tmp_path.iterdir())
    del rows
    gc.collect()
    assert mapped() == 0


def test_a_full_disk_is_said_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(FileError, match=r"0\.12 MB are needed.*0\.001 MB are free; set TMPDIR"):
        on_disk((300, 100), np.float32)


def test_memory_is_told_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_needed(100, 3072) == 100 * 3072 * 4
    assert memory_needed(100, 3072, "uint16") == 100 * 3072 * 2 + 100 * 8
    held = memory_sentence(112_000, 3072, memory=2_000_000_000)
    assert held == (
        "112000 bins with counts x 3072 values in float32 need 1.38 GB, 2 GB may be used"
    )
    assert "streaming from disk" in memory_sentence(112_000, 3072, "float64", memory=2_000_000_000)
    free = free_memory()
    if free is not None:
        assert 0 < free < 1e15
        assert memory_limit() is not None
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert usable_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "all")
    assert usable_threads() >= 1


@pytest.mark.parametrize(
    ("number", "storage", "said"),
    [
        (np.nan, "float32", r"nan at value \(3, 1\), bin \(2, 4\)"),
        (-1e-9, "float64", r"-1e-09 at value \(3, 1\), bin \(2, 4\)"),
        (np.inf, "uint16", r"inf at value \(3, 1\), bin \(2, 4\)"),
        (1e39, "float32", r"1e\+39, too large for float32 at value \(3, 1\), bin \(2, 4\)"),
    ],
)
def test_impossible_entries_are_refused_with_their_place(
    number: float, storage: str, said: str
) -> None:
    matrix = np.ones((8, 15))
    matrix[7, 14] = number
    response = RowMatrix(Pieces(matrix, 3, 5), (4, 2), (3, 5), storage=storage)
    with pytest.raises(DataError, match=said):
        response.rows(np.array([0]))


def test_sources_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(4, 6\).*need \(4, 5\)"):
        RowMatrix(np.ones((4, 6)), (2, 2), (5,))
    for pieces, said in (
        (Pieces(np.ones((4, 6)), 3), "ends after 3 of 4 values"),
        (Pieces(np.ones((4, 6), np.float16)), "float16"),
        (Pieces(np.full((4, 6), "a")), "type <U1"),
    ):
        with pytest.raises(DataError, match=said):
            RowMatrix(pieces, (4,), (6,)).forward(np.ones(4))
    with pytest.raises(DataError, match="nothing is left"):
        RowMatrix(np.full((4, 6), 1e-60), (4,), (6,)).sensitivity(np.ones(6))


def test_integer_and_big_endian_sources_are_understood(rng: np.random.Generator) -> None:
    numbers = rng.integers(0, 1000, (6, 9))
    x = rng.random(6)
    for kind in (">f4", ">f8", "i4", "u2", "f4"):
        response = RowMatrix(numbers.astype(kind), (6,), (9,), storage="float64")
        np.testing.assert_allclose(response.forward(x), x @ numbers, rtol=1e-13)


def test_not_a_number_is_never_hidden(rng: np.random.Generator) -> None:
    rows = HeldRows(rng.random((9, 20)).astype(np.float32), (20,))
    x = rng.random(20)
    x[3] = np.nan
    expected, back, fit = rows.e_step(x, np.ones(9), None)
    assert np.isnan(expected).all()
    assert np.isnan(back).all()
    assert np.isnan(fit)


def test_bins_without_expectation() -> None:
    rows = HeldRows(np.array([[0.0, 0.0], [1.0, 2.0]]), (2,))
    expected, back, fit = rows.e_step(np.ones(2), np.array([0.0, 3.0]), None)
    assert expected.tolist() == [0.0, 3.0]
    assert back.tolist() == [1.0, 2.0]
    assert fit == pytest.approx(3 * np.log(3))


def test_counts_are_attributed_as_they_should(rng: np.random.Generator) -> None:
    matrix = rng.random((150, 4)) * (rng.random((150, 4)) < 0.5)
    matrix[:, 2] = 0
    matrix[149, 2] = 1
    x = rng.random((50, 3))
    counts = np.array([[40_000, 0], [7, 5_000_000]])
    rows = RowMatrix(matrix, (50, 3), (2, 2), storage="float64").rows(np.arange(4))
    drawn = rows.attribute(x, counts.ravel(), None, rng).drawn
    assert drawn.shape == (50, 3)
    assert drawn.dtype == np.int64
    assert drawn.sum() == counts.sum()
    assert drawn[49, 2] >= 7
    share = matrix * x.reshape(-1, 1)
    mean = (share / share.sum(axis=0) * counts.ravel()).sum(axis=1)
    scatter = np.sqrt(np.maximum(mean, 1))
    assert np.all(abs(drawn.ravel() - mean) < 5 * scatter)
    assert np.all(drawn.ravel()[mean == 0] == 0)
    with pytest.raises(DataError, match="bin 2 of those observed holds 7 counts"):
        rows.attribute(
            np.where(np.arange(150).reshape(50, 3) < 149, x, 0), counts.ravel(), None, rng
        )


def test_float32_data_stay_float32(rng: np.random.Generator) -> None:
    data = BinnedData(
        np.ones((3, 4)),
        {"sky": RowMatrix(rng.random((6, 12)), (6,), (3, 4)), "flat": np.ones((3, 4))},
        dtype=np.float32,
    )
    step = data.e_step({"sky": np.ones(6, np.float32), "flat": np.ones(1, np.float32)})
    assert step.expectation.observed.dtype == np.float32
    assert step.back["sky"].dtype == np.float32
    assert prod(step.expectation.observed.shape) == 12
