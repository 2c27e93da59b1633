"""Commands of plugins: plain functions, whose parameters are what the command line takes.

Parameters without default are given in their order, all others as flags; annotations say what a
value must be, the docstring is the help.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap
from typing import Any

from skyfold import options, strict_yaml
from skyfold.checking import as_number, bracketed
from skyfold.document import suggestion
from skyfold.errors import ConfigError
from skyfold.parameters import Parameter, members, summary
from skyfold.registry import default_registry

SHORT = {"-o": "--output", "-q": "--quiet"}


def find(words: Sequence[str]) -> str | None:
    """Return the plugin command that a command line begins with, or None.

    A first word that only begins commands, as ``simulate`` does ``simulate compton``, is returned
    as it is: there is help for it.
    """
    known = default_registry().commands
    for name in sorted(known, key=len, reverse=True):
        if list(words[: len(name.split())]) == name.split():
            return name
    if words and any(name.split()[0] == words[0] for name in known):
        return words[0]
    return None


def listing(first: str) -> str:
    """Return one line of help for each plugin command that begins with a word."""
    known = default_registry().commands
    names = [name for name in known if name.split()[0] == first]
    return "".join(f"  {name:18} {summary(known[name]).rstrip('.')}\n" for name in names)


def run(name: str, words: Sequence[str]) -> int:
    """Run a command with the words that stand after its name, and return its exit code.

    Raises
    ------
    ConfigError
        If the words are not what the command takes.
    """
    known = default_registry().commands
    if name not in known:
        if words and not words[0].startswith("-"):
            full = f"{name} {words[0]}"
            raise ConfigError(f"no command named {full!r}. {suggestion(full, known)}")
        sys.stdout.write(f"usage: skyfold {name} COMMAND ...\n\n{listing(name)}")
        return 0 if words else 2
    command = known[name]
    if "-h" in words or "--help" in words:
        sys.stdout.write(help_for(name, command))
        return 0
    takes = {parameter.name: parameter for parameter in options.describe(command)}
    given = _read(words, takes, f"skyfold {name}")
    code: int | None = options.build(command, given)
    return code or 0


def help_for(name: str, command: Callable[..., Any]) -> str:
    """Return the help of a command, made from its docstring."""
    from skyfold.requests import option_lines

    takes = options.describe(command)
    places = [p.name.upper() + (" ..." if p.several else "") for p in takes if p.required]
    text = (inspect.getdoc(command) or "").partition("Parameters\n---")[0].strip()
    positional = [
        line
        for p in takes
        if p.required
        for line in (f"  {p.name.upper()}  {p.type}", *_indented(p.description))
    ]
    flags = option_lines(command, flags=True, but={p.name for p in takes if p.required})
    usage = f"usage: skyfold {name} {' '.join([*places, '[flags]'])}".rstrip()
    return "\n".join([usage, "", text, "", *positional, *([""] if positional else []), *flags, ""])


def _read(words: Sequence[str], takes: Mapping[str, Parameter], name: str) -> dict[str, Any]:
    """Return the options by name."""
    given: dict[str, Any] = {}
    places = [p for p in takes.values() if p.required]
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-") or as_number(word) is not None:
            if not places:
                raise ConfigError(f"{name}: {word}: nothing more is expected; see {name} --help")
            place = places[0] if places[0].several else places.pop(0)
            _set(given, place, word)
            continue
        flag, equals, value = word.partition("=")
        parameter = takes.get(SHORT.get(flag, flag).lstrip("-").replace("-", "_"))
        if parameter is None:
            flags = [f"--{key.replace('_', '-')}" for key in takes]
            raise ConfigError(f"{name}: unknown flag {flag}. {suggestion(flag, flags)}")
        if not equals and bool in members(parameter.annotation):
            said = waiting.pop(0) if waiting[:1] in (["true"], ["false"]) else "true"
            given[parameter.name] = said == "true"
        elif not equals and (not waiting or waiting[0].startswith("--")):
            raise ConfigError(f"{name}: {flag} needs a value: {parameter.type}")
        else:
            if parameter.name in given and not parameter.several:
                raise ConfigError(f"{name}: {flag} is given twice")
            _set(given, parameter, value if equals else waiting.pop(0))
            while parameter.several and waiting and as_number(waiting[0]) is not None:
                _set(given, parameter, waiting.pop(0))
    for parameter in takes.values():
        if parameter.required and parameter.name not in given:
            missing = parameter.name.upper()
            raise ConfigError(f"{name}: {missing} is missing: give {parameter.type}; see --help")
    return given


def _set(given: dict[str, Any], parameter: Parameter, text: str) -> None:
    """Store what a word says; lists grow word by word, or come whole as ``1,2`` or ``[1, 2]``."""
    words = ("text", "a file name", '"')
    plain = any(word in parameter.type for word in words) and not text.startswith(("[", "{"))
    value = text if plain else strict_yaml.scalar(bracketed(text, parameter))
    if parameter.several and not isinstance(value, list):
        given.setdefault(parameter.name, []).append(value)
    else:
        given[parameter.name] = value


def _indented(text: str) -> list[str]:
    return [f"        {line}" for line in wrap(text, 74)]
