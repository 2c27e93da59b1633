"""Values against types: what pydantic converts, made strict, and refusals in plain words.

Pydantic's own conversions are too kind for a configuration: they take "yes" and 1 for true.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from skyfold.document import Place, shown
from skyfold.errors import ConfigError
from skyfold.parameters import Parameter, is_union, members

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema


_TRUTH = dict.fromkeys(("yes", "on", "true"), "true") | dict.fromkeys(
    ("no", "off", "false"), "false"
)


class Explained(ValueError):
    """A refusal whose message says all."""


class _Mismatch(ValueError):
    """A refusal that the expected type explains."""


def checked(parameter: Parameter, value: Any, place: Place) -> Any:
    """Return the value converted to what the parameter asks for."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    adapter = TypeAdapter(strict(parameter.annotation), config=ConfigDict(allow_inf_nan=False))
    try:
        return adapter.validate_python(value, context=place)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        causes = [d["ctx"]["error"] for d in details if d["type"] == "value_error"]
    for cause in causes:
        if isinstance(cause, ConfigError):
            raise cause
        if isinstance(cause, Explained):
            raise place.error(str(cause))
        if not isinstance(cause, _Mismatch):
            raise place.error(f"{cause}, got {shown(value)}")
    hint = _hint(parameter, value)
    raise place.error(f"expected {parameter.type}, got {shown(value)}{hint}")


def _hint(parameter: Parameter, value: Any) -> str:
    """Return what to write instead, in brackets, where that can be guessed."""
    kinds = {kind for kind in members(parameter.annotation) if isinstance(kind, type)}
    if value is None and not parameter.required:
        return " (leave the key out for its default)"
    if isinstance(value, str):
        number = as_number(value)
        if kinds & {int, float} and number is not None:
            return f" (write {number:g}, without quotes or underscores)"
        if bool in kinds and value.lower() in _TRUTH:
            return f" (write {_TRUTH[value.lower()]})"
        if (inside := bracketed(value.strip("()[] "), parameter)).startswith("["):
            return f" (write {inside})"
    elif str in kinds and isinstance(value, bool | int | float):
        return f' (write "{shown(value)}", in quotes)'
    return ""


def bracketed(text: str, parameter: Parameter) -> str:
    """Return numbers with commas between them as YAML writes a list, where one may be meant."""
    numbers = "," in text and all(as_number(part) is not None for part in text.split(","))
    return f"[{text}]" if numbers and parameter.several else text


def _plain(value: Any) -> Any:
    """Return a NumPy number as a Python one."""
    bare = getattr(value, "shape", None) == () and not hasattr(value, "unit")
    return value.item() if bare and hasattr(value, "item") else value


def _truth(value: Any) -> bool:
    value = _plain(value)
    if not isinstance(value, bool):
        raise _Mismatch
    return value


def _whole(value: Any) -> int:
    value = _plain(value)
    whole = isinstance(value, numbers.Real) and math.isfinite(value) and value == math.floor(value)
    if isinstance(value, bool) or not whole:
        raise _Mismatch
    return int(value)


def _real(value: Any) -> float:
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _Mismatch
    return float(value)


@dataclass(frozen=True)
class _Instance:
    """Takes objects of a class as they are; a dataclass also from a mapping of its options."""

    kind: Any

    @property
    def _has_options(self) -> bool:
        return dataclasses.is_dataclass(self.kind)

    def read(self, value: Any, place: Place) -> Any:
        """Return the object."""
        if isinstance(value, self.kind):
            return value
        if self._has_options and isinstance(value, Mapping):
            from skyfold.options import build

            return build(self.kind, value, place)
        raise _Mismatch

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Let pydantic call `read`."""
        from pydantic_core import core_schema

        return core_schema.with_info_plain_validator_function(
            lambda value, info: self.read(value, info.context)
        )

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the mapping of options; other objects have no JSON form."""
        from skyfold.options import schema

        return schema(self.kind) if self._has_options else {}


def strict(annotation: Any) -> Any:
    """Return a type for pydantic that converts only what cannot be misunderstood."""
    from pydantic import BeforeValidator, Field, Strict

    origin, inside = get_origin(annotation), get_args(annotation)
    first = {
        bool: BeforeValidator(_truth),
        int: BeforeValidator(_whole),
        float: BeforeValidator(_real),
        str: Strict(),
    }
    if annotation in tuple(first):
        return Annotated[annotation, first[annotation]]
    if origin is Annotated:
        base = strict(inside[0]) if inside[0] not in tuple(first) else inside[0]
        last = (first[base],) if base in tuple(first) else ()
        return Annotated[(base, *inside[1:], *last)]
    if is_union(annotation):
        parts = tuple(strict(part) for part in inside if part is not type(None))
        either = parts[0]
        if len(parts) > 1:
            either = Annotated[reduce(or_, parts), Field(union_mode="left_to_right")]
        return either if len(parts) == len(inside) else either | None
    if annotation in (Any, None, type(None), Path) or origin is Literal:
        return annotation
    kind: Any = origin or annotation
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return Any
    if issubclass(kind, Enum):
        return annotation
    if kind.__module__ in ("builtins", "collections.abc") and kind is not type:
        if kind.__name__ == "Callable":
            return Annotated[Any, _Instance(kind)]
        generic: Any = kind
        return generic[tuple(p if p is ... else strict(p) for p in inside)] if inside else kind
    return Annotated[Any, _Instance(kind)]


def as_number(value: Any) -> float | None:
    """Return a bare number, or text that spells one, as a number."""
    if isinstance(value, bool):
        return None
    try:
        return float(value.replace("_", "") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        return None
