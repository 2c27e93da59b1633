"""Commands about plugins, and what they offer."""

from __future__ import annotations

import argparse
from pathlib import Path

from skyfold.commands.telling import last_line, say
from skyfold.errors import ConfigError, DataError
from skyfold.registry import default_registry

Arguments = argparse.Namespace


def show(arguments: Arguments) -> None:
    """List plugins and what they offer."""
    registry = default_registry()
    for name, origin in registry.providers.items():
        say(f"{name:12} {origin}")
    for name, error in registry.broken.items():
        say(f"{name:12} BROKEN: {last_line(error)}")
    say("")
    for kind, shelf in registry.shelves.items():
        if shelf:
            say(f"{kind.replace('_', ' ') + ':':16} {', '.join(shelf)}")


def info(arguments: Arguments) -> None:
    """Describe one thing with its options."""
    from skyfold.requests import option_lines

    registry, name, known = default_registry(), arguments.name, False
    if name in registry.providers:
        known = True
        say(f"plugin {name}: {registry.providers[name]}")
        for kind, shelf in registry.shelves.items():
            if own := [entry for entry in shelf if shelf.origin(entry) == name]:
                say(f"  {kind.replace('_', ' ')}: {', '.join(own)}")
    if name in registry.broken:
        known = True
        say(f"plugin {name} is BROKEN and was set aside:\n{registry.broken[name]}")
    for kind in ("instruments", "methods", "algorithms", "refinements", "priors", "stopping_rules"):
        shelf = registry.shelves[kind]
        if name in shelf:
            known = True
            say(f"\n{kind.rstrip('s').replace('_', ' ')} {name}, from {shelf.origin(name)}")
            for line in option_lines(shelf[name], flags=kind == "instruments"):
                say(line)
    if not known:
        raise ConfigError(f"nothing installed is called {name!r}; see: skyfold plugins list")


def new(arguments: Arguments) -> None:
    """Write the skeleton of a plugin."""
    from skyfold.scaffold import write

    folder = write(arguments.name, Path(arguments.into))
    say(f"written   {folder}/")
    say(f"next      python -m pip install -e {folder} && skyfold plugins check {arguments.name}")


def check(arguments: Arguments) -> int:
    """Prove an instrument."""
    from skyfold.config import open_data
    from skyfold.requests import from_arguments, help_for
    from skyfold.testing import check_instrument

    registry = default_registry()
    if arguments.help:
        return help_for("plugins check NAME", arguments)
    if arguments.name is None:
        raise ConfigError(
            f"which instrument? There are {', '.join(registry.instruments)}; see --help"
        )
    registry.instruments[arguments.name]
    arguments.instrument, arguments.set = arguments.name, []
    if arguments.inputs or arguments.rest:
        data = open_data(from_arguments(arguments))
    elif arguments.name in registry.demos:
        data = registry.demos[arguments.name](1).data
    else:
        raise ConfigError(
            f"instrument {arguments.name!r} has no demo of that name: give a file, as in "
            f"skyfold plugins check {arguments.name} FILE"
        )
    findings = check_instrument(data)
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        say(f"{'ok    ' if finding.ok else 'FAILED'} {finding.subject:{width}}  {finding.message}")
    if failed := [finding for finding in findings if not finding.ok]:
        raise DataError(f"{len(failed)} of {len(findings)} checks failed")
    return 0


def doctor(arguments: Arguments) -> None:
    """Print versions, extras, plugins."""
    import os
    from importlib.util import find_spec

    from skyfold.datasets import where
    from skyfold.manifest import versions

    for name, found in versions().items():
        say(f"{name:12} {found}")
    say(f"{'cores':12} {os.cpu_count()}")
    say(f"{'data sets':12} {where()}")
    extras = {
        "healpix": ("healpy", "maps of the whole sky"),
        "photo": ("tifffile", "TIFF and PNG photographs"),
        "ducc": ("ducc0", "faster Fourier transforms"),
        "regions": ("regions", "region files of DS9"),
        "stars": ("photutils", "finding stars"),
        "tutorials": ("jupytext", "tutorials as notebooks"),
    }
    say("\nextras")
    for extra, (module, use) in extras.items():
        there = find_spec(module) is not None
        remedy = "" if there else f'; python -m pip install "skyfold[{extra}]"'
        say(f"  {extra:10} {'installed' if there else 'missing'}: {use}{remedy}")
    say("\nplugins")
    registry = default_registry()
    for name, origin in registry.providers.items():
        say(f"  {name:10} {origin}")
    for name, error in registry.broken.items():
        say(f"  {name:10} BROKEN: {last_line(error)}")
