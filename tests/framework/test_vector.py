import numpy as np
import pytest

from skyfold.vector import Vector

A = Vector({"sky": np.array([1.0, 2.0]), "background": np.array([3.0])})
B = Vector({"sky": np.array([10.0, 20.0])})


def test_absent_names_count_as_zero():
    assert list((A + B)["sky"]) == [11, 22]
    assert list((A + B)["background"]) == [3]
    assert list((B - A)["background"]) == [-3]
    assert A.dot(B) == 50


def test_products_need_the_same_names():
    assert list((A * A)["sky"]) == [1, 4]
    assert list((A / 2.0)["background"]) == [1.5]
    with pytest.raises(KeyError):
        A * B


def test_dtype_follows_the_input():
    single = Vector({"sky": np.ones(3, np.float32)})
    assert (single + single)["sky"].dtype == np.float32
    assert (single * 2.0)["sky"].dtype == np.float32


def test_dot_accumulates_in_double():
    single = Vector({"sky": np.full(10**6, 0.1, np.float32)})
    assert single.dot(single) == pytest.approx(0.01 * 10**6, rel=1e-6)


def test_only():
    assert set(A.only(frozenset({"sky", "stars"}))) == {"sky"}
