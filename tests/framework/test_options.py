"""Options checked and converted by annotations, refused in plain words."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from skyfold.errors import ConfigError, DataError
from skyfold.options import (
    Angle,
    Duration,
    Energy,
    Formerly,
    Length,
    Unit,
    build,
    describe,
    schema,
)
from skyfold.strict_yaml import loads, override

if TYPE_CHECKING:
    from nowhere import Unheard


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Smooth:
    """Smooth a sky.

    Parameters
    ----------
    fwhm
        Full width at half maximum,
        on the sky or in pixels.
    passes, rounds : int
        How often.

    Raises
    ------
    ConfigError
        Never.
    """

    fwhm: Length
    passes: Annotated[int, Field(ge=1, le=9)] = 1
    rounds: Annotated[int, Field(gt=0)] | Literal["auto"] = "auto"


@dataclass
class Pair:
    """Two of a kind."""

    first: int
    second: int
    third: int = 0


@dataclass
class Loose:
    """As often as it may be."""

    passes: int = 1
    rounds: int = 1


@dataclass
class Sampler:
    """Draw."""

    draws: Annotated[int, Field(ge=1)] = 100
    burn: int = 0
    alpha: Annotated[float, Field(gt=0)] = 1.0
    smooth: Smooth | None = None
    names: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    verbose: bool = False
    every: Duration = "5 min"
    acceleration: Annotated[float, Field(ge=1), Formerly("alpha_max")] = 10.0

    def __post_init__(self) -> None:
        if self.burn >= self.draws:
            raise ValueError(f"burn ({self.burn}) must be below draws ({self.draws})")


def take(
    path: Path,
    image: np.ndarray[Any, Any] | str | None = None,
    direction: Angle = "0 deg",
    energy: Energy | None = None,
    shade: Colour = Colour.RED,
    *,
    action: Callable[[int], int] | None = None,
    unheard: Unheard | None = None,
    anything: Any = None,
) -> dict[str, Any]:
    """Take everything."""
    return locals()


def refusal(entry: Any, options: dict[str, Any], where: Any = "method") -> str:
    with pytest.raises(ConfigError) as caught:
        build(entry, options, where)
    return str(caught.value)


def test_options_are_converted():
    built = build(Sampler, {"draws": 1e3, "alpha": 2, "names": ["a"], "smooth": {"fwhm": "2 deg"}})
    assert built.draws == 1000
    assert isinstance(built.draws, int)
    assert isinstance(built.alpha, float)
    assert built.names == ("a",)
    assert built.smooth == Smooth(2 * u.deg)
    assert built.every == 5 * u.min


def test_objects_pass_unchanged():
    image, width, smooth = np.ones((2, 2)), 3 * u.arcmin, Smooth(1 * u.pix)
    taken = build(take, {"path": "a.fits", "image": image, "direction": width, "action": abs})
    assert taken["image"] is image
    assert taken["direction"] is width
    assert taken["path"] == Path("a.fits")
    assert taken["action"] is abs
    assert build(Sampler, {"smooth": smooth}).smooth is smooth


def test_what_is_only_known_to_type_checkers_may_be_anything():
    assert build(take, {"path": "a", "unheard": 3})["unheard"] == 3


@given(st.floats(1e-3, 1e3), st.sampled_from(["deg", "arcmin", "arcsec", "rad", "pix", "px"]))
def test_quantities_are_read_as_written(value, unit):
    fwhm = build(Smooth, {"fwhm": f"{value!r} {unit}"}).fwhm
    assert fwhm.value == value
    assert fwhm.unit == u.Unit(unit.replace("px", "pix"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (2, 'got 2 (write "2 deg" or "2 pix")'),
        ("2", 'got "2" (write "2 deg" or "2 pix")'),
        (np.float64(0.5), '(write "0.5 deg" or "0.5 pix")'),
        (True, "got true"),
        (None, "got null"),
        ("3 kg", 'got "3 kg", a mass'),
        (3 * u.keV, 'got "3.0 keV", an energy'),
        ("2 degs", 'got "2 degs". Did you mean deg?'),
        ("wide", 'got "wide"'),
        ("0 deg", "must be greater than 0"),
        ("-1 pix", "must be greater than 0"),
        ("nan deg", "not one finite value"),
        ([1, 2] * u.deg, "not one finite value"),
    ],
)
def test_a_length_needs_a_unit_of_its_kind(given, said):
    message = refusal(Smooth, {"fwhm": given}, "method.smoothing")
    expected = 'expected an angle or pixels with a unit like "2 deg" or "3 pix"'
    assert message.startswith(f"method.smoothing.fwhm: {expected}, got")
    assert said in message


def test_a_bare_angle_is_told_how_to_be_written():
    assert refusal(take, {"path": "a", "direction": 2}) == (
        'method.direction: expected an angle with a unit like "2 deg", got 2 (write "2 deg")'
    )


def test_an_angle_may_be_negative():
    assert build(take, {"path": "a", "direction": "-2 deg"})["direction"] == -2 * u.deg


def test_a_unit_of_ones_own():
    def expose(area: Annotated[Any, Unit("an effective area", ("1 cm2",))]) -> Any:
        return area

    assert build(expose, {"area": "2 m2"}) == 2 * u.m**2
    assert 'an effective area with a unit like "1 cm2"' in refusal(expose, {"area": "2 s"})


@pytest.mark.parametrize(
    ("option", "given", "said"),
    [
        ("draws", -5, "expected a whole number of at least 1, got -5"),
        ("draws", 1.5, "expected a whole number of at least 1, got 1.5"),
        ("draws", True, "got true"),
        ("draws", "1_000", 'got "1_000" (write 1000, without quotes or underscores)'),
        ("draws", float("inf"), "got Infinity"),
        ("draws", None, "got null (leave the key out for its default)"),
        ("alpha", 0, "expected a number greater than 0, got 0"),
        ("alpha", float("nan"), "got NaN"),
        ("alpha", float("inf"), "got Infinity"),
        ("alpha", False, "got false"),
        ("alpha", "1e-4", 'got "1e-4" (write 0.0001'),
        ("verbose", "no", 'expected true or false, got "no" (write false)'),
        ("verbose", "on", "(write true)"),
        ("verbose", 1, "expected true or false, got 1"),
        ("names", "sky", 'expected a list (each text), got "sky"'),
        ("names", ["sky", 1], "expected a list (each text)"),
        ("weights", {"a": "x"}, "expected a mapping of names to a number"),
        ("smooth", 3, "expected a mapping with fwhm or null, got 3"),
    ],
)
def test_wrong_values_are_refused_in_plain_words(option, given, said):
    message = refusal(Sampler, {option: given})
    assert message.startswith(f"method.{option}: ")
    assert said in message


def test_ranges_and_choices_are_named():
    assert "a whole number from 1 to 9, got 10" in refusal(Smooth, {"fwhm": "1 deg", "passes": 10})
    message = refusal(Smooth, {"fwhm": "1 deg", "rounds": 0})
    assert 'expected a whole number greater than 0 or "auto", got 0' in message
    assert build(Smooth, {"fwhm": "1 deg", "rounds": "auto"}).rounds == "auto"


def test_text_is_not_made_of_other_things():
    def name(title: str) -> str:
        return title

    assert 'expected text, got false (write "false", in quotes)' in refusal(name, {"title": False})
    assert '(write "1.5", in quotes)' in refusal(name, {"title": 1.5})
    assert build(name, {"title": "no"}) == "no"


def test_numpy_numbers_are_numbers():
    given = {"draws": np.int32(7), "alpha": np.float32(0.5), "verbose": np.bool_(True)}
    built = build(Sampler, given)
    assert (built.draws, built.alpha, built.verbose) == (7, 0.5, True)
    assert type(built.draws) is int


def test_infinity_is_taken_where_it_is_allowed():
    def cut(ceiling: Annotated[float, Field(allow_inf_nan=True)]) -> float:
        return ceiling

    assert build(cut, {"ceiling": float("inf")}) == float("inf")


def test_long_values_are_shown_in_short():
    assert len(refusal(Sampler, {"draws": "x" * 1000})) < 150
    assert "got an array of shape (3, 3)" in refusal(Sampler, {"draws": np.ones((3, 3))})


def test_unknown_option_is_refused_with_a_suggestion():
    message = refusal(Smooth, {"fwmh": "2 deg"})
    assert message == (
        "unknown key 'fwmh' in method. Did you mean 'fwhm'? Known: fwhm, passes, rounds"
    )
    with pytest.raises(ConfigError, match=r"Known: other$"):
        build(Smooth, {"fwmh": 1}, known=["other"])


def test_missing_option_is_asked_for():
    assert refusal(Smooth, {}).startswith("method: 'fwhm' is missing: give an angle or pixels")


def test_errors_name_the_line_or_the_flag():
    text = "method:\n  draws: 10\n  smooth:\n    fwhm: 2\n"
    document = loads(text, "run.yaml")
    place = document.place("method")
    assert refusal(Sampler, document.data["method"], place).startswith(
        "run.yaml:4: method.smooth.fwhm: expected an angle"
    )
    document = override(document, "method.smooth={fwmh: 2 deg}")
    assert refusal(Sampler, document.data["method"], document.place("method")).startswith(
        "--set method.smooth: unknown key 'fwmh' in method.smooth. Did you mean 'fwhm'?"
    )


def test_options_that_contradict_each_other_are_refused_with_both_names():
    place = loads("method:\n  burn: 500\n", "run.yaml").place("method")
    message = refusal(Sampler, {"burn": 500}, place)
    assert message == "run.yaml:1: method: burn (500) must be below draws (100)"


def test_old_name_is_understood_with_a_warning(caplog):
    place = loads("method:\n  alpha_max: 5\n", "run.yaml").place("method")
    with caplog.at_level(logging.WARNING):
        assert build(Sampler, {"alpha_max": 5}, place).acceleration == 5
    assert caplog.messages == [
        "run.yaml:2: method.alpha_max is the old name of acceleration (value 5 used)"
    ]
    assert "keep one" in refusal(Sampler, {"alpha_max": 5, "acceleration": 6})


def test_errors_of_the_data_are_not_errors_of_the_request():
    def read(path: Path) -> None:
        raise DataError("negative counts")

    with pytest.raises(DataError, match=r"^negative counts$"):
        build(read, {"path": "a"}, "data")


def test_a_function_with_keywords_takes_any_option():
    def read(path: Path, **others: Any) -> dict[str, Any]:
        return others

    assert build(read, {"path": "a", "b": 1}) == {"b": 1}


def test_description_comes_from_the_docstring():
    fwhm, passes, rounds = describe(Smooth)
    assert (fwhm.name, fwhm.required) == ("fwhm", True)
    assert fwhm.description == "Full width at half maximum, on the sky or in pixels."
    assert passes.description == rounds.description == "How often."
    assert passes.type == "a whole number from 1 to 9"
    assert (rounds.required, rounds.default) == (False, "auto")
    assert {option.name: option for option in describe(Sampler)}["weights"].default == {}


def test_every_kind_of_type_has_words():
    def entry(
        a: Sequence[int], b: dict[str, bool], c: tuple[int, str], d: Callable[..., Any],
        e: np.ndarray[Any, Any], f: Any, g: list, h: Path | Any,
    ) -> None: ...  # fmt: skip

    assert [option.type for option in describe(entry)] == [
        "a list (each a whole number)",
        "a mapping of names to true or false",
        "a list of 2: a whole number, text",
        "a function",
        "an array",
        "anything",
        "a list",
        "a file name or an object",
    ]


def test_options_inside_an_option_are_told_by_their_names_not_by_their_class():
    def entry(a: Pair | None, b: Loose | str, c: Mapping[str, Pair]) -> None: ...

    found = describe(entry)
    assert [option.type for option in found] == [
        "a mapping with first and second or null",
        "a mapping with passes or rounds or text",
        "a mapping of names to a mapping with first and second",
    ]
    assert [option.by_name for option in found] == [False, False, True]


def test_schema_describes_the_text_form():
    found = schema(Smooth)
    assert found["required"] == ["fwhm"]
    assert found["additionalProperties"] is False
    assert found["description"] == "Smooth a sky."
    fwhm = found["properties"]["fwhm"]
    assert fwhm["type"] == "string"
    assert fwhm["description"].startswith("Full width")
    passes = found["properties"]["passes"]
    assert (passes["minimum"], passes["maximum"], passes["default"]) == (1, 9, 1)
    inside = schema(Sampler)["properties"]["smooth"]["anyOf"][0]
    assert inside["required"] == ["fwhm"]


@pytest.mark.parametrize("text", ["2 deg", "1.5pix", "-1e-3 arcsec", ".5 deg", "3 keV cm-2 s-1"])
def test_pattern_of_the_schema_takes_quantities(text):
    import re

    pattern = schema(Smooth)["properties"]["fwhm"]["pattern"]
    assert re.match(pattern, text)
    assert not re.match(pattern, "2")
    assert not re.match(pattern, "wide")


def test_schema_of_everything_is_json():
    import json

    json.dumps([schema(Sampler), schema(take)])


def test_importing_options_and_registry_is_cheap():
    heavy = "numpy", "astropy", "pydantic", "yaml"
    code = f"import sys, skyfold.options, skyfold.registry; print(*set(sys.modules) & {set(heavy)})"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == ""
