import astropy.units as u
import numpy as np
import pytest

from skyfold.binned import BinnedData
from skyfold.geometry import Grid, Normalisations
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.vector import Vector


def data(**components):
    matrix = Matrix(np.ones((5, 4)))
    return BinnedData(
        np.full(5, 8), {"sky": matrix, "background": np.ones(5)}, components=components
    )


def test_the_flat_start_leaves_room_for_the_background():
    model = Model.start(data())
    assert model["background"] == 1
    np.testing.assert_allclose(model["sky"], (40 - 5) / 20)


def test_a_background_above_the_counts_leaves_a_little_sky():
    heavy = BinnedData(np.ones(5), {"sky": Matrix(np.ones((5, 4))), "background": np.full(5, 9.0)})
    assert np.all(Model.start(heavy)["sky"] > 0)


def test_start_values_of_the_component_are_kept():
    model = Model.start(data(sky=Component(Grid((4,)), start=np.array([0.0, 1, 2, 3]))))
    assert list(model["sky"]) == [0, 1, 2, 3]


def test_masks_and_bounds_hold():
    part = Component(Grid((4,)), mask=np.array([1, 1, 0, 0], bool), bounds=(0.5, 2.0))
    assert list(part.project(np.array([0.0, 9.0, 9.0, -1.0]))) == [0.5, 2.0, 0.0, 0.0]
    assert not Model.start(data(sky=part))["sky"][2:].any()


def test_free_and_skies():
    model = Model.start(data(background=Component(Normalisations(), fixed=True)))
    assert model.free == model.skies == {"sky"}
    assert Model.start(data()).free == {"sky", "background"}


def test_quantities_carry_the_unit():
    model = Model.start(data(sky=Component(Grid((4,)), unit="ph cm-2 s-1")))
    assert model.quantity("sky").unit == u.Unit("ph cm-2 s-1")


def test_other_values_keep_the_rest():
    model = Model.start(data())
    other = model.with_values(Vector({"background": np.array([7.0])}))
    assert other["background"] == 7
    assert other["sky"] is model["sky"]
    assert model["background"] == pytest.approx(1)
