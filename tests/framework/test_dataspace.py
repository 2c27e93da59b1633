import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.dataspace import DataAxis, DataSpace
from skyfold.errors import DataError
from skyfold.residuals import block_residual, deviance_residual


def space(bins: int = 20, nside: int = 16, nested: bool = False) -> DataSpace:
    edges = np.linspace(0, 180, bins + 1) * u.deg
    return DataSpace((DataAxis("Phi", edges), DataAxis("PsiChi", nside=nside, nested=nested)))


def test_axes_tell_their_size_and_what_differs():
    here = space()
    assert here.shape == (20, 3072)
    assert here.difference(space()) is None
    assert "shape" in here.difference(space(19))
    assert "PsiChi" in here.difference(space(nested=True))
    other = DataSpace((DataAxis("Phi", np.linspace(0, 90, 21)), DataAxis("PsiChi", nside=16)))
    assert "Phi" in here.difference(other)


@pytest.mark.parametrize("more", [{}, {"edges": np.arange(3), "nside": 2}])
def test_an_axis_has_edges_or_pixels(more):
    with pytest.raises(DataError, match="either the edges"):
        DataAxis("Phi", **more)


def test_labels_are_told_apart():
    with pytest.raises(DataError, match="share a label"):
        DataSpace((DataAxis("Phi", nside=1), DataAxis("Phi", nside=2)))


@settings(max_examples=10, deadline=None)
@given(nested=st.booleans(), pixel=st.integers(0, 3071), row=st.integers(0, 19))
def test_a_bin_counts_in_the_block_around_it(nested, pixel, row):
    healpy = pytest.importorskip("healpy")
    counts = np.zeros((20, 3072))
    counts[row, pixel] = 50
    expected = np.full(counts.shape, 0.1)
    blocks = block_residual(counts, expected, space(nested=nested))
    assert blocks.shape == (3, 48)
    around = (pixel if nested else healpy.ring2nest(16, pixel)) // 64
    assert np.unravel_index(np.argmax(blocks), blocks.shape) == (row // 8, around)
    bins = 64 * (8 if row < 16 else 4)
    single = deviance_residual(np.array([50.0]), np.array([0.1 * bins]), np.ones(1))
    assert blocks.max() == pytest.approx(single[0])
