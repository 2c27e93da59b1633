import astropy.units as u
import healpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.geometry import Grid
from skyfold.multiscale import tree_of
from skyfold.sphere import Sphere

places = st.one_of(
    st.tuples(st.integers(1, 9)).map(Grid),
    st.tuples(st.integers(1, 9), st.integers(1, 9)).map(Grid),
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)).map(Grid),
    st.builds(Sphere, st.sampled_from([1, 2, 4]), nested=st.booleans()),
    st.just(Sphere(2, [1, 2, 3] * u.MeV)),
)


@given(where=places, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_gather_is_the_transpose_of_sums(where, seed):
    rng, tree = np.random.default_rng(seed), tree_of(where)
    values = rng.normal(size=where.shape)
    sums = tree.sums(values)
    assert len(sums) == tree.splits + 1
    weights = [rng.normal(size=level.shape) for level in sums]
    above = tree.gather(weights)
    assert above.shape == where.shape
    total = sum(np.vdot(a, b) for a, b in zip(sums, weights, strict=True))
    assert np.vdot(values, above) == pytest.approx(total, abs=1e-9)


@given(where=places)
@settings(max_examples=60, deadline=None)
def test_every_level_holds_everything_once(where):
    tree, values = tree_of(where), np.random.default_rng(1).uniform(size=where.shape)
    energies = tree.sums(values)[-1].size
    for level in tree.sums(values):
        assert np.sum(level) == pytest.approx(np.sum(values))
    nodes = [level.size // energies for level in tree.sums(values)]
    assert nodes[-1] == 1
    for number, children in zip(nodes, tree.children, strict=False):
        assert np.sum(children) == number
        assert np.min(children) >= 1
    np.testing.assert_array_equal(tree.values(tree.leaves(values)), values)


def test_the_tree_of_an_image_of_odd_size():
    tree = tree_of(Grid((3, 5)))
    levels = tree.sums(np.arange(15).reshape(3, 5))
    np.testing.assert_array_equal(levels[1], [[12, 20, 13], [21, 25, 14]])
    np.testing.assert_array_equal(levels[2], [[78, 27]])
    np.testing.assert_array_equal(levels[3], [[105]])
    assert [level.dtype.kind for level in levels] == ["i"] * 4
    np.testing.assert_array_equal(tree.children[0], [[4, 4, 2], [2, 2, 1]])
    np.testing.assert_array_equal(tree.children[2], [[2]])
    np.testing.assert_array_equal(tree.down(np.array([[1, 2]]), 1), [[1, 1, 2], [1, 1, 2]])


@pytest.mark.parametrize("nested", [False, True])
def test_the_tree_of_the_sphere_is_that_of_coarser_spheres(nested):
    values = np.random.default_rng(1).uniform(size=(192, 3))
    levels = tree_of(Sphere(4, [1, 2, 3, 4] * u.MeV, nested)).sums(values)
    order = "NESTED" if nested else "RING"
    for level, nside in ((1, 2), (2, 1)):
        coarse = healpy.ud_grade(values.T, nside, order_in=order, order_out="NESTED", power=-2)
        np.testing.assert_allclose(levels[level], np.transpose(coarse))
    np.testing.assert_allclose(levels[3], values.sum(axis=0, keepdims=True))
