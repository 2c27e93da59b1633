"""The problems of the benchmark are what they claim to be."""

import sys
from pathlib import Path

import numpy as np
import pytest

from skyfold.model import Model
from skyfold.response import check_adjoint

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import problems

SMALL = {
    "image": lambda: problems.image(64, 5e3),
    "dark": lambda: problems.dark_image(64, 5e3),
    "rings": lambda: problems.rings(4, 1e4),
}


@pytest.fixture(params=SMALL)
def small(request):
    return request.param, SMALL[request.param]()


def test_each_build_gives_the_same_counts(small):
    name, problem = small
    np.testing.assert_array_equal(SMALL[name]().data.full_counts, problem.data.full_counts)


def test_the_responses_are_matched_pairs(small):
    _, problem = small
    assert check_adjoint(problem.data.whole["sky"]) < 1e-12


def test_the_counts_are_those_of_the_truth(small):
    _, problem = small
    expected = problem.data.full_expectation(problem.truth)
    assert np.sum(problem.data.full_counts) == pytest.approx(
        np.sum(expected), abs=5 * np.sqrt(np.sum(expected))
    )
    assert Model.start(problem.data)["sky"].std() == 0  # a flat start


@pytest.mark.parametrize(
    ("problem", "counts", "source"),
    [
        (problems.image, 5e4, 0.8),
        (problems.dark_image, 5e4, 1.0),
        (lambda: problems.rings(nside=4), 1e5, 0.25),
    ],
)
def test_counts_and_share_of_the_source(problem, counts, source):
    made = problem()
    sky = made.data.whole["sky"].forward(made.truth["sky"]).sum()
    assert sky == pytest.approx(source * counts)
    assert made.data.full_expectation(made.truth).sum() == pytest.approx(counts)
    background = made.data.components.get("background")
    assert background is None or background.fixed


def test_the_image_is_vignetted_and_its_light_mixed_as_stated():
    made = problems.image()
    sensitivity = made.data.sensitivity["sky"]
    middle, corner = sensitivity[128, 128], sensitivity[0, 0]
    assert made.data.shape == sensitivity.shape == (256, 256)
    assert middle == pytest.approx(1, rel=1e-3)
    assert corner < 0.5 * middle  # half by the exposure, and light that leaves the dark border
    sky = made.truth["sky"]
    bright = np.sort((sky - sky.min()).ravel())[-problems.POINTS :]
    assert 0.3 < bright.sum() / sky.sum() < 0.45


def test_the_rings_hold_what_they_should():
    made = problems.rings(8)
    matrix = made.data.whole["sky"].matrix
    assert matrix.shape == (12 * 768, 768)
    np.testing.assert_array_equal(matrix.data, matrix.data.astype(np.float32))
    first = matrix[[234]].toarray()  # one ring
    assert first[first > 0].min() >= 0.999 * problems.CUT * first.max()
    assert 0.02 < np.count_nonzero(first) / first.size < 0.6


def test_the_race_starts_where_the_other_side_does():
    start = Model.start(problems.dark_image(64, 5e3).data)
    np.testing.assert_array_equal(start["sky"], 0.5)
