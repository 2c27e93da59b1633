"""What may be given for an image, on the command line, in a configuration and in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Source:
    """Marks a parameter as an image: the name of a file, or an array in memory.

    Parameters
    ----------
    words
        What is expected, in words.
    numbers
        Whether a number will do, for an image that is the same everywhere.
    """

    words: str = "a file name or an array"
    numbers: bool = False

    def read(self, value: Any) -> Any:
        """Return the value if it can be an image.

        Raises
        ------
        ValueError
            If it is empty, a number where none will do, or a mapping.
        """
        if is_number(value):
            good = self.numbers
        elif isinstance(value, str | Path):
            good = bool(str(value).strip())
        else:
            good = not isinstance(value, Mapping) and (
                isinstance(value, list) or hasattr(value, "__array__") or hasattr(value, "shape")
                or hasattr(value, "data") or hasattr(value, "values")
            )  # fmt: skip
        if not good:
            raise ValueError(f"expected {self.words}")
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Let pydantic call `read`."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the name of a file, or a number."""
        file = {"type": "string", "minLength": 1}
        return {"anyOf": [file, {"type": "number", "minimum": 0}]} if self.numbers else file


ImageSource = Annotated[Path | Any, Source()]
MapSource = Annotated[Path | Any, Source("a file name or an array or a number", numbers=True)]
PsfSource = Annotated[Path | Any, Source('a file name, an array, or text like "gauss:1.2 pix"')]


def is_number(value: Any) -> bool:
    """Return whether a value is a real number; true and false are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
