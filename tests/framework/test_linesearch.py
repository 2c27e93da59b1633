from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.linesearch import best_step


class Along(float):
    """A place along a line: as much of an expectation as the search needs."""

    def __add__(self, other):
        return Along(float(self) + float(other))

    def __mul__(self, factor):
        return Along(float(self) * factor)


def found(slope, longest=10.0):
    data = SimpleNamespace(slope=lambda here, direction: slope(float(here)))
    return best_step(data, Along(0), Along(1), longest)


@given(st.floats(1e-3, 1e4), st.floats(0.02, 9.9))
def test_the_top_of_a_parabola_is_found_from_either_side(height, top):
    assert found(lambda step: height * (1 - step / top)) == pytest.approx(top, rel=2e-3)


@given(st.floats(0.1, 9.0), st.floats(0.01, 2.0))
def test_the_slope_at_the_end_is_small_and_never_downward(top, sharp):
    def slope(at):
        return 1 / (at + sharp) - 1 / (top + sharp)

    step = found(slope)
    assert 0 <= slope(step) <= 2e-3 * slope(0)


def test_a_fall_from_the_start_is_no_step_and_a_rise_to_the_end_all_of_it():
    assert found(lambda step: -1.0) == 0
    assert found(lambda step: 1.0) == 10
