"""Coordinate conversion matrices of COSI."""

import json

import healpy
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from skyfold.errors import DataError
from skyfold_cosi.container import read, write
from skyfold_cosi.conversion import conversion_histogram, conversion_matrix
from skyfold_cosi.exposure import by_attitude, by_time
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.orientation import Orientation, read_orientation

LOCAL = Axis.healpix("NuLambda", 2, "spacecraftframe")


def tumbling(n=40):
    """Return an orientation that turns slowly about an odd axis."""
    turns = Rotation.from_rotvec(np.outer(np.linspace(0, 3, n), [0.3, -0.5, 0.8]))
    axes = turns.as_matrix()
    zenith = Rotation.from_rotvec(np.outer(np.linspace(0, 2, n), [0, 0.6, 0.8])).as_matrix()[:, 0]
    livetime = np.append(np.full(n - 1, 8.0), 0)
    return Orientation(
        np.arange(n) * 10.0, axes[..., 0], axes[..., 2], zenith, np.full(n, 530.0), livetime
    )


@pytest.fixture(scope="session")
def ten_seconds(shared_data):
    return read_orientation(shared_data / "cosi" / "20280301_first_10sec.ori")


def published(ten_seconds, kind):
    local = Axis.healpix("NuLambda", 1, "spacecraftframe")
    if kind == "time":
        edges = [1835478000, 1835478010]
        table = by_time(ten_seconds, edges, reference=True)
    else:
        table = by_attitude(ten_seconds, 1, reference=True)
    return conversion_histogram(table, local, averaged="True" in kind, reference=True)


@pytest.mark.parametrize("kind", ["time", "scatt_avg"])
def test_published_numbers(kind, shared_data, ten_seconds):
    expected = json.loads((shared_data / "cosi" / "ref_cases.json").read_text())
    found = published(ten_seconds, kind.replace("avg", "True"))
    assert np.allclose(found.dense[0], expected[f"D_ccm_{kind}_dense"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "kind", ["time", "scatt_use_averaged_pointing_True", "scatt_use_averaged_pointing_False"]
)
def test_published_files(kind, shared_data, ten_seconds):
    found = published(ten_seconds, kind)
    expected = read(shared_data / "cosi" / f"ccm_{kind}_test.hdf5")
    assert found.labels == expected.labels
    assert all(a.difference(b) is None for a, b in zip(found.axes, expected.axes, strict=True))
    assert found.unit == expected.unit
    assert np.allclose(found.dense, expected.dense, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("averaged", [False, True])
def test_rows_add_up_to_the_exposure(averaged):
    table = by_attitude(tumbling(), 1)
    free = conversion_histogram(table, LOCAL, 4, averaged=averaged, occultation=False)
    assert np.allclose(free.project("ScAtt", "lb").dense, table.exposure[:, None])
    seen = conversion_histogram(table, LOCAL, 4, averaged=averaged)
    share = seen.total / free.total
    assert 0.5 < share < 0.8  # the Earth hides a third of the sky from 530 km
    assert np.all(seen.project("ScAtt", "lb").dense <= table.exposure[:, None] * (1 + 1e-12))


def test_time_bins_add_up_to_attitude_bins():
    orientation = tumbling()
    by_times = by_time(orientation, [0, 55, 200, 390])
    times = conversion_histogram(by_times, LOCAL)
    assert times.labels == ("Time", "lb", "NuLambda")
    attitudes = conversion_histogram(by_attitude(orientation, 4), LOCAL)
    # an interval that an edge cuts is seen from two attitudes instead of one
    ours, theirs = (h.project("lb", "NuLambda").dense for h in (times, attitudes))
    assert np.abs(ours - theirs).max() < 0.5
    assert ours.sum() == pytest.approx(theirs.sum(), rel=1e-2)


def test_averaged_bins_approach_full_ones_as_they_shrink():
    orientation = tumbling()
    errors = []
    for nside in (1, 4, 16):
        table = by_attitude(orientation, nside)
        full, mean = (
            conversion_histogram(table, LOCAL, averaged=averaged).project("lb", "NuLambda").dense
            for averaged in (False, True)
        )
        errors.append(np.abs(full - mean).sum() / full.sum())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_orders_of_pixels_are_only_orders():
    table = by_attitude(tumbling(), 2)
    ring = conversion_histogram(table, LOCAL, 4)
    local = Axis.healpix("NuLambda", 2, "spacecraftframe", "NESTED")
    nested = conversion_histogram(table, local, 4, nested=True)
    assert [axis.scheme for axis in nested.axes[1:]] == ["NESTED", "NESTED"]
    sky, inner = (healpy.nest2ring(n, np.arange(12 * n**2)) for n in (4, 2))
    assert np.allclose(nested.dense, ring.dense[:, sky][:, :, inner], rtol=1e-12)
    assert np.all(np.diff(nested.sparse.index) > 0)


def test_matrices_take_the_sky_to_the_detector(tmp_path, rng):
    made = conversion_histogram(by_attitude(tumbling(), 1), LOCAL)
    sky = rng.uniform(size=48)
    expected = np.einsum("tln,l->tn", made.dense, sky)
    assert np.allclose(conversion_matrix(made) @ sky, expected.ravel())
    old = made.project("lb", "ScAtt", "NuLambda")
    assert np.allclose(conversion_matrix(old) @ sky, expected.ravel())
    write(tmp_path / "ccm.h5", made)
    assert np.array_equal(read(tmp_path / "ccm.h5").dense, made.dense)


def test_other_axes_are_refused():
    with pytest.raises(DataError, match="not those of a conversion matrix"):
        conversion_matrix(Histogram((LOCAL,), np.ones(48)))
    with pytest.raises(DataError, match="no HEALPix pixels"):
        conversion_histogram(by_attitude(tumbling(), 1), Axis("NuLambda", np.arange(3)))
