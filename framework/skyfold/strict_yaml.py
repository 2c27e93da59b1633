"""YAML that does what it looks like: the core schema of YAML 1.2, and nothing silently dropped.

Unlike plain PyYAML, ``1e-4`` is a number, only ``true`` and ``false`` are booleans (``no``,
``12:30`` and ``1_000`` stay text), a key may appear once, and tags and merge keys are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from skyfold.document import Document, Key, KeyPath, shown
from skyfold.errors import ConfigError, FileError

MAX_NODES = 10_000
MAX_BYTES = 1_000_000
SET = "--set "

_CORE = "tag:yaml.org,2002:"
_NAMED_FLOATS = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


def _whole(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)


def _real(text: str) -> float:
    return float(_NAMED_FLOATS.get(text.lower(), text))


# Tag, pattern, first characters and conversion of each kind of plain value (YAML 1.2.2, 10.3.2).
_PLAIN: list[tuple[str, str, str, Callable[[str], Any]]] = [
    ("null", r"~|null|Null|NULL|", "~nN", lambda text: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _whole),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        _real,
    ),
]
_SCALARS = {_CORE + kind: (re.compile(p), convert) for kind, p, _, convert in _PLAIN}


class _TooMany(Exception):
    """A text with more values than a configuration can have."""


class _Loader(yaml.SafeLoader):
    """Composes nodes; plain values are told apart by the core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own declaration)
    composed = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Count the nodes, so that a long text is refused without being read to its end."""
        self.composed += 1
        if self.composed > MAX_NODES:
            raise _TooMany
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


for _kind, _pattern, _first, _ in _PLAIN:
    _Loader.add_implicit_resolver(
        _CORE + _kind, re.compile(rf"(?:{_pattern})\Z"), [*_first, *([""] * (_kind == "null"))]
    )


def load(path: Path | str) -> Document:
    """Read a configuration file.

    Raises
    ------
    FileError
        If the file cannot be read.
    ConfigError
        If it is not UTF-8 text or its content is at fault: see `loads`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise FileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(
            f"{path}: larger than {MAX_BYTES // 1_000_000} MB, too large for a configuration"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: not UTF-8 text (byte {raw[error.start]:#04x}); "
            "is this a configuration file? If so, save it as UTF-8"
        ) from None
    return loads(text, str(path))


def loads(text: str, source: str = "configuration") -> Document:
    """Read a configuration from text.

    Parameters
    ----------
    text
        YAML whose top level is a group of keys.
    source
        What to call it in messages; relative paths refer to its folder.

    Raises
    ------
    ConfigError
        With ``source:line``, if the text is no YAML, is empty or not a group of keys, has a key
        twice or one that is not text, has tags or merge keys, or expands to more than 10 000
        values.
    """
    data, lines = _read(text, source)
    if data is None:
        raise ConfigError(f"{source}: empty; write at least one key, as in `seed: 1`")
    if not isinstance(data, dict):
        raise ConfigError(
            f"{source}: expected keys with values at the top level, as in `seed: 1`, "
            f"got {shown(data)}"
        )
    return Document(data, source, lines)


def override(document: Document, assignment: str) -> Document:
    """Return a document with one value replaced by ``a.b.c=value`` from the command line.

    The value is read like one in a file: ``seed=2``, ``smoothing.fwhm=2 deg``, ``keep=[1, 2]``.

    Raises
    ------
    ConfigError
        If the assignment has no key or no ``=``, if its value is no YAML, or if the keys lead
        through a value that holds none.
    """
    name, equals, text = assignment.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(f"{SET}{assignment}: expected KEY=VALUE, as in method.iterations=50")
    origin = SET + name.strip()
    value, _ = _read(text, origin)
    return document.replaced(path, value, origin)


def scalar(text: str) -> Any:
    """Return a value from the command line as YAML reads it; text that is no YAML is itself."""
    try:
        return _read(text, "")[0]
    except ConfigError:
        return text


def _read(text: str, source: str) -> tuple[Any, dict[KeyPath, int | str]]:
    """Return the value that a text stands for, and the line of each key path in it."""
    try:
        node: yaml.Node | None = _Loader(text).get_single_node()
        if node is None:
            return None, {}
        if _expanded(node, source, {}) > MAX_NODES:
            raise _TooMany
        reader = _Reader(source)
        return reader.value(node, ()), reader.lines
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_explain(error, text, source)) from None
    except yaml.reader.ReaderError as error:
        line = len(_lines(text[: error.position]))
        raise ConfigError(
            f"{_at(source, line)}: the character U+{ord(text[error.position]):04X} is not allowed"
        ) from None
    except _TooMany:
        limit = f"{MAX_NODES:,}".replace(",", " ")
        raise ConfigError(
            f"{source}: more than {limit} values once aliases (*name) are expanded"
        ) from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None


def _expanded(node: yaml.Node, source: str, counts: dict[int, int | None]) -> int:
    """Return how many values a node stands for once its aliases are expanded."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in counts:
        counts[id(node)] = None
        pairs = isinstance(node, yaml.MappingNode)
        children = chain.from_iterable(node.value) if pairs else node.value
        counts[id(node)] = 1 + sum(_expanded(child, source, counts) for child in children)
    found = counts[id(node)]
    if found is None:
        raise ConfigError(
            f"{_at(source, _line(node))}: the value contains itself by an alias (*name)"
        )
    return found


class _Reader:
    """Turns nodes into values and notes their lines."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[KeyPath, int | str] = {}

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """Return the value of a node."""
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_CORE}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_CORE}seq":
            return [self._item(item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            if node.tag == f"{_CORE}str":
                return node.value
            if node.tag in _SCALARS:
                return self._scalar(node)
        raise self._error(node, _about_tag(node.tag))

    def _item(self, node: yaml.Node, path: KeyPath) -> Any:
        self.lines[path] = _line(node)
        return self.value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in found:
                raise self._error(
                    key_node,
                    f"the key {key!r} appears twice, first in line {first[key]}: remove one",
                )
            first[key] = self.lines[(*path, key)] = _line(key_node)
            found[key] = self.value(value_node, (*path, key))
        return found

    def _key(self, node: yaml.Node) -> str:
        key: Key = self.value(node, ()) if isinstance(node, yaml.ScalarNode) else ""
        if not isinstance(node, yaml.ScalarNode) or not isinstance(key, str):
            shown = f", got {node.value}" if isinstance(node, yaml.ScalarNode) else ""
            raise self._error(node, f"a key must be text{shown}: put it in quotes")
        if key == "<<" and node.style is None:
            raise self._error(node, "merge keys (<<) are not part of YAML 1.2: write the keys out")
        return key

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        pattern, convert = _SCALARS[node.tag]
        if not pattern.fullmatch(node.value):
            kind = node.tag.removeprefix(_CORE)
            raise self._error(node, f"{node.value!r} is not what its tag !!{kind} says")
        try:
            return convert(node.value)
        except ValueError:  # Python refuses whole numbers of thousands of digits
            raise self._error(node, f"a number of {len(node.value)} digits is too long") from None

    def _error(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(f"{_at(self.source, _line(node))}: {message}")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _at(source: str, *numbers: int) -> str:
    """Return source:line:column; what the command line sets has one line only."""
    return source if source.startswith(SET) else ":".join([source, *map(str, numbers)])


def _about_tag(tag: str) -> str:
    short = f"!!{tag.removeprefix(_CORE)}" if tag.startswith(_CORE) else tag
    if short.startswith("!!python"):
        return f"tags that run code are not allowed ({short})"
    return f"the tag {short} is not allowed here: only plain values, lists and groups of keys are"


_HINTS = [
    (
        "mapping values are not allowed",
        'check the indentation, and for a colon missing in the line above; text with ": " in it '
        "needs quotes",
    ),
    ("expected <block end>", "this line is not aligned with its group: check the indentation"),
    ("could not find expected ':'", "a key needs a colon and a space after it, as in `seed: 1`"),
    ("expected ',' or", "this bracket is not closed, or a comma is missing in it"),
    ("unexpected end of stream", "this quote is not closed"),
    ("undefined alias", "*name needs &name before it; text that begins with * needs quotes"),
    ("cannot start any token", "text that begins with this character needs quotes"),
    ("but found another document", "--- begins a second document: keep only one"),
]
_BEGUN_EARLIER = ("could not find expected ':'", "expected ',' or", "unexpected end of stream")


def _explain(error: yaml.MarkedYAMLError, text: str, source: str) -> str:
    """Return what is wrong, where, the line itself with a caret, and a hint."""
    problem = str(error.problem or error.context)
    begun = error.context_mark if any(known in problem for known in _BEGUN_EARLIER) else None
    mark = begun or error.problem_mark or error.context_mark
    if mark is None:
        return f"{source}: {problem}"
    line = ([*_lines(text), ""])[mark.line]
    hint = next((hint for known, hint in _HINTS if known in problem), "")
    if "\t" in re.match(r"[\s-]*", line)[0]:  # type: ignore[index]  # it matches always
        problem, hint = "a tab in the indentation", "indent with spaces, not with tabs"
    start = max(0, mark.column - 60)
    shown_line = line[start : start + 100]
    under = re.sub(r"[^\t]", " ", line[start : mark.column])
    where = _at(source, mark.line + 1, mark.column + 1)
    message = f"{where}: {problem}\n    {shown_line}\n    {under}^"
    return f"{message}\n{hint}" if hint else message


def _lines(text: str) -> list[str]:
    """Split as YAML counts lines."""
    return re.split("\r\n|[\r\n\x85\u2028\u2029]", text)
