"""Images that are shifted against each other, restored on one sky."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.wcs import WCS

import skyfold
from skyfold.algorithms.lbfgs import LBFGS
from skyfold.algorithms.recentred import Recentred
from skyfold.astrometry import moved_by
from skyfold.binned import BinnedData
from skyfold.errors import DataError
from skyfold.geometry import Grid, shifted
from skyfold.joint import JointData
from skyfold.model import Component, Model
from skyfold.mosaic import together
from skyfold.origin import Origin
from skyfold.pixels import Diagonal, Window
from skyfold.points import with_points
from skyfold.priors.entropy import Entropy
from skyfold.response import check_adjoint
from skyfold.sources import Sources
from skyfold_responses import BlockSum, Psf

SHAPE = (22, 26)


def kernel(size=13, sigma=1.5):
    line = np.exp(-0.5 * (np.arange(-(size // 2), size // 2 + 1) / sigma) ** 2)
    made = np.outer(line, line)
    return made / made.sum()


def celestial(x=0.0, y=0.0, scale=1 / 3600):
    """Coordinates of an image whose pixels lie x, y further than those of the first."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (40, 10), (10, 12), (-scale, scale)
    wcs.wcs.set()
    return shifted(wcs, x, y)


def frame(x=0.0, y=0.0, counts=None, shape=SHAPE, size=13, block=1, exposure=None, **more):
    grid = Grid(shape, celestial(x, y, **more))
    fine = grid.refine(block)
    psf = Psf(kernel(size), fine.shape)
    start = [psf.field[axis].start for axis in (-1, -2)]
    sky = Grid(psf.model_shape, shifted(fine.wcs, *start), field=psf.field)
    response = BlockSum(block, shape) @ psf if block > 1 else psf
    if exposure is not None:
        response = psf @ Diagonal(np.full(psf.model_shape, exposure))
    return BinnedData(
        np.ones(shape) if counts is None else counts,
        {"sky": response},
        components={"sky": Component(sky)},
        origin=Origin(f"{x}, {y}", geometry=grid),
    )


def star(x, y, flux=1e4):
    return Sources(("s",), np.array([[x, y]]), flux=np.array([flux]))


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize(("x", "y"), [(3.0, -2.0), (0.4, 0.0), (2.3, -1.6), (-7.5, 4.2)])
def test_a_star_falls_where_the_coordinates_say(x, y, block):
    data = together([frame(block=block), frame(x, y, block=block)])
    seen = with_points(data, star(12.2, 9.7))
    images = [part.full_expectation({**zeros(seen), "stars": np.ones(1)}) for part in seen.parts]
    for image, (dx, dy) in zip(images, [(0, 0), (x, y)], strict=True):
        rows, columns = np.indices(SHAPE)
        assert (image * columns).sum() / image.sum() == pytest.approx(12.2 + dx, abs=0.02)
        assert (image * rows).sum() / image.sum() == pytest.approx(9.7 + dy, abs=0.02)
    for part in data.parts:
        assert check_adjoint(part.whole["sky"]) < 1e-13


def zeros(data):
    return {name: np.zeros(part.geometry.shape) for name, part in data.components.items()}


def test_a_diffuse_sky_is_seen_by_each_from_its_own_side():
    data = together([frame(), frame(4.0, -3.0), frame(-0.5, 0.25)])
    geometry = data.components["sky"].geometry
    first = [part.start for part in geometry.field]
    y, x = np.indices(geometry.shape)
    x, y = x - first[1], y - first[0]
    values = {"sky": 5 + np.exp(-((x - 11) ** 2 + (y - 9) ** 2) / 30) * 40}
    wide = 15 + 1.5**2
    rows, columns = np.indices(SHAPE)
    for part, (dx, dy) in zip(data.parts, [(0, 0), (4, -3), (-0.5, 0.25)], strict=True):
        away = (columns - dx - 11) ** 2 + (rows - dy - 9) ** 2
        blurred = 5 + 40 * 15 / wide * np.exp(-away / (2 * wide))
        np.testing.assert_allclose(part.full_expectation(values), blurred, rtol=2e-3)


def test_the_image_of_the_result_is_that_of_the_first_frame():
    data = together([frame(), frame(4.0, -3.0)])
    run = skyfold.run(data, "rl", iterations=2, progress=False)
    assert run.image.shape == SHAPE
    grid = run.model.components["sky"].geometry
    assert grid.crop().difference(Grid(SHAPE, celestial())) is None
    assert grid.shape == (22 + 12 + 3, 26 + 12 + 4)


def test_frames_that_agree_are_joined_as_they_are():
    data = together([frame(), frame()])
    assert isinstance(data.parts[0].whole["sky"], Psf)


def test_psfs_of_different_size_need_no_margin():
    data = together([frame(), frame(size=9), frame(x=1.0, size=17)])
    assert len({part.whole["sky"].model_shape for part in data.parts}) == 1


