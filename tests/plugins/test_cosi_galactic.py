"""The Galactic response of COSI."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from skyfold.errors import DataError
from skyfold_cosi.conversion import conversion_histogram
from skyfold_cosi.exposure import by_attitude
from skyfold_cosi.galactic import Detector, galactic_response, published_response
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.orientation import Orientation, read_orientation
from skyfold_cosi.response_files import open_response
from skyfold_responses.attitude import pixel_centres


def rings(nside=4, seed=None):
    """Return a detector whose events lie on rings about the source, sharper at high energies."""
    centres = pixel_centres(nside)
    apart = np.degrees(np.arccos(np.clip(centres @ centres.T, -1, 1)))
    phi = np.arange(10, 180, 20.0)
    width = np.array([20.0, 14.0])[:, None, None, None]
    shape = np.exp(-(((apart[:, None, None, None] - phi[:, None]) / width) ** 2) / 2)
    area = 1.3 + centres[:, 2]
    axes = (
        Axis.healpix("NuLambda", nside, "spacecraftframe"),
        Axis("Ei", np.array([100.0, 300, 900]), "keV"),
        Axis("Em", np.array([100.0, 900]), "keV"),
        Axis("Phi", np.arange(0, 181, 20.0), "deg"),
        Axis.healpix("PsiChi", nside, "spacecraftframe"),
    )
    return Histogram(axes, area[:, None, None, None, None] * shape, "cm2")


def turning(turns, zenith=(0, 0, 1.0)):
    """Return an orientation of one row for each turn, and one more, held for a second each."""
    axes = Rotation.concatenate([*turns, turns[-1]]).as_matrix()
    n = len(axes)
    livetime = np.append(np.ones(n - 1), 0)
    up = np.tile(zenith, (n, 1))
    return Orientation(
        np.arange(n) * 1.0, axes[..., 0], axes[..., 2], up, np.full(n, 530.0), livetime
    )


def slow(n=30):
    return turning(list(Rotation.from_rotvec(np.outer(np.linspace(0, 1, n), [0.3, -0.5, 0.8]))))


def whole(response):
    return np.concatenate([slab for _, slab in response]).reshape(
        [axis.size for axis in response.axes]
    )


@pytest.fixture(scope="session")
def published(shared_data):
    folder = shared_data / "cosi"
    response = open_response(folder / "test_full_detector_response_dense.h5")
    detector = Detector.from_slabs(response.axes, response.slabs(dtype="float64"))
    orientation = read_orientation(folder / "20280301_first_10sec.ori")
    return detector, orientation, json.loads((folder / "ref_cases.json").read_text())


@pytest.mark.parametrize("occultation", [True, False])
@pytest.mark.parametrize("pixel", [0, 5, 11])
def test_published_point_sources(pixel, occultation, published):
    detector, orientation, references = published
    expected = references[f"E_psr_pix{pixel}_occ{occultation}"]
    response = published_response(detector, orientation, occultation=occultation)
    (found,) = response.at(pixel_centres(1)[[pixel]])
    assert list(found.shape) == expected["shape"]
    assert found.sum() == pytest.approx(expected["sum"], rel=1e-9)
    assert np.allclose(found.sum(axis=(1, 2, 3)), expected["sum_per_Ei"], rtol=1e-9)
    assert np.allclose(found.sum(axis=(0, 1, 2)), expected["sum_per_psichi"], rtol=1e-9)


def test_the_published_sky(published):
    detector, orientation, references = published
    found = whole(published_response(detector, orientation, occultation=False))
    expected = references["E_esr_noocc"]
    assert found.sum() == pytest.approx(expected["sum"], rel=1e-9)
    assert np.allclose(found.sum(axis=(1, 2, 3, 4)), expected["per_pix"], rtol=1e-9)


def test_grids_too_coarse_are_said(published):
    detector, orientation, _ = published
    (first, _) = galactic_response(detector, by_attitude(orientation, 1)).checks
    assert (first.level, first.subject) == ("warning", "NuLambda")
    assert "59 deg" in first.message
    assert galactic_response(_detector(8), by_attitude(orientation, 8)).checks == ()


def _detector(nside):
    return Detector.from_histogram(rings(nside))


def test_a_detector_at_rest_is_its_own_response():
    detector = rings(2)
    rest = by_attitude(turning([Rotation.identity()] * 3), 2)
    response = galactic_response(Detector.from_histogram(detector), rest, occultation=False)
    assert np.allclose(whole(response), 3 * detector.dense, rtol=1e-12)
    assert [axis.frame for axis in response.axes if axis.nside] == ["galactic", "galactic"]


def test_a_quarter_turn_only_moves_pixels():
    detector = rings(2)
    quarter = by_attitude(turning([Rotation.from_euler("z", 90, degrees=True)]), 2)
    response = galactic_response(Detector.from_histogram(detector), quarter, occultation=False)
    centres = pixel_centres(2) @ Rotation.from_euler("z", 90, degrees=True).as_matrix()
    place = np.argmax(centres @ pixel_centres(2).T, axis=1)
    assert np.allclose(whole(response), detector.dense[place][..., place], rtol=1e-10)


def test_totals_are_conserved():
    detector, table = rings(), by_attitude(slow(), 4)
    found = whole(galactic_response(Detector.from_histogram(detector), table))
    seconds = conversion_histogram(table, detector["NuLambda"], averaged=True)
    expected = np.einsum(
        "ln,nemp->lemp", seconds.project("lb", "NuLambda").dense, detector.dense.sum(-1)
    )
    assert np.allclose(found.sum(-1), expected, rtol=1e-12, atol=0)


def test_hidden_and_seen_add_up():
    detector = Detector.from_histogram(rings(2))
    above, below = (
        galactic_response(detector, by_attitude(turning([Rotation.random(rng=1)] * 4, up), 2))
        for up in ((0, 0, 1.0), (0, 0, -1.0))
    )
    free = galactic_response(detector, by_attitude(slow(4), 2), occultation=False)
    assert np.all(whole(free).sum((1, 2, 3, 4)) > 0)
    seen = [whole(r).sum((1, 2, 3, 4)) > 0 for r in (above, below)]
    assert np.all(seen[0] | seen[1])
    assert not np.all(seen[0])
    assert not np.all(seen[1])


def test_smaller_bins_of_attitude_converge():
    detector, orientation = Detector.from_histogram(rings()), slow()
    directions = pixel_centres(4)[::40]
    exact = galactic_response(detector, by_attitude(orientation, 512)).at(directions)
    errors = [
        np.abs(galactic_response(detector, by_attitude(orientation, n)).at(directions) - exact)
        for n in (1, 4, 16)
    ]
    sums = [error.sum() / exact.sum() for error in errors]
    assert sums[0] > 1.5 * sums[1] > 6 * sums[2]


def test_interpolation_is_closer_to_the_truth_than_the_nearest_pixel():
    # rings depend on the distance to the source only: any turn of an isotropic detector is itself
    histogram = rings(8)
    isotropic = Histogram(histogram.axes, histogram.dense / histogram.dense[..., :1, :1].max())
    centres = pixel_centres(8)
    flat = isotropic.dense / (1.3 + centres[:, 2])[:, None, None, None, None]
    detector = Detector.from_histogram(Histogram(histogram.axes, flat, "cm2"))
    orientation = turning([Rotation.from_rotvec([0.4, 0.7, -0.3])])
    directions = centres[::97]
    ours = galactic_response(detector, by_attitude(orientation, 8), occultation=False)
    theirs = published_response(detector, orientation, occultation=False)
    errors = [np.sqrt(np.mean((r.at(directions) - flat[::97]) ** 2)) for r in (ours, theirs)]
    assert errors[0] < 0.6 * errors[1]


def test_slabs_can_be_read_twice_and_agree_with_single_directions(monkeypatch):
    monkeypatch.setattr("skyfold_cosi.galactic.SLAB", 2**17)
    response = galactic_response(Detector.from_histogram(rings(2)), by_attitude(slow(), 2), 4)
    firsts = [first for first, _ in response]
    assert len(firsts) > 3
    assert firsts[0] == 0
    assert response.shape == (192 * 2, 9 * 48)
    found = whole(response)
    assert np.array_equal(found[17], response.at(pixel_centres(4)[[17]])[0])
    assert np.array_equal(found, whole(response))


def test_the_number_of_threads_changes_nothing(monkeypatch):
    detector, table = Detector.from_histogram(rings(2)), by_attitude(slow(), 2)
    found = []
    for threads in "13":
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(whole(galactic_response(detector, table)))
    assert np.array_equal(*found)


def test_detectors_are_read_piece_by_piece():
    histogram = rings(2)
    rows = histogram.dense.reshape(96, -1)
    slabs = [(first, rows[first : first + 7]) for first in range(0, 96, 7)]
    read = Detector.from_slabs(histogram.axes, slabs)
    assert np.array_equal(read.values, Detector.from_histogram(histogram).values)
    single = Detector.from_slabs(histogram.axes, [(0, rows.astype(np.float32))])
    made, full = (galactic_response(d, by_attitude(slow(), 2)) for d in (single, read))
    assert whole(made).dtype == np.float32
    assert np.allclose(whole(made), whole(full), rtol=1e-6)


def test_other_axes_are_refused():
    histogram = rings(2)
    with pytest.raises(DataError, match="a detector response has NuLambda, Ei, Em, Phi, PsiChi"):
        Detector(histogram.axes[::-1], np.ones((1, 1, 1)))
    with pytest.raises(DataError, match="'PsiChi' must hold HEALPix pixels in RING order"):
        Detector((*histogram.axes[:4], Axis("PsiChi", np.arange(4))), np.ones((1, 1, 1)))
