"""Convolution with a PSF: values, exact adjoints, borders, engines."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError, MissingExtraError, PluginError
from skyfold.joint import JointData
from skyfold.model import Model
from skyfold.pixels import Diagonal
from skyfold.response import Response, check_adjoint
from skyfold_responses import Psf
from skyfold_responses.image import BlockSum

BOUNDARIES = ["extended", "same", "reflect", "periodic"]
SIZES = [
    pytest.param((7, 7), (24, 20), id="odd"),
    pytest.param((6, 8), (24, 20), id="even"),
    pytest.param((3, 10), (17, 31), id="rectangular-prime"),
    pytest.param((9,), (53,), id="line"),
    pytest.param((4,), (1,), id="line-of-one"),
    pytest.param((23, 40), (11, 7), id="psf-larger-than-image"),
    pytest.param((5, 4), (3, 12, 9), id="cube-one-psf"),
    pytest.param((3, 5, 4), (3, 12, 9), id="cube-psf-per-energy"),
    pytest.param((3, 1, 5), (3, 1, 9), id="flat-cube"),
]


@pytest.fixture(params=["direct", "scipy", "ducc"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "ducc":
        pytest.importorskip("ducc0", reason="the ducc extra is not installed")
    return str(request.param)


def _matrix(operator: Callable[..., Any], model_shape: tuple[int, ...]) -> np.ndarray:
    units = np.eye(int(np.prod(model_shape))).reshape(-1, *model_shape)
    return np.stack([operator(unit).ravel() for unit in units], axis=1)


@pytest.mark.parametrize(("kernel", "data"), SIZES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_adjoint_is_exact(
    rng: np.random.Generator,
    kernel: tuple[int, ...],
    data: tuple[int, ...],
    boundary: str,
    engine: str,
    dtype: type,
    tolerance: float,
) -> None:
    psf = Psf(rng.random(kernel), data, boundary, engine, dtype)
    assert check_adjoint(psf) < tolerance


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    data=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    boundary=st.sampled_from(BOUNDARIES),
    share=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 1000),
)
def test_engines_agree_on_any_size(
    kernel: tuple[int, int],
    data: tuple[int, int],
    boundary: str,
    share: tuple[float, float],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    elements = rng.standard_normal(kernel)
    margin = None
    if boundary == "extended":
        margin = [round(s * (k // 2)) for s, k in zip(share, kernel, strict=True)]
    direct, fourier = (Psf(elements, data, boundary, e, margin=margin) for e in ("direct", "scipy"))
    assert direct.model_shape == fourier.model_shape
    assert check_adjoint(direct, seed) < 1e-12
    assert check_adjoint(fourier, seed) < 1e-12
    x, y = rng.random(direct.model_shape), rng.random(data)
    scale = np.abs(elements).sum()
    np.testing.assert_allclose(fourier.forward(x), direct.forward(x), atol=1e-12 * scale, rtol=0)
    np.testing.assert_allclose(fourier.adjoint(y), direct.adjoint(y), atol=1e-12 * scale, rtol=0)


@pytest.mark.parametrize("kernel", [(5, 7), (4, 6), (1, 3), (9, 2), (6, 6)])
def test_extended_is_the_valid_part_of_the_convolution(
    rng: np.random.Generator, kernel: tuple[int, int], engine: str
) -> None:
    elements = rng.random(kernel)
    psf = Psf(elements, (20, 17), engine=engine)
    assert psf.model_shape == (20 + kernel[0] - 1, 17 + kernel[1] - 1)
    x = rng.random(psf.model_shape)
    expected = signal.convolve(x, elements, "valid", method="direct")
    np.testing.assert_allclose(psf.forward(x), expected, rtol=1e-12)


@pytest.mark.parametrize("kernel", [(5, 7), (4, 6), (1, 3), (9, 2)])
def test_same_agrees_with_scipy(
    rng: np.random.Generator, kernel: tuple[int, int], engine: str
) -> None:
    elements, x = rng.random(kernel), rng.random((20, 17))
    expected = signal.convolve(x, elements, "same", method="direct")
    np.testing.assert_allclose(
        Psf(elements, x.shape, "same", engine).forward(x), expected, rtol=1e-12
    )


@pytest.mark.parametrize(("boundary", "mode"), [("reflect", "reflect"), ("periodic", "wrap")])
@pytest.mark.parametrize("kernel", [(5, 7), (31, 33)])
def test_frames_agree_with_ndimage(
    rng: np.random.Generator, kernel: tuple[int, int], boundary: str, mode: str, engine: str
) -> None:
    elements, x = rng.random(kernel), rng.random((20, 17))
    expected = ndimage.convolve(x, elements, mode=mode)
    found = Psf(elements, x.shape, boundary, engine).forward(x)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("kernel", "data"), [((3, 4), (5, 3)), ((7,), (4,)), ((2, 3, 2), (2, 3, 4))]
)
def test_adjoint_is_the_transposed_matrix(
    rng: np.random.Generator,
    kernel: tuple[int, ...],
    data: tuple[int, ...],
    boundary: str,
    engine: str,
) -> None:
    psf = Psf(rng.random(kernel), data, boundary, engine)
    forward = _matrix(psf.forward, psf.model_shape)
    np.testing.assert_allclose(_matrix(psf.adjoint, data), forward.T, atol=1e-13)


def test_each_energy_has_its_own_kernel(rng: np.random.Generator, engine: str) -> None:
    kernels = rng.random((3, 5, 6))
    cube = Psf(kernels, (3, 12, 9), engine=engine)
    x = rng.random(cube.model_shape)
    planes = [
        Psf(k, (12, 9), engine=engine).forward(plane) for k, plane in zip(kernels, x, strict=True)
    ]
    np.testing.assert_allclose(cube.forward(x), planes, rtol=1e-13)


@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_point_comes_out_at_its_own_place(size: int, boundary: str, engine: str) -> None:
    delta = np.zeros((size, size))
    delta[(size - 1) // 2, (size - 1) // 2] = 1
    psf = Psf(delta, (11, 9), boundary, engine)
    model = np.zeros(psf.model_shape)
    model[psf.field][4, 7] = 3
    expected = np.zeros((11, 9))
    expected[4, 7] = 3
    np.testing.assert_allclose(psf.forward(model), expected, atol=1e-15)


def test_margin_sets_the_model_and_zero_margin_is_same(
    rng: np.random.Generator, engine: str
) -> None:
    elements, x = rng.random((9, 6)), rng.random((20, 17))
    half = Psf(elements, x.shape, engine=engine, margin=(2, 3))
    assert half.model_shape == (24, 22)  # an even kernel of 6 reaches 3 pixels one way, 2 the other
    full = Psf(elements, x.shape, engine=engine)
    model = np.zeros(full.model_shape)
    inside = model[2:-2, :]
    inside[...] = rng.random(inside.shape)
    np.testing.assert_allclose(half.forward(inside), full.forward(model), rtol=1e-12)
    none = Psf(elements, x.shape, engine=engine, margin=0)
    np.testing.assert_array_equal(
        none.forward(x), Psf(elements, x.shape, "same", engine).forward(x)
    )


def test_auto_takes_the_sum_for_small_and_the_transform_for_large_kernels() -> None:
    small, large = Psf(np.ones((9, 9)), (64, 64)), Psf(np.ones((33, 33)), (64, 64))
    assert small.accuracy == 0.0
    assert 0 < large.accuracy < 1e-14
    assert type(small.engine).__name__ == "Direct"
    assert type(large.engine).__name__ == "Fourier"


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("counts", [1.0, 1e6])
def test_accuracy_bounds_the_rounding_noise(dtype: type, counts: float, engine: str) -> None:
    y, x = np.mgrid[-32:33, -32:33]
    kernel = np.exp(-(x**2 + y**2) / 8.0)
    psf = Psf(kernel / kernel.sum(), (150, 131), engine=engine, dtype=dtype)
    model = np.full(psf.model_shape, 1e-9)
    model[80, 90] = counts
    reference = Psf(kernel / kernel.sum(), (150, 131), engine="direct").forward(model)
    error = np.max(np.abs(psf.forward(model) - reference) / reference.max())
    assert error <= max(psf.accuracy, 4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("compute", [np.float64, np.float32])
@pytest.mark.parametrize("given", [np.float64, np.float32])
def test_results_have_the_dtype_of_the_argument(compute: type, given: type, engine: str) -> None:
    psf = Psf(np.ones((5, 5)), (12, 13), engine=engine, dtype=compute)
    assert psf.forward(np.ones(psf.model_shape, given)).dtype == given
    assert psf.adjoint(np.ones((12, 13), given)).dtype == given


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_returned_arrays_belong_to_the_caller(
    rng: np.random.Generator, boundary: str, engine: str
) -> None:
    psf = Psf(rng.random((5, 5)), (12, 13), boundary, engine)
    x, y = rng.random(psf.model_shape), rng.random((12, 13))
    x.flags.writeable = y.flags.writeable = False
    first, back = psf.forward(x), psf.adjoint(y)
    kept, kept_back = first.copy(), back.copy()
    psf.forward(2 * x), psf.adjoint(2 * y)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(back, kept_back)
    first[...] = np.nan
    np.testing.assert_array_equal(psf.forward(x), kept)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("with_others", [False, True])
def test_fused_step_agrees_with_the_plain_one(
    rng: np.random.Generator, boundary: str, with_others: bool, engine: str
) -> None:
    psf = Psf(rng.random((5, 6)), (12, 13), boundary, engine)
    values = rng.random(psf.model_shape)
    counts = rng.poisson(10, 12 * 13).astype(float)
    others = rng.random(12 * 13) if with_others else None
    expectation, back, fit = psf.e_step(values, counts, others)
    plain, plain_back, plain_fit = Response.e_step(psf, values, counts, others)
    np.testing.assert_array_equal(expectation, plain)
    np.testing.assert_array_equal(back, plain_back)
    assert fit == plain_fit


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("kernel", "shape"), [((5, 6), (600, 80)), ((2, 3, 5), (2, 40, 50))])
def test_back_projection_row_by_row_is_that_of_the_whole_ratio(
    rng: np.random.Generator,
    boundary: str,
    kernel: tuple[int, ...],
    shape: tuple[int, ...],
    engine: str,
) -> None:
    psf, accuracy = Psf(rng.random(kernel), shape, boundary, engine), 0.1
    expectation = rng.uniform(2, 50, shape)
    expectation[..., :9, :] /= 100  # below the noise of the whole, not of their own rows
    counts = rng.poisson(expectation).astype(float)
    raised = np.maximum(expectation, accuracy * expectation.max())
    back, fit = psf.back_project(counts.ravel(), expectation.ravel(), accuracy)
    np.testing.assert_allclose(back, psf.adjoint(counts / raised), rtol=1e-12, atol=1e-12)
    assert fit == pytest.approx(np.sum(counts * np.log(raised)), rel=1e-12)


@pytest.mark.parametrize(("kernel", "shape"), SIZES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_where_no_light_is_lost_one_number_is_the_sensitivity(
    rng: np.random.Generator, kernel: tuple[int, ...], shape: tuple[int, ...], dtype: type
) -> None:
    psf = Psf(rng.random(kernel), shape, "periodic", dtype=dtype)
    seen = BinnedData(np.ones(shape), {"sky": psf}, dtype=dtype).sensitivity["sky"]
    expected = psf.adjoint(np.ones(shape, dtype))
    np.testing.assert_allclose(seen, expected, rtol=8 * np.finfo(dtype).eps)
    assert seen.dtype == dtype
    assert any(seen.strides) == (len(kernel) == 3)
    weight = np.ones(shape, dtype)
    weight[..., :1] = 0.5
    masked = BinnedData(np.ones(shape), {"sky": psf}, weight, dtype=dtype).sensitivity["sky"]
    np.testing.assert_allclose(masked, psf.adjoint(weight), rtol=8 * np.finfo(dtype).eps)


def test_workers_change_nothing(rng: np.random.Generator, engine: str) -> None:
    kernel, data = rng.random((21, 22)), (200, 190)
    one, two = (Psf(kernel, data, engine=engine, workers=w) for w in (1, 2))
    x = rng.random(one.model_shape)
    # ducc0 computes the columns left over by its vectors with other instructions
    np.testing.assert_allclose(
        one.forward(x), two.forward(x), rtol=1e-14 if engine == "ducc" else 0
    )


@pytest.mark.parametrize("boundary", ["extended", "periodic"])
def test_workers_do_not_change_the_likelihood(
    rng: np.random.Generator, engine: str, boundary: str
) -> None:
    kernel, counts = rng.random((9, 8)), rng.poisson(3.0, (310, 700)).astype(float).ravel()
    expectation, fits = rng.random(counts.size) + 1, []
    for workers in (1, 2, 3):
        psf = Psf(kernel, (310, 700), boundary, engine, workers=workers)
        fits.append(psf.back_project(counts, expectation, psf.accuracy)[1])
    assert fits[0] == fits[1] == fits[2]


def test_it_can_be_sent_to_another_process(rng: np.random.Generator, engine: str) -> None:
    psf = Psf(rng.random((5, 6)), (12, 13), engine=engine)
    x, places = rng.random(psf.model_shape), np.arange(3)
    lit = psf.columns(places)
    copy = pickle.loads(pickle.dumps(psf))
    np.testing.assert_array_equal(copy.forward(x), psf.forward(x))
    for one, two in zip(copy.columns(places), lit, strict=True):
        np.testing.assert_array_equal(one, two)


def test_not_finite_values_are_not_hidden(engine: str) -> None:
    psf = Psf(np.ones((3, 3)), (8, 8), engine=engine)
    model = np.ones(psf.model_shape)
    model[5, 5] = np.nan
    assert np.isnan(psf.forward(model)[4, 4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boundary": "mirror"}, "boundary 'mirror' is none of"),
        ({"engine": "fftw"}, "engine 'fftw' is none of"),
        ({"dtype": int}, "float64 or float32"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"margin": 3}, "between 0 and the half-width of the PSF, 2 x 2"),
        ({"margin": -1}, "between 0 and the half-width"),
        ({"margin": (1, 1, 1)}, "one for each of 2 axes"),
        ({"margin": 1, "boundary": "same"}, "margin belongs to boundary 'extended'"),
    ],
)
def test_bad_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Psf(np.ones((5, 5)), (12, 13), **changes)


@pytest.mark.parametrize(
    ("kernel", "data", "message"),
    [
        (np.ones((5,)), (12, 13), r"shape \(5,\) does not fit data of shape \(12, 13\)"),
        (np.ones((2, 5, 5)), (12, 13), "does not fit"),
        (np.ones((2, 5, 5)), (3, 12, 13), "2 energies, the data have 3"),
        (np.ones((5, 5)), (0, 13), "does not fit"),
        (np.ones((0, 5)), (12, 13), "no pixels"),
        (np.array([[1, np.nan, 1]]), (12, 13), r"1 values .* first at index \(0, 1\)"),
    ],
)
def test_bad_kernels_are_refused(kernel: np.ndarray, data: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Psf(kernel, data)


def test_missing_ducc_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ducc0", None)
    with pytest.raises(MissingExtraError, match=r"skyfold\[ducc\]"):
        Psf(np.ones((5, 5)), (12, 13), engine="ducc")


# Edges: a flat sky of 10, also outside the data, three sources inside, one 5 pixels outside; no
# noise. With darkness outside, flat light piles up or drains at the edges, and a source near them
# is off by a fifth of its flux.
SOURCES = ((64, 64), (30, 96), (64, 124), (100, -5))  # y, x; the third is 3 pixels from the edge
FLAT, FLUX = 10.0, 3000.0


@pytest.fixture(scope="module")
def restored() -> np.ndarray:
    """The scene after 300 iterations on the extended field, cut to the data."""
    y, x = np.mgrid[-16:17, -16:17]
    kernel = (1 + (x**2 + y**2) / 2.0**2) ** -1.5
    kernel /= kernel.sum()
    around = 40
    sky = np.full((128 + 2 * around,) * 2, FLAT)
    for y, x in SOURCES:
        sky[y + around, x + around] += FLUX
    counts = signal.fftconvolve(sky, kernel, "same")[around:-around, around:-around]

    psf, algorithm = Psf(kernel, counts.shape), RichardsonLucy()
    data = BinnedData(counts, {"sky": psf})
    state = algorithm.start(data, Model.start(data))
    for _ in range(300):
        state = algorithm.step(state, data)
    return np.asarray(state.model["sky"][psf.field])


def _flux(image: np.ndarray, y: int, x: int) -> float:
    box = image[y - 4 : y + 5, x - 4 : x + 5]
    return float(np.sum(box - FLAT))


def test_flat_light_stays_flat_up_to_the_edge(restored: np.ndarray) -> None:
    edge = np.ones(restored.shape, bool)
    edge[5:-5, 5:-5] = False
    edge[88:112, :10] = False  # in front of the source outside
    edge[55:74, -10:] = False  # around the source near the edge
    assert restored[edge].mean() == pytest.approx(FLAT, rel=0.02)


def test_a_source_near_the_edge_keeps_its_flux(restored: np.ndarray) -> None:
    centre, near = (_flux(restored, *SOURCES[i]) for i in (0, 2))
    assert near / centre == pytest.approx(1, rel=0.02)


def test_a_source_outside_hardly_brightens_the_inside(restored: np.ndarray) -> None:
    assert np.sum(restored[90:111, :5] - FLAT) < 0.1 * FLUX


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_no_used_bin_sees_has_no_sensitivity(rng, dtype):
    y, x = np.indices((48, 48))
    distance = np.hypot(y - 20, x - 24)
    psf = Psf(
        np.outer(np.hanning(19), np.hanning(19))[1:-1, 1:-1], (48, 48), "same", "scipy", dtype
    )
    counts = rng.poisson(5.0, (48, 48))
    data = BinnedData(counts, {"sky": psf}, (distance < 10).astype(float), dtype=dtype)
    unseen = distance > 10 + 8 * np.sqrt(2)
    assert np.all(data.sensitivity["sky"][unseen] == 0)
    assert np.all(data.sensitivity["sky"][distance < 10] > 0)


@pytest.mark.parametrize(("kernel", "data"), SIZES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_the_tangent_is_linear_in_the_kernel(
    rng: np.random.Generator,
    kernel: tuple[int, ...],
    data: tuple[int, ...],
    boundary: str,
    dtype: type,
    tolerance: float,
) -> None:
    psf = Psf(rng.random(kernel), data, boundary, "auto", dtype)
    values, other = rng.random(psf.model_shape), rng.random(kernel)
    tangent = psf.tangent(values)
    assert check_adjoint(tangent) < tolerance
    changed = psf.at(other)
    assert changed.model_shape == psf.model_shape
    assert np.allclose(tangent.forward(other), changed.forward(values), rtol=100 * tolerance)
    assert psf.parameters is not None
    assert np.allclose(tangent.forward(psf.parameters), psf.forward(values), rtol=100 * tolerance)


@pytest.mark.parametrize("margin", [0, 1, (2, 1)])
def test_the_tangent_knows_the_margin(
    rng: np.random.Generator, margin: int | tuple[int, ...]
) -> None:
    psf = Psf(rng.random((6, 7)), (12, 9), margin=margin)
    values, other = rng.random(psf.model_shape), rng.random((6, 7))
    assert np.allclose(psf.tangent(values).forward(other), psf.at(other).forward(values))


def test_a_chain_hands_parameters_on(rng: np.random.Generator) -> None:
    psf, exposure = Psf(rng.random((3, 3)), (8, 8)), Diagonal(rng.random((10, 10)))
    chain = BlockSum(2, (4, 4)) @ (psf @ exposure)
    values, other = rng.random((10, 10)), rng.random((3, 3))
    tangent = chain.tangent(values)
    assert check_adjoint(tangent) < 1e-12
    assert np.allclose(tangent.forward(other), chain.at(other).forward(values))
    assert chain.parameters is psf.parameters
    assert (psf.at(other) @ exposure).parameters is other
    with pytest.raises(PluginError, match="both have parameters"):
        Psf(other, (6, 6), "same") @ Psf(other, (6, 6), "same")
    with pytest.raises(PluginError, match="no parameters"):
        exposure.tangent(values)
    with pytest.raises(PluginError, match="no parameters"):
        exposure.at(other)


def test_data_are_linear_in_their_parameters(rng: np.random.Generator) -> None:
    def part(counts: float) -> BinnedData:
        template = rng.random((8, 8)) + 1
        psf = Psf(rng.random((3, 3)), (8, 8), "same")
        return BinnedData(rng.poisson(counts, (8, 8)), {"sky": psf, "flat": template})

    for data in (part(5.0), part(0.2), JointData([part(5.0), part(0.2)])):
        model = Model.start(data, sky=rng.random((8, 8)))
        tangent = data.tangent(model)
        assert set(tangent.components) == set(data.parameters)
        kernels = {name: rng.random(kernel.shape) for name, kernel in data.parameters.items()}
        others = data.forward({"flat": model["flat"]})
        linear = tangent.forward(kernels) + others
        direct = data.at(kernels).forward(model)
        assert np.allclose(linear.observed, direct.observed)
        assert np.allclose(linear.totals, direct.totals)
        back = tangent.back_project(direct).back
        slope = {name: back[name] - tangent.sensitivity[name] for name in kernels}
        for name, kernel in kernels.items():
            step = np.zeros((3, 3))
            step[1, 2] = 1e-5
            up, down = (
                data.log_likelihood(data.at({**kernels, name: kernel + d}).forward(model))
                for d in (step, -step)
            )
            assert (up - down) / 2e-5 == pytest.approx(slope[name][1, 2], rel=1e-4, abs=1e-4)
        assert data.at({}) is data
