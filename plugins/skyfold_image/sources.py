"""What may be given for an image, on the command line, in a configuration and in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from skyfold.errors import ConfigError

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
    """

    words: str = "a file name or an array"

    def read(self, value: Any) -> Any:
        """Return the value if it can be an image.

        Raises
        ------
        ValueError
            If it is empty, a number, or a mapping.
        """
        if isinstance(value, str | Path):
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
        """Describe the name of a file."""
        return {"type": "string", "minLength": 1}


ImageSource = Annotated[Path | Any, Source()]
PsfSource = Annotated[Path | Any, Source('a file name, an array, or text like "gauss:1.2 pix"')]


def by_name(given: Any, name: str) -> dict[str, Any]:
    """Return images by component name: those of a mapping, or one under its usual name.

    Raises
    ------
    ConfigError
        If a name is empty.
    """
    if given is None:
        return {}
    named = dict(given) if isinstance(given, Mapping) else {name: given}
    if not all(isinstance(key, str) and key.strip() for key in named):
        raise ConfigError(f"{name}: each needs a name, as in {name}: {{galaxy: FILE}}")
    return named
