"""Commands that make runs, go on with them, and look at them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skyfold.commands.telling import say, tell_data, tell_doubts, tell_result, tell_warnings
from skyfold.errors import ConfigError, DataError, MissingExtraError
from skyfold.registry import default_registry

Arguments = argparse.Namespace


def demo(arguments: Arguments) -> None:
    """Simulate, restore, score and report."""
    from skyfold.requests import for_demo

    demos = default_registry().demos
    if arguments.list:
        for name in demos:
            say(f"{name:14} {_described(demos[name])}")
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
        tell_data(data)
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
    tell_result(result, Path(arguments.folder))


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
        tell_warnings(problem.data)
    else:
        tell_data(problem.data)
    _refuse_warnings(problem.data, getattr(arguments, "strict", False))
    if dry:
        say(f"dry run   {problem.config.describe()}; everything fits, nothing was written")
        return
    result = run_in_folder(problem, folder, progress=not quiet, overwrite=arguments.overwrite)
    if quiet:
        tell_doubts(result, folder, sys.stderr)
    else:
        tell_result(result, folder)


def _described(demo: Callable[[int], Any]) -> str:
    """Return what a demo shows, or what it lacks."""
    try:
        return str(demo(1).description)
    except MissingExtraError as error:
        return f"({error})"


def _default_folder(arguments: Arguments) -> str:
    stem = Path(arguments.inputs[0]).name.partition(".")[0] if arguments.inputs else "run"
    return f"{stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _refuse_warnings(data: Any, strict: bool) -> None:
    warned = [c for part in data.parts for c in part.origin.checks if c.level == "warning"]
    if strict and warned:
        raise DataError(
            f"{len(warned)} warnings, and --strict takes them for errors: {warned[0].message}"
        )
