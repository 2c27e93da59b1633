"""What a run read, was told and found, in tables; and how to go on from it."""

from __future__ import annotations

import shlex
from html import escape
from typing import Any

from skyfold.report.folder import RunFolder
from skyfold.report.markup import NARROW, Html, copyable, note, number, section, table, whole, words
from skyfold.report.verdict import doubts

SCATTER = (
    "Errors tell the scatter of repeated observations, not what smoothing takes out of a region: "
    "prior is roughly what the priors moved. Where most values are zero, errors are upper limits."
)
CREDIBLE = (
    "error, posterior is the standard deviation of the flux of a region over all images drawn; low "
    "and high are the ends of its credible interval. Both are given these counts and the prior."
)
MARKS = {"ok": "\N{CHECK MARK}", "fixed": "\N{CHECK MARK}", "warning": "!"}


def checks(run: RunFolder) -> Html:
    """Return what was found in the input."""
    rows = []
    for check in run.manifest.get("checks", []):
        level = str(check.get("level", ""))
        kind = level if level in MARKS else "warning"
        mark = Html(f'<span class="level {kind}">{MARKS[kind]} {escape(level)}</span>')
        rows.append((mark, check.get("subject", ""), check.get("message", "")))
    return section("Checks of the input", table(("", "what", "found"), rows))


def inputs(run: RunFolder) -> Html:
    """Return the files, with their sums."""
    rows = []
    for entry in run.manifest.get("inputs", []):
        digest = str(entry.get("sha256", ""))
        size = whole(entry["bytes"]) if "bytes" in entry else ""
        short = copyable(digest, f"{digest[:12]}\N{HORIZONTAL ELLIPSIS}")
        path = Html(escape(str(entry.get("path", ""))).replace("/", "/<wbr>"))
        rows.append((entry.get("role", ""), path, size, short))
    return section("Inputs", table(("role", "file", "bytes", "SHA-256"), rows))


def normalisations(run: RunFolder) -> Html:
    """Return factors of backgrounds and baselines."""
    errors = run.figures.get("normalisation_errors", {})
    rows = [
        (name, _with_error(value, errors.get(name)), "fixed" if run.holds(name) else "fitted")
        for name, value in run.normalisations.items()
    ]
    told = note("Posterior mean and standard deviation.") if errors else ""
    return section("Normalisations", table(("component", "normalisation", ""), rows), told)


def _with_error(value: float, error: float | None) -> str:
    return number(value) if error is None else f"{number(value)} \N{PLUS-MINUS SIGN} {error:.2g}"


def fluxes(run: RunFolder) -> Html:
    """Return the fluxes of regions with their errors."""
    found = run.fluxes
    if found is None:
        return Html()
    unit = found.meta.get("unit", "")
    head = [
        name.replace("error_", "error, ") + (f" ({unit})" if found[name].unit else "")
        for name in found.colnames
    ]
    rows = [[number(row[name]) for name in found.colnames] for row in found]
    errors = {name for name in found.colnames if name.startswith("error_")}
    notes = [note(CREDIBLE)] if "error_posterior" in errors else []
    if errors - {"error_posterior"}:
        notes.append(note(SCATTER))
    return section("Region fluxes", table(head, rows), *notes)


def settings(run: RunFolder) -> Html:
    """Return the whole configuration."""
    import yaml

    settings = run.manifest.get("settings") or run.manifest.get("config")
    if not settings:
        return Html()
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    told = note("What was asked for and every default: this is a complete configuration file.")
    return section("Settings", told, f"<pre>{escape(text)}</pre>")


def provenance(run: RunFolder) -> Html:
    """Return when, how long, and with which versions."""
    notes = run.manifest
    rows: list[tuple[str, Any]] = [
        (name, notes[name]) for name in ("started", "ended", "seed") if name in notes
    ]
    if "stop_reason" in run.figures:
        rows.append(("stopped", run.figures["stop_reason"]))
    timings = dict(notes.get("timings", {}))
    products = timings.pop("products", None)
    rows += [(words(k), f"{number(v)}{NARROW}s") for k, v in timings.items()]
    if products is not None:
        rows.append(("products with the response", f"{products:g}"))
    if "peak_memory" in notes:
        rows.append(("peak memory", f"{whole(notes['peak_memory'] / 1e6)}{NARROW}MB"))
    rows += notes.get("versions", {}).items()
    return section("Provenance", table((), rows))


def onward(run: RunFolder) -> Html:
    """Return the commands that go on from here."""
    folder, commands = shlex.quote(run.path.resolve().name), {}
    if "command" in run.manifest:
        commands["this run"] = shlex.join(map(str, run.manifest["command"]))
    done = run.figures.get("iterations")
    if not any("skyfold resume" in doubt for doubt in doubts(run.manifest)):  # it tells how far
        commands["go on from here"] = f"skyfold resume {folder}" + (
            f" --iterations {2 * done}" if done else ""
        )
    if run.product == "result.fits":
        commands["look at it in DS9"] = f"ds9 {folder}/result.fits"
    return section("Go on", table((), ((what, copyable(text)) for what, text in commands.items())))
