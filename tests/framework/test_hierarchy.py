import astropy.units as u
import healpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.errors import ConfigError
from skyfold.geometry import Grid, Normalisations
from skyfold.sampling.laws.hierarchy import Hierarchy
from skyfold.sphere import Sphere

places = st.one_of(
    st.tuples(st.integers(1, 9)).map(Grid),
    st.tuples(st.integers(1, 9), st.integers(1, 9)).map(Grid),
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9)).map(Grid),
    st.builds(Sphere, st.sampled_from([1, 2, 4]), nested=st.booleans()),
    st.just(Sphere(2, [1, 2, 3] * u.MeV)),
)


def nodes_of(trees, energy):
    """The number of the node of each leaf, level by level, and of the children of each node."""
    splits = trees.splits(energy)
    node = np.arange(len(trees.leaves(energy)))
    for first, own, above in splits:
        parent = np.repeat(np.arange(len(above)), np.diff(first))
        assert len(parent) == len(own)
        node = parent[node]
        yield node, parent, first, own, above


def measures_by_energy(measure, where):
    flat = measure.T if isinstance(where, Sphere) else measure
    energies = where.shape[1] if isinstance(where, Sphere) else int(np.prod(where.shape[:-2]))
    return flat.reshape(energies, -1)


@given(where=places, seed=st.integers(0, 2**32 - 1), masked=st.booleans(), kinds=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_weights_are_shares_of_the_measure(where, seed, masked, kinds):
    rng = np.random.default_rng(seed)
    measure = rng.choice([1.0, 0.3, 2.5][:kinds], size=where.shape)
    if masked:
        measure[rng.uniform(size=where.shape) < 0.4] = 0
        measures_by_energy(measure, where)[:, 0] = 1
    hierarchy = Hierarchy(where, measure)
    trees = hierarchy.trees(tuple(int(rng.integers(side)) for side in hierarchy.frame))
    nominal = [4] * hierarchy.levels if len(where.shape) > 1 else [2] * hierarchy.levels
    if isinstance(where, Sphere):
        nominal[-1] = 12
    for energy, flat in enumerate(measures_by_energy(measure, where)):
        leaves = trees.leaves(energy)
        np.testing.assert_array_equal(np.sort(leaves), np.flatnonzero(flat))
        mass = flat[leaves]
        for number, (_, parent, first, own, above) in enumerate(nodes_of(trees, energy)):
            total = np.bincount(parent, mass)
            expected = nominal[number] * mass / total[parent]
            expected[np.diff(first)[parent] == 1] = 0  # nothing to split
            np.testing.assert_allclose(own, expected)
            np.testing.assert_allclose(above, np.where(np.diff(first) == 1, 0, nominal[number]))
            mass = total
        assert mass.shape == (1,)


@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_nodes_of_an_image_are_blocks_of_the_frame(shape, seed):
    hierarchy = Hierarchy(Grid(shape))
    side = hierarchy.frame[0]
    assert side >= max(shape) > side // 2
    row, column = np.random.default_rng(seed).integers(side, size=2).tolist()
    trees = hierarchy.trees((row, column))
    y, x = np.divmod(trees.leaves(0), shape[1])
    for level, (node, *_) in enumerate(nodes_of(trees, 0), start=1):
        block = ((y - row) % side >> level) * side + ((x - column) % side >> level)
        assert len(np.unique(node)) == len(np.unique(block))
        assert len(np.unique(np.stack([node, block]), axis=1).T) == len(np.unique(block))


@pytest.mark.parametrize("nested", [False, True])
def test_nodes_of_the_sphere_are_coarser_pixels(nested):
    trees = Hierarchy(Sphere(4, nested=nested)).trees(())
    leaves = trees.leaves(0)
    in_nested = leaves if nested else healpy.ring2nest(4, leaves)
    for node, divisor in zip(nodes_of(trees, 0), (4, 16, 192), strict=True):
        np.testing.assert_array_equal(node[0], in_nested // divisor)


def test_a_full_frame_is_the_same_as_a_measure_of_one():
    for where in (Grid((16, 16)), Grid((3, 8, 8)), Grid((16,)), Sphere(2)):
        hierarchy = Hierarchy(where)
        origin = (3,) * len(hierarchy.frame)
        plain = hierarchy.trees(origin)
        same = Hierarchy(where, np.ones(where.shape), 1.0).trees(origin)
        np.testing.assert_array_equal(plain.leaves(0), same.leaves(0))
        for one, other in zip(plain.splits(0), same.splits(0), strict=True):
            for mine, theirs in zip(one, other, strict=True):
                np.testing.assert_array_equal(mine, theirs)
            np.testing.assert_array_equal(one[1], 1)


def test_strengths_are_means_and_factors_are_by_level():
    strength = np.ones((4, 4))
    strength[:2, :2] = [[1, 2], [3, 4]]
    splits = Hierarchy(Grid((4, 4)), None, strength, [1, 10]).trees((0, 0)).splits(0)
    np.testing.assert_allclose(splits[0][1][:8], [2.5] * 4 + [1] * 4)
    np.testing.assert_allclose(splits[0][2], [10, 4, 4, 4])
    np.testing.assert_allclose(splits[1][1], 10 * 22 / 16)


def test_trees_are_kept_by_origin():
    hierarchy = Hierarchy(Grid((8, 8)))
    assert hierarchy.trees((1, 2)) is hierarchy.trees((1, 2))
    assert hierarchy.trees((1, 2)) is not hierarchy.trees((2, 2))


def test_what_has_no_scales_is_refused():
    with pytest.raises(ConfigError, match="no scales"):
        Hierarchy(Normalisations())
    with pytest.raises(ConfigError, match="energy 1"):
        Hierarchy(Grid((2, 4, 4)), np.array([1.0, 0.0])[:, None, None])
    with pytest.raises(ConfigError, match="2 levels"):
        Hierarchy(Grid((4, 4)), factors=[1.0])
    with pytest.raises(ConfigError, match=r"strength: shape \(3,\) does not fit \(4, 4\)"):
        Hierarchy(Grid((4, 4)), strength=np.ones(3))
    with pytest.raises(ConfigError, match="measure: 1 of 16 numbers"):
        Hierarchy(Grid((4, 4)), np.where(np.eye(4) * np.arange(4) == 2, np.nan, 1))
