"""Sums over blocks of a finer grid."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.errors import ConfigError
from skyfold.response import check_adjoint
from skyfold_responses import BlockSum, Psf


@pytest.mark.parametrize(
    ("factor", "data", "model"),
    [
        (2, (4, 5), (8, 10)),
        (3, (7,), (21,)),
        (2, (3, 4, 5), (3, 8, 10)),
        ((1, 3), (4, 5), (4, 15)),
        ((2, 1, 3), (3, 4, 5), (6, 4, 15)),
        (1, (4, 5), (4, 5)),
    ],
)
def test_blocks_are_summed(
    rng: np.random.Generator,
    factor: int | tuple[int, ...],
    data: tuple[int, ...],
    model: tuple[int, ...],
) -> None:
    blocks = BlockSum(factor, data)
    assert blocks.model_shape == model
    assert check_adjoint(blocks) < 1e-14
    x = rng.random(model)
    kept = x.copy()
    expected = x.reshape([k for n, f in zip(data, blocks.factor, strict=True) for k in (n, f)])
    expected = expected.sum(axis=tuple(range(1, 2 * len(data), 2)))
    summed = blocks.forward(x)
    np.testing.assert_allclose(summed, expected, rtol=1e-13)
    summed += 1
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dtype_follows_the_argument(dtype: type) -> None:
    blocks = BlockSum(2, (4, 5))
    assert blocks.forward(np.ones((8, 10), dtype)).dtype == dtype
    assert blocks.adjoint(np.ones((4, 5), dtype)).dtype == dtype


def test_finer_model_through_a_psf(rng: np.random.Generator) -> None:
    blocks = BlockSum(2, (10, 12))
    fine = Psf(rng.random((5, 7)), blocks.model_shape)
    both = blocks @ fine
    assert both.model_shape == (24, 30)
    assert check_adjoint(both) < 1e-13


@pytest.mark.parametrize("factor", [0, (2, 0), (2,), (2, 2, 2)])
def test_bad_factors_are_refused(factor: int | tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="block factor"):
        BlockSum(factor, (4, 5))
