"""Options of named things: checked and converted by the annotations of a dataclass or function.

A parameter annotated as `Angle`, `Length`, `Duration`, `Energy` or another `Unit` is written as
text with a unit, ``"2 deg"``, and arrives as an astropy quantity; a bare number is refused.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

from skyfold.checking import Explained, as_number, checked, strict
from skyfold.document import Place, shown
from skyfold.errors import ConfigError, SkyfoldError
from skyfold.parameters import (
    Entry,
    Parameter,
    is_union,
    parameters_of,
    summary,
    takes_anything,
)

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Unit:
    """Marks a parameter as a quantity with a unit, given as text or as an astropy quantity.

    Parameters
    ----------
    what
        What it is, in words: ``an angle``.
    examples
        Texts such as ``2 deg``. The units accepted are those that convert to one of theirs.
    above_zero
        Whether it must be greater than zero, as sizes are.
    """

    what: str
    examples: tuple[str, ...]
    above_zero: bool = True

    @property
    def words(self) -> str:
        """What is expected."""
        examples = " or ".join(f'"{example}"' for example in self.examples)
        return f"{self.what} with a unit like {examples}"

    def read(self, value: Any) -> Any:
        """Return the quantity that a value stands for.

        Raises
        ------
        ValueError
            If it has no unit or one of another kind, or is not finite or not above zero.
        """
        found = value if hasattr(value, "unit") else self._parse(value)
        from astropy import units as u

        kinds = [u.Unit(example.split(maxsplit=1)[1]) for example in self.examples]
        if not any(found.unit.is_equivalent(kind) for kind in kinds):
            raise self._refusal(value, _physical(found.unit))
        if not found.isscalar or not math.isfinite(found.value):
            raise self._refusal(value, ", which is not one finite value")
        if self.above_zero and found.value <= 0:
            raise self._refusal(value, "; it must be greater than 0")
        return found

    def _parse(self, value: Any) -> Any:
        number = as_number(value)
        if number is not None:
            units = dict.fromkeys(example.split(maxsplit=1)[1] for example in self.examples)
            remedy = " or ".join(f'"{number:g} {unit}"' for unit in units)
            raise self._refusal(value, f" (write {remedy})")
        if not isinstance(value, str):
            raise self._refusal(value)
        from astropy import units as u

        try:
            with u.add_enabled_aliases({"px": u.pix}):
                return u.Quantity(value)
        except (ValueError, TypeError) as error:
            near = re.search(r"Did you mean [^?]*\?", str(error))
            raise self._refusal(value, f". {near[0]}" if near else "") from None

    def _refusal(self, value: Any, remark: str = "") -> ValueError:
        got = f'"{value}"' if hasattr(value, "unit") else shown(value)
        return Explained(f"expected {self.words}, got {got}{remark}")

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Let pydantic call `read`."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the text form."""
        number = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*\S*[A-Za-z].*$"
        return {"type": "string", "pattern": number, "examples": list(self.examples)}


Angle = Annotated[Any, Unit("an angle", ("2 deg",), above_zero=False)]
Length = Annotated[Any, Unit("an angle or pixels", ("2 deg", "3 pix"))]
Duration = Annotated[Any, Unit("a time", ("10 min",))]
Energy = Annotated[Any, Unit("an energy", ("511 keV",))]


def _physical(unit: Any) -> str:
    """Return what a unit measures, as the end of a sentence."""
    kind = str(unit.physical_type).partition("/")[0]
    if kind == "unknown":
        return ""
    return f", {'an' if kind[0] in 'aeiou' else 'a'} {kind}"


@dataclass(frozen=True)
class Formerly:
    """Marks a parameter that had another name in an earlier release.

    Parameters
    ----------
    name
        The old name; it is still understood, with a warning.
    """

    name: str


def build(
    entry: Callable[..., T],
    options: Mapping[str, Any],
    where: Place | str = "",
    known: Iterable[str] | None = None,
) -> T:
    """Call a dataclass or function with options checked, and converted, by its annotations.

    Arrays, quantities and other objects pass unchanged where their type is what is asked for.

    Parameters
    ----------
    entry
        What to call.
    options
        Keyword arguments, perhaps from a configuration file.
    where
        Where the options stand, for messages.
    known
        Keys to name in the message about an unknown one; the parameters by default.

    Raises
    ------
    ConfigError
        If an option is unknown, missing, of the wrong type or out of range, or if the entry, a
        dataclass, refuses their combination.
    """
    place = where if isinstance(where, Place) else Place(tuple(where.split(".")) if where else ())
    parameters = parameters_of(entry)
    given = _renamed(parameters, options, place)
    if not takes_anything(entry):
        for key in given.keys() - parameters.keys():
            raise place.unknown(key, parameters if known is None else known)
    for name, parameter in parameters.items():
        if name in given:
            given[name] = checked(parameter, given[name], place / name)
        elif parameter.required:
            raise place.error(f"{name!r} is missing: give {parameter.type}")
        elif isinstance(parameter.default, str) and _units(parameter.annotation):
            given[name] = checked(parameter, parameter.default, place / name)
    try:
        return entry(**given)
    except ValueError as error:
        ours = isinstance(error, ConfigError) or not isinstance(error, SkyfoldError)
        if dataclasses.is_dataclass(entry) and ours:
            raise place.error(str(error)) from error
        raise


def describe(entry: Entry) -> list[Parameter]:
    """Return what an entry takes: name, type in words, default and description of each."""
    return list(parameters_of(entry).values())


def schema(entry: Entry) -> dict[str, Any]:
    """Return the JSON schema of the options of an entry."""
    from pydantic import TypeAdapter

    properties: dict[str, Any] = {}
    parameters = parameters_of(entry)
    for name, parameter in parameters.items():
        found = TypeAdapter(strict(parameter.annotation)).json_schema()
        if parameter.description:
            found["description"] = parameter.description
        if parameter.default is not None and _is_json(parameter.default):
            found["default"] = parameter.default
        properties[name] = found
    return {
        "type": "object",
        "description": summary(entry),
        "properties": properties,
        "required": [name for name, parameter in parameters.items() if parameter.required],
        "additionalProperties": takes_anything(entry),
    }


def _renamed(
    parameters: Mapping[str, Parameter], options: Mapping[str, Any], place: Place
) -> dict[str, Any]:
    """Return the options under their present names."""
    given = dict(options)
    for name, parameter in parameters.items():
        metadata = getattr(parameter.annotation, "__metadata__", ())
        for old in [m.name for m in metadata if isinstance(m, Formerly)]:
            if old not in given:
                continue
            if name in given:
                raise (place / old).error(f"this is the old name of {name!r}, given too: keep one")
            given[name] = given.pop(old)
            log.warning(
                "%s is the old name of %s (value %s used)", place / old, name, shown(given[name])
            )
    return given


def _units(annotation: Any) -> bool:
    """Return whether a type is marked with a unit."""
    return any(isinstance(m, Unit) for m in getattr(annotation, "__metadata__", ())) or (
        is_union(annotation) and any(_units(part) for part in get_args(annotation))
    )


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
