"""What each command does; `skyfold.cli` says what can be asked for."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from skyfold.errors import ConfigError, DataError, FileError, SkyfoldError
from skyfold.registry import default_registry

Arguments = argparse.Namespace


def demo(arguments: Arguments) -> None:
    """Simulate, restore, score and report."""
    from skyfold.requests import for_demo

    demos = default_registry().demos
    if arguments.list:
        for name in demos:
            say(f"{name:14} {demos[name](1).description}")
        return
    name = arguments.name or "galaxy"
    made = demos[name](arguments.seed)
    folder = Path(arguments.output or f"skyfold-{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    config = for_demo(arguments, name, made)
    if not arguments.quiet:
        say(f"demo      {name}: {made.description}")
    _execute(config, folder, arguments)
    if not arguments.quiet:
        say("next      skyfold run yourcounts.fits --psf yourpsf.fits      skyfold demo --list")


def check(arguments: Arguments) -> int:
    """Open the data and say what was found."""
    from skyfold.requests import from_arguments, help_for
    from skyfold.runner import prepare

    if arguments.help:
        return help_for("check", arguments)
    data = prepare(from_arguments(arguments)).data
    if arguments.json:
        found = [vars(c) | {"dataset": p.origin.name} for p in data.parts for c in p.origin.checks]
        say(json.dumps(found, indent=1))
    else:
        _print_data(data)
    _refuse_warnings(data, arguments.strict)
    return 0


def run(arguments: Arguments) -> int:
    """Restore from files or from a configuration."""
    from skyfold.requests import from_arguments, help_for

    if arguments.help:
        return help_for("run", arguments)
    config = from_arguments(arguments)
    if config.place.document and not arguments.quiet:
        for note in config.place.document.notes:
            say(f"read      {note}")
    folder = Path(arguments.output or config.output or _default_folder(arguments))
    _execute(config, folder, arguments)
    return 0


def resume(arguments: Arguments) -> None:
    """Go on with a run."""
    from skyfold.runner import resume as go_on

    result = go_on(arguments.folder, arguments.iterations, progress=not arguments.quiet)
    _print_result(result, Path(arguments.folder))


def report(arguments: Arguments) -> None:
    """Write the report of a run again."""
    from skyfold.report import write
    from skyfold.runfolder import read_manifest

    folder = Path(arguments.folder)
    read_manifest(folder)
    say(f"written   {write(folder)}")


def errors(arguments: Arguments) -> None:
    """Print and write the fluxes of regions with their errors."""
    from skyfold import files, significance
    from skyfold.report import write
    from skyfold.runfolder import reopen

    if not arguments.region and not arguments.significance:
        raise ConfigError("errors of what? Give --region or --significance; see --help")
    folder, written = Path(arguments.folder), []
    result = reopen(folder)
    files.require_writable(folder)
    with files.locked(folder):
        if arguments.region:
            found = result.errors(
                *arguments.region,
                method=arguments.method,
                component=arguments.component,
                replicas=arguments.replicas,
                seed=arguments.seed,
                level=arguments.level,
                progress=not arguments.quiet,
            )
            say(str(found))
            written += found.write(folder, result)
        if arguments.significance:
            written.append(significance.write(result, folder, seed=arguments.seed))
        written.append(write(folder))
    say(f"written   {', '.join(map(str, written))}")


def compare(arguments: Arguments) -> None:
    """Put runs side by side."""
    from skyfold import compare as figures

    truth = Path(arguments.truth) if arguments.truth else None
    found = figures.compare([Path(run) for run in arguments.runs], truth)
    say(figures.as_json(found) if arguments.json else figures.as_table(found))
    if arguments.output:
        from skyfold.report import comparison

        path = comparison.write(Path(arguments.output), [Path(r) for r in arguments.runs], found)
        if not arguments.json:
            say(f"\nwritten   {path}")


def plugins_list(arguments: Arguments) -> None:
    """List plugins and what they offer."""
    registry = default_registry()
    for name, origin in registry.providers.items():
        say(f"{name:12} {origin}")
    for name, error in registry.broken.items():
        say(f"{name:12} BROKEN: {_last_line(error)}")
    say("")
    for kind, shelf in registry.shelves.items():
        if shelf:
            say(f"{kind.replace('_', ' ') + ':':16} {', '.join(shelf)}")


def plugins_info(arguments: Arguments) -> None:
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


def plugins_new(arguments: Arguments) -> None:
    """Write the skeleton of a plugin."""
    from skyfold.scaffold import write

    folder = write(arguments.name, Path(arguments.into))
    say(f"written   {folder}/")
    say(f"next      python -m pip install -e {folder} && skyfold plugins check {arguments.name}")


def plugins_check(arguments: Arguments) -> int:
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


def config_init(arguments: Arguments) -> None:
    """Write a commented configuration file."""
    from skyfold import files
    from skyfold.config_help import template

    path = Path(arguments.file)
    if path.exists():
        raise FileError(f"{path} exists; give another name")
    files.write_text(path, template(arguments.instrument, arguments.method))
    say(f"written   {path}")
    say(f"next      edit it, then: skyfold run {path} -o out")


def config_schema(arguments: Arguments) -> None:
    """Print the JSON schema."""
    from skyfold.config_help import schema

    say(json.dumps(schema(), indent=1))


def config_explain(arguments: Arguments) -> None:
    """Explain a key."""
    from skyfold.config_help import explain

    say(explain(arguments.key or ""))


def data_list(arguments: Arguments) -> None:
    """List the data sets."""
    from skyfold.datasets import present, readable_size

    sets = default_registry().datasets
    for name in sets:
        here = "here" if present(name, sets[name]) else ""
        say(f"{name:22} {readable_size(sets[name].size):>9} {here:5} {sets[name].description}")


def data_info(arguments: Arguments) -> None:
    """Describe a data set."""
    from skyfold.datasets import info

    say(info(default_registry().datasets[arguments.name]))


def data_get(arguments: Arguments) -> None:
    """Download a data set."""
    from skyfold.datasets import fetch

    for path in fetch(arguments.name, default_registry().datasets[arguments.name]):
        say(str(path))


def data_verify(arguments: Arguments) -> None:
    """Compare files with their checksums."""
    from skyfold.datasets import verify

    states = verify(arguments.name, default_registry().datasets[arguments.name])
    for name, state in states:
        say(f"{name:40} {state}")
    if any(state != "ok" for _, state in states):
        raise FileError(
            f"{arguments.name} is not complete; get it with: skyfold data get {arguments.name}"
        )


def data_where(arguments: Arguments) -> None:
    """Print where data sets are kept."""
    from skyfold.datasets import where

    say(str(where()))


def tutorials_list(arguments: Arguments) -> None:
    """List the tutorials by their titles."""
    for path in _tutorials():
        title = next(
            (
                line[3:].strip(" #")
                for line in path.read_text().splitlines()
                if line.startswith("# #")
            ),
            "",
        )
        say(f"{path.name:40} {title}")


def tutorials_copy(arguments: Arguments) -> None:
    """Copy the tutorials."""
    folder = Path(arguments.folder)
    for path in _tutorials():
        if (folder / path.name).exists():
            raise FileError(f"{folder / path.name} exists; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path in _tutorials():
        shutil.copy(path, folder)
    say(f"written   {folder}/")
    say('next      python -m pip install "skyfold[tutorials]", open them as notebooks, or run them')


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
        say(f"  {name:10} BROKEN: {_last_line(error)}")


def _last_line(traceback: str) -> str:
    return traceback.strip().splitlines()[-1]


def say(text: str) -> None:
    """Print a line for people."""
    sys.stdout.write(text + "\n")


def _execute(config: Any, folder: Path, arguments: Arguments) -> None:
    """Check, run, report: what run and demo share."""
    from skyfold.runfolder import claim, run_in_folder
    from skyfold.runner import prepare

    quiet = arguments.quiet
    dry = getattr(arguments, "dry_run", False)
    if not dry:
        claim(folder, arguments.overwrite)
    problem = prepare(config)
    if quiet:
        _print_warnings(problem.data)
    else:
        _print_data(problem.data)
    _refuse_warnings(problem.data, getattr(arguments, "strict", False))
    if dry:
        say(f"dry run   {problem.config.describe()}; everything fits, nothing was written")
        return
    result = run_in_folder(problem, folder, progress=not quiet, overwrite=arguments.overwrite)
    if quiet:
        _print_doubts(result, sys.stderr)
    else:
        _print_result(result, folder)


def _default_folder(arguments: Arguments) -> str:
    stem = Path(arguments.inputs[0]).name.partition(".")[0] if arguments.inputs else "run"
    return f"{stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _print_data(data: Any) -> None:
    """Print one line per check."""
    for part in data.parts:
        shape = " x ".join(map(str, part.shape))
        total = part.full_counts.sum(where=part.weight > 0)
        say(f"data      {part.origin.name}: {shape} bins, {total:.0f} counts")
        for item in part.origin.checks:
            mark = {"ok": "ok     ", "fixed": "fixed  ", "warning": "WARNING"}[item.level]
            say(f"  {mark} {item.subject}: {item.message}")


def _print_warnings(data: Any) -> None:
    """Print what a quiet run has to say of its input."""
    for item in data.checks:
        if item.level == "warning":
            sys.stderr.write(f"WARNING   {item.subject}: {item.message}\n")


def _print_doubts(result: Any, stream: TextIO) -> None:
    """Print what speaks against a result."""
    for doubt in result.doubts:
        stream.write(f"NOTE      {doubt}\n")


def _refuse_warnings(data: Any, strict: bool) -> None:
    warned = [c for part in data.parts for c in part.origin.checks if c.level == "warning"]
    if strict and warned:
        raise DataError(
            f"{len(warned)} warnings, and --strict takes them for errors: {warned[0].message}"
        )


def _print_result(result: Any, folder: Path) -> None:
    """Print what a newcomer wants to know, in a few lines."""
    from skyfold.star_products import told

    fixed = set(result.model) - result.model.free
    figures: Mapping[str, Any] = result.manifest["results"]
    method, errors = result.manifest["config"]["method"], figures.get("normalisation_errors", {})
    if method.get("strength", 1.0) != 1.0:
        say(f"strength  {method['strength']:.4g} times the prior given")
    say(f"stopped   {result.reason}")
    quality = [f"total expectation / counts {figures['ratio']:.5f}"]
    if "largest_block" in figures:
        worst, share = figures["largest_block"], 100 * figures["outliers"]
        quality.append(f"largest residual {worst:.1f} sigma in blocks of {figures['block']}")
        quality.append(f"{share:.2f} % of bins beyond 3 sigma")
    say(f"quality   {', '.join(quality)}")
    for name, value in figures["normalisations"].items():
        held, error = name.partition("[")[0] in fixed, errors.get(name)
        known = "" if error is None else f" +- {error:.2g}"
        say(f"{'fixed' if held else 'fitted':9} {name}: {value:.4g}{known}")
    if "stars" in figures:
        heading, *rows = told(result.stars)
        say(f"stars     {heading}")
        for row in rows:
            say(f"          {row}")
    if psf := figures.get("psf"):
        say(f"psf       {psf['fwhm']:.3g} pixels wide, given as {psf['fwhm_start']:.3g}")
    _print_doubts(result, sys.stdout)
    for name, value in figures.get("score", {}).items():
        say(f"truth     {name}: {value:.4g}")
    files: Iterable[str] = ("report.html", "result.fits", "result.h5")
    written = [str(folder / name) for name in files if (folder / name).exists()]
    say(f"written   {', '.join(written)}")


def _tutorials() -> list[Path]:
    """Return the tutorials: of the source tree, or among the data of the installation."""
    source = Path(__file__).parents[2]
    installed = Path(sysconfig.get_path("data"), "share", "skyfold")
    for place in (source / "tutorials", installed / "tutorials"):
        if found := sorted(place.glob("[0-9]*.py")):
            return found
    raise SkyfoldError(f"the tutorials of skyfold {version('skyfold')} are not installed")
