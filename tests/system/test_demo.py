"""The demos, and what is offered to learn from, by the command line."""

import json

import pytest


def test_demos_are_listed(skyfold):
    said = skyfold.accepts("demo --list").out
    for name in ("galaxy", "chandra-like", "fermi-like", "photo", "point-source"):
        assert name in said


def test_demo_scores_itself_and_shows_where_the_report_is(skyfold, files):
    says = ("demo      galaxy:", "truth     ", "out/report.html", "next      skyfold run")
    skyfold.accepts("demo --iterations 3 -o out", says=says)
    notes = json.loads((files.folder / "out" / "manifest.json").read_text())
    assert notes["config"]["data"] == [{"demo": "galaxy", "seed": 1}]
    assert notes["results"]["iterations"] == 3
    assert notes["results"]["score"]
    skyfold.accepts("resume out --iterations 4", says=("all 4 iterations done",))
    skyfold.refuses(7, "demo --iterations 3 -o out", says=("out exists", "--overwrite"))


@pytest.mark.parametrize("name", ["chandra-like", "fermi-like", "photo"])
def test_every_demo_runs(skyfold, files, name):
    skyfold.accepts(f"demo {name} --iterations 2 --seed 2 -o out")
    assert list((files.folder / "out").glob("result.*"))


@pytest.mark.parametrize("name", ["point-source --seed 2", "galaxy --method lira --chains 1"])
def test_demos_take_a_method_and_its_options(skyfold, files, name):
    skyfold.accepts(f"demo {name} --burn 2 --draws 4 -o out", says=("all 6 iterations done",))
    method = json.loads((files.folder / "out" / "manifest.json").read_text())["config"]["method"]
    assert (method["name"], method["burn"], method["draws"]) == ("lira", 2, 4)


def test_demos_refuse_options_of_other_methods_and_of_data(skyfold):
    skyfold.refuses(2, "demo galaxy --draws 4", says=("'draws' belongs to the method lira",))
    skyfold.refuses(2, "demo galaxy --psf psf.fits", says=("unknown key 'psf' in data",))


def test_tutorials(skyfold, files):
    listed = skyfold.accepts("tutorials list").out.splitlines()
    assert len(listed) >= 4
    skyfold.accepts("tutorials copy learn")
    copied = {path.name for path in (files.folder / "learn").iterdir()}
    assert {line.split()[0] for line in listed} == copied
    skyfold.refuses(7, "tutorials copy learn", says=("exists",))


def test_doctor(skyfold):
    skyfold.accepts("doctor", says=("python", "numpy", "extras", "plugins", "image"))


def test_missing_extra_says_how_to_install_it(skyfold, files, tmp_path_factory):
    """Exit code 6, with the command to type."""
    hidden = tmp_path_factory.mktemp("hidden")
    (hidden / "png.py").write_text("raise ImportError('hidden')\n")
    skyfold.add_to_path(hidden)
    (files.folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    says = ("png", 'python -m pip install "skyfold[photo]"')
    skyfold.refuses(6, "run photo.png --psf 'gauss:2 pix' -o out", says=says)
