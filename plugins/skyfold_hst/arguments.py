"""Arguments as the tasks of IRAF took them: by position, by name, as switches, from a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from skyfold import options
from skyfold.checking import as_number
from skyfold.document import Document, Place
from skyfold.errors import ConfigError
from skyfold.inputs import require_data
from skyfold.parameters import Parameter, members

T = TypeVar("T")

FILE, UNUSED = "par", "mode"
NAMED = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)
SWITCH = re.compile(r"(?P<name>[A-Za-z_]\w*)(?P<value>[+-])")
LINE = re.compile(r"\(?\s*(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>\"[^\"]*\"|'[^']*'|[^\s)]*).*")
SAID = {"yes": True, "y": True, "+": True, "true": True} | dict.fromkeys(
    ("no", "n", "-", "false"), False
)


def parsed(words: Sequence[str], task: type[T], name: str) -> T:
    """Return the parameters of a task.

    ``qso_b psf_b 0.1 100`` are its parameters in their order; ``skernel=1``, ``accel=yes``,
    ``accel+`` and ``accel-`` name them, in full or by a beginning that only one of them has.
    ``par=FILE`` reads them from lines ``name = "value"``, some of them perhaps in brackets, with
    any text behind; what is said on the command line counts before it. An empty value stands for
    the default.

    Parameters
    ----------
    words
        The command line behind the name of the task.
    task
        Dataclass of the parameters, in their order.
    name
        Name of the task, for messages.

    Raises
    ------
    ConfigError
        If a parameter is unknown, missing, given twice, or its value not what it must be.
    FileError
        If the parameter file cannot be read.
    """
    takes = {parameter.name: parameter for parameter in options.describe(task)}
    found = _Found(takes, Document({}, f"skyfold {name}"))
    later = _Found(takes, found.document)
    waiting = list(takes)
    for word in words:
        if matched := NAMED.fullmatch(word) or SWITCH.fullmatch(word):
            if matched["name"] == FILE:
                found.read(Path(matched["value"]))
            else:
                later.set(matched["name"], matched["value"])
        elif waiting:
            later.set(waiting.pop(0), word)
        else:
            raise ConfigError(f"skyfold {name}: {word}: nothing more is expected")
    document = found.document
    for key, value in later.document.data.items():
        document = document.replaced((key,), value, document.source)
    data = {key: value for key, value in document.data.items() if value is not None}
    return options.build(task, data, Document(data, document.source, document.origins).place())


class _Found:
    """Parameters found so far; None for those that are explicitly empty."""

    def __init__(self, takes: dict[str, Parameter], document: Document) -> None:
        self.takes, self.document = takes, document

    def read(self, path: Path) -> None:
        """Read a parameter file."""
        require_data(path)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            where = f"{path}:{number}"
            if (matched := LINE.fullmatch(line.strip())) is None:
                raise ConfigError(f'{where}: expected name = "value", got {line.strip()!r}')
            if matched["name"] != UNUSED:
                self.set(matched["name"], matched["value"], where)

    def set(self, name: str, text: str, where: str = "") -> None:
        """Store a value under the full name."""
        origin = where or self.document.source
        place = Place((), Document({}, origin))
        full = [n for n in self.takes if n == name] or [n for n in self.takes if n.startswith(name)]
        if len(full) > 1:
            raise ConfigError(f"{origin}: {name!r} may be {' or '.join(full)}")
        if not full:
            raise place.unknown(name, self.takes)
        if full[0] in self.document.data:
            raise ConfigError(f"{origin}: {full[0]!r} is given twice")
        value = _value(text.strip("\"' "), self.takes[full[0]], place / full[0])
        self.document = self.document.replaced((full[0],), value, origin)


def _value(text: str, parameter: Parameter, place: Place) -> object:
    """Return what a text means for a parameter; None if it is empty."""
    kinds = set(members(parameter.annotation))
    if not text:
        return None
    if bool in kinds:
        if text.lower() not in SAID:
            raise place.error(f"expected yes or no, got {text!r}")
        return SAID[text.lower()]
    number = as_number(text) if kinds & {int, float} else None
    return text if number is None else number
