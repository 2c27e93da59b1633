import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from skyfold.errors import DataError, PluginError
from skyfold.matrices import Matrix, Template, as_response
from skyfold.pixels import Diagonal
from skyfold.response import Response, Rows, check_adjoint


class Slow(Response):
    """A response that gives only what is owed."""

    def __init__(self, matrix):
        self.matrix = matrix
        self.data_shape, self.model_shape = (matrix.shape[0],), (matrix.shape[1],)

    def forward(self, values):
        return self.matrix @ values

    def adjoint(self, weights):
        return self.matrix.T @ weights


@pytest.fixture
def matrix(rng):
    return rng.random((14, 6)) * (rng.random((14, 6)) > 0.3)


def every_kind(matrix):
    image = matrix.reshape(14, 2, 3)
    return {
        "matrix": Matrix(matrix),
        "shaped": Matrix(matrix, (2, 3), (7, 2)),
        "sparse": Matrix(scipy.sparse.csr_array(matrix)),
        "diagonal": Diagonal(image[3]),
        "template": Template(image[:, 0]),
        "chain": Matrix(matrix) @ Diagonal(matrix[0]) @ Template(matrix[1]),
        "rows": Rows(Matrix(matrix, (2, 3), (7, 2)), np.array([1, 5, 13])),
        "chained rows": (Matrix(matrix) @ Diagonal(matrix[0])).rows(np.array([0, 2, 4])),
        "default": Slow(matrix).rows(np.array([4, 3])),
    }


@pytest.mark.parametrize("name", every_kind(np.ones((14, 6))))
def test_adjoint(matrix, name):
    assert check_adjoint(every_kind(matrix)[name]) < 1e-14


def test_a_wrong_adjoint_is_found(matrix):
    wrong = Slow(matrix)
    wrong.adjoint = lambda weights: matrix.T @ weights * 1.001
    assert check_adjoint(wrong) > 1e-6


@given(seed=st.integers(0, 2**32 - 1), others=st.booleans())
def test_e_step_is_forward_and_adjoint(seed, others):
    rng = np.random.default_rng(seed)
    matrix = rng.random((9, 4))
    values, counts = rng.random(4), rng.poisson(2.0, 9).astype(float)
    more = rng.random(9) if others else None
    expected = matrix @ values + (0 if more is None else more)
    e, back, fit = Matrix(matrix).e_step(values, counts, more)
    np.testing.assert_allclose(e, expected, rtol=1e-13)
    np.testing.assert_allclose(back, matrix.T @ (counts / expected), rtol=1e-12)
    assert fit == pytest.approx(np.sum(counts * np.log(expected)), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", ["matrix", "shaped", "sparse", "template", "chain", "default"])
@pytest.mark.parametrize("others", [False, True])
def test_attribution_keeps_every_count_and_its_mean(matrix, rng, name, others):
    response = every_kind(matrix)[name]
    values = rng.random(response.model_shape) + 0.1
    counts = rng.poisson(3.0, response.data_shape)
    counts[response.forward(values) == 0] = 0
    more = rng.random(counts.size) if others else None
    found = [response.attribute(values, counts, more, rng) for _ in range(4000)]
    drawn, left = (np.mean([getattr(f, name) for f in found], axis=0) for name in ("drawn", "left"))
    assert all(f.drawn.sum() + f.left.sum() == counts.sum() for f in found)
    own = response.forward(values)
    e = own if more is None else own + more.reshape(own.shape)
    seen = counts > 0
    np.testing.assert_allclose(found[0].expectation.reshape(e.shape)[seen], e[seen], rtol=1e-12)
    ratio = np.divide(counts, e, out=np.zeros(e.shape), where=e > 0)
    atol = 5 * np.sqrt(counts.sum() / 4000)
    np.testing.assert_allclose(drawn, values * response.adjoint(ratio), atol=atol)
    np.testing.assert_allclose(left.reshape(e.shape), (e - own) * ratio, atol=atol)


def test_expectation_that_is_rounding_noise_does_not_explode(matrix):
    response = Matrix(np.array([[1.0], [-1e-17]]))
    response.accuracy = 1e-15
    _, back, _ = response.e_step(np.ones(1), np.array([5.0, 1.0]), None)
    assert abs(back[0]) < 10


def test_shapes_must_agree(matrix):
    with pytest.raises(PluginError, match=r"takes values of shape \(6,\)"):
        Matrix(matrix) @ Matrix(matrix)
    with pytest.raises(DataError, match=r"'sky'.*\(14,\).*\(3, 3\)"):
        as_response(Matrix(matrix), (3, 3), "sky")
    with pytest.raises(DataError, match="must agree"):
        as_response(np.ones((1, 14)), (5, 14), "background")
    with pytest.raises(PluginError, match="cannot map"):
        Matrix(matrix, (5,))
