"""One row for each event: the limit of ever finer bins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skyfold
from skyfold.binned import BinnedData
from skyfold.errors import DataError
from skyfold.matrices import Template
from skyfold.response import check_adjoint
from skyfold_responses import events as module
from skyfold_responses.events import EventRows
from skyfold_responses.matrix import RowMatrix


@given(
    st.sampled_from([1, 2, 31, 200]),
    st.sampled_from([1, 3, 64]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_events_do_what_their_rows_do(events: int, values: int, made: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.random((events, values)).astype(np.float32)
    given_rows = (lambda numbers: rows[numbers]) if made else rows
    response = EventRows(given_rows, np.ones(values), events if made else None)
    x, counts, others = rng.random(values), np.ones(events), rng.random(events)
    expected = rows.astype(float) @ x + others
    found, back, fit = response.e_step(x, counts, others)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(back, (1 / expected) @ rows.astype(float), rtol=1e-12)
    assert fit == pytest.approx(np.log(expected).sum(), rel=1e-12, abs=1e-12)
    assert check_adjoint(response, seed) < 1e-12
    some = rng.permutation(events)[: events // 2 + 1]
    np.testing.assert_allclose(response.rows(some).forward(x), response.forward(x)[some])
    drawn = response.attribute(x, counts, None, rng).drawn
    assert drawn.sum() == events


def test_list_mode_is_binned_with_one_count_per_bin(rng: np.random.Generator) -> None:
    matrix = rng.random((12, 400))
    counts = (rng.random(400) < 0.3).astype(float)
    background = rng.random(400)
    held = np.flatnonzero(counts)
    binned = BinnedData(
        counts,
        {"sky": RowMatrix(matrix, (12,), (400,), storage="float64"), "background": background},
    )
    listed = BinnedData(
        np.ones(held.size),
        {
            "sky": EventRows(np.ascontiguousarray(matrix.T[held]), matrix.sum(axis=1)),
            "background": Template(background[held], totals=np.array([background.sum()])),
        },
    )
    assert binned.complete
    assert not listed.complete
    ours, theirs = (skyfold.run(data, iterations=3, progress=False) for data in (listed, binned))
    for name in ("sky", "background"):
        np.testing.assert_allclose(ours.state.model[name], theirs.state.model[name], rtol=1e-12)
    assert ours.state.log_likelihood == pytest.approx(theirs.state.log_likelihood, rel=1e-12)


def test_rows_made_block_by_block_are_never_all_in_memory(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rng.random((1000, 20))
    asked: list[int] = []

    def make(numbers: np.ndarray) -> np.ndarray:
        asked.append(len(numbers))
        return rows[numbers]

    monkeypatch.setattr(module, "BLOCK", 64 * 20)
    data = BinnedData(np.ones(1000), {"sky": EventRows(make, np.full(20, 50.0), 1000)})
    x = rng.random(20)
    step = data.e_step({"sky": x})
    assert max(asked) == 64
    assert sum(asked) == 1000
    np.testing.assert_allclose(step.back["sky"], (1 / (rows @ x)) @ rows, rtol=1e-12)
    assert step.log_likelihood == pytest.approx(np.log(rows @ x).sum() - 50 * x.sum(), rel=1e-12)


def test_parts_of_a_list_share_its_sensitivity(rng: np.random.Generator) -> None:
    sky = EventRows(rng.random((30, 4)), np.arange(4.0))
    background = Template(rng.random(30), totals=np.array([20.0]))
    parts = BinnedData(np.ones(30), {"sky": sky, "background": background}).split(3)
    for name, whole in (("sky", np.arange(4.0)), ("background", 20.0)):
        total = sum(part.sensitivity[name] for part in parts)
        np.testing.assert_allclose(total, whole, rtol=1e-12)


@pytest.mark.parametrize("made", [False, True])
def test_parts_of_a_list_add_up_and_copy_nothing(rng: np.random.Generator, made: bool) -> None:
    rows = rng.random((500, 80))
    sky = EventRows((lambda numbers: rows[numbers]) if made else rows, np.full(80, 9.0), 500)
    weight = np.where(np.arange(500) % 5 > 0, 0.5, 0.0)
    data = BinnedData(np.ones(500), {"sky": sky}, weight)
    x = {"sky": rng.random(80)}
    parts = data.split(6)
    assert data.divisions == data.counts.size == 400
    assert made or all(np.shares_memory(p.responses["sky"].source.numbers, rows) for p in parts)
    assert all(check_adjoint(part.responses["sky"]) < 1e-12 for part in parts)
    apart = sum(part.e_step(x).log_likelihood for part in parts)
    assert apart == pytest.approx(data.e_step(x).log_likelihood, rel=1e-12)
    for part in parts:
        again = part.whole["sky"].sensitivity(part.weight)
        np.testing.assert_allclose(part.sensitivity["sky"], again, rtol=1e-12)


def test_what_cannot_be_is_refused(rng: np.random.Generator) -> None:
    rows = rng.random((5, 6))
    rows[3, 4] = np.nan
    with pytest.raises(DataError, match=r"nan for event 3 at value \(2, 0\)"):
        EventRows(rows, np.ones((3, 2)))
    rows[3, 4] = -1
    made = EventRows(lambda numbers: rows[numbers], np.ones((3, 2)), 5)
    with pytest.raises(DataError, match=r"-1 for event 3 at value \(2, 0\)"):
        made.rows(np.array([1, 3])).forward(np.ones((3, 2)))
    with pytest.raises(DataError, match=r"shape \(5, 7\)"):
        EventRows(rows, np.ones(7))
    with pytest.raises(DataError, match="float16"):
        EventRows(rows.astype(np.float16), np.ones(6))
    with pytest.raises(DataError, match="number"):
        EventRows(lambda numbers: rows[numbers], np.ones(6))
    with pytest.raises(DataError, match="finite and not negative"):
        EventRows(rows, np.full(6, -1.0))