def test_fluxes_from_shifted_frames_together_and_each(rng):
    moves, flux = [(0, 0), (2.4, -1.7), (-3.0, 0.5)], [8000.0, 5000.0, 12000.0]
    blank = with_points(together([frame(*move) for move in moves]), star(12.2, 9.7), each=True)
    values = zeros(blank)
    values["sky"] += 4.0
    values |= {f"stars {i + 1}": np.array([f]) for i, f in enumerate(flux)}
    seen = [
        frame(*move, counts=rng.poisson(part.full_expectation(values)))
        for move, part in zip(moves, blank.parts, strict=True)
    ]
    data = with_points(together(seen), star(12.2, 9.7), each=True)
    run = skyfold.run(data, "two-channel", smooth="8 pix", strength=0.3, progress=False)
    found = [float(run.model[f"stars {i}"][0]) for i in (1, 2, 3)]
    errors = np.sqrt(np.array(flux) + 4 * np.pi * 1.5**2 * 4)
    assert np.all(np.abs(np.array(found) - flux) < 4 * errors)


def test_a_star_beyond_a_frame_makes_nothing_there():
    data = with_points(together([frame(), frame(-18.0, 0)]), star(2.0, 9.0))
    image = data.parts[1].full_expectation({**zeros(data), "stars": np.ones(1)})
    assert np.all(image == 0)


def test_other_scales_are_refused():
    with pytest.raises(DataError, match="coordinates that differ"):
        together([frame(), frame(scale=1.1 / 3600)])


def test_windows(rng):
    window = Window(np.array([2, 1]), (2, 4, 3), (2, 9, 6))
    assert check_adjoint(window) < 1e-15
    places = np.array([0, 13, 20, 60])
    columns = window.columns(places)
    values = rng.random(window.model_shape)
    only = np.zeros(values.size)
    only[places] = values.ravel()[places]
    made = columns.csr(24).T @ values.ravel()[places]
    np.testing.assert_allclose(window.forward(only.reshape(values.shape)).ravel(), made)
    counts = rng.poisson(3, window.data_shape)
    found = window.attribute(values, counts, None, rng)
    np.testing.assert_array_equal(window.forward(found.drawn), counts)


def test_a_joint_of_other_things_stays_as_it_is():
    plain = BinnedData(np.ones(4), {"sky": np.ones(4)})
    assert isinstance(together([plain, plain]), JointData)


def test_places_are_fitted_in_all_frames_at_once(rng):
    moves, true = [(0, 0), (2.4, -1.7)], np.array([[12.2, 9.7], [18.4, 14.1]])

    def listed(places):
        return Sources(("a", "b"), places)

    blank = with_points(together([frame(*move) for move in moves]), listed(true), free=True)
    values = zeros(blank)
    values["sky"] += 4.0
    values["stars"] = np.array([6000.0, 4000.0])
    seen = [
        frame(*move, counts=rng.poisson(part.full_expectation(values)))
        for move, part in zip(moves, blank.parts, strict=True)
    ]
    start = np.add(true, [[0.3, -0.3], [-0.3, 0.2]])
    data = with_points(together(seen), listed(start), free=True)
    priors = {"floating": Entropy(0.3, {"smooth": "8 pix"})}
    algorithm = Recentred.around(LBFGS(priors=priors, conserve_flux=True), 5.0)
    state = algorithm.start(data, Model.start(data))
    for _ in range(16):
        state = algorithm.step(state, data)
    assert start + moved_by(data, state) == pytest.approx(true, abs=0.08)
    first, second = state.parameters.values()
    assert first - data.parameters["stars[1]"] == pytest.approx(
        second - data.parameters["stars[2]"]
    )


@pytest.mark.parametrize("x", [-0.4, 0.0, 25.4])
def test_a_star_in_the_outer_half_pixel_of_a_window_is_seen_where_it_is(x):
    inner = Psf(kernel(), SHAPE, boundary="periodic")
    window = Window(np.array([2, 3]), inner.model_shape, (SHAPE[0] + 4, SHAPE[1] + 6))
    place = np.array([[x, 9.2]])
    seen = (inner @ window).points(place + np.array([3, 2])).forward(np.ones(1))
    assert seen.sum() == pytest.approx(1)
    np.testing.assert_allclose(seen, inner.points(place).forward(np.ones(1)), atol=1e-14)
    beyond = (inner @ window).points(np.array([[2.4, 11.2]]))
    assert not np.any(beyond.forward(np.ones(1)))


def named(*names):
    return [frame().with_origin(name=name) for name in names]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a", "b"), ["a", "b"]),
        (("a", "b", "a"), ["a 1", "b", "a 2"]),
        (("a", "a", "a 1"), ["a 2", "a 3", "a 1"]),
        (("a 1", "a", "a 1", "a"), ["a 1 1", "a 2", "a 1 2", "a 3"]),
    ],
)
def test_observations_of_one_name_are_numbered(names, told):
    assert [part.origin.name for part in together(named(*names)).parts] == told


def test_numbers_behind_names_leave_the_counts_as_they_are():
    both = together([frame(), frame(1.0), frame(counts=np.full(SHAPE, 2.0))])
    assert [part.origin.name for part in both.parts] == ["0.0, 0.0 1", "1.0, 0.0", "0.0, 0.0 2"]
    assert both.parts[2].counts.sum() == 2 * both.parts[0].counts.sum()


def test_observations_that_were_joined_before_are_numbered_too():
    inner = JointData(named("a", "b"))
    joined = together([inner, *named("a", "c")])
    assert [part.origin.name for part in joined.parts] == ["a 1", "b", "a 2", "c"]
    assert [len(member.parts) for member in joined.members] == [2, 1, 1]
    assert [part.origin.name for part in inner.parts] == ["a", "b"]
