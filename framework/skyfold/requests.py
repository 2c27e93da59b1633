"""From the command line to a configuration: options of instrument and method are its flags."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any

from skyfold import options, strict_yaml
from skyfold.checking import as_number, bracketed
from skyfold.config import RunConfig, load, method_of, named
from skyfold.document import Document, suggestion
from skyfold.errors import ConfigError, FileError
from skyfold.inputs import split_part
from skyfold.parameters import Parameter, summary
from skyfold.registry import default_registry
from skyfold.star_request import Stars

if TYPE_CHECKING:
    from skyfold.simulate import Demo

log = logging.getLogger(__name__)
Arguments = argparse.Namespace
CONFIGURATIONS = (".yaml", ".yml")


def from_arguments(arguments: Arguments) -> RunConfig:
    """Return the configuration that a command line asks for.

    Raises
    ------
    ConfigError
        If flags are unknown, wrong, or contradict each other.
    FileError
        If an input does not exist.
    """
    if not arguments.inputs:
        raise ConfigError("give a file of counts, or a configuration file; see --help")
    first, *others = (Path(name) for name in arguments.inputs)
    if first.suffix in CONFIGURATIONS:
        if others:
            raise ConfigError(
                f"{first} is a configuration: it names its own files; leave out {others[0]}"
            )
        document = load(first, arguments.rest)
    else:
        document = Document({"data": _entries(arguments)}, "")
    for path, value, flag in _changes(arguments, document):
        document = document.replaced(path, value, flag)
    _require_different("--set", arguments.set)
    for assignment in arguments.set:
        document = strict_yaml.override(document, assignment)
    return RunConfig.from_document(document)


def for_demo(arguments: Arguments, name: str, made: Demo) -> RunConfig:
    """Return the configuration of a demo: what it suggests, and what the flags say instead.

    Raises
    ------
    ConfigError
        If flags are unknown, wrong, or contradict each other.
    """
    method, suggested = dict(made.method), {"iterations": made.iterations}
    if arguments.method not in (None, method_of(method)):
        method, suggested = {"name": arguments.method}, {}
    elif RunConfig.of(data=[], method=method).build_method().until == suggested:
        suggested = {}  # the method ends there by itself, or where its options say
    data = {"demo": name, "seed": arguments.seed}
    document = Document({"data": [data], "method": method, **suggested}, "")
    for path, value, flag in _changes(arguments, document):
        document = document.replaced(path, value, flag)
    return RunConfig.from_document(document)


def _entries(arguments: Arguments) -> list[dict[str, Any]]:
    """Return one data section for each input, or one for all if the instrument takes a list."""
    for name in arguments.inputs:
        if not split_part(name)[0].exists():
            raise FileError(f"{name}: there is no such file")
        if arguments.inputs.count(name) > 1:
            raise ConfigError(f"{name} is given twice, so its photons would count double")
    instrument = arguments.instrument
    named = {"instrument": instrument} if instrument else {}
    return [{**named, "source": name} for name in arguments.inputs]


def _changes(arguments: Arguments, document: Document) -> list[tuple[tuple[Any, ...], Any, str]]:
    """Return key path, value and flag of everything said besides the inputs."""
    changes: list[tuple[tuple[Any, ...], Any, str]] = []
    for name in ("iterations", "seed", "checkpoint", "output", "layout"):
        if (value := getattr(arguments, name, None)) is not None:
            changes.append(((name,), value, f"--{name}"))
    if method := getattr(arguments, "method", None):
        changes.append((("method",), _replaced(document, method), "--method"))
    _require_different("--stop", getattr(arguments, "stop", []))
    for rule in getattr(arguments, "stop", []):
        name, equals, value = rule.partition("=")
        entry = default_registry().stopping_rules.get(name)
        usual = entry is not None and not any(o.required for o in options.describe(entry))
        if not equals and not usual:
            raise ConfigError(
                f"--stop {rule}: write RULE=VALUE, as in --stop delta_log_likelihood=0.1"
            )
        given = strict_yaml.scalar(value) if equals else True
        changes.append((("stop", name), given, f"--stop {name}"))
    sections = document.data.get("data", [])
    count = len(sections) if isinstance(sections, list) else 0
    opener = _opener(arguments, document)
    takes = {option.name: option for option in options.describe(opener)}
    for flag, value in _pairs(arguments.rest, takes):
        keys: tuple[Any, ...] = tuple(flag.removeprefix("--").replace("-", "_").split("."))
        if keys[0] == "stars":
            changes.append((keys if keys[1:] else ("stars", "list"), value, flag))
        elif keys[0] not in takes:
            changes.append((("method", *keys), value, flag))
        elif count:
            changes += [(("data", i, *keys), value, flag) for i in range(count)]
        else:
            changes.append((("data", *keys), value, flag))
    if getattr(arguments, "converge", False):
        goal = _goal(arguments, document, [flag for _, _, flag in changes])
        changes.append((("method", "name"), goal, "--converge"))
        if arguments.iterations is None:  # other rules may end it sooner, not later
            changes.append((("iterations",), "auto", "--converge"))
    return changes


def _replaced(document: Document, method: str) -> dict[str, Any]:
    """Return the section of a method in place of that of a file; what goes with that is told."""
    given = document.data.get("method")
    given = given if isinstance(given, Mapping) else {}
    if given and method_of(given) != method:
        if lost := [key for key in given if key != "name"]:
            log.warning(
                "%s: --method %s replaces method %s and its options: %s",
                document.place("method").origin, method, method_of(given), ", ".join(lost),
            )  # fmt: skip
        given = {}
    return {**given, "name": method}


def _pairs(rest: Sequence[str], takes: Mapping[str, Parameter]) -> list[tuple[str, Any]]:
    """Return flags and values.

    Understood are ``--flag value``, ``--flag=value``, ``--flag`` (true), and, for options that
    hold several things by name, ``--background NAME=FILE``.
    """
    pairs: list[tuple[str, Any]] = []
    waiting = list(rest)
    while waiting:
        flag, equals, value = waiting.pop(0).partition("=")
        if not flag.startswith("--"):
            remedy = "files come first, flags after them"
            if as_number(flag) is not None:
                remedy = "a list is written with commas, as in 1,2,3"
            raise ConfigError(f"{flag}: not a flag; {remedy}")
        given: Any = True
        if equals:
            given = value
        elif waiting and not waiting[0].startswith("--"):
            given = waiting.pop(0)
        parameter = _parameter(flag, takes)
        if given is True and parameter is not None and "true or false" not in parameter.type:
            raise ConfigError(
                f"{flag} needs a value: {parameter.type}. Files of counts come first, flags after "
                "them: skyfold run counts.fits --psf psf.fits"
            )
        if isinstance(given, str):
            name, named, inside = given.partition("=")
            name = name.replace("-", "_")
            if _takes_several(parameter) and named and name.isidentifier():
                pairs.append((f"{flag}.{name}", strict_yaml.scalar(inside)))
                continue
            if parameter is not None and parameter.type.startswith("a mapping"):
                raise ConfigError(f"{flag} {given}: write {flag} NAME=VALUE, as in {flag} tsv=0.1")
            if parameter is not None:
                given = bracketed(given, parameter)
            given = strict_yaml.scalar(given)
        pairs.append((flag, given))
    _require_once([flag for flag, _ in pairs], takes)
    return pairs


def _goal(arguments: Arguments, document: Document, flags: Sequence[str]) -> str:
    """Return the method that goes to the optimum.

    Raises
    ------
    ConfigError
        If another one was asked for.
    """
    given = document.data.get("method")
    given = given if isinstance(given, Mapping) else {}
    said: str | None = arguments.method or given.get("name")
    if said not in (None, "ml", "map"):
        raise ConfigError(f"--converge goes to the optimum, {said} does not: leave one of them out")
    prior = "prior" in given or any(flag.startswith("--prior") for flag in flags)
    return said or ("map" if prior else "ml")


def _require_different(flag: str, assignments: Sequence[str]) -> None:
    """Refuse two values of one key."""
    keys = [assignment.partition("=")[0].strip() for assignment in assignments]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"{flag} {key} is given twice")


def _require_once(flags: Sequence[str], takes: Mapping[str, Parameter]) -> None:
    """Refuse what would silently replace something said before."""
    for flag in flags:
        if flags.count(flag) > 1:
            several = _takes_several(takes.get(flag[2:].replace("-", "_")))
            names = f"; give each a name, as in {flag} one=FILE {flag} two=FILE" if several else ""
            raise ConfigError(f"{flag} is given twice{names}")
        inside = [other for other in flags if other.startswith(f"{flag}.")]
        if inside and flag != "--stars":  # whose bare flag is their list
            raise ConfigError(f"{flag} and {inside[0]} contradict each other; name all or none")


def _parameter(flag: str, takes: Mapping[str, Parameter]) -> Parameter | None:
    """Return the option that a flag sets, of instrument or method; None for a refinement."""
    registry = default_registry()
    key = flag.removeprefix("--").replace("-", "_").partition(".")[0]
    methods = {
        o.name: o for name in registry.methods for o in options.describe(registry.methods[name])
    }
    known = {*takes, *methods, *registry.refinements, "stars"} - {"refinements"}
    if key not in known:
        flags = [f"--{name.replace('_', '-')}" for name in known]
        raise ConfigError(f"unknown flag {flag}. {suggestion(flag, flags)}")
    nested = "." in flag
    if key == "stars":
        asked = {o.name: o for o in options.describe(Stars)}
        return asked.get(flag.partition(".")[2].replace("-", "_")) if nested else asked["list"]
    return takes.get(key) or (None if nested else methods.get(key))


def _takes_several(parameter: Parameter | None) -> bool:
    """Return whether an option holds several things by name."""
    return parameter is not None and parameter.by_name


def _opener(arguments: Arguments, document: Document) -> Any:
    registry = default_registry()
    sections = document.data.get("data")
    first = sections[0] if isinstance(sections, list) and sections else sections
    first = first if isinstance(first, Mapping) else {}
    name = getattr(arguments, "instrument", None) or first.get("instrument")
    if name is None:
        source = first.get("source") or next(iter(first.values()), "")
        path, _ = split_part(str(source), Path(document.source).parent)
        name = registry.identify(path) if source and path.exists() else "image"
    return named(registry.instruments, name, document.place("data", "instrument"))


def help_for(command: str, arguments: Arguments) -> int:
    """Print the help of a command together with the options of the instruments it may meet."""
    from skyfold.command_line import parser

    registry = default_registry()
    top = parser()
    words, into = command.split(), top
    for word in words:
        if word.isupper():
            continue
        choices = next(
            a for a in into._actions if isinstance(a, argparse._SubParsersAction)
        ).choices
        into = choices[word]
    sys.stdout.write(into.format_help())
    name = getattr(arguments, "instrument", None) or getattr(arguments, "name", None)
    first = Path(arguments.inputs[0]) if arguments.inputs else None
    if name is None and first and first.exists() and first.suffix not in CONFIGURATIONS:
        name = registry.identify(first)
    said: set[str] = set()
    for instrument in [name] if name else list(registry.instruments):
        lines = option_lines(registry.instruments[instrument], flags=True, but=said)
        more = " besides" if said else ""
        sys.stdout.write(f"\noptions of instrument {instrument}{more}:\n" + "\n".join(lines) + "\n")
        said |= {option.name for option in options.describe(registry.instruments[instrument])}
    if command == "run":
        sys.stdout.write("\npoint sources, restored with the sky:\n")
        _nested_options("--", {"stars": Stars})
        _help_for_methods()
    return 0


def _help_for_methods() -> None:
    registry = default_registry()
    methods = registry.methods
    sys.stdout.write("\nmethods:\n")
    for method in methods:
        said = f"  {method:12} {summary(methods[method])}"
        sys.stdout.write(fill(said, 80, subsequent_indent=" " * 15) + "\n")
    for method in methods:
        if lines := option_lines(methods[method], flags=True, but={"refinements"}):
            sys.stdout.write(f"\noptions of method {method}:\n" + "\n".join(lines) + "\n")
    sys.stdout.write("\nrefinements, in the order given; the bare name switches one on:\n")
    _nested_options("--", registry.refinements)
    sys.stdout.write("\npriors, for methods that take them:\n")
    _nested_options("--prior.", registry.priors)


def _nested_options(prefix: str, shelf: Mapping[str, Any]) -> None:
    for name, entry in shelf.items():
        for option in options.describe(entry):
            flag = f"{prefix}{name.replace('_', '-')}.{option.name}"
            sys.stdout.write("\n".join(_option(flag, option)) + "\n")


def option_lines(entry: Any, flags: bool, but: Collection[str] = ()) -> list[str]:
    """Return the options of an entry as lines of help, ``but`` some."""
    lines: list[str] = []
    for option in options.describe(entry):
        if option.name in but:
            continue
        name = f"--{option.name.replace('_', '-')}" if flags else option.name
        lines += _option(name, option)
    return lines


def _option(name: str, option: Parameter) -> list[str]:
    default = "" if option.required or option.default is None else f" (default: {option.default})"
    head = f"  {name}  {option.type}"
    text = wrap(f"{option.description}{default}", 74)
    return [head, *(f"        {line}" for line in text)]
