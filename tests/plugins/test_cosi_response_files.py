"""Responses: every layout is read in pieces, written, and read again."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from math import prod
from pathlib import Path

import h5py
import numpy as np
import pytest

from skyfold.errors import DataError, FileError, MissingExtraError
from skyfold_cosi import container
from skyfold_cosi.histogram import Axis, Histogram, to_histpy
from skyfold_cosi.response_files import open_response, read_conversion, read_response
from skyfold_cosi.response_slabs import LABELS
from skyfold_cosi.response_writing import write_response

FRAME = "spacecraftframe"


def axes_of(frame: str = FRAME, *, pol: bool = False) -> tuple[Axis, ...]:
    """Return small axes of a response, whose sizes are all different where they can be."""
    angle = (Axis("Pol", np.linspace(0, 180, 5), "deg"),) if pol else ()
    return (
        Axis.healpix("NuLambda", 1, frame),
        Axis("Ei", np.array([100.0, 200.0, 400.0]), "keV", "log"),
        *angle,
        Axis("Em", np.array([90.0, 200.0, 400.0, 800.0]), "keV", "log"),
        Axis("Phi", np.linspace(0, 180, 6), "deg"),
        Axis.healpix("PsiChi", 1, frame),
    )


def shape_of(axes: tuple[Axis, ...]) -> tuple[int, ...]:
    return tuple(axis.size for axis in axes)


def test_detector_responses_of_dc2(shared_data) -> None:
    sparse = open_response(shared_data / "cosi" / "test_full_detector_response.h5")
    dense = open_response(shared_data / "cosi" / "test_full_detector_response_dense.h5")
    assert sparse.frame == dense.frame == FRAME
    assert sparse.unit == dense.unit == "cm2"
    assert sparse.shape == (12, 10, 10, 30, 12)
    whole = sparse.load()
    assert whole.total == pytest.approx(113.715982382479, rel=1e-11)
    assert np.max(np.abs(whole.dense - dense.load().dense)) < 3e-18
    assert [check.message for check in sparse.checks] == [
        "summed over SigmaTau (12 bins), Dist (1 bins)"
    ]
    assert dense.checks == ()
    assert [axis.label for axis in sparse.axes] == list(LABELS)


def test_precomputed_response(shared_data) -> None:
    response = open_response(shared_data / "cosi" / "test_precomputed_response_rebuilt.h5")
    assert (response.frame, response.unit) == ("galactic", "cm2 s")
    assert response.load().total == pytest.approx(1137.159823815, rel=1e-11)


def test_polarisation_angles_share_the_area_of_unpolarised_light(shared_data) -> None:
    path = shared_data / "cosi" / "test_polarization_response_dense.h5"
    response = open_response(path)
    with h5py.File(path) as file:
        contents = file["DRM/CONTENTS"][()]
    assert np.allclose(response.load().dense, contents.sum(axis=2), rtol=1e-14, atol=0)
    # The telescope has about 23 cm2 between 200 and 500 keV, a quarter of it in each bin.
    assert response.load().total / 48 == pytest.approx(23.4, rel=0.01)
    assert response.checks[0].message == "summed over Pol (4 bins)"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("piece", [1, 3000, 1 << 26])
@pytest.mark.parametrize("name", ["full_detector_response", "full_detector_response_dense"])
def test_pieces_of_any_size_make_the_same(shared_data, name, piece, dtype) -> None:
    response = open_response(shared_data / "cosi" / f"test_{name}.h5")
    slabs = response.slabs(dtype, piece)
    whole = response.load().dense.reshape(slabs.shape).astype(dtype)
    for _ in range(2):  # slabs can be read again
        reached = 0
        for first, rows in slabs:
            assert first == reached
            assert rows.dtype == np.dtype(dtype)
            assert np.array_equal(rows, whole[first : first + len(rows)])
            reached += len(rows)
        assert reached == slabs.shape[0]


@pytest.mark.parametrize("layout", ["galactic", "dense", "sparse", "counts"])
def test_round_trip_of_every_layout(tmp_path, rng, layout) -> None:
    axes = axes_of("galactic" if layout == "galactic" else FRAME)
    contents = rng.poisson(0.4, shape_of(axes)).astype(float)
    area = np.array([0.25, 0.5]) if layout == "counts" else None
    fields = {"TS": "1000", "SA": "7.5", "BE": "FarFieldIsotropic"} if layout == "counts" else {}
    path = tmp_path / "response.h5"
    write_response(path, axes, contents, layout, area=area, fields=fields)
    read = open_response(path)
    factor = 1.0 if area is None else area[:, None, None, None]
    assert np.array_equal(read.load().dense, contents * factor)
    assert list(read.fields.items()) == list(fields.items())
    assert read.unit == ("cm2 s" if layout == "galactic" else "cm2")
    for mine, theirs in zip(axes, read.axes, strict=True):
        assert (mine.label, mine.difference(theirs)) == (theirs.label, None)
    # From the opened file into another layout, in pieces that cut through pixels.
    again = tmp_path / "again.h5"
    write_response(again, read.axes, read.slabs(piece=600), "sparse")
    assert np.array_equal(read_response(again).dense, read.load().dense)


@pytest.mark.parametrize("layout", ["dense", "sparse", "counts"])
def test_polarisation_is_kept_on_disk_and_summed_on_reading(tmp_path, rng, layout) -> None:
    axes = axes_of(pol=True)
    contents = rng.poisson(0.4, shape_of(axes)).astype(float)
    area = np.ones(2) if layout == "counts" else None
    write_response(tmp_path / "pol.h5", axes, contents, layout, area=area)
    assert np.array_equal(read_response(tmp_path / "pol.h5").dense, contents.sum(axis=2))


def test_counts_take_the_smallest_type_and_must_be_whole(tmp_path) -> None:
    axes, area = axes_of(), np.ones(2)
    for largest, dtype in ((255, np.uint8), (256, np.uint16), (70000, np.uint32)):
        contents = np.zeros(shape_of(axes))
        contents[3, 1, 2, 4, 11] = largest
        write_response(tmp_path / "counts.h5", axes, contents, "counts", area=area)
        with h5py.File(tmp_path / "counts.h5") as file:
            assert file["DRM/COUNTS"].dtype == dtype
            assert file["DRM/COUNTS"].chunks == (1, 1, 3, 5, 12)
    with pytest.raises(DataError, match="negative or not whole"):
        write_response(tmp_path / "x.h5", axes, np.full(shape_of(axes), 0.5), "counts", area=area)
    assert not (tmp_path / "x.h5").exists()


def test_slabs_that_do_not_make_the_whole_are_refused(tmp_path) -> None:
    class Short:
        shape = (24, 180)

        def __iter__(self):
            yield 0, np.ones((23, 180))

    with pytest.raises(DataError, match="end at value 23 of 24"):
        write_response(tmp_path / "x.h5", axes_of(), Short(), "dense")
    with pytest.raises(DataError, match="do not fit axes"):
        write_response(tmp_path / "x.h5", axes_of(), np.ones((24, 90)), "dense")
    assert list(tmp_path.iterdir()) == []


def test_old_response_with_flow_bins_stays_on_disk(tmp_path) -> None:
    """The file announces 9 times what is useful; only a piece of the useful is ever in memory."""
    axes = (
        Axis.healpix("NuLambda", 8),
        Axis("Ei", np.array([509.0, 513.0]), "keV"),
        Axis("Em", np.array([509.0, 513.0]), "keV"),
        Axis("Phi", np.linspace(0, 180, 7), "deg"),
        Axis.healpix("PsiChi", 8),
    )
    path = tmp_path / "psr.h5"
    with h5py.File(path, "w") as file:
        group = container.create_group(file, "hist", axes, "cm2 s")
        padded = tuple(axis.size + 2 for axis in axes)
        chunks = (10, 1, 1, padded[3], padded[4])
        contents = group.create_dataset("contents", padded, "f8", chunks=chunks)
        contents[1:3, 1, 1, 1:-1, 1:-1] = 1.0  # the first two pixels
        contents[0], contents[1, 0], contents[1, 1, 1, 0] = 7.0, 7.0, 7.0  # all around is flow
    response = open_response(path)
    assert [check.message for check in response.checks] == ["flow bins removed"]
    slabs = response.slabs("float32", piece=1 << 20)
    assert slabs.shape == (768, 6 * 768)
    tracemalloc.start()
    total = sum(float(rows.sum()) for _, rows in slabs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 2 * 6 * 768
    assert peak < prod(padded) * 8 / 50


def test_labels_of_the_sky_and_sparse_containers(tmp_path, rng) -> None:
    axes = axes_of("galactic")
    contents = rng.poisson(0.1, shape_of(axes)).astype(float)
    named = Histogram((replace(axes[0], label="lb"), *axes[1:]), contents, "cm2 s")
    sparse = Histogram(named.axes, named.sparse, "cm2 s")
    for i, histogram in enumerate((named, sparse)):
        container.write(tmp_path / f"{i}.h5", histogram)
        for given in (tmp_path / f"{i}.h5", str(tmp_path / f"{i}.h5"), histogram):
            response = open_response(given)
            assert response["NuLambda"].nside == 1
            assert response.frame == "galactic"
            assert np.array_equal(response.load().dense, contents)
            small = [rows for _, rows in response.slabs("float32", piece=4000)]
            assert len(small) > 1
            assert np.array_equal(np.concatenate(small).ravel(), contents.ravel())


def test_response_of_histpy(rng) -> None:
    pytest.importorskip("histpy")
    axes = axes_of("galactic")
    contents = rng.random(shape_of(axes))
    response = open_response(to_histpy(Histogram(axes, contents, "cm2 s")))
    assert np.array_equal(response.load().dense, contents)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda axes: axes[:3] + axes[4:], "no axis 'Phi': it has NuLambda, Ei, Em, PsiChi"),
        (
            lambda axes: (axes[1], axes[0], *axes[2:]),
            "in the order Ei, NuLambda, Em, Phi, PsiChi; expected NuLambda, Ei, Em, Phi, PsiChi",
        ),
        (
            lambda axes: (Axis("NuLambda", np.arange(4), nside=1), *axes[1:]),
            "axis 'NuLambda' is not the whole sphere",
        ),
        (
            lambda axes: (*axes[:4], Axis.healpix("PsiChi", 1, FRAME)),
            "different frames: galactic and spacecraftframe",
        ),
    ],
)
def test_axes_that_do_not_make_a_response(tmp_path, change, message) -> None:
    axes = change(axes_of("galactic"))
    container.write(tmp_path / "x.h5", Histogram(axes, np.ones(shape_of(axes)), "cm2 s"))
    with pytest.raises(DataError, match=message):
        open_response(tmp_path / "x.h5")


def test_unknown_layouts_say_which_are_known(tmp_path, shared_data) -> None:
    path = tmp_path / "new.h5"
    with h5py.File(path, "w") as file:
        file.create_group("DRM").attrs["VERSION"] = 3
        file["DRM/TENSOR"] = np.ones(3)
    with pytest.raises(DataError, match=r"version 3 with TENSOR\. Known: a pre-computed .* MEGAl"):
        open_response(path)
    with h5py.File(path, "w") as file:
        file["numbers"] = np.ones(3)
    with pytest.raises(DataError, match="not recognised: it holds numbers"):
        open_response(path)
    with pytest.raises(DataError, match="no axis 'NuLambda'"):
        open_response(shared_data / "cosi" / "test_event_histogram_galacticCDS.hdf5")
    (tmp_path / "x.h5").write_bytes(b"anything")
    with pytest.raises(FileError, match="no HDF5 file"):
        open_response(tmp_path / "x.h5")


def test_contents_that_do_not_fit_are_refused(tmp_path) -> None:
    path = tmp_path / "x.h5"
    axes, area = axes_of(), np.ones(2)
    write_response(path, axes, np.ones(shape_of(axes)), "counts", area=area)
    with h5py.File(path, "a") as file:
        del file["DRM/EFF_AREA"]
        file["DRM/EFF_AREA"] = np.ones(3)
    with pytest.raises(DataError, match="3 effective areas for 2 bins of Ei"):
        open_response(path)
    write_response(path, axes, np.ones(shape_of(axes)), "sparse")
    with h5py.File(path, "a") as file:
        file["DRM/BIN_NUMBERS"][4] = np.full(4 * 360, 99)
    with pytest.raises(DataError, match="bins outside the axes"):
        read_response(path)
    write_response(path, axes, np.ones(shape_of(axes)), "dense")
    with h5py.File(path, "a") as file:
        file["DRM/AXES/Em"][...] = file["DRM/AXES/Em"][()][::-1]
    with pytest.raises(DataError, match=r"x\.h5: axis 'Em': edges decrease \(800, 400 keV\)"):
        open_response(path)


@pytest.mark.parametrize("layout", ["galactic", "dense"])
def test_half_precision_is_refused(tmp_path, layout) -> None:
    path, place = tmp_path / "x.h5", {"galactic": "hist/contents", "dense": "DRM/CONTENTS"}[layout]
    write_response(path, axes_of(), np.ones(shape_of(axes_of())), layout)
    with h5py.File(path, "a") as file:
        half = file[place][()].astype(np.float16)
        del file[place]
        file[place] = half
    with pytest.raises(DataError, match="contents are in float16"):
        open_response(path)


def test_a_filter_that_is_missing_is_named(tmp_path, monkeypatch) -> None:
    path = tmp_path / "x.h5"
    write_response(path, axes_of(), np.ones(shape_of(axes_of())), "counts", area=np.ones(2))
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
    monkeypatch.setitem(__import__("sys").modules, "hdf5plugin", None)
    with pytest.raises(MissingExtraError, match="pip install hdf5plugin"):
        open_response(path)


def old_order(path: Path, new: Histogram) -> None:
    container.write(path, new.project("lb", new.labels[0], "NuLambda"))


@pytest.mark.parametrize("name", ["ccm_time_test", "ccm_scatt_use_averaged_pointing_False_test"])
def test_conversion_matrices_of_any_age(tmp_path, shared_data, name) -> None:
    new = read_conversion(shared_data / "cosi" / f"{name}.hdf5")
    assert new.labels == ("Time" if "time" in name else "ScAtt", "lb", "NuLambda")
    assert (new.total, new.unit) == (pytest.approx(120, rel=1e-9), "s")
    assert new.project("lb").dense == pytest.approx(np.full(12, 10), rel=1e-9)
    old_order(tmp_path / "old.h5", new)
    found = read_conversion(tmp_path / "old.h5")
    assert found.labels == new.labels
    assert np.array_equal(found.dense, new.dense)
    with pytest.raises(DataError, match="none of a conversion matrix"):
        read_conversion(shared_data / "cosi" / "test_event_histogram_localCDS.hdf5")
