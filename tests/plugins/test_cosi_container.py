"""Histograms in HDF5: every age of histpy, broken files, round trips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from skyfold.errors import DataError, FileError
from skyfold_cosi import container
from skyfold_cosi.histogram import Axis, Histogram, Sparse

AXES = (
    Axis("Em", np.array([100.0, 200.0, 400.0, 800.0]), "keV", "log"),
    Axis.healpix("PsiChi", 1, "galactic"),
)


def write_by_hand(path: Path, contents: Any, *, axes: tuple[Axis, ...] = AXES, **attributes: Any):
    """Write a histogram without any of what is optional, but what is asked for."""
    with h5py.File(path, "w") as file:
        group = file.create_group("hist")
        group.attrs.update(attributes)
        for i, axis in enumerate(axes):
            made = group.create_dataset(f"axes/{i}", data=axis.edges)
            made.attrs["label"] = axis.label
            if axis.nside is not None:
                made.attrs["nside"] = axis.nside
                made.attrs["scheme"] = axis.scheme.lower()
        if isinstance(contents, dict):
            for name, values in contents.items():
                group.create_dataset(f"contents/{name}", data=values)
        else:
            group.create_dataset("contents", data=contents)
    return path


@pytest.mark.parametrize(
    ("name", "labels", "total", "filled"),
    [
        ("test_event_histogram_galacticCDS.hdf5", ("Time", "Em", "Phi", "PsiChi"), 4173, 209),
        ("test_event_histogram_localCDS.hdf5", ("Time", "Em", "Phi", "PsiChi"), 4173, 1168),
        ("test_event_histogram_localCDS_scatt.h5", ("ScAtt", "Em", "Phi", "PsiChi"), 4173, 1168),
        ("ccm_time_test.hdf5", ("Time", "lb", "NuLambda"), 120, 48),
        ("ccm_scatt_use_averaged_pointing_True_test.hdf5", ("ScAtt", "lb", "NuLambda"), 120, 48),
        ("all_sky_image_model_test_nside1.hdf5", ("lb", "Ei"), 12, 12),
        ("map_pointing_zx_test_nside1_ring.hdf5", ("z", "x"), 10, 1),
    ],
)
def test_files_of_the_collaboration_are_read(shared_data, name, labels, total, filled) -> None:
    histogram, flow = container.read_noting(shared_data / "cosi" / name)
    assert histogram.labels == labels
    assert histogram.total == pytest.approx(total, rel=1e-9)
    assert histogram.sparse.index.size == filled
    assert not flow


def test_axes_of_events_are_read(shared_data) -> None:
    path = shared_data / "cosi" / "test_event_histogram_galacticCDS.hdf5"
    time, em, phi, psichi = container.read_axes(path)
    assert time.edges.tolist() == [1835478000, 1835478010]
    assert time.unit == "s"
    assert (em.edges[0], em.edges[-1], em.unit) == (150, 5000, "keV")
    assert phi.describe() == "30 bins of 6 deg (0 to 180)"
    assert (psichi.nside, psichi.scheme, psichi.frame) == (1, "RING", "galactic")


def test_files_without_optional_attributes_are_dense_with_plain_axes(tmp_path, rng) -> None:
    contents = rng.random((3, 12)).astype(">f8")
    histogram = container.read(write_by_hand(tmp_path / "old.h5", contents))
    assert np.array_equal(histogram.dense, contents)
    assert histogram.dense.dtype == np.dtype("=f8")
    assert (histogram.unit, histogram["Em"].scale, histogram["PsiChi"].frame) == (
        "",
        "linear",
        None,
    )


@pytest.mark.parametrize("flow", [(True, True), (True, False), (False, True)])
def test_flow_bins_are_removed_axis_by_axis(tmp_path, rng, flow) -> None:
    inner = rng.random((3, 12))
    padded = np.pad(inner, [(int(f), int(f)) for f in flow], constant_values=7.0)
    dense = write_by_hand(tmp_path / "dense.h5", padded)
    coords = np.array(np.nonzero(padded))
    filled = {"coords": coords, "data": padded[tuple(coords)], "shape": padded.shape}
    sparse = write_by_hand(tmp_path / "coo.h5", {**filled, "fill_value": 0.0}, format="coo")
    for path in (dense, sparse):
        histogram, removed = container.read_noting(path)
        assert removed
        assert container.read_header(path).flow == flow
        assert np.array_equal(histogram.dense, inner)


@pytest.mark.parametrize("rows", [(0,), (1,), (0, 2), None])
def test_compressed_rows_of_old_files_are_read(tmp_path, rng, rows) -> None:
    sparse = pytest.importorskip("sparse")
    full = rng.random((3, 12, 4)) * (rng.random((3, 12, 4)) < 0.2)
    packed = sparse.GCXS(sparse.COO(full), compressed_axes=rows or (0,))
    held = {"data": packed.data, "indices": packed.indices, "indptr": packed.indptr}
    held |= {"shape": full.shape, "fill_value": 0.0}
    if rows is not None:
        held["compressed_axes"] = np.array(rows)
    axes = (*AXES, Axis("Phi", np.linspace(0, 180, 5)))
    path = write_by_hand(tmp_path / "gcxs.h5", held, axes=axes, format="gcxs")
    assert np.array_equal(container.read(path).dense, full)


def test_axis_10_comes_after_axis_9(tmp_path) -> None:
    axes = tuple(Axis(f"a{i}", np.arange(2.0)) for i in range(12))
    container.write(tmp_path / "many.h5", Histogram(axes, np.ones((1,) * 12)))
    assert container.read(tmp_path / "many.h5").labels == tuple(f"a{i}" for i in range(12))


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_round_trip_also_through_histpy(tmp_path, rng, form) -> None:
    histpy = pytest.importorskip("histpy")
    counts = rng.poisson(0.3, (3, 12)).astype(float)
    written = Histogram(AXES, counts, "cm2 s")
    written = Histogram(AXES, written.sparse, "cm2 s") if form == "sparse" else written
    container.write(tmp_path / "ours.h5", written)
    theirs = histpy.Histogram.open(tmp_path / "ours.h5")
    assert theirs.is_sparse == (form == "sparse")
    assert theirs.axes["PsiChi"].coordsys.name == "galactic"
    theirs.write(tmp_path / "theirs.h5")
    for name in ("ours.h5", "theirs.h5"):
        read = container.read(tmp_path / name)
        assert isinstance(read.contents, Sparse) == (form == "sparse")
        assert np.array_equal(read.dense, counts)
        assert (read.unit, read["Em"].scale, read["Em"].unit) == ("cm2 s", "log", "keV")
        assert not any(mine.difference(other) for mine, other in zip(read.axes, AXES, strict=True))


def test_float32_on_load(tmp_path, rng) -> None:
    dense = Histogram(AXES, rng.random((3, 12)))
    for histogram in (dense, Histogram(AXES, dense.sparse)):
        container.write(tmp_path / "x.h5", histogram)
        read = container.read(tmp_path / "x.h5", dtype=np.float32)
        assert read.dense.dtype == np.float32
        assert np.array_equal(read.dense, dense.dense.astype(np.float32))


def test_nothing_filled(tmp_path) -> None:
    empty = Sparse((3, 12), np.empty(0, np.int64), np.empty(0))
    container.write(tmp_path / "empty.h5", Histogram(AXES, empty))
    assert container.read(tmp_path / "empty.h5").total == 0


def test_a_choice_of_pixels(tmp_path) -> None:
    some = Axis("PsiChi", np.array([3, 4, 5, 6]), nside=4, frame="galactic")
    container.write(tmp_path / "some.h5", Histogram((some,), np.arange(3.0)))
    (read,) = container.read_axes(tmp_path / "some.h5")
    assert read.difference(some) is None
    other = Axis("PsiChi", np.array([4, 5, 6, 7]), nside=4, frame="galactic")
    assert read.difference(other) == "another choice of pixels"


def test_time_axes_of_histpy_2_are_seconds(tmp_path) -> None:
    histpy = pytest.importorskip("histpy", "2")
    from astropy.time import Time

    edges = Time([1835478000.25, 1835478010.5], format="unix")
    histogram = histpy.Histogram([histpy.TimeAxis(edges, label="Time")], contents=[3.0])
    histogram.write(tmp_path / "time.h5")
    (axis,) = container.read_axes(tmp_path / "time.h5")
    assert axis.unit == "s"
    assert axis.edges == pytest.approx([1835478000.25, 1835478010.5], abs=1e-6)


def test_several_histograms_need_a_name(tmp_path) -> None:
    one = Histogram(AXES[:1], np.arange(3.0))
    container.write_all(tmp_path / "two.h5", {"result": one, "deep/iteration1": one})
    assert container.read(tmp_path / "two.h5", "deep/iteration1").total == 3
    with pytest.raises(DataError, match=r"several .* deep/iteration1, result"):
        container.read(tmp_path / "two.h5")
    with pytest.raises(DataError, match="no histogram 'hist', only"):
        container.read(tmp_path / "two.h5", "hist")


def external_link(file: h5py.File) -> None:
    file["deep/hist"] = h5py.ExternalLink("secret.h5", "/hist")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("hist/axes/0", data=np.arange(4.0))
    file.create_dataset("hist/contents", (3,), "f8", external=[("secret.h5", 0, 24)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("secret.h5", "x", (3,))
    file.create_dataset("hist/axes/0", data=np.arange(4.0))
    file.create_virtual_dataset("hist/contents", layout)


@pytest.mark.parametrize("make", [external_link, external_storage, virtual])
def test_links_to_other_files_are_not_followed(tmp_path, make) -> None:
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        make(file)
    with pytest.raises(FileError, match=r"another file are not followed \(.*secret\.h5\)"):
        container.read(tmp_path / "linked.h5")


def test_links_within_the_file_are_followed(tmp_path) -> None:
    container.write(tmp_path / "x.h5", Histogram(AXES[:1], np.arange(3.0)), "made/result")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["hist"] = h5py.SoftLink("/made/result")
    assert container.read(tmp_path / "x.h5").total == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b"SIMPLE  =                    T", "is no HDF5 file"),
        (b"\x1f\x8b\x08\x00 packed", "unpack it first \\(gunzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message) -> None:
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(FileError, match=message):
        container.read(tmp_path / "x.h5")


def test_damage_inside_is_said(tmp_path, rng) -> None:
    path = tmp_path / "x.h5"
    container.write(path, Histogram(AXES, Histogram(AXES, rng.random((3, 12))).sparse))
    with h5py.File(path) as file:
        place = file["hist/contents/data"].id.get_chunk_info(0).byte_offset
    broken = bytearray(path.read_bytes())
    broken[place : place + 20] = bytes(20)
    path.write_bytes(broken)
    with pytest.raises(FileError, match="damaged"):
        container.read(path)
    path.write_bytes(broken[: len(broken) // 2])
    with pytest.raises(FileError, match="cut off"):
        container.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes/0": np.array([513.0, 509.0])}, r"axis 'Em': edges decrease \(513, 509\)"),
        ({"axes/0": np.array([1.0, 1.0])}, "edges do not increase"),
        ({"axes/0": np.array(["a", "b"], object)}, "holds no numbers"),
        ({"contents": np.ones((4, 12))}, r"shape \(4, 12\) do not fit .* Em 3, PsiChi 12"),
        ({"contents": np.ones((3, 12), "c8")}, "holds no numbers"),
        ({"axes/zero": np.arange(3.0)}, "axes are called"),
    ],
)
def test_contradictions_are_refused(tmp_path, change, message) -> None:
    path = write_by_hand(tmp_path / "x.h5", np.ones((3, 12)))
    with h5py.File(path, "a") as file:
        for name, values in change.items():
            labels = dict(file["hist"][name].attrs) if name in file["hist"] else {}
            if labels or name in file["hist"]:
                del file["hist"][name]
            file["hist"].create_dataset(name, data=values).attrs.update(labels)
    with pytest.raises(DataError, match=message):
        container.read(path)


def test_unknown_units_formats_and_places_are_refused(tmp_path) -> None:
    path = write_by_hand(tmp_path / "format.h5", np.ones((3, 12)), format="csr")
    with pytest.raises(DataError, match="format 'csr'"):
        container.read(path)
    outside = {"coords": [[3], [0]], "data": [1.0], "shape": (3, 12), "fill_value": 0.0}
    path = write_by_hand(tmp_path / "outside.h5", outside, format="coo")
    with pytest.raises(DataError, match="outside the axes"):
        container.read(path)
    container.write(path, Histogram((Axis("Em", np.arange(3.0), "parrots"),), np.ones(2)))
    with pytest.raises(DataError, match="axis 'Em': 'parrots' is no unit"):
        container.read(path)
    container.write(path, Histogram(AXES[:1], np.ones(3), "parrots"))
    with pytest.raises(DataError, match="hist: 'parrots' is no unit"):
        container.read(path)


def test_a_failed_write_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "x.h5"
    container.write(path, Histogram(AXES[:1], np.arange(3.0)))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        container.write(path, Histogram(AXES[:1], np.array([None, 1, 2], object)))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]
    with pytest.raises(FileError):
        container.write(tmp_path / "nowhere" / "x.h5", Histogram(AXES[:1], np.arange(3.0)))
