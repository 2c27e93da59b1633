"""Responses as text: dense and sparse, spectra, damage."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from skyfold.errors import DataError, FileError
from skyfold_cosi import rsp_text
from skyfold_cosi.histogram import Axis
from skyfold_cosi.response_files import open_response, read_response
from skyfold_cosi.response_writing import convert_text

HEAD = {"TS": "24000", "SA": "10", "SP": "Linear 100 500", "BE": "FarFieldIsotropic"}
AXES = (
    Axis.healpix("NuLambda", 1, "spacecraftframe"),
    Axis("Ei", np.array([100.0, 200.0, 500.0]), "keV", "log"),
    Axis("Em", np.array([100.0, 200.0, 500.0]), "keV", "log"),
    Axis("Phi", np.linspace(0, 180, 4), "deg"),
    Axis.healpix("PsiChi", 1, "spacecraftframe"),
)
POL = Axis("Pol", np.linspace(0, 180, 5), "deg")
SHAPE = tuple(axis.size for axis in AXES)


@pytest.fixture
def counts(rng) -> np.ndarray:
    return rng.poisson(0.3, SHAPE)


def write_sparse(path: Path, counts: np.ndarray, fields: dict[str, str] = HEAD) -> None:
    """Write lines RD, with SigmaTau of one pixel and two distances."""
    rsp_text.write(path, AXES, counts, fields)
    head = path.read_text().partition("StartStream")[0]
    head += f"AN {rsp_text.NAMES['SigmaTau']}\nAT 2D HEALPix\nAD -1 RING\n"
    head += f"AN {rsp_text.NAMES['Dist']}\nAT 1D BinEdges\nAD 0 1 1000\n"
    rows = zip(*np.nonzero(counts), strict=True)
    lines = [
        f"RD {e} {n} {m} {p} {c} 0 {c % 2} {counts[n, e, m, p, c]}\n" for n, e, m, p, c in rows
    ]
    path.write_text("MS true\n" + head + "".join(lines))


def test_the_first_axis_of_the_file_is_the_fastest(tmp_path, counts) -> None:
    path = tmp_path / "x.rsp"
    rsp_text.write(path, AXES, counts, HEAD)
    line = path.read_text().partition("StartStream")[2].splitlines()[1].split()
    numbers = np.array(line, int)
    assert numbers.size == counts.size
    assert np.array_equal(numbers.reshape(2, 12, 2, 3, 12, order="F"), counts.swapaxes(0, 1))


@pytest.mark.parametrize("name", ["x.rsp", "x.rsp.gz"])
@pytest.mark.parametrize("block", [7, 1 << 24])
def test_round_trip(tmp_path, monkeypatch, counts, name, block) -> None:
    rsp_text.write(tmp_path / name, AXES, counts, HEAD)
    monkeypatch.setattr(rsp_text, "BLOCK", block * 100)
    axes, found, header = rsp_text.read(tmp_path / name)
    assert np.array_equal(found, counts)
    assert dict(header.fields) == HEAD
    assert [a.label for a in axes] == [a.label for a in AXES]
    assert not any(mine.difference(other) for mine, other in zip(axes, AXES, strict=True))
    area = 10 / (24000 / 12 * np.array([0.25, 0.75]))
    response = open_response(tmp_path / name)
    assert np.allclose(response.load().dense, counts * area[:, None, None, None], rtol=1e-15)
    assert (response.unit, response.frame) == ("cm2", "spacecraftframe")


@pytest.mark.parametrize("block", [300, 1 << 24])
def test_sparse_text_sums_what_imaging_does_not_measure(
    tmp_path, monkeypatch, counts, block
) -> None:
    write_sparse(tmp_path / "s.rsp", counts)
    rsp_text.write(tmp_path / "d.rsp", AXES, counts, HEAD)
    monkeypatch.setattr(rsp_text, "BLOCK", block)
    sparse, dense = open_response(tmp_path / "s.rsp"), open_response(tmp_path / "d.rsp")
    assert np.array_equal(sparse.load().dense, dense.load().dense)
    assert "summed over SigmaTau" in sparse.checks[0].message
    assert sparse.layout.endswith("sparse")


@pytest.mark.parametrize("layout", ["dense", "sparse", "counts"])
def test_conversion_to_hdf5(tmp_path, rng, layout) -> None:
    axes = (*AXES[:2], POL, *AXES[2:])
    counts = rng.poisson(0.3, tuple(axis.size for axis in axes))
    rsp_text.write(tmp_path / "x.rsp.gz", axes, counts, HEAD)
    convert_text(tmp_path / "x.rsp.gz", tmp_path / "x.h5", layout=layout)
    text, made = open_response(tmp_path / "x.rsp.gz"), open_response(tmp_path / "x.h5")
    assert np.allclose(made.load().dense, text.load().dense, rtol=1e-14, atol=0)
    assert made.checks[0].message == "summed over Pol (4 bins)"
    if layout == "counts":
        assert list(made.fields.items()) == list(HEAD.items())


@pytest.mark.parametrize(
    ("spectrum", "shares"),
    [
        ("Linear 100 500", [0.25, 0.75]),
        ("Linear 150 350", [0.25, 0.75]),
        ("PowerLaw 100 500 1", np.log([2, 2.5]) / np.log(5)),
        ("powerlaw 100 500 2", [1 / 1.6, 0.6 / 1.6]),
    ],
)
def test_spectra(tmp_path, counts, spectrum, shares) -> None:
    path = tmp_path / "x.rsp"
    rsp_text.write(path, AXES, counts, {**HEAD, "SP": spectrum})
    area = rsp_text.effective_area(path, rsp_text.read_header(path))
    assert area == pytest.approx(10 / (2000 * np.asarray(shares)), rel=1e-12)


@pytest.mark.parametrize("spectrum", ["Mono 511", "Mono", "Gaussian 511 1 3"])
def test_a_line_in_the_only_bin(tmp_path, spectrum) -> None:
    line = Axis("Ei", np.array([505.0, 517.0]), "keV", "log")
    axes, path = (AXES[0], line, *AXES[2:]), tmp_path / "x.rsp"
    rsp_text.write(path, axes, np.ones((12, 1, 2, 3, 12), int), {**HEAD, "SP": spectrum})
    assert rsp_text.effective_area(path, rsp_text.read_header(path)) == pytest.approx([10 / 2000])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"SP": "Gaussian 199 5 3"}, "does not reach the bin"),
        ({"SP": "Mono 150"}, "does not reach the bin"),
        ({"SP": "Linear 210 500"}, "does not reach the bin of Ei from 100 to 200 keV"),
        ({"SP": "Band 1 2 3"}, "'Band 1 2 3' .* is not understood; state it: Linear EMIN"),
        ({"SP": "Linear"}, "is not understood"),
        ({"TS": "0"}, "number of simulated events is 0"),
        ({"SA": "large"}, "area is not stated"),
    ],
)
def test_what_makes_no_area(tmp_path, counts, fields, message) -> None:
    rsp_text.write(tmp_path / "x.rsp", AXES, counts, HEAD | fields)
    with pytest.raises(DataError, match=message):
        open_response(tmp_path / "x.rsp")


def test_the_spectrum_can_be_given(tmp_path, counts) -> None:
    rsp_text.write(tmp_path / "x.rsp", AXES, counts, {"TS": "24000", "SA": "10"})
    with pytest.raises(DataError, match="line SP"):
        open_response(tmp_path / "x.rsp")
    found = open_response(tmp_path / "x.rsp", spectrum="Linear 100 500").load()
    rsp_text.write(tmp_path / "x.rsp", AXES, counts, HEAD)
    assert np.array_equal(found.dense, read_response(tmp_path / "x.rsp").dense)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("StartStream 1728", "StartStream 1800", "1800 counts for axes with 1728 bins"),
        ("\nStopStream", " 5\nStopStream", "more than the 1728 counts"),
        ("\nStopStream", "x\nStopStream", "other than whole numbers"),
        ('"#phi [deg]"', '"#chi [deg]"', 'axis "#chi .* is unknown; known'),
        ("2D HEALPix", "2D FISBEL", "FISBEL pixels are not read"),
        ("AD 100.0 200.0 500.0", "AD 500.0 200.0 100.0", "edges decrease"),
        ("AN ", "NN ", "no axes"),
    ],
)
def test_contradictions_are_refused(tmp_path, counts, old, new, message) -> None:
    path = tmp_path / "x.rsp"
    rsp_text.write(path, AXES, counts, HEAD)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        read_response(path)


def test_sparse_lines_outside_the_axes_are_refused(tmp_path, counts) -> None:
    path = tmp_path / "x.rsp"
    write_sparse(path, counts)
    good = path.read_text()
    path.write_text(good + "RD 2 0 0 0 0 0 0 1\n")
    with pytest.raises(DataError, match="outside the axes"):
        read_response(path)
    path.write_text(good + "RD 1 0 0 0 0 0 1\n")
    with pytest.raises(DataError, match="has not 8 numbers"):
        read_response(path)


def test_damage_is_said(tmp_path, counts) -> None:
    path = tmp_path / "x.rsp.gz"
    rsp_text.write(path, AXES, counts, HEAD)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="damaged or cut off"):
        read_response(path)
    text = gzip.decompress(whole)
    path.write_bytes(gzip.compress(text[: len(text) - 1000]))
    with pytest.raises(FileError, match=r"cut off: \d+ of 1728 counts"):
        read_response(path)
    path.write_bytes(gzip.compress(text.partition(b"StartStream")[0]))
    with pytest.raises(FileError, match="there are no counts"):
        open_response(path)
