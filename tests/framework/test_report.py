from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skyfold import report
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.errors import FileError
from skyfold.geometry import Grid
from skyfold.joint import JointData
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.origin import Origin
from skyfold.pixels import Diagonal
from skyfold.report import page_size
from skyfold.report.pixels import MASKED, plate, world_table
from skyfold.report.sanity import together
from skyfold.report.verdict import doubts
from skyfold.result import Result, summary
from skyfold.simulate import Demo
from skyfold.sphere import Sphere

EVIL = '</script><script>alert("x")</script><img src=http://evil.example/a.png>'


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, path):
        super().__init__()
        self.text, self.tags, self._open = "", [], []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for found, attrs in self.tags if found == tag]

    @property
    def data(self):
        found = re.search(r'<script type="application/json" id="data">(.*?)</script>', self.source)
        return json.loads(found[1])


def tan(nx=20, ny=16, shift=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crpix = nx / 2 + shift, ny / 2
    wcs.wcs.crval = 266.4, -29.0
    wcs.wcs.cdelt = -0.01, 0.01
    return wcs


def observed(shape, rng, wcs=None, edges=None, name="data", weight=None):
    grid = Grid(shape, wcs, edges)
    return BinnedData(
        rng.poisson(6.0, shape),
        {"sky": Diagonal(np.ones(shape)), "background": np.full(shape, 0.5)},
        weight,
        components={"sky": Component(grid, "ct")},
        origin=Origin(name, geometry=grid),
    )


def write(path, data, demo=None, **manifest):
    algorithm = RichardsonLucy()
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    history = list(islice(states, 4))
    trace = [
        {"iteration": s.iteration, "log_likelihood": s.log_likelihood, "acceleration": 2.0}
        for s in history
    ]
    manifest = {"started": "2026-11-21T01:02:03+00:00", "config": {"iterations": 3}, **manifest}
    result = Result(data, history[-1], trace, "enough", manifest, demo)
    figures = {"iterations": 3, "stop_reason": "enough", **summary(result)}
    figures |= {"normalisations": result.normalisations}
    result.manifest["results"] = figures | manifest.get("results", {})
    result.write(path)
    return Page(report.write(path))


@pytest.fixture(scope="module")
def _finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    write(path, observed((16, 20), np.random.default_rng(1), tan()))
    return path


@pytest.fixture
def finished(_finished, tmp_path):
    """A run folder that a test may damage."""
    return Path(shutil.copytree(_finished, tmp_path / "run"))


def pixels(png):
    """Decode as the script of the page does: chunks, inflate, rows without filter."""
    at, body = 8, b""
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    while at < len(png):
        size, name = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        body += png[at + 8 : at + 8 + size] if name == b"IDAT" else b""
        at += size + 12
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_an_image_is_shown_before_and_after(tmp_path, rng):
    page = write(tmp_path, observed((16, 20), rng, tan()))
    stills = [image["alt"] for image in page.all("img")]
    assert stills[0].startswith("Counts, ")
    assert stills[1].startswith("Restored, ")
    assert all(image["alt"] for image in page.all("img"))
    shown = [layer["title"] for layer in page.data["layers"]]
    assert shown[:4] == ["Restored", "Counts", "Expected counts", "Residual"]
    stage = next(attrs for attrs in page.all("div") if attrs.get("id") == "stage")
    assert shown[int(stage["data-before"])] == "Counts"
    assert shown[int(stage["data-after"])] == "Restored"
    assert "The model explains the counts." in page.text
    assert "background" in page.text


def test_colours_that_end_below_the_brightest_value_say_so(tmp_path, rng):
    data = observed((32, 32), rng)
    counts = data.full_counts.copy()
    counts[7, 9] = 5000
    page = write(tmp_path, data.with_counts(counts))
    assert page.all("img")[0]["alt"].endswith("; values up to 5000 saturate")
    plane = page.data["layers"][1]["planes"][0]
    assert plane["high"] < plane["most"] == 5000


def test_the_page_carries_the_counts_themselves(tmp_path, rng):
    data = observed((16, 20), rng, tan())
    page = write(tmp_path, data)
    counts = page.data["layers"][1]["planes"][0]
    assert counts["exact"]
    index = pixels(base64.b64decode(counts["png"]))
    np.testing.assert_array_equal(np.array(counts["levels"])[index][::-1], data.full_counts)


def test_the_page_loads_nothing_and_runs_only_its_own_script(tmp_path, rng):
    page = write(tmp_path, observed((16, 20), rng, tan()))
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "poster"):
            assert attrs.get(name, "data:").startswith("data:"), (tag, attrs)
    assert "link" not in dict(page.tags)
    assert not re.search(r"url\(|@import|https?://", page.source)
    policy = page.all("meta")[1]["content"]
    script = re.search(r"<script>(.*?)</script>\s*</body>", page.source, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_text_from_files_cannot_run(tmp_path, rng):
    page = write(
        tmp_path,
        JointData([observed((16, 20), rng, tan(), name=f"{i}{EVIL}") for i in range(2)]),
        command=["skyfold", "run", EVIL],
        config={"data": [{"source": EVIL}], "method": {"name": EVIL}},
        inputs=[{"role": "counts", "path": EVIL, "sha256": EVIL, "bytes": 5}],
        checks=[{"level": EVIL, "subject": EVIL, "message": EVIL}],
        versions={EVIL: EVIL},
        results={"stop_reason": EVIL, "score": {EVIL: 1.0}},
    )
    assert len(page.all("script")) == 2
    assert not [image for image in page.all("img") if not image["src"].startswith("data:")]
    assert page.text.count("alert") >= 8
    assert "<script>alert" not in page.source


def test_a_cube_has_a_choice_of_energies(tmp_path, rng):
    edges = np.geomspace(10, 100, 4) * u.GeV
    page = write(tmp_path, observed((3, 16, 20), rng, tan(), edges))
    assert page.data["planes"][:2] == ["all together", "10\N{EN DASH}21.5 GeV"]
    assert all(len(layer["planes"]) == 4 for layer in page.data["layers"])


def test_a_line_is_drawn_as_a_line(tmp_path, rng):
    page = write(tmp_path, BinnedData(rng.poisson(5, 30), {"sky": Matrix(np.eye(30))}))
    assert page.data["layers"] == []
    charts = [image for image in page.all("img") if image.get("class") == "chart"]
    assert len(charts) == 4  # profiles, residual, histogram, curves
    assert charts[0]["src"].startswith("data:image/svg+xml")


def test_several_skies_are_read_from_hdf5(tmp_path, rng):
    response = Diagonal(np.ones((16, 20)))
    data = BinnedData(rng.poisson(5, (16, 20)), {"points": response, "smooth": response})
    page = write(tmp_path, data)
    assert (tmp_path / "result.h5").exists()
    assert [layer["title"] for layer in page.data["layers"]][:3] == [
        "Restored: points", "Restored: smooth", "Counts",
    ]  # fmt: skip


def test_data_of_many_dimensions_leave_a_histogram_and_curves(tmp_path, rng):
    data = BinnedData(
        rng.poisson(5, (4, 3, 2, 5)),
        {"sky": Matrix(rng.random((120, 6)), (6,), (4, 3, 2, 5)), "other": np.ones((4, 3, 2, 5))},
        components={"sky": Component(Grid((6,)))},
    )
    page = write(tmp_path, JointData([data]))
    drawn = [image["alt"] for image in page.all("img")]
    assert any(alt.startswith("histogram") for alt in drawn)
    assert any(alt.startswith("gain") for alt in drawn)


def test_truth_and_score_of_a_simulation_are_shown(tmp_path, rng):
    data = observed((16, 20), rng, tan())
    truth = np.linspace(0, 600, 320).reshape(16, 20)
    demo = Demo("toy", "A toy.", data, {"sky": truth}, {}, 3)
    page = write(tmp_path, data, demo, results={"score": {"flux_error_percent": 1.25}})
    assert "Truth" in [layer["title"] for layer in page.data["layers"]]
    alts = [image["alt"] for image in page.all("img")]
    (colours,) = [alt.removeprefix("Truth, ") for alt in alts if alt.startswith("Truth, ")]
    reach, _, _ = colours.partition(";")
    assert sum(reach in alt for alt in alts) == 2  # the restored sky is drawn in the same colours
    assert "flux error percent1.25" in page.text


def test_an_observation_that_looks_elsewhere_is_kept_apart(tmp_path, rng):
    grid = Grid((16, 20), tan())
    parts = [
        BinnedData(
            rng.poisson(6.0, (16, 20)),
            {"sky": Diagonal(np.ones((16, 20)))},
            components={"sky": Component(grid)},
            origin=Origin(name, geometry=Grid((16, 20), tan(shift=shift))),
        )
        for name, shift in (("here", 0.0), ("there", 7.0))
    ]
    page = write(tmp_path, JointData(parts))
    shown = [layer["title"] for layer in page.data["layers"]]
    assert "Counts, here" in shown
    assert "Counts, there" not in shown
    assert any(image["alt"].startswith("Counts, there") for image in page.all("img"))


def test_masked_pixels_are_marked(tmp_path, rng):
    weight = np.ones((16, 20))
    weight[3, 4] = 0
    page = write(tmp_path, observed((16, 20), rng, tan(), weight=weight))
    index = pixels(base64.b64decode(page.data["layers"][1]["planes"][0]["png"]))
    assert np.argwhere(index[::-1] == MASKED).tolist() == [[3, 4]]


def test_a_large_image_is_joined_and_says_so(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(page_size, "MAX_PIXELS", 500)
    data = observed((17, 20), rng, tan())
    page = write(tmp_path, data)
    assert "2 by 2 pixels are joined; result.fits holds all of them" in page.text
    counts = page.data["layers"][1]["planes"][0]
    shown = np.array(counts["levels"])[pixels(base64.b64decode(counts["png"]))][::-1]
    expected = data.full_counts[:16].reshape(8, 2, 10, 2).sum(axis=(1, 3))
    np.testing.assert_array_equal(shown, expected)


def test_a_page_of_a_usual_image_is_light(tmp_path, rng):
    write(tmp_path, observed((256, 256), rng, tan(256, 256)))
    assert (tmp_path / "report.html").stat().st_size < 1.5e6


def test_the_same_run_gives_the_same_page(finished):
    before = report.write(finished).read_bytes()
    assert report.write(finished).read_bytes() == before


@pytest.mark.parametrize("missing", ["manifest.json", "trace.ecsv", "result.fits"])
def test_missing_pieces_are_missing_on_the_page(finished, missing):
    (finished / missing).unlink()
    page = Page(report.write(finished))
    sections = {
        "manifest.json": "Provenance",
        "trace.ecsv": "The way there",
        "result.fits": "Before and after",
    }
    for file, heading in sections.items():
        assert (heading in page.text) == (file != missing)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileError, match="holds no run"):
        report.write(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["manifest.json", "trace.ecsv", "result.fits", "result.h5"])
def test_a_damaged_file_is_named_and_the_old_page_stays(finished, name):
    if name == "result.h5":
        (finished / "result.fits").unlink()
    before = (finished / "report.html").read_bytes()
    (finished / name).write_text("[1, 2")
    with pytest.raises(FileError, match=re.escape(name)):
        report.write(finished)
    assert (finished / "report.html").read_bytes() == before


def test_a_cut_off_result_is_named(finished):
    whole = (finished / "result.fits").read_bytes()
    (finished / "result.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match=re.escape("result.fits")):
        report.write(finished)


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({"ratio": 1.2, "counts": 1e4}, "1.2000"),
        ({"ratio": float("nan"), "counts": 1e4}, "nan"),
        ({"largest_block": 9.0}, "9.0"),
        ({"outliers": 0.2}, "20.0%"),
    ],
)
def test_what_speaks_against_a_result_is_said(figures, word):
    (said,) = doubts({"results": {"ratio": 1.0, **figures}})
    assert word in said


