"""What can be said on the command line; what is done then stands in `skyfold.commands`."""

from __future__ import annotations

import argparse
from typing import Any

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
RAW = argparse.RawDescriptionHelpFormatter
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
    top = _Parser(prog="skyfold", description=DESCRIPTION, epilog=FIRST_STEPS, formatter_class=RAW)
    top.add_argument("--version", action="store_true", help="print the version and end")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    _demo(commands)
    _check(commands)
    _run(commands)
    _later(commands)
    _errors(commands)
    _compare(commands)
    _plugins(_group(commands, "plugins", "what is installed, and how to add to it"))
    _config(_group(commands, "config", "configuration files"))
    _data(_group(commands, "data", "public data sets by name"))
    _tutorials(_group(commands, "tutorials", "notebooks that teach"))
    _command(
        commands,
        "doctor",
        "print versions, extras and plugins, and what is wrong with them",
        "plugins.doctor",
    )
    return top


def _command(into: Any, name: str, help_: str, action: str, **more: Any) -> argparse.ArgumentParser:
    """Add a command; the action is a module of `skyfold.commands` and a function there."""
    added: argparse.ArgumentParser = into.add_parser(
        name, help=help_, description=_sentence(help_), formatter_class=RAW, **more
    )
    added.set_defaults(action=action)
    return added


def _group(commands: Any, name: str, help_: str) -> Any:
    group = commands.add_parser(name, help=help_, description=_sentence(help_))
    group.set_defaults(action=None, group=group)
    return group.add_subparsers(metavar="COMMAND")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _demo(commands: Any) -> None:
    demo = _command(
        commands,
        "demo",
        "simulate an observation, restore it and score it against the truth",
        "runs.demo",
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


def _check(commands: Any) -> None:
    check = _command(
        commands, "check", "open files, say what was found, and end", "runs.check", add_help=False
    )
    _inputs(check)
    check.add_argument("--method", help="see whether this method takes data and options, too")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")


def _run(commands: Any) -> None:
    run = _command(
        commands,
        "run",
        "restore an image from counts, or from a configuration file",
        "runs.run",
        add_help=False,
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


def _later(commands: Any) -> None:
    resume = _command(
        commands, "resume", "go on with an interrupted run, or extend a finished one", "runs.resume"
    )
    resume.add_argument("folder", metavar="RUN", help="run folder")
    resume.add_argument(
        "--iterations", type=int, metavar="N", help="new total number of iterations"
    )
    resume.add_argument("-q", "--quiet", action="store_true", help="no progress")

    report = _command(commands, "report", "write report.html of a run folder again", "runs.report")
    report.add_argument("folder", metavar="RUN", help="run folder")


def _errors(commands: Any) -> None:
    errors = _command(
        commands,
        "errors",
        "fluxes of regions of a finished run, with their errors",
        "runs.errors",
        epilog=ERRORS,
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


def _compare(commands: Any) -> None:
    compare = _command(
        commands, "compare", "put runs side by side, and against a truth", "runs.compare"
    )
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


def _plugins(commands: Any) -> None:
    _command(commands, "list", "list plugins and what they offer", "plugins.show")
    info = _command(
        commands, "info", "describe what a plugin offers, with all options", "plugins.info"
    )
    info.add_argument("name", help="plugin, instrument, method or refinement")
    new = _command(commands, "new", "write the skeleton of an instrument plugin", "plugins.new")
    new.add_argument("name", help="name of the instrument")
    new.add_argument("--into", default=".", metavar="DIR", help="where to create the folder")
    prove = _command(
        commands,
        "check",
        "prove that an instrument keeps its promises",
        "plugins.check",
        add_help=False,
    )
    prove.add_argument("name", nargs="?", help="instrument")
    prove.add_argument("inputs", nargs="*", metavar="FILE", help="its files; its demo by default")
    prove.add_argument(
        "-h", "--help", action="store_true", help="show this help and the instrument's options"
    )


def _config(commands: Any) -> None:
    init = _command(commands, "init", "write a commented configuration file", "config.init")
    init.add_argument(
        "file", nargs="?", default="run.yaml", help="file to write (default: run.yaml)"
    )
    init.add_argument("--instrument", default="image", help="instrument (default: image)")
    init.add_argument("--method", default="rl", help="method (default: rl)")
    _command(
        commands, "schema", "print the JSON schema, for completion in editors", "config.schema"
    )
    explain = _command(
        commands, "explain", "explain a key, as method.smoothing.fwhm", "config.explain"
    )
    explain.add_argument("key", nargs="?", help="key; all top-level keys by default")


def _data(commands: Any) -> None:
    _command(commands, "list", "list the data sets", "library.data_list")
    for name, help_ in {
        "info": "describe a data set",
        "get": "download a data set; the size is shown, the files are verified",
        "verify": "compare the files with their checksums",
    }.items():
        _command(commands, name, help_, f"library.data_{name}").add_argument(
            "name", help="data set"
        )
    _command(
        commands,
        "where",
        "print where data sets are kept (change it with SKYFOLD_DATA)",
        "library.data_where",
    )


def _tutorials(commands: Any) -> None:
    _command(commands, "list", "list the tutorials", "library.tutorials_list")
    copy = _command(
        commands, "copy", "copy the tutorials, to run and change them", "library.tutorials_copy"
    )
    copy.add_argument(
        "folder",
        nargs="?",
        default="skyfold-tutorials",
        help="where to (default: skyfold-tutorials)",
    )


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
