"""Point sources from the command line, a configuration, and Python."""

import json
import re

import numpy as np
import pytest

import skyfold as package

RUN = "run counts.fits --psf psf.fits --method two-channel --iterations 8 -o out"


@pytest.fixture(autouse=True)
def _observation(files):
    files.observation()


def listed(files, text, name="field.stars"):
    (files.folder / name).write_text(text)


def stars_of(folder):
    notes = json.loads((folder / "manifest.json").read_text())
    return notes, notes["results"]["components"]["stars"]


def test_a_list_on_the_command_line(skyfold, files):
    listed(files, "# x y mag\n10 12 14.0\n20.4 9.7 15.5 ! between pixels\n")
    skyfold.accepts(f"{RUN} --stars field.stars --stars.magzero 20", says=("2 point sources",))
    notes, expected = stars_of(files.folder / "out")
    assert expected > 0
    assert {"role": "stars"}.items() <= max(notes["inputs"], key=lambda e: e["role"]).items()
    assert notes["config"]["stars"]["list"].endswith("field.stars")
    assert notes["results"]["expectation"] == pytest.approx(notes["results"]["counts"], rel=1e-9)


@pytest.mark.slow
def test_in_a_configuration_and_resumed_without_the_list(skyfold, files):
    listed(files, "10 12 14.0\n")
    (files.folder / "run.yaml").write_text(
        "data: {counts: counts.fits, psf: psf.fits}\n"
        "stars: {list: field.stars, origin: 1}\n"
        "method: two-channel\niterations: 4\noutput: half\n"
    )
    skyfold.accepts("run run.yaml")
    skyfold.accepts("resume half --iterations 8")
    skyfold.accepts(f"{RUN} --stars field.stars")
    halves, whole = stars_of(files.folder / "half")[1], stars_of(files.folder / "out")[1]
    assert halves == whole


def test_every_method_takes_stars(skyfold, files):
    listed(files, "10 12 14.0\n")
    skyfold.accepts("run counts.fits --psf psf.fits --iterations 3 --stars field.stars -o rl")
    assert stars_of(files.folder / "rl")[1] > 0


def test_without_stars_all_is_background_and_that_is_said(skyfold, files):
    ended = skyfold.accepts(RUN)
    (note,) = [line for line in ended.out.splitlines() if "whole image is background" in line]
    assert note.startswith("NOTE")
    assert "--stars" in note
    notes = json.loads((files.folder / "out" / "manifest.json").read_text())
    assert set(notes["results"]["components"]) == {"sky"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no star"),
        ("# only words\n", "no star"),
        ("10 12 14\n90 3 14\n", "outside the image"),
        ("10 12 14\n10 12 15\n", "at the same place|at one place|same place"),
        ("10 twelve 14\n", "line 1"),
        ("10 12\n", "line 1"),
    ],
)
def test_faulty_lists(skyfold, files, text, message):
    listed(files, text)
    refused = skyfold.refuses(3, f"{RUN} --stars field.stars", says=("field.stars",))
    assert re.search(message, refused.err)


def test_flags_that_mean_nothing(skyfold):
    skyfold.refuses(7, f"{RUN} --stars missing.stars", says=("missing.stars",))
    skyfold.refuses(2, f"{RUN} --stars.magzro 3", says=("magzero",))


def test_help_tells_of_stars(skyfold):
    assert "--stars.magzero" in skyfold.accepts("run --help").out


def test_in_python(files):
    places = np.array([[9.0, 11.0], [19.4, 8.7]])
    options = {"psf": files.folder / "psf.fits", "progress": False, "iterations": 5}
    given = package.run(files.folder / "counts.fits", method="two-channel", stars=places, **options)
    listed(files, "10 12\n20.4 9.7\n".replace("12", "12 14").replace("9.7", "9.7 14"))
    read = package.run(
        files.folder / "counts.fits",
        method="two-channel",
        stars=files.folder / "field.stars",
        **options,
    )
    geometry = given.model.components["stars"].geometry
    np.testing.assert_allclose(geometry.places, read.model.components["stars"].geometry.places)
    assert given.model["stars"].shape == (2,)