def test_how_far_to_go_on_is_told_once(tmp_path, rng):
    data = observed((16, 20), rng, tan())
    page = write(tmp_path / "plain", data)
    assert page.text.count("skyfold resume plain --iterations 6") == 1
    sampled = {"posterior": {"burn": 9, "draws": 0, "sweeps": 5, "chains": 2, "origins": 1}}
    page = write(tmp_path / "sampled", data, results=sampled)
    assert page.text.count("skyfold resume") == 1


def test_a_data_set_that_is_not_explained_is_named():
    good, bad = ({"name": n, "c_stat_excess": x} for n, x in (("obs 1", 4.9), ("obs 2", 5.1)))
    (said,) = doubts({"results": {"ratio": 1.0, "observations": [good, bad]}})
    assert said.startswith("obs 2: ")
    assert "5.1" in said


def test_each_data_set_has_its_c_statistic(tmp_path, rng):
    page = write(
        tmp_path, JointData([observed((16, 20), rng, tan(), name=name) for name in ("one", "two")])
    )
    heading = "Sanity: does the model explain each data set?"
    text = page.text[page.text.index(heading) : page.text.index("What is left")]
    results = json.loads((tmp_path / "manifest.json").read_text())["results"]
    for row in (*results["observations"], together(results["observations"])):
        expected = f"{row['c_stat_expected']:.0f} \N{PLUS-MINUS SIGN} {row['c_stat_sigma']:.0f}"
        assert f"{row['name']}{row['bins']}" in text
        assert f"{row['c_stat']:.0f}{expected}" in text
    assert together(results["observations"])["bins"] == 640
    assert "100.0%fitted" not in text  # sky and background share the counts


