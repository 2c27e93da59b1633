"""A detector that turns under the sky: observed cells against the dense product."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import skyfold
from skyfold.binned import BinnedData
from skyfold.errors import DataError
from skyfold.matrices import Matrix
from skyfold.response import check_adjoint
from skyfold_responses.local import LocalFrame
from skyfold_responses.matrix import RowMatrix


class Case:
    """A small detector on a small orbit, and the dense matrix of the two."""

    def __init__(
        self,
        seed: int,
        attitudes: int,
        pixels: int,
        sky: int,
        energies: int,
        channels: tuple[int, ...],
        storage: str = "float64",
        memory: int | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        seen = rng.random((attitudes * pixels, sky)) * (rng.random((attitudes * pixels, sky)) < 0.3)
        matrix = rng.random((pixels * energies, prod(channels)))
        self.detector = RowMatrix(
            matrix, (pixels, energies), channels, storage=storage, factor=0.5, memory=memory
        )
        self.frame = LocalFrame(sparse.csr_array(seen), self.detector)
        dense = np.einsum(
            "snp,nec->scpe",
            seen.reshape(attitudes, pixels, sky),
            0.5 * matrix.reshape(pixels, energies, -1),
        )
        self.dense = Matrix(
            dense.reshape(attitudes * prod(channels), sky * energies),
            (sky, energies),
            (attitudes, *channels),
        )
        self.rng = rng


cases = st.builds(
    Case,
    seed=st.integers(0, 2**32 - 1),
    attitudes=st.sampled_from([1, 2, 7, 40]),
    pixels=st.sampled_from([1, 3, 12, 48]),
    sky=st.sampled_from([1, 5, 12]),
    energies=st.sampled_from([1, 2, 3]),
    channels=st.sampled_from([(1,), (2, 3), (5, 1, 11)]),
    storage=st.sampled_from(["float64", "float32"]),
)


@given(cases, st.sampled_from([0.0, 0.02, 0.5, 1.0]))
@settings(deadline=None)
def test_cells_do_what_the_dense_product_does(case: Case, share: float) -> None:
    frame, dense, rng = case.frame, case.dense, case.rng
    exact = case.detector.storage == "float64"
    near = {"rtol": 1e-12, "atol": 1e-12} if exact else {"rtol": 1e-6, "atol": 1e-5}
    assert (frame.model_shape, frame.data_shape) == (dense.model_shape, dense.data_shape)
    x, w = rng.random(frame.model_shape), rng.random(frame.data_shape)
    np.testing.assert_allclose(frame.forward(x), dense.forward(x), **near)
    np.testing.assert_allclose(frame.adjoint(w), dense.adjoint(w), **near)
    np.testing.assert_allclose(frame.sensitivity(w), dense.adjoint(w), **near)
    ones = np.ones(frame.data_shape)
    np.testing.assert_allclose(frame.sensitivity(ones), dense.adjoint(ones), **near)
    assert check_adjoint(frame) < 1e-12

    bins = np.flatnonzero(rng.random(w.size) < share)
    some, plain = frame.rows(bins), dense.rows(bins)
    counts, others = rng.integers(0, 4, bins.size).astype(float), rng.random(bins.size)
    np.testing.assert_allclose(some.forward(x), plain.forward(x), **near)
    np.testing.assert_allclose(some.adjoint(counts), plain.adjoint(counts), **near)
    assert bins.size == 0 or check_adjoint(some) < 1e-12
    for ours, theirs in zip(
        some.e_step(x, counts, others), plain.e_step(x, counts, others), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, **near)
    picked = rng.permutation(bins.size)[: bins.size // 2]
    np.testing.assert_allclose(some.rows(picked).forward(x), some.forward(x)[picked], rtol=1e-13)


def test_a_reconstruction_is_that_of_the_dense_product() -> None:
    case = Case(1, 9, 12, 10, 2, (4, 6))
    counts = case.rng.poisson(0.3, case.frame.data_shape)
    background = np.full(counts.shape, 0.1)
    ours, theirs = (
        skyfold.run(
            BinnedData(counts, {"sky": response, "background": background}),
            iterations=3,
            progress=False,
        ).state.model
        for response in (case.frame, case.dense)
    )
    for name in ("sky", "background"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-11)


def test_threads_and_place_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads, memory in (("1", None), ("2", None), ("5", None), ("2", 0)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        case = Case(2, 90, 48, 12, 2, (5, 41), "float32", memory)
        cells = case.frame.rows(np.flatnonzero(case.rng.random(90 * 205) < 0.2))
        x = case.rng.random(case.frame.model_shape)
        counts = case.rng.integers(0, 3, cells.data_shape[0])
        found.append([*cells.e_step(x, counts.astype(float), None), cells.adjoint(counts)])
        found[-1].append(cells.attribute(x, counts, None, np.random.default_rng(1)).drawn)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_integers_give_one_consistent_matrix() -> None:
    case = Case(3, 5, 12, 10, 2, (4, 6), "uint16")
    x = case.rng.random(case.frame.model_shape)
    np.testing.assert_allclose(case.frame.forward(x), case.dense.forward(x), rtol=1e-4)
    bins = np.arange(0, 120, 7)
    some = case.frame.rows(bins).forward(x)
    np.testing.assert_allclose(some, case.frame.forward(x).ravel()[bins], rtol=1e-12)
    ones = np.ones(case.frame.data_shape)
    np.testing.assert_allclose(case.frame.sensitivity(ones), case.frame.adjoint(ones), rtol=1e-12)


def test_only_detector_rows_that_occur_are_loaded() -> None:
    case = Case(4, 6, 12, 10, 1, (4, 6))
    cells = case.frame.rows(np.array([3, 24 + 3, 48 + 5, 5 * 24 + 3]))
    assert cells.detector.numbers.shape == (2, 12)


def test_parts_share_the_detector_and_add_up() -> None:
    case = Case(7, 6, 48, 10, 2, (5, 60))
    counts = case.rng.poisson(0.7, case.frame.data_shape)
    data = BinnedData(counts, {"sky": case.frame})
    x = {"sky": case.rng.random(case.frame.model_shape)}
    parts = data.split(5)
    held = data.responses["sky"].detector.numbers
    assert all(np.shares_memory(part.responses["sky"].detector.numbers, held) for part in parts)
    assert all(check_adjoint(part.responses["sky"]) < 1e-12 for part in parts)
    whole, apart = data.e_step(x), [part.e_step(x) for part in parts]
    np.testing.assert_allclose(sum(step.back["sky"] for step in apart), whole.back["sky"])
    total = sum(step.log_likelihood for step in apart)
    assert total == pytest.approx(whole.log_likelihood, rel=1e-12)
    weighed = data.split(5)[2]
    again = case.dense.adjoint(weighed.weight)
    np.testing.assert_allclose(weighed.sensitivity["sky"], again, rtol=1e-11)


def test_few_cells_are_not_worth_many_conversions() -> None:
    case = Case(8, 7, 12, 5, 1, (5, 1, 11))
    assert case.frame.rows(np.arange(3)).divisions == 1
    large = Case(8, 2, 48, 5, 3, (50, 60))
    cells = large.frame.rows(np.arange(6000))
    assert 1 < cells.divisions < 6000


def test_counts_are_attributed_to_the_sky() -> None:
    case = Case(5, 3, 12, 10, 2, (4,))
    x = case.rng.random((10, 2))
    x[4] = 0
    counts = case.rng.integers(0, 30_000, 12)
    cells = case.frame.rows(np.arange(12))
    drawn = cells.attribute(x, counts, None, case.rng).drawn
    assert drawn.sum() == counts.sum()
    share = case.dense.matrix * x.ravel()
    mean = (share / share.sum(axis=1, keepdims=True) * counts[:, None]).sum(axis=0)
    assert np.all(abs(drawn.ravel() - mean) < 5 * np.sqrt(np.maximum(mean, 1)))
    assert np.all(drawn[4] == 0)
    none = cells.attribute(x, np.zeros(12, int), None, case.rng).drawn
    assert none.sum() == 0


def test_not_a_number_is_never_hidden() -> None:
    case = Case(6, 3, 12, 10, 1, (4,))
    x = case.rng.random((10, 1))
    x[0] = np.nan
    expected, back, fit = case.frame.rows(np.arange(12)).e_step(x, np.ones(12), None)
    assert np.isnan(expected).any()
    assert np.isnan(back).any()
    assert np.isnan(fit)


def test_what_does_not_fit_is_refused() -> None:
    detector = RowMatrix(np.ones((8, 5)), (4, 2), (5,))
    with pytest.raises(DataError, match=r"13 rows.*no multiple of the 4 local pixels"):
        LocalFrame(sparse.csr_array(np.ones((13, 3))), detector)
    with pytest.raises(DataError, match=r"\(local pixels, energies\), not \(8,\)"):
        LocalFrame(sparse.csr_array(np.ones((16, 3))), RowMatrix(np.ones((8, 5)), (8,), (5,)))
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(DataError, match="negative or non-finite times"):
            LocalFrame(sparse.csr_array(np.full((8, 3), wrong)), detector)
