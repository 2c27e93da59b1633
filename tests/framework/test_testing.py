import numpy as np
import pytest

from skyfold.binned import BinnedData
from skyfold.matrices import Matrix
from skyfold.testing import check_instrument


@pytest.fixture
def matrix(rng):
    return rng.random((40, 12))


def failed(response, background=True):
    more = {"background": np.ones(40)} if background else {}
    findings = check_instrument(BinnedData(np.full(40, 9), {"sky": response, **more}))
    return {finding.subject for finding in findings if not finding.ok}


def test_a_sound_instrument_passes(matrix):
    assert not failed(Matrix(matrix))


def test_a_wrong_adjoint_is_found(matrix):
    class Wrong(Matrix):
        def adjoint(self, weights):
            return super().adjoint(weights) * np.linspace(1, 1.1, 12)

    assert "sky: adjoint" in failed(Wrong(matrix))


def test_a_negative_response_is_found(matrix):
    matrix[3] *= -1
    assert "sky: not negative" in failed(Matrix(matrix))


def test_a_clamped_response_is_found(matrix):
    class Clamped(Matrix):
        def forward(self, values):
            return np.minimum(super().forward(values), 3.0)

    assert "sky: linear" in failed(Clamped(matrix))


def test_a_wrong_sensitivity_is_found(matrix):
    class Wrong(Matrix):
        def sensitivity(self, weight):
            return super().sensitivity(weight) * 2

    assert "sky: sensitivity = adjoint of ones" in failed(Wrong(matrix))


def test_wrong_shapes_are_found(matrix):
    class Wrong(Matrix):
        def forward(self, values):
            return super().forward(values)[None]

    assert failed(Wrong(matrix)) == {"sky: shapes"}