def test_totals_may_differ_by_the_noise_where_something_is_fixed():
    manifest = {"results": {"ratio": 1.02, "counts": 1e4}}
    assert doubts(manifest, fixed=["background"]) == []
    assert len(doubts(manifest)) == 1


def test_warnings_and_interruptions_are_seen_at_the_top(tmp_path, rng):
    warning = {"level": "warning", "subject": "exposure", "message": "none given"}
    page = write(tmp_path, observed((16, 20), rng), checks=[warning], status="interrupted")
    top = page.text[: page.text.index("Before and after")]
    assert "exposure: none given" in top
    assert "interrupted" in top


@given(arrays(float, (5, 6), elements=st.floats(-100, 1e6)), st.booleans())
def test_levels_stand_for_the_values(values, upward):
    values[2, 3] = np.nan
    image = plate(values, "flux", upward)
    index = pixels(image.png)
    index = index[::-1] if upward else index
    assert np.argwhere(index == MASKED).tolist() == [[2, 3]]
    known = index != MASKED
    told, true = image.levels[index[known]], values[known]
    assert np.all(np.abs(told - true) <= 0.04 * np.abs(true) + 0.01 * (image.high - image.low))


def test_world_coordinates_are_found_by_interpolation():
    wcs, shape = tan(200, 100), (100, 200)
    table = world_table(wcs, shape, upward=True)
    n = table["places"]
    corner = wcs.pixel_to_world(-0.5, 99.5).cartesian.xyz.value
    np.testing.assert_allclose(table["vectors"][0], corner, atol=1e-8)
    last = wcs.pixel_to_world(199.5, -0.5).cartesian.xyz.value
    np.testing.assert_allclose(table["vectors"][n * n - 1], last, atol=1e-8)
    assert table["names"] == ["RA", "Dec"]


