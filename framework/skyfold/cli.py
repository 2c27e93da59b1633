"""The ``skyfold`` command: what can be said on the command line.

What is done then stands in `skyfold.commands`, imported only after the line was understood.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Any

from skyfold.errors import SkyfoldError

DESCRIPTION = "From photon counts to images: undo the blur of an instrument, photon by photon."
FIRST_STEPS = """\
first steps:
  skyfold demo                                     simulate, restore, look at the report
  skyfold check counts.fits --psf psf.fits         look at your files without running
  skyfold run counts.fits --psf psf.fits -o out    restore; out/report.html shows the result
  skyfold run counts.fits --help                   every option for this kind of file
  skyfold tutorials copy                           learn more

exit codes: 0 ok, 2 usage or configuration, 3 bad input data, 4 numerical failure,
  5 interrupted and resumable, 6 missing extra, 7 input or output
"""
ERRORS = """\
shapes, each of which may be named as in core=circle(40, 52, 6):
  circle(x, y, radius)      annulus(x, y, inner, outer)       polygon(x1, y1, x2, y2, ...)
  ellipse(x, y, a, b, angle)    box(x, y, width, height, angle)
numbers are pixels counted from 0, or have a unit and are sky coordinates of the image:
  --region "core = circle(17h45m40s, -29d00m28s, 10 arcsec)"
  --region "galactic; circle(0 deg, 0 deg, 5 deg)"           in another frame
  --region regions.reg      region file of DS9 (needs the extra regions)
  --region mask.fits        image or HEALPix map of 0 and 1, on the pixels of the result

methods:
  sandwich   scatter over repeated observations of a maximum with priors; one linear system per
             region. Of an image without priors it is about twice too large: take the bootstrap
  laplace    width of the posterior around the maximum; larger, because it counts what only the
             priors know
  bootstrap  the whole run again on counts drawn around the observed ones: right for every method,
             early stopping included, at the price of as many runs
  posterior  what a sampler drew (method lira): standard deviation and credible interval; the only
             one after such a run, and the usual
No method knows the bias of smoothing: light that priors or early stopping spread over the edge of
a region is missing from it. The column prior tells roughly how much that is; choose regions larger
than the blur. Where most values are zero, errors are upper limits.

