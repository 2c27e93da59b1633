"""Histograms: axes, projections, sums, histpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.errors import DataError
from skyfold_cosi.histogram import (
    Axis,
    Histogram,
    Sparse,
    from_histpy,
    require_same_axes,
    to_histpy,
)

ENERGIES = Axis("Em", np.array([509.0, 511.0, 513.0]), "keV")
PIXELS = Axis.healpix("PsiChi", 1)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Axis("Em", np.array([0.509, 0.511, 0.513]), "MeV", "log"), None),
        (Axis("Ei", np.array([509.0, 511.0, 513.0])), None),
        (Axis("Em", np.array([509.0, 511.0, 514.0]), "keV"), "edge 2 is 513 against 514 keV"),
        (Axis("Em", np.array([509.0, 513.0]), "keV"), "2 bins of 2 keV (509 to 513) against 1 bin"),
        (PIXELS, "plain bins against pixels of nside 1"),
    ],
)
def test_difference_of_plain_axes(other, words) -> None:
    found = ENERGIES.difference(other)
    assert found is None if words is None else found is not None and found.startswith(words)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Axis.healpix("lb", 1, None), None),
        (Axis.healpix("lb", 2), "pixels of nside 1 against pixels of nside 2"),
        (Axis.healpix("lb", 1, scheme="nested"), "pixels in RING order against NESTED"),
        (Axis.healpix("lb", 1, "spacecraftframe"), "pixels in the frame 'galactic' against"),
        (Axis("lb", np.arange(6), nside=1), "12 pixels against 5"),
    ],
)
def test_difference_of_pixels(other, words) -> None:
    found = PIXELS.difference(other)
    assert found is None if words is None else found is not None and found.startswith(words)


def test_axes_that_cannot_be() -> None:
    with pytest.raises(DataError, match=r"axis 'Em': edges decrease \(513, 509 keV\)"):
        Axis("Em", np.array([513.0, 509.0]), "keV")
    with pytest.raises(DataError, match="do not increase"):
        Axis("Em", np.array([1.0, np.nan]))
    with pytest.raises(DataError, match="make no bins"):
        Axis("Em", np.array([1.0]))
    with pytest.raises(DataError, match="edges in keV cannot be given in deg"):
        ENERGIES.in_unit("deg")
    with pytest.raises(DataError, match="axes Em, PsiChi against PsiChi, Em"):
        require_same_axes([ENERGIES, PIXELS], [PIXELS, ENERGIES], "sums")


@given(st.lists(st.sampled_from(range(24)), max_size=30), st.permutations(["Em", "PsiChi"]))
def test_sparse_and_dense_agree(bins: list[int], order: list[str]) -> None:
    index = np.array(bins, dtype=np.int64)
    coords = np.array(np.unravel_index(index, (2, 12)))
    sparse = Sparse.from_coordinates((2, 12), coords, np.ones(len(bins)))
    full = np.bincount(index, minlength=24).reshape(2, 12).astype(float)
    one, two = Histogram((ENERGIES, PIXELS), sparse), Histogram((ENERGIES, PIXELS), full)
    assert np.array_equal(one.dense, two.dense)
    assert np.array_equal(one.project(*order).dense, two.project(*order).dense)
    assert np.array_equal(one.project(order[0]).dense, two.project(order[0]).dense)
    assert np.array_equal((one + one).dense, (two + one).dense)
    assert one.total == two.total == len(bins)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_histpy_in_and_out(rng, form) -> None:
    pytest.importorskip("histpy")
    given = Histogram((ENERGIES, PIXELS), rng.poisson(0.5, (2, 12)).astype(float), "cm2 s")
    if form == "sparse":
        given = Histogram(given.axes, given.sparse, given.unit)
    found = from_histpy(to_histpy(given))
    assert isinstance(found.contents, Sparse) == (form == "sparse")
    assert np.array_equal(found.dense, given.dense)
    assert found.unit == "cm2 s"
    require_same_axes(found.axes, given.axes, "round trip")


def test_flow_of_histpy_is_left_out() -> None:
    histpy = pytest.importorskip("histpy")
    given = histpy.Histogram([[0.0, 1.0, 2.0]], labels=["Phi"], track_overflow=True)
    given.fill([0.5, 1.5, 1.7, 9.0, -1.0])
    assert from_histpy(given).dense.tolist() == [1, 2]


def test_times_are_compared_on_the_scale_of_their_bins() -> None:
    bins = np.array([0.0, 10.0]) + 1835478000
    shifted = Axis("Time", bins + 1, "s").difference(Axis("Time", bins, "s"))
    assert shifted == "edge 0 is 1835478001 against 1835478000 s"
    assert Axis("Time", bins + 1e-6, "s").difference(Axis("Time", bins, "s")) is None