def test_places_without_a_sky_have_no_coordinates():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "GLON-AIT", "GLAT-AIT"
    wcs.wcs.crpix = 90.5, 45.5
    wcs.wcs.cdelt = -2, 2
    table = world_table(wcs, (90, 180), upward=True)
    assert table["vectors"][0] is None
    assert table["vectors"][len(table["vectors"]) // 2] is not None
    assert table["names"] == ["l", "b"]


def test_a_header_with_oddities_does_no_harm(finished):
    with fits.open(finished / "result.fits", mode="update") as hdus:
        hdus[0].header["DATE-OBS"] = "21/11/26"
        hdus[0].header["MJD-OBS"] = 61365.0
        hdus[0].header["OBJECT"] = "Sgr A*"
    assert "Sgr A*" in Page(report.write(finished)).text


def whole_sky(path, result, **more):
    figures = summary(result) | {"block": result.block, "normalisations": result.normalisations}
    notes = {"results": figures | {"iterations": 20, "stop_reason": "enough"}, **more}
    replace(result, manifest=notes).write(path)
    return Page(report.write(path))


def test_a_whole_sky_lies_on_its_ellipse(sky_result, tmp_path):
    pytest.importorskip("healpy")
    page = whole_sky(tmp_path, sky_result)
    assert "The whole sky in Galactic coordinates" in page.text
    assert [layer["title"] for layer in page.data["layers"]] == [
        "Restored", "Truth", "Sensitivity",
    ]  # fmt: skip
    assert page.data["planes"] == ["all together", "100\N{EN DASH}200 keV", "200\N{EN DASH}500 keV"]
    assert page.data["world"] == {
        "names": ["l", "b"], "sexagesimal": False, "digits": 1, "ellipse": True,
    }  # fmt: skip
    index = pixels(base64.b64decode(page.data["layers"][0]["planes"][0]["png"]))
    y, x = np.mgrid[1 : -1 : len(index) * 1j, -1 : 1 : index.shape[1] * 1j]
    off = x**2 + y**2
    assert np.all(index[off > 1.02] == MASKED)
    assert not np.any(index[off < 0.98] == MASKED)
    bright = index == index[index != MASKED].max()
    assert x[bright].mean() > 0.3  # l = 303 deg: longitude increases to the left
    assert page.text.count("true peak") >= 3
    assert (
        "2 \N{MULTIPLICATION SIGN} 6 \N{MULTIPLICATION SIGN} 4 bins (Time, Phi, PsiChi)"
        in page.text
    )


def test_counts_that_are_no_image_are_shown_along_their_axes(sky_result, tmp_path):
    pytest.importorskip("healpy")
    page = whole_sky(tmp_path, sky_result)
    drawn = [image["alt"] for image in page.all("img")]
    assert "counts and expectation along the axes" in drawn
    for what in ("Counts", "Expected counts", "Residual"):
        assert any(alt.startswith(f"{what} over PsiChi") for alt in drawn)


def test_an_event_list_has_no_residual_to_show(tmp_path, rng):
    pytest.importorskip("healpy")

    class Events(Matrix):
        complete = False

    data = BinnedData(
        np.ones(300),
        {"sky": Events(rng.random((300, 12)), (12, 1))},
        components={"sky": Component(Sphere(1), "ct")},
    )
    page = write(tmp_path, data)
    assert "What is left" not in page.text
    assert "Sanity" not in page.text
    assert "largest residual" not in page.text
    assert page.data["planes"] == []


def test_several_whole_skies_are_read_from_hdf5(sky_demo, tmp_path):
    pytest.importorskip("healpy")
    data, part = sky_demo.data, sky_demo.data.components["sky"]
    two = BinnedData(
        data.full_counts,
        {"line": data.whole["sky"], "rest": data.whole["sky"]},
        components={"line": part, "rest": part},
        origin=data.origin,
    )
    page = write(tmp_path, two)
    titles = [layer["title"] for layer in page.data["layers"]]
    assert titles == ["Restored: line", "Restored: rest"]
    assert page.data["planes"][1] == "100\N{EN DASH}200 keV"
    assert any(image["alt"].startswith("Residual over PsiChi") for image in page.all("img"))


def test_the_worst_of_many_blocks_may_be_further_off():
    good = {"ratio": 1.0, "largest_block": 4.5}
    assert len(doubts({"results": good | {"blocks": 100}})) == 1
    assert doubts({"results": good | {"blocks": 100_000}}) == []
    (said,) = doubts(
        {"results": {"ratio": 1.0, "largest_block": 9.0, "block": "8 x 64 bins (a, b)"}}
    )
    assert "8 \N{MULTIPLICATION SIGN} 64 bins (a, b)" in said
