"""The example data sets of Pylira, against the numbers that Pylira 0.2 gives."""

import warnings

import numpy as np
import pytest

from skyfold.errors import DataError, FileError
from skyfold_image.pylira import data as examples

SEED = 836


def made(name, **options):
    return getattr(examples, name)(random_state=np.random.RandomState(SEED), **options)


@pytest.mark.parametrize(
    ("name", "total", "first_row"),
    [
        ("point_source_gauss_psf", 2988, [2, 3, 2, 2]),
        ("disk_source_gauss_psf", 2677, [1, 0, 2, 0]),
        ("gauss_and_point_sources_gauss_psf", 4407, [1, 0, 2, 0]),
    ],
)
def test_simulated_counts_are_those_of_pylira(name, total, first_row):
    data = made(name)
    assert set(data) == {"counts", "psf", "exposure", "background", "flux"}
    assert data["counts"].sum() == total
    assert data["counts"][0, :4].tolist() == first_row
    assert data["psf"].sum() == pytest.approx(1)


def test_psf_and_flux_are_those_of_pylira():
    point, disk = made("point_source_gauss_psf"), made("disk_source_gauss_psf")
    several = made("gauss_and_point_sources_gauss_psf")
    assert point["psf"][0, 0] == pytest.approx(1.456e-5, rel=1e-3)
    assert several["psf"][0, 0] == pytest.approx(4.478e-9, rel=1e-3)
    assert point["flux"][16, 16] == point["flux"].sum() == 1000
    assert disk["flux"].sum() == pytest.approx(1000)
    assert disk["flux"][16, 16] == pytest.approx(35.361, abs=1e-3)
    assert several["flux"].sum() == pytest.approx(2430, abs=0.01)
    assert several["flux"][16, 16] == pytest.approx(36.665, abs=1e-3)
    places = (26, 16), (6, 16), (16, 26), (16, 6)
    assert [several["flux"][place] for place in places] == [1000, 300, 100, 30]


def test_exposure_rises_along_columns_of_the_disk_and_along_rows_of_the_points():
    disk, several = made("disk_source_gauss_psf"), made("gauss_and_point_sources_gauss_psf")
    np.testing.assert_allclose(disk["exposure"][5], np.linspace(0.5, 1.5, 32))
    np.testing.assert_allclose(several["exposure"], disk["exposure"].T)


def test_simulated_counts_follow_the_random_state_and_the_shape():
    first, again = (made("disk_source_gauss_psf", shape=(16, 24)) for _ in range(2))
    np.testing.assert_array_equal(first["counts"], again["counts"])
    assert first["counts"].shape == first["flux"].shape == (16, 24)


@pytest.fixture
def kept(shared_data, tmp_path, monkeypatch):
    """A folder of data sets that holds what the reference data have."""
    (tmp_path / "lincoln").symlink_to(shared_data / "lira")
    (tmp_path / "chandra-gc-4684").symlink_to(shared_data / "chandra")
    monkeypatch.setenv("SKYFOLD_DATA", str(tmp_path))


def test_lincoln_has_four_shades(kept):
    data = made("lincoln")
    assert data["flux"].shape == data["counts"].shape == (128, 128)
    assert data["flux"].sum() == 13322
    np.testing.assert_array_equal(np.unique(data["flux"]), [0, 1, 2, 3])
    expected = data["flux"].sum() - 30  # a little is scattered over the edge
    assert abs(data["counts"].sum() - expected) < 6 * np.sqrt(expected)


@pytest.mark.parametrize(
    ("cutout", "shape", "total", "psf_sum"),
    [(True, 128, 7920, 0.9768), (False, 256, 13829, 0.9915)],
)
def test_chandra_is_cut_as_pylira_does_and_keeps_its_coordinates(
    kept, cutout, shape, total, psf_sum
):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = examples.chandra_gc(4684, cutout=cutout)
    assert data["counts"].shape == (shape, shape)
    assert (data["counts"].sum(), data["counts"].max()) == (total, 112)
    assert data["psf"].sum() == pytest.approx(psf_sum, abs=5e-4)
    whole = examples.chandra_gc(4684, cutout=False)["wcs"]
    first = 64 * cutout, 65 * cutout
    np.testing.assert_allclose(
        data["wcs"].pixel_to_world_values(0, 0), whole.pixel_to_world_values(*first)
    )


def test_what_is_not_there_is_said_with_what_brings_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYFOLD_DATA", str(tmp_path))
    with pytest.raises(FileError, match="skyfold data get lincoln"):
        examples.lincoln()
    with pytest.raises(FileError, match="skyfold data get chandra-gc-4683"):
        examples.chandra_gc()
    with pytest.raises(DataError, match="obs_id 1 is none of 4683, 4684"):
        examples.chandra_gc(1)
