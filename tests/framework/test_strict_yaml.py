"""Configurations read without surprises: what is odd is refused, with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from skyfold.document import Document, Place
from skyfold.errors import ConfigError, FileError
from skyfold.strict_yaml import load, loads, override, scalar

# Text that YAML 1.2 reads as a number, while PyYAML, which writes the examples, does not quote it.
NUMBER = re.compile(r"[-+]?(0o[0-7]+|(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)")
TEXT = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda t: not NUMBER.fullmatch(t))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXT, inside, max_size=4),
    max_leaves=12,
)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loads(text, "run.yaml")
    assert caught.value.exit_code == 2
    return str(caught.value)


@given(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4))
def test_what_yaml_writes_is_read_back(data):
    assert loads(yaml.safe_dump(data)).data == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1e6", 1e6), ("-.5", -0.5), ("1.", 1.0), (".inf", float("inf")),
        ("-3", -3), ("017", 17), ("0o17", 15), ("0x1F", 31),
        ("true", True), ("false", False), ("~", None), ("null", None), ("", None),
    ],
)  # fmt: skip
def test_plain_values_follow_yaml_1_2(text, value):
    read = loads(f"a: {text}").data["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "off", "y", "12:30", "1_000", "2001-01-01", "2 deg", "1e", ".", "="]
)
def test_what_other_readers_convert_stays_text(text):
    assert loads(f"a: {text}").data["a"] == text


def test_values_know_their_lines():
    document = loads("a: 1\nmethod:\n  name: rl\n  keep:\n  - 1\n  - last\n", "run.yaml")
    assert str(document.place("method", "keep", 1)) == "run.yaml:6: method.keep[1]"
    assert document.place("method", "name").origin == "run.yaml:3"
    assert document.place("method", "absent", "deeper").origin == "run.yaml:2"


def test_unknown_key_is_named_with_line_and_suggestion():
    document = loads("method:\n  name: rl\n  smothing: {}\n", "run.yaml")
    error = document.place("method").unknown("smothing", ["name", "smoothing"])
    assert str(error).startswith(
        "run.yaml:3: unknown key 'smothing' in method. Did you mean 'smoothing'?"
    )


def test_duplicate_key_is_refused_with_both_lines():
    message = refusal("method:\n  name: rl\nseed: 1\nmethod:\n  name: map\n")
    assert message.startswith("run.yaml:4: the key 'method' appears twice, first in line 1")


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("a:\n\tb: 1\n", "run.yaml:2:1", "spaces, not with tabs"),
        ("a:\n  b: 1\n\tc: 2\n", "run.yaml:3:1", "spaces, not with tabs"),
        ("a:\n  - 1\n  -\tb: 2\n", "run.yaml:3:4", "spaces, not with tabs"),
        ("a:\n    b: 1\n   c: 2\n", "run.yaml:3:4", "indentation"),
        ("a: 1\n  b: 2\n", "run.yaml:2:4", "indentation"),
        ("a: x: y\n", "run.yaml:1:5", "quotes"),
        ("a: 1\nb:2\nc: 3\n", "run.yaml:2:1", "colon and a space"),
        ("a: [1, 2\nb: 3\n", "run.yaml:1:4", "bracket is not closed"),
        ("a: 'x\nb: 3\n", "run.yaml:1:4", "quote is not closed"),
        ("a: *nowhere\n", "run.yaml:1:4", "text that begins with * needs quotes"),
        ("a: %x\n", "run.yaml:1:4", "needs quotes"),
        ("a: 1\n---\nb: 2\n", "run.yaml:2:1", "keep only one"),
    ],
)
def test_malformed_text_is_shown_with_a_caret_and_a_hint(text, where, hint):
    message, shown, caret, advice = refusal(text).split("\n")
    line, column = map(int, where.split(":")[1:])
    assert message.startswith(f"{where}: ")
    assert shown == "    " + text.split("\n")[line - 1]
    assert caret.index("^") == 4 + column - 1
    assert hint in advice


def test_very_long_line_is_shown_around_the_fault():
    shown, caret = refusal("a: " + "x" * 500 + ": y").split("\n")[1:3]
    assert len(shown) <= 110
    assert shown[caret.index("^")] == ":"


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system"])
def test_tags_that_run_code_are_refused(tag):
    message = refusal(f"a: 1\nb:\n- {tag} [ls]\n")
    assert message.startswith("run.yaml:3: tags that run code are not allowed (!!python")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !mine 1", "the tag !mine is not allowed"),
        ("a: !!set {b}", "the tag !!set is not allowed"),
        ("a: !!timestamp 2001-01-01", "the tag !!timestamp is not allowed"),
        ("a: !!map [1]", "the tag !!map is not allowed"),
        ("a: !!bool yes", "'yes' is not what its tag !!bool says"),
        ("a: !!int 1.5", "'1.5' is not what its tag !!int says"),
        ("b: &b {c: 1}\n<<: *b", "merge keys"),
        ("1: 2", "a key must be text, got 1"),
        ("true: 2", "a key must be text, got true"),
        ("? [a]\n: 1", "a key must be text"),
        ("a: &a [*a]", "contains itself"),
        (f"a: {'9' * 5000}", "5000 digits"),
        ("a: 1\nb: \x07", "U+0007"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(text, said):
    message = refusal(text)
    assert said in message
    assert re.match(r"run\.yaml:\d: ", message)


def test_core_tags_and_aliases_are_understood():
    assert loads("a: !!str 12\nb: !!float 3\nc: &c [1]\nd: *c\n").data == {
        "a": "12", "b": 3.0, "c": [1], "d": [1],
    }  # fmt: skip


def test_alias_bomb_is_refused_without_being_expanded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 100)]
    assert "more than 10 000 values" in refusal("\n".join(lines))


def test_as_many_values_as_allowed_are_read():
    assert len(loads(f"a: [{'1,' * 9997}]").data["a"]) == 9997
    assert "more than 10 000 values" in refusal(f"a: [{'1,' * 9998}]")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~"])
def test_empty_configuration_is_refused(text):
    assert refusal(text).startswith("run.yaml: empty")


@pytest.mark.parametrize("text", ["- 1\n", "just text", "12"])
def test_top_level_must_be_keys(text):
    assert "expected keys with values" in refusal(text)


@pytest.mark.parametrize("text", ["a: " + "[" * 5000, "a: " + "[" * 400 + "]" * 400])
def test_too_deep_nesting_is_refused(text):
    assert refusal(text).startswith("run.yaml: nested too deeply")


def test_file_is_read_with_its_name(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_bytes("\ufefftitle: Größe\nx: 1\nx: 2\n".encode())
    with pytest.raises(ConfigError, match=re.escape(f"{path}:3: the key 'x' appears twice")):
        load(path)
    path.write_text("data: {counts: counts.fits}", encoding="utf-8")
    place = load(path).place("data", "counts")
    assert place.folder == tmp_path


@pytest.mark.parametrize("content", [b"a: 1\nb: \xff\n", b"\xff\xfea\x00:\x00", b"SIMPLE\n\x93"])
def test_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.yaml:[12]: not UTF-8 text"):
        load(path)


def test_file_that_is_too_large_is_refused(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        load(path)


def test_file_that_cannot_be_read_is_a_file_error(tmp_path: Path):
    with pytest.raises(FileError, match=r"no\.yaml: there is no such file"):
        load(tmp_path / "no.yaml")
    with pytest.raises(FileError, match="cannot be read"):
        load(tmp_path)


def test_override_replaces_one_value_and_says_so():
    document = loads("method:\n  name: rl\n  smoothing: {fwhm: 2 deg}\nseed: 1\n", "run.yaml")
    changed = override(document, "method.smoothing.fwhm=3 deg")
    assert changed.data["method"] == {"name": "rl", "smoothing": {"fwhm": "3 deg"}}
    assert document.data["method"]["smoothing"] == {"fwhm": "2 deg"}
    place = changed.place("method", "smoothing", "fwhm")
    assert str(place.error("no")) == "--set method.smoothing.fwhm: no"
    assert place.folder is None
    assert changed.place("method", "name").origin == "run.yaml:2"


def test_override_forgets_the_lines_of_what_it_replaces():
    changed = override(loads("a:\n  b:\n    c: 1\n", "run.yaml"), "a.b={c: 2}")
    assert str(changed.place("a", "b", "c").error("no")) == "--set a.b: a.b.c: no"


@pytest.mark.parametrize(
    ("assignment", "data"),
    [
        ("a.1=1e-4", {"a": [1, 1e-4], "b": None}),
        ("b.c.d=[x, no]", {"a": [1, 2], "b": {"c": {"d": ["x", "no"]}}}),
        ("new=a=b", {"a": [1, 2], "b": None, "new": "a=b"}),
        ("b=", {"a": [1, 2], "b": None}),
    ],
)
def test_override_makes_what_is_missing(assignment, data):
    assert override(loads("a: [1, 2]\nb:\n"), assignment).data == data


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("a.2=1", "--set a.2: a is a list of 2; say which item by a number from 0 to 1"),
        ("a.x=1", "not 'x'"),
        ("b.c=1", "--set b.c: b is 5, not a group of keys"),
        ("b", "expected KEY=VALUE"),
        ("=1", "expected KEY=VALUE"),
        ("b..c=1", "expected KEY=VALUE"),
        ("b=[1", "--set b: expected ',' or ']'"),
        ("b=!!python/name:os x", "--set b: tags that run code are not allowed"),
    ],
)
def test_wrong_override_is_refused(assignment, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        override(loads("a: [1, 2]\nb: 5\n"), assignment)


def test_scalar_reads_a_value_or_leaves_text_alone():
    assert scalar("1e-4") == 1e-4
    assert scalar("2 deg") == "2 deg"
    assert scalar("counts.fits[1]") == "counts.fits[1]"
    assert scalar("[unclosed") == "[unclosed"


def test_place_without_document_is_its_key_path():
    assert str(Place(("data", 0, "counts"))) == "data[0].counts"
    assert Place(("a",)).folder is None
    assert str(Place().error("no")) == "no"


def test_values_from_the_command_line_name_their_flag():
    document = Document({}).replaced(("data", "psf"), 3, "--psf")
    assert str(document.place("data", "psf").error("no")) == "--psf: data.psf: no"


@given(st.text() | st.text(" \t\n-:,[]{}#&*!|>'\"%@`?ax01.~<=", max_size=30))
def test_any_text_is_read_or_refused_with_its_source(text):
    said = "run.yaml:"
    try:
        loads(text, "run.yaml")
    except ConfigError as error:
        said = str(error)
    assert said.startswith("run.yaml:")
