"""To the optimum, with priors, and when to stop: the command line as a process."""

import base64
import json
import re

import numpy as np
import pytest
from astropy.table import Table

RUN = "run counts.fits --psf psf.fits"


@pytest.fixture(scope="module")
def place(workplace, tmp_path_factory):
    """Return the command line in a folder with a small observation and two runs: ml and map."""
    skyfold, files = workplace(tmp_path_factory.mktemp("converge"))
    files.counts(files.sky()[6:26, 6:26])
    files.psf()
    skyfold.accepts(f"{RUN} --converge -q -o ml")
    skyfold.accepts(f"{RUN} --prior tsv=0.001 -q -o map")
    return skyfold


def manifest(place, run):
    return json.loads((place.folder / run / "manifest.json").read_text(encoding="utf-8"))


def trace(place, run):
    return Table.read(place.folder / run / "trace.ecsv")


def test_converge_goes_to_the_maximum_of_the_likelihood(place):
    assert manifest(place, "ml")["config"]["method"]["name"] == "ml"
    rows = trace(place, "ml")
    height = rows["log_likelihood"]
    assert np.all(np.diff(height) >= -1e-6)
    near = rows["gap"][-1] < 1e-3 * (height[-1] - height[0])
    assert near or height[-1] - height[-21] < 0.01, "neither bound nor rise say that it arrived"


def test_a_prior_chooses_its_method_and_is_climbed(place):
    method = manifest(place, "map")["config"]["method"]
    assert method == {"name": "map", "prior": {"tsv": {"coefficient": 0.001}}}
    rows = trace(place, "map")
    assert np.all(np.diff(rows["log_posterior"]) >= -1e-6)
    assert rows["log_likelihood"][-1] < trace(place, "ml")["log_likelihood"][-1]


def test_auto_lets_held_out_photons_stop(place):
    place.accepts(f"{RUN} --iterations auto -q -o auto")
    settled = manifest(place, "auto")["config"]["stop"]["held_out"]
    assert len(trace(place, "auto")) == 1 + settled["best"] > 1


def test_richardson_lucy_is_not_sent_to_the_optimum(place):
    place.refuses(2, f"{RUN} --method rl --converge -o no", says=("--converge", "rl"))


def test_a_relative_gap_ends_a_run(place):
    place.accepts(f"{RUN} --stop relative_gap=0.01 --method ml -q -o gap")
    rows, best = trace(place, "gap"), trace(place, "ml")["log_likelihood"][-1]
    height, bound = rows["log_likelihood"], rows["gap"]
    assert bound[-1] <= 0.01 * (height[-1] - height[0] + bound[-1])
    assert np.all(bound >= best - height - 1e-6), "the bound is below the truth"
    assert len(rows) < len(trace(place, "ml"))


def test_a_page_of_a_comparison_holds_figures(place):
    place.accepts("compare ml map -o page.html", says=("log-likelihood", "ml", "map"))
    page = (place.folder / "page.html").read_text(encoding="utf-8")
    images = re.findall(r"data:image/(\w+)[^,]*,([A-Za-z0-9+/=]+)", page)
    drawn = [base64.b64decode(data) for kind, data in images if kind == "png"]
    assert len(drawn) + page.count("<svg") >= 2, "curves, and the skies"
    assert all(data.startswith(b"\x89PNG") for data in drawn)
