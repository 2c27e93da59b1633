"""An instrument that turns: rotations, pixels around directions, seconds, turned maps."""

import healpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from skyfold.errors import DataError
from skyfold_responses import _kernels
from skyfold_responses.attitude import (
    Pointings,
    interpolation,
    longitude_latitude,
    pixel_centres,
    quaternion_rotations,
    rotations,
    turning_table,
    unit_vectors,
)


def random_directions(rng, n):
    vectors = rng.normal(size=(n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def random_pointings(rng, lengths):
    n = sum(lengths)
    axes = Rotation.random(n, rng=rng).as_matrix()
    return Pointings(
        axes[:, 0],
        axes[:, 2],
        rng.uniform(0, 2, n),
        np.concatenate([[0], np.cumsum(lengths)]),
        random_directions(rng, n),
        rng.uniform(0, 600, n),
    )


@pytest.mark.parametrize("nside", [1, 2, 3, 8, 64])
def test_interpolation_is_that_of_healpix(nside, rng):
    poles = np.array([[0, 0, 1.0], [0, 0, -1.0], [1e-9, 0, 1.0], [1.0, 0, 0]])
    centres = pixel_centres(nside)[:200] if nside != 3 else np.empty((0, 3))
    directions = np.concatenate([random_directions(rng, 2000), poles, centres])
    pixels, weights = interpolation(nside, directions)
    theirs = healpy.get_interp_weights(nside, *healpy.vec2ang(directions))
    values = rng.normal(size=12 * nside**2)
    assert np.allclose((values[pixels] * weights).sum(1), (values[theirs[0]] * theirs[1]).sum(0))
    assert np.allclose(weights.sum(1), 1, rtol=0, atol=1e-15)
    assert weights.min() >= 0


@given(st.integers(0, 2**32 - 1), st.floats(-0.3, 0.3))
def test_axes_become_the_closest_rotation(seed, skew):
    true = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    z = true[2] + skew * true[0]
    (found,) = rotations(true[:1], z[None])
    assert np.allclose(found @ found.T, np.eye(3))
    assert np.linalg.det(found) == pytest.approx(1)
    # x and z have moved by the same angle
    assert found[0] @ true[0] == pytest.approx(found[2] @ z / np.linalg.norm(z))


def test_perpendicular_axes_are_kept_by_both_ways(rng):
    true = Rotation.random(50, rng=rng).as_matrix()
    assert np.allclose(rotations(true[:, 0], true[:, 2]), true)
    assert np.allclose(quaternion_rotations(true), true)


def test_parallel_axes_are_refused():
    axis = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    with pytest.raises(DataError, match="pointing 1: its x and z axes are parallel"):
        rotations(np.array([[0, 0, 1.0], [0, -1.0, 0]]), axis)


def test_longitudes_and_latitudes_are_those_of_vectors(rng):
    lon, lat = rng.uniform(0, 360, 100), rng.uniform(-90, 90, 100)
    assert np.allclose(longitude_latitude(unit_vectors(lon, lat)), (lon, lat))


def test_an_unmoved_frame_shares_nothing_out():
    up = np.array([[0, 0, 1.0]])
    still = Pointings(np.array([[1.0, 0, 0]]), up, np.array([7.0]), np.array([0, 1]))
    found = still.sojourn(4, pixel_centres(4), occultation=False).toarray()
    assert np.allclose(found, 7 * np.eye(192), atol=1e-12)


@pytest.mark.parametrize("averaged", [True, False])
def test_every_visible_second_is_shared_out(averaged, rng):
    pointings = random_pointings(rng, [3, 0, 5, 1])
    directions = random_directions(rng, 100)
    found = pointings.sojourn(2, directions, averaged=averaged)
    assert np.allclose(found.sum(1).reshape(4, 100), pointings.visible(directions))
    free = pointings.sojourn(2, directions, averaged=averaged, occultation=False)
    assert np.allclose(free.sum(1).reshape(4, 100), pointings.exposure[:, None])


def test_at_the_ground_a_direction_or_its_opposite_is_hidden(rng):
    pointings = random_pointings(rng, [4, 6])
    ground = Pointings(
        pointings.x, pointings.z, pointings.seconds, pointings.first, pointings.zenith, np.zeros(10)
    )
    directions = random_directions(rng, 500)
    both = ground.visible(directions) + ground.visible(-directions)
    assert np.allclose(both, pointings.exposure[:, None])


def test_the_earth_hides_a_cone(rng):
    up = np.array([[0, 0, 1.0]])
    above = Pointings(
        np.array([[1.0, 0, 0]]), up, np.ones(1), np.array([0, 1]), up, np.array([530.0])
    )
    edge = np.degrees(np.pi - np.arcsin(6378 / (6378 + 530)))
    lat = 90 - np.array([0, edge - 1e-6, edge + 1e-6, 180])
    assert above.visible(unit_vectors(np.zeros(4), lat)).tolist() == [[1, 1, 0, 0]]


def test_an_unknown_earth_hides_nothing_silently():
    axes = np.eye(3)
    for earth in ((None, None), (np.full((1, 3), np.nan), np.full(1, 530.0))):
        blind = Pointings(axes[:1], axes[2:], np.ones(1), np.array([0, 1]), *earth)
        with pytest.raises(DataError, match="no zenith and altitude"):
            blind.visible(axes)
        assert np.array_equal(blind.visible(axes, occultation=False), np.ones((1, 3)))


def test_averaging_single_pointings_changes_nothing(rng):
    pointings = random_pointings(rng, [1, 1, 1])
    directions = pixel_centres(2)
    each = pointings.sojourn(4, directions)
    mean = pointings.sojourn(4, directions, averaged=True)
    assert abs(each - mean).max() < 1e-12


def test_groups_without_seconds_have_a_mean_and_no_weight(rng):
    pointings = random_pointings(rng, [2, 0, 2])
    pointings.seconds[:2] = 0
    assert np.allclose(np.linalg.norm(pointings.mean_x, axis=1), 1)
    assert pointings.sojourn(1, pixel_centres(1), averaged=True)[:24].nnz == 0


def test_taken_groups_keep_their_pointings(rng):
    pointings = random_pointings(rng, [3, 1, 4])
    taken = pointings.take(np.array([2, 0]))
    assert taken.first.tolist() == [0, 4, 7]
    assert np.array_equal(taken.mean_x, pointings.mean_x[[2, 0]])
    assert np.array_equal(taken.altitude, pointings.altitude[[4, 5, 6, 7, 0, 1, 2]])


def test_close_pointings_merge(rng):
    path = Rotation.from_rotvec(np.outer(np.linspace(0, 1, 400), [0.3, -0.5, 0.8])).as_matrix()
    zenith = np.tile([0, 0, 1.0], (400, 1))
    first = np.array([0, 150, 150, 400])
    seconds = rng.uniform(0, 1, 400)
    seconds[::7] = 0
    every = Pointings(path[:, 0], path[:, 2], seconds, first, zenith, np.full(400, 530.0))
    few = every.merged(32)
    assert len(few.seconds) < 150
    assert np.allclose(few.exposure, every.exposure)
    assert np.allclose(few.altitude, 530)
    directions = pixel_centres(2)
    exact, close = (p.sojourn(4, directions) for p in (every, few))
    assert abs(exact - close).sum() < 0.003 * exact.sum()
    # a fixed attitude under a moving zenith stays apart
    n = 100
    still = Pointings(
        np.tile([1.0, 0, 0], (n, 1)), zenith[:n], np.ones(n), np.array([0, n]), path[::4, 2]
    )
    assert 1 < len(still.merged(8).seconds) < n


@pytest.mark.parametrize("nside", [1, 4])
def test_turned_maps_keep_their_totals(nside, rng):
    turned = Rotation.random(5, rng=rng).as_matrix()
    pixels, weights = turning_table(nside, turned)
    for p, w in zip(pixels, weights, strict=True):
        assert np.allclose(np.bincount(p.ravel(), w.ravel()), 1)
    assert np.abs(weights.sum(-1) - 1).max() < 0.03


def test_four_quarter_turns_return_a_map(rng):
    quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()[None]
    pixels, weights = turning_table(4, quarter)
    given = rng.uniform(size=192)
    values = given
    for _ in range(4):
        values = (values[pixels[0]] * weights[0]).sum(1)
    assert np.allclose(values, given)
    once = (given[pixels[0]] * weights[0]).sum(1)
    assert not np.allclose(once, given)
    assert np.allclose(np.sort(once), np.sort(given))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_turned_responses_are_the_written_sum(dtype, rng):
    response = rng.uniform(size=(12, 48, 21)).astype(dtype)
    pixels = rng.integers(0, 12, (5, 3, 4), dtype=np.int32)
    weights = rng.uniform(size=(5, 3, 4))
    weights[2, 1] = 0
    table = rng.integers(0, 48, (3, 48, 4), dtype=np.int32)
    shares = rng.uniform(size=(3, 48, 4))
    found = _kernels.turned_response(response, pixels, weights, table, shares, 2)
    mixed = np.einsum("sak,sakpc->sapc", weights, response[pixels].astype(float))
    expected = sum(np.einsum("qk,sqkc->sqc", shares[a], mixed[:, a][:, table[a]]) for a in range(3))
    assert np.allclose(found, expected, rtol=1e-13)


def test_pixels_outside_are_refused(rng):
    one = np.ones((1, 1, 4))
    inside, outside = np.zeros((1, 1, 4), np.int32), np.full((1, 1, 4), 12, np.int32)
    for pixels, table in ((outside, inside), (inside, outside)):
        with pytest.raises(ValueError, match="outside the response"):
            _kernels.turned_response(np.ones((12, 12, 1)), pixels, one, table, one)


def test_results_do_not_depend_on_threads(rng):
    pointings = random_pointings(rng, [40, 3, 17])
    directions = random_directions(rng, 300)
    for averaged in (True, False):
        one, three = (
            pointings.sojourn(4, directions, averaged=averaged, threads=threads)
            for threads in (1, 3)
        )
        assert np.array_equal(one.indptr, three.indptr)
        assert np.array_equal(one.indices, three.indices)
        assert np.array_equal(one.data, three.data)
    table = turning_table(2, rotations(pointings.mean_x, pointings.mean_z))
    response, weights = rng.uniform(size=(12, 48, 40)), rng.uniform(size=(9, 3, 4))
    pixels = rng.integers(0, 12, (9, 3, 4), dtype=np.int32)
    one, three = (
        _kernels.turned_response(response, pixels, weights, *table, threads) for threads in (1, 3)
    )
    assert np.array_equal(one, three)