writes errors.ecsv, after a bootstrap also bootstrap.fits (maps of mean and standard deviation),
with --significance also significance.fits, and the report again.
"""


class _Once(argparse.Action):
    """Stores a value; a second one is refused, not taken in place of the first."""

    given = False

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, flag: str | None = None
    ) -> None:
        if flag and self.given:
            parser.error(f"{flag} is given twice")
        self.given = True
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """Takes each flag once, unless it is made to collect."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.register("action", None, _Once)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    top = _Parser(prog="skyfold", description=DESCRIPTION, epilog=FIRST_STEPS, formatter_class=raw)
    top.add_argument("--version", action="store_true", help="print the version and end")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def command(
        name: str, help_: str, action: str, into: Any = commands, **more: Any
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = into.add_parser(
            name,
            help=help_,
            description=help_[0].upper() + help_[1:] + ".",
            formatter_class=raw,
            **more,
        )
        added.set_defaults(action=action)
        return added

    demo = command(
        "demo",
        "simulate an observation, restore it and score it against the truth",
        "demo",
        epilog="options of the method are flags, too: skyfold demo --method lira --draws 500",
    )
    demo.add_argument("name", nargs="?", help="which demo; galaxy by default")
    demo.add_argument("--list", action="store_true", help="list the demos and end")
    demo.add_argument("--seed", type=int, default=1, help="seed of the simulation (default: 1)")
    demo.add_argument("--method", help="what to do, instead of what the demo suggests")
    demo.add_argument(
        "--iterations",
        type=_laps,
        metavar="N",
        help="how many iterations, or auto, instead of the demo's own",
    )
    _output(demo)

    check = command("check", "open files, say what was found, and end", "check", add_help=False)
    _inputs(check)
    check.add_argument("--json", action="store_true", help="print the findings as JSON")

    run = command(
        "run", "restore an image from counts, or from a configuration file", "run", add_help=False
    )
    _inputs(run)
    run.add_argument("--method", help="what to do (default: rl); skyfold plugins list shows all")
    run.add_argument(
        "--iterations",
        type=_laps,
        metavar="N",
        help="stop after N iterations, or auto: when the method finds it right (default: auto, "
        "unless --stop or the instrument says otherwise)",
    )
    run.add_argument(
        "--converge",
        action="store_true",
        help="go to the optimum: method ml, with a prior map, until little is left to gain",
    )
    run.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="RULE=VALUE",
        help="when to stop: delta_log_likelihood=0.1, wall_time='10 min', relative_gap=1e-3, "
        "discrepancy=0; of several the first that speaks",
    )
    run.add_argument("--seed", type=int, help="seed of all that is random (default: 0)")
    run.add_argument(
        "--checkpoint", metavar="TIME", help="how often to store the state (default: 5 min)"
    )
    run.add_argument("--layout", metavar="NAME", help="write the results in a further way, too")
    run.add_argument("--dry-run", action="store_true", help="do everything but iterate")
    _output(run)

    resume = command("resume", "go on with an interrupted run, or extend a finished one", "resume")
    resume.add_argument("folder", metavar="RUN", help="run folder")
    resume.add_argument(
        "--iterations", type=int, metavar="N", help="new total number of iterations"
    )
    resume.add_argument("-q", "--quiet", action="store_true", help="no progress")

    report = command("report", "write report.html of a run folder again", "report")
    report.add_argument("folder", metavar="RUN", help="run folder")

    errors = command(
        "errors", "fluxes of regions of a finished run, with their errors", "errors", epilog=ERRORS
    )
    errors.add_argument("folder", metavar="RUN", help="run folder")
    errors.add_argument("--region", action="append", default=[], metavar="SHAPE|FILE",
                        help="a shape, a region file, or a mask; may be given again")  # fmt: skip
    errors.add_argument("--significance", action="store_true",
                        help="also map where the counts ask for more light, in sigma")  # fmt: skip
    errors.add_argument(
        "--method",
        action="append",
        metavar="NAME",
        help="sandwich, laplace, bootstrap or posterior (default: posterior where one was drawn, "
        "sandwich where the run has priors, bootstrap where it has none); may be given again",
    )
    errors.add_argument(
        "--level",
        type=float,
        default=0.68,
        metavar="P",
        help="part of the posterior, or of the replicas, between low and high (default: 0.68)",
    )
    errors.add_argument(
        "--component", metavar="NAME", help="the sky that is meant, where there are several"
    )
    errors.add_argument(
        "--replicas",
        type=int,
        default=50,
        metavar="B",
        help="how often the bootstrap repeats the run (default: 50: errors to 10 %%)",
    )
    errors.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    errors.add_argument("-q", "--quiet", action="store_true", help="no progress")

    compare = command("compare", "put runs side by side, and against a truth", "compare")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    compare.add_argument(
        "--truth",
        metavar="FILE",
        help="the true sky: a HEALPix map, or an image on the pixels of the runs (default: what a "
        "run was simulated from)",
    )
    compare.add_argument(
        "-o",
        "--output",
        metavar="FILE.html",
        help="write a page, too: the figures, curves against products and seconds, the skies",
    )
    compare.add_argument("--json", action="store_true", help="print the figures as JSON")

    plugins = _group(commands, "plugins", "what is installed, and how to add to it")
    command("list", "list plugins and what they offer", "plugins_list", plugins)
    info = command(
        "info", "describe what a plugin offers, with all options", "plugins_info", plugins
    )
    info.add_argument("name", help="plugin, instrument, method or refinement")
    new = command("new", "write the skeleton of an instrument plugin", "plugins_new", plugins)
    new.add_argument("name", help="name of the instrument")
    new.add_argument("--into", default=".", metavar="DIR", help="where to create the folder")
    prove = command(
        "check",
        "prove that an instrument keeps its promises",
        "plugins_check",
        plugins,
        add_help=False,
    )
    prove.add_argument("name", nargs="?", help="instrument")
    prove.add_argument("inputs", nargs="*", metavar="FILE", help="its files; its demo by default")
    prove.add_argument(
        "-h", "--help", action="store_true", help="show this help and the instrument's options"
    )

    config = _group(commands, "config", "configuration files")
    init = command("init", "write a commented configuration file", "config_init", config)
    init.add_argument(
        "file", nargs="?", default="run.yaml", help="file to write (default: run.yaml)"
    )
    init.add_argument("--instrument", default="image", help="instrument (default: image)")
    init.add_argument("--method", default="rl", help="method (default: rl)")
    command("schema", "print the JSON schema, for completion in editors", "config_schema", config)
    explain = command(
        "explain", "explain a key, as method.smoothing.fwhm", "config_explain", config
    )
    explain.add_argument("key", nargs="?", help="key; all top-level keys by default")

    data = _group(commands, "data", "public data sets by name")
    command("list", "list the data sets", "data_list", data)
    for name, help_ in {
        "info": "describe a data set",
        "get": "download a data set; the size is shown, the files are verified",
        "verify": "compare the files with their checksums",
    }.items():
        command(name, help_, f"data_{name}", data).add_argument("name", help="data set")
    command(
        "where", "print where data sets are kept (change it with SKYFOLD_DATA)", "data_where", data
    )

    tutorials = _group(commands, "tutorials", "notebooks that teach")
    command("list", "list the tutorials", "tutorials_list", tutorials)
    copy = command(
        "copy", "copy the tutorials, to run and change them", "tutorials_copy", tutorials
    )
    copy.add_argument(
        "folder",
        nargs="?",
        default="skyfold-tutorials",
        help="where to (default: skyfold-tutorials)",
    )

    command("doctor", "print versions, extras and plugins, and what is wrong with them", "doctor")
    return top


