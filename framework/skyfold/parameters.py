"""What a function or dataclass takes: names, types, defaults and descriptions, also in words."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

Entry = Callable[..., Any]

_BASIC = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a file name",
    type(None): "null",
    None: "null",
    Any: "anything",
}


@dataclass(frozen=True)
class Parameter:
    """One thing that an entry takes.

    Parameters
    ----------
    name
        Its name, which is also the key in a configuration.
    annotation
        Its type, with ranges and units.
    required
        Whether it must be given.
    default
        What it is otherwise; None where it must be given.
    description
        What the docstring of the entry says of it.
    """

    name: str
    annotation: Any
    required: bool
    default: Any
    description: str

    @property
    def type(self) -> str:
        """The type in words."""
        return in_words(self.annotation)

    @property
    def several(self) -> bool:
        """Whether it may be a list."""
        kinds = (get_origin(kind) for kind in members(self.annotation))
        return any(kind in (list, tuple, Sequence) for kind in kinds)

    @property
    def by_name(self) -> bool:
        """Whether it may hold several things by name."""
        kinds = (get_origin(kind) or kind for kind in members(self.annotation))
        return any(isinstance(kind, type) and issubclass(kind, Mapping) for kind in kinds)


def parameters_of(entry: Entry) -> dict[str, Parameter]:
    """Return what an entry takes by name, in its own order."""
    annotations, descriptions = _annotations(entry), _descriptions(entry)
    found = {}
    for name, given in inspect.signature(entry).parameters.items():
        if given.kind in (given.POSITIONAL_ONLY, given.VAR_POSITIONAL, given.VAR_KEYWORD):
            continue
        required = given.default is given.empty
        default = None if required else given.default
        if dataclasses.is_dataclass(entry) and not required:
            default = _field_default(entry, name, default)
        found[name] = Parameter(
            name, annotations.get(name, Any), required, default, descriptions.get(name, "")
        )
    return found


def takes_anything(entry: Entry) -> bool:
    """Return whether an entry has a ``**`` parameter."""
    kinds = {given.kind for given in inspect.signature(entry).parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds


def _field_default(entry: Any, name: str, default: Any) -> Any:
    """Return the default of a dataclass field, also where a factory makes it."""
    made = {f.name: f.default_factory for f in dataclasses.fields(entry)}.get(name)
    return made() if callable(made) else default


def _annotations(entry: Entry) -> dict[str, Any]:
    """Return the types by name; what was imported for type checkers only may be anything."""
    plain: Any = entry
    holders = [inspect.unwrap(plain)]
    if dataclasses.is_dataclass(plain) and isinstance(plain, type):
        holders = list(reversed(plain.__mro__))
    elif isinstance(plain, type):
        holders = [plain.__init__]  # type: ignore[misc]
    found: dict[str, Any] = {}
    for holder in holders:
        module = sys.modules.get(getattr(holder, "__module__", ""))
        names = getattr(holder, "__globals__", vars(module) if module else {})
        for name, annotation in inspect.get_annotations(holder).items():
            found[name] = _evaluated(annotation, names)
    return found


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, names)
        except (NameError, AttributeError):
            return Any
    return annotation.type if isinstance(annotation, dataclasses.InitVar) else annotation


def _descriptions(entry: Entry) -> dict[str, str]:
    """Return the entries of the ``Parameters`` sections of numpydoc docstrings, bases first."""
    wrapped = [inspect.unwrap(entry), entry]
    holders = reversed(entry.__mro__) if isinstance(entry, type) else wrapped
    found: dict[str, str] = {}
    for holder in holders:
        _, _, section = (inspect.getdoc(holder) or "").partition("Parameters\n----------\n")
        section = re.split(r"\n\S[^\n]*\n-+(?:\n|$)", "\n" + section)[0]
        for names, text in re.findall(r"\n(\S[^\n]*)((?:\n[ \t]+[^\n]*|\n(?=\n|$))*)", section):
            for name in names.partition(" :")[0].split(","):
                found[name.strip(" *")] = " ".join(text.split())
    return found


def summary(entry: Entry) -> str:
    """Return the first sentence of a docstring."""
    return (inspect.getdoc(entry) or "").partition("\n\n")[0].replace("\n", " ")


def members(annotation: Any) -> Iterator[Any]:
    """Yield the alternatives of a type, without their ranges and units."""
    if get_origin(annotation) is Annotated:
        yield from members(get_args(annotation)[0])
    elif is_union(annotation):
        for part in get_args(annotation):
            yield from members(part)
    else:
        yield annotation


def is_union(annotation: Any) -> bool:
    """Return whether a type is ``X | Y``."""
    return get_origin(annotation) in (Union, types.UnionType)


def in_words(annotation: Any) -> str:
    """Return a type in words: ``a whole number, at least 0``."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        words = next((m.words for m in inside[1:] if hasattr(m, "words")), None)
        return f"{words or in_words(inside[0])}{_range_in_words(inside[1:])}"
    if is_union(annotation):
        words = ("an object" if part is Any else in_words(part) for part in inside)
        return " or ".join(dict.fromkeys(words))
    if origin is Literal:
        return " or ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in inside)
    base = origin or annotation
    if annotation in (int, float, str, bool, None, Any, Path, type(None)):
        return _BASIC[annotation]
    if not isinstance(base, type):
        return "a function" if callable(base) else "anything"
    if base.__name__ in ("Callable", "function"):
        return "a function"
    if base.__name__ == "ndarray":
        return "an array"
    if issubclass(base, Mapping):
        return f"a mapping of names to {in_words(inside[1])}" if inside else "a mapping"
    if issubclass(base, tuple) and inside and inside[-1] is not ...:
        return f"a list of {len(inside)}: {', '.join(map(in_words, inside))}"
    if issubclass(base, Collection) and base.__module__ in ("builtins", "collections.abc"):
        return f"a list (each {in_words(inside[0])})" if inside else "a list"
    if dataclasses.is_dataclass(base):
        return _options_in_words(parameters_of(base))
    return f"a {base.__name__}"


def _options_in_words(parameters: Mapping[str, Parameter]) -> str:
    """Return what a mapping of options holds: those that must be given, if there are such."""
    required = [name for name, parameter in parameters.items() if parameter.required]
    return f"a mapping with {' and '.join(required) or ' or '.join(parameters)}"


def _range_in_words(metadata: tuple[Any, ...]) -> str:
    """Return the limits that a value must keep to."""
    flat = [item for m in metadata for item in (m, *getattr(m, "metadata", ()))]
    limits = {
        name: limit
        for name in ("gt", "ge", "lt", "le", "min_length", "max_length")
        for item in flat
        if (limit := getattr(item, name, None)) is not None
    }
    if "ge" in limits and "le" in limits:
        return f" from {limits['ge']} to {limits['le']}"
    words = {
        "gt": "greater than",
        "ge": "of at least",
        "lt": "less than",
        "le": "of at most",
        "min_length": "of length at least",
        "max_length": "of length at most",
    }
    said = [f"{words[name]} {limit}" for name, limit in limits.items()]
    return f" {' and '.join(said)}" if said else ""
