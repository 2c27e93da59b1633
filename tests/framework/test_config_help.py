"""Explanations and templates agree with what a configuration takes."""

from __future__ import annotations

import re

import pytest

from skyfold import strict_yaml
from skyfold.config import RunConfig
from skyfold.config_help import explain, in_force, template
from skyfold.errors import ConfigError
from skyfold.registry import default_registry


@pytest.mark.parametrize("name", list(default_registry().methods))
def test_defaults_in_a_template_are_those_of_the_method(name):
    text = template("image", name)
    above, section = text[: text.index("method:")], text[text.index("method:") :]
    section = re.sub(r"(?m)^  # (\w+: (?!null|\{).*)$", r"  \1", section)
    given = RunConfig.from_document(strict_yaml.loads(above + section)).build_method()
    assert given == RunConfig.of(data=[], method=name).build_method()


def test_a_method_is_explained_alone():
    said = explain("method.lira")
    assert said.startswith("method (lira): Draws from the posterior")
    assert "method.chains (lira): a whole number" in said
    assert "(rl)" not in said
    with pytest.raises(ConfigError, match=r"Did you mean .method\.lira."):
        explain("method.lirra")


def test_stars_given_as_numbers_are_told_in_plain_words():
    assert 'a file name or "find" or a mapping with names and places' in explain("stars.list")
    with pytest.raises(ConfigError, match="or a mapping with names and places, got 3"):
        RunConfig.of(data=[], method="rl", stars={"list": 3}).build_stars()


def test_what_is_in_force_has_the_defaults_of_all_parts():
    method = {"name": "map", "prior": {"tsv": 0.1}, "floor": False}
    found = in_force(RunConfig.of(data=[{"demo": "galaxy"}], method=method).with_files())
    assert found["data"] == [{"demo": "galaxy"}]
    assert found["method"]["prior"]["tsv"]["coefficient"] == 0.1
    assert found["method"]["solver"] == "sgp"
    assert found["method"]["floor"] is False
    assert found["stop"]["relative_gap"] == 1e-3
    smoothed = RunConfig.of(data=[], method={"smoothing": {"fwhm": "2 pix"}}).with_files()
    assert set(in_force(smoothed)["method"]["smoothing"]) > {"fwhm"}