def _group(commands: Any, name: str, help_: str) -> Any:
    group = commands.add_parser(name, help=help_, description=help_[0].upper() + help_[1:] + ".")
    group.set_defaults(action=None, group=group)
    return group.add_subparsers(metavar="COMMAND")


def _laps(word: str) -> int | str:
    return word if word == "auto" else int(word)


def _inputs(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "inputs", nargs="*", metavar="FILE", help="counts, several for a joint run; or CONFIG.yaml"
    )
    to.add_argument(
        "--instrument", metavar="NAME", help="instrument (default: recognised from the file)"
    )
    to.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a key of the configuration, as method.smoothing.fwhm='2 deg'",
    )
    to.add_argument("--strict", action="store_true", help="take warnings for errors")
    to.add_argument(
        "-h", "--help", action="store_true", help="show this help and the options of the files"
    )


def _output(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "-o", "--output", metavar="DIR", help="run folder (default: a new one with a telling name)"
    )
    to.add_argument("--overwrite", action="store_true", help="replace an existing run folder")
    to.add_argument("-q", "--quiet", action="store_true", help="print problems only")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal without Greek letters is no error
            stream.reconfigure(errors="replace")
    words = sys.argv[1:] if argv is None else list(argv)
    top = parser()
    if words[:1] in ([], ["-h"], ["--help"]):
        return _guarded(lambda: _help(top))
    if not words[0].startswith("-") and words[0] not in _own(top):
        return _guarded(lambda: _plugin_command(top, words))
    arguments, rest = top.parse_known_args(words)
    action = getattr(arguments, "action", None)
    if rest and action not in ("demo", "run", "check", "plugins_check"):
        top.error(f"unrecognised arguments: {' '.join(rest)}")
    arguments.rest = rest
    return _guarded(lambda: _obey(top, action, arguments))


def _guarded(work: Callable[[], int]) -> int:
    """Do the work and return its exit code; what goes wrong is said in a line, not a traceback."""
    try:
        code = work()
        sys.stdout.flush()
    except SkyfoldError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 5)
        sys.stderr.flush()
        os._exit(5)  # CPython dies of the signal later if it came while text was executed
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 7
    except OSError as error:
        return _fail(str(error), 7)
    except Exception as error:
        if os.environ.get("SKYFOLD_TRACEBACK"):
            raise
        return _fail(
            f"unexpected {type(error).__name__}: {error}\nThis should not happen. Set "
            "SKYFOLD_TRACEBACK=1 to see where it did, and please report it",
            4,
        )
    return code


def _help(top: argparse.ArgumentParser) -> int:
    """Print what there is, the commands of plugins included."""
    from skyfold.registry import default_registry

    top.print_help()
    if names := ", ".join(default_registry().commands):
        sys.stdout.write(f"\ncommands of plugins: {names}\n")
    return 0


def _own(top: argparse.ArgumentParser) -> Iterable[str]:
    """Return the names of our own commands."""
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    names: Iterable[str] = commands.choices
    return names


def _plugin_command(top: argparse.ArgumentParser, words: list[str]) -> int:
    """Run the command of a plugin."""
    plugin_commands = import_module("skyfold.plugin_commands")
    name = plugin_commands.find(words)
    if name is None:
        from skyfold.document import suggestion
        from skyfold.registry import default_registry

        known = [*_own(top), *default_registry().commands]
        return _fail(f"no command named {words[0]!r}. {suggestion(words[0], known)}", 2)
    code: int = plugin_commands.run(name, words[len(name.split()) :])
    return code


def _obey(top: argparse.ArgumentParser, action: str | None, arguments: argparse.Namespace) -> int:
    """Do what was asked for, and return the exit code."""
    if arguments.version:
        from importlib.metadata import version

        sys.stdout.write(f"skyfold {version('skyfold')}\n")
        return 0
    if action is None:
        (getattr(arguments, "group", None) or top).print_help()
        return 0 if arguments.command is None else 2
    commands = import_module("skyfold.commands")
    code: int | None = getattr(commands, action)(arguments)
    return code or 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"skyfold: {message}\n")
    return code
