"""The task lucy, against its formulas written down once more."""

import numpy as np
import pytest

import skyfold
from skyfold.errors import ConfigError, DataError
from skyfold.stopping import ChiSquare
from skyfold_hst.lucy_frame import open_lucy


def convolved(values, kernel):
    """Blur cyclically; the origin of the kernel is pixel (n - 1) // 2."""
    shifts = [-((n - 1) // 2) for n in kernel.shape]
    frame = np.zeros(values.shape)
    frame[tuple(slice(n) for n in kernel.shape)] = kernel
    frame = np.roll(frame, shifts, tuple(range(kernel.ndim)))
    axes = tuple(range(values.ndim))
    blur = np.fft.rfftn(frame)

    def forward(x):
        return np.fft.irfftn(np.fft.rfftn(x) * blur, values.shape, axes)

    def adjoint(x):
        return np.fft.irfftn(np.fft.rfftn(x) * blur.conj(), values.shape, axes)

    return forward, adjoint


def transcribed(data, kernel, laps, adu, noise, level, weight):
    """Return the estimate and chi-square of each iteration, as the task works them out."""
    forward, adjoint = convolved(data, kernel)
    variance = noise**2 / adu
    divisor = adjoint(weight)
    dark = divisor < 1e-3 * divisor.max()
    x = np.where(dark, 0.0, np.full(data.shape, np.sum(weight * data) / np.sum(weight)))
    good, chi = weight > 0, []
    for lap in range(laps + 1):
        m = forward(x)
        off = (adu * weight * (m - data)) ** 2
        off = off[good] / (adu * weight * (m + level) + noise**2)[good]
        chi.append(off.sum() / (good.sum() - 1))
        if lap < laps:
            ratio = weight * (data + variance + level) / (m + variance + level)
            x = np.where(dark, 0.0, x * adjoint(ratio) / np.where(dark, 1.0, divisor))
    return x, chi


@pytest.fixture
def scene(rng):
    """Data numbers with gain and read noise over a background that was subtracted."""
    y, x = np.indices((24, 31))
    truth = 5 + 400 * np.exp(-((y - 9) ** 2 + (x - 20) ** 2) / 8)
    v, u = np.indices((9, 9))
    kernel = np.exp(-((v - 4) ** 2 + (u - 4) ** 2) / 5)
    kernel /= kernel.sum()
    adu, noise, level = 2.5, 6.0, 20 + 0.3 * x
    forward, _ = convolved(truth, kernel)
    electrons = rng.poisson(adu * (forward(truth) + level)) + rng.normal(0, noise, truth.shape)
    return {
        "counts": electrons / adu - level,
        "psf": kernel,
        "adu": adu,
        "noise": noise,
        "background": level,
        "weight": (rng.uniform(size=truth.shape) > 0.1).astype(float),
    }


def restored(data, laps, **options):
    return skyfold.run(data, "rl", laps, progress=False, **options)


def test_iterations_are_those_of_the_formulas(scene):
    data = open_lucy(**scene)
    result = restored(data, 7, stop={"chi_square": 0.0})
    expected, chi = transcribed(
        scene["counts"], scene["psf"], 7, scene["adu"], scene["noise"], scene["background"],
        scene["weight"],
    )  # fmt: skip
    np.testing.assert_allclose(result.model["sky"], expected, rtol=1e-10)
    np.testing.assert_allclose([row["chi_square"] for row in result.trace], chi, rtol=1e-10)


def test_weights_between_zero_and_one(scene, rng):
    scene["weight"] = scene["weight"] * rng.uniform(0.3, 2.0, scene["weight"].shape)
    result = restored(open_lucy(**scene), 5)
    expected, _ = transcribed(
        scene["counts"], scene["psf"], 5, scene["adu"], scene["noise"], scene["background"],
        scene["weight"],
    )  # fmt: skip
    np.testing.assert_allclose(result.model["sky"], expected, rtol=1e-10)


def test_one_dimension_without_noise(rng):
    kernel = np.array([0.2, 0.5, 0.3])
    counts = rng.poisson(50, 40).astype(float)
    result = restored(open_lucy(counts, kernel), 4)
    expected, _ = transcribed(counts, kernel, 4, 1.0, 0.0, 0.0, np.ones(40))
    np.testing.assert_allclose(result.model["sky"], expected, rtol=1e-10)


@pytest.mark.parametrize("centred", [True, False])
def test_a_larger_restored_image(scene, centred):
    data = open_lucy(**scene, size=(40, 33), centred=centred)
    sky = restored(data, 5).model["sky"]
    first = (4, 4) if centred else (0, 0)
    weight, counts, level = (np.zeros((33, 40)) for _ in range(3))
    inside = tuple(slice(f, f + n) for f, n in zip(first, (24, 31), strict=True))
    weight[inside], counts[inside] = scene["weight"], scene["counts"]
    level[inside] = scene["background"]
    expected, _ = transcribed(counts, scene["psf"], 5, scene["adu"], scene["noise"], level, weight)
    np.testing.assert_allclose(sky, expected, rtol=1e-10, atol=1e-12)


def test_the_peak_of_the_psf_is_moved(scene):
    moved = {**scene, "psf": np.roll(scene["psf"], (3, -2), (0, 1))}
    np.testing.assert_array_equal(
        restored(open_lucy(**scene), 3).model["sky"], restored(open_lucy(**moved), 3).model["sky"]
    )


def test_pixels_far_below_zero_are_left_out(scene):
    scene["counts"][3, 4] = -1000
    data = open_lucy(**scene)
    assert data.weight[3, 4] == 0
    assert "1 pixels lower than 5 sigma" in " ".join(check.message for check in data.checks)
    with_mask = scene | {"mask": np.ones((24, 31)), "good": 0}
    with pytest.raises(DataError, match="no good pixel"):
        open_lucy(**with_mask)


def test_the_restored_image_is_not_smaller(scene):
    with pytest.raises(ConfigError, match="30 x 24 is smaller than the data, 31 x 24"):
        open_lucy(**scene, size=(30, 24))


def test_chi_square_ends_the_run(scene):
    result = restored(open_lucy(**scene), 50, stop={"chi_square": 1.3})
    assert 1 < result.state.iteration < 50
    assert "chi-square per bin is" in result.reason
    before, last = (row["chi_square"] for row in result.trace[-2:])
    assert last <= 1.3 < before


def test_chi_square_of_true_counts_is_one(rng):
    """Its mean over many bins, under the model that made them."""
    counts = rng.poisson(30, (60, 60)).astype(float)
    result = restored(open_lucy(counts, np.ones((1, 1))), 0, stop=ChiSquare(0.0))
    assert abs(result.trace[0]["chi_square"] - 1) < 5 * np.sqrt(2 / counts.size)


def test_model_image_to_start_from(scene):
    first = restored(open_lucy(**scene), 3).model["sky"]
    again = restored(open_lucy(**scene, start=first), 2).model["sky"]
    np.testing.assert_allclose(again, restored(open_lucy(**scene), 5).model["sky"], rtol=1e-10)
