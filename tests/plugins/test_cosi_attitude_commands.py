"""Commands: cosi exposure, cosi conversion, cosi response."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from skyfold import cli
from skyfold_cosi import container
from skyfold_cosi.exposure import by_attitude, by_time
from skyfold_cosi.exposure_file import read_exposure_table
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.orientation import Orientation, read_orientation, write_orientation
from skyfold_cosi.response_writing import write_response


@pytest.fixture
def flight(tmp_path, monkeypatch):
    """Change to a folder with an orientation, a detector response and counts by time."""
    monkeypatch.chdir(tmp_path)
    axes = Rotation.from_rotvec(np.outer(np.linspace(0, 1, 31), [0.3, -0.5, 0.8])).as_matrix()
    livetime = np.append(np.full(30, 9.0), 0)
    time = 1.8e9 + 10.0 * np.arange(31)
    up = np.tile([0, 0.6, 0.8], (31, 1))
    orientation = Orientation(time, axes[..., 0], axes[..., 2], up, np.full(31, 530.0), livetime)
    write_orientation("flight.ori", orientation)
    pixels = Axis.healpix("NuLambda", 2, "spacecraftframe")
    energies = Axis("Em", np.array([100.0, 500, 900]), "keV")
    angles = Axis("Phi", np.arange(0, 181, 60.0), "deg")
    directions = Axis.healpix("PsiChi", 2, "spacecraftframe")
    detector = (pixels, Axis("Ei", energies.edges, "keV"), energies, angles, directions)
    values = np.random.default_rng(5).uniform(size=(96, 2 * 3 * 48))
    write_response("detector.h5", detector, values, "dense")
    binned = Axis("Time", time[[0, 10, 30]], "s"), energies, angles, directions
    container.write("counts.h5", Histogram(binned, np.ones((2, 2, 3, 48))))
    return read_orientation("flight.ori")


def skyfold(line):
    return cli.main(line.split())


def test_exposure(flight, capsys):
    assert skyfold("cosi exposure flight.ori -o e.fits --nside 4 --pointing-map map.h5") == 0
    said = capsys.readouterr().out
    assert "31 rows, 300 s, 270 s of livetime" in said
    expected = by_attitude(flight, 4)
    assert f"{len(expected)} of attitude (nside 4), 30 pointings, 270 s in all" in said
    assert np.array_equal(read_exposure_table("e.fits").pixels, expected.pixels)
    assert container.read("map.h5").total == pytest.approx(270)


def test_conversion_of_a_table(flight, capsys):
    assert skyfold("cosi exposure flight.ori -o e.fits --nside 2 --reference") == 0
    assert skyfold("cosi conversion e.fits detector.h5 -o c.h5 --nside 4") == 0
    assert "% of the exposure of the sky" in capsys.readouterr().out
    made = container.read("c.h5")
    assert made.labels == ("ScAtt", "lb", "NuLambda")
    assert [axis.nside for axis in made.axes] == [None, 4, 2]
    assert 0.5 * 300 * 192 < made.total < 0.9 * 300 * 192
    assert skyfold("cosi conversion e.fits detector.h5 -o c.h5 --no-occultation --overwrite") == 0
    assert "occulted  0 %" in capsys.readouterr().out
    assert container.read("c.h5").total == pytest.approx(300 * 48)


def test_conversion_by_time(flight, capsys):
    assert skyfold("cosi conversion flight.ori detector.h5 -o c.h5 --like counts.h5") == 0
    made = container.read("c.h5")
    assert np.array_equal(made["Time"].edges, flight.time[[0, 10, 30]])
    seen = by_time(flight, made["Time"].edges).pointings.visible(np.array([[0, 0.6, 0.8]]))
    pixel = made.project("Time", "lb").dense
    assert np.allclose(pixel.max(axis=1), seen[:, 0])


def test_response(flight, capsys):
    assert skyfold("cosi response flight.ori detector.h5 -o r.h5 --nside 4") == 0
    said = capsys.readouterr().out
    assert "WARNING   PsiChi: pixels of 29 deg (nside 2) are wider" in said
    made = container.read("r.h5")
    assert made.unit == "cm2 s"
    assert made.shape == (192, 2, 2, 3, 48)
    assert made["NuLambda"].frame == "galactic"
    assert made.dense.dtype == np.float32
    skyfold("cosi exposure flight.ori -o e.fits --nside 2")
    assert skyfold("cosi response e.fits detector.h5 -o same.h5 --nside 4") == 0
    assert np.allclose(container.read("same.h5").dense, made.dense, rtol=1e-6)
    line = "cosi response flight.ori detector.h5 -o p.h5 --reference --precision float64"
    assert skyfold(line) == 0
    assert container.read("p.h5").dense.dtype == np.float64


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("exposure flight.ori -o counts.h5", 7, "counts.h5 exists; give another name"),
        ("exposure flight.ori --nside 3", 3, "nside 3 is no power of two"),
        ("exposure flight.ori --nside 0", 2, "at least 1"),
        ("exposure nothing.ori", 7, "nothing.ori"),
        ("exposure flight.ori --start 0 --stop 1", 3, "orientation"),
        ("conversion flight.ori detector.h5", 2, "say with --like"),
        ("conversion counts.h5 detector.h5", 3, "counts.h5 holds counts in a Compton data space"),
        ("response nothing.ori detector.h5", 7, "nothing.ori"),
        ("conversion flight.ori detector.h5 --like detector.h5", 3, "detector.h5"),
        ("response flight.ori counts.h5", 3, "counts.h5"),
    ],
)
def test_what_is_wrong_is_said(line, code, words, flight, capsys):
    assert skyfold(f"cosi {line}") == code
    assert words in capsys.readouterr().err
