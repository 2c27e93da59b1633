"""The page: what the run folder tells, in the order in which one asks."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import PurePath
from string import Template
from typing import Any

import numpy as np

from skyfold.dataspace import BLOCK, Projection
from skyfold.layers import Layer, Observation, projection_layers, same_field
from skyfold.plotting import histogram, lines
from skyfold.plotting import projections as along
from skyfold.report.choices import choices
from skyfold.report.folder import RunFolder
from skyfold.report.markup import (
    NARROW,
    SIGMA,
    Html,
    chart,
    copyable,
    note,
    number,
    section,
    table,
    whole,
    words,
)
from skyfold.report.overlay import overlay
from skyfold.report.pixels import ellipse_table, planes, plate, world_table
from skyfold.report.posterior import posterior
from skyfold.report.psf import psf
from skyfold.report.sanity import sanity
from skyfold.report.stars import stars
from skyfold.report.stills import span, still
from skyfold.report.structure import structure
from skyfold.report.verdict import verdict
from skyfold.shades import colours
from skyfold.skymap import frame_name
from skyfold.trails import curves

STOPS = ",".join(
    f"rgb({r},{g},{b})" for r, g, b, _ in colours("sigma")(np.linspace(0, 1, 11), bytes=True)
)
SIGMA_BAR = (
    f'<div class="bar"><div style="background:linear-gradient(to right,{STOPS})"></div>'
    f"<span>\N{MINUS SIGN}5{SIGMA}</span><span>0</span><span>+5{SIGMA}</span></div>"
)
FITTED = (
    "A fit to the counts is not unique. Structure finer than the response is an extrapolation: "
    "compare runs of different length before you believe it."
)
AVERAGED = (
    "The mean of all images drawn, each of which explains the counts. Structure finer than the "
    "response comes from the prior as much as from the counts: believe it where mean / standard "
    "deviation is high (see Posterior), and no more where another prior takes it away."
)
SCATTER = (
    "Errors tell the scatter of repeated observations, not what smoothing takes out of a region: "
    "prior is roughly what the priors moved. Where most values are zero, errors are upper limits."
)
CREDIBLE = (
    "error, posterior is the standard deviation of the flux of a region over all images drawn; low "
    "and high are the ends of its credible interval. Both are given these counts and the prior."
)
LONGEST_LINE = 5000  # bins; a longer line is a smear
MARKS = {"ok": "\N{CHECK MARK}", "fixed": "\N{CHECK MARK}", "warning": "!"}


def render(run: RunFolder) -> str:
    """Return the page of a run."""
    layers = [
        *run.skies,
        run.total,
        run.truth,
        run.sensitivity,
        *(layer for seen in run.observations for layer in seen),
    ]
    drawn = [layer for layer in layers if layer is not None and layer.flat.ndim == 2]
    images = [layer for layer in drawn if same_field(drawn[0], layer)]
    sampled = posterior(run)
    sections = [
        verdict(run.manifest, run.fixed),
        section(_heading(run), pictures(run, images), _profiles(run)),
        sampled,
        sanity(run),
        _residuals(run),
        _significance(run),
        stars(run),
        choices(run),
        psf(run),
        Html() if sampled else _convergence(run),
        _score(run),
        _checks(run),
        _inputs(run),
        _normalisations(run),
        _fluxes(run),
        structure(run),
        _settings(run),
        _provenance(run),
        _onward(run),
    ]
    started = str(run.manifest.get("started", ""))[:16].replace("T", " ")
    return assembled(_title(run), _lede(run), sections, images, started)


def assembled(
    title: str, lede: str, sections: Sequence[str], images: list[Layer], started: str = ""
) -> str:
    """Return a page that needs nothing else.

    Parameters
    ----------
    title, lede
        Its heading, and one sentence below it.
    sections
        HTML.
    images
        Layers that show the same field, for the wipe.
    started
        Date and time.
    """
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(_resource("page.html")).substitute(
        title=escape(title),
        lede=escape(lede),
        started=escape(started),
        body="\n".join(sections),
        style=_resource("page.css"),
        script=script,
        script_hash=digest,
        data=_data(images),
    )


def _heading(run: RunFolder) -> str:
    if any(layer.frame for layer in run.skies):
        return f"The whole sky in {frame_name(run.skies[0].frame)} coordinates"
    return "Before and after"


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _title(run: RunFolder) -> str:
    counts = [e for e in run.manifest.get("inputs", []) if e.get("role") == "counts"]
    names = [PurePath(str(entry.get("path", ""))).name for entry in counts]
    names += [f"demo {entry['demo']}" for entry in run.sources if entry.get("demo")]
    return run.about.get("OBJECT") or ", ".join(names[:3]) or run.path.resolve().name


def _lede(run: RunFolder) -> str:
    """Return in one sentence what was restored, and how."""
    method = run.manifest.get("config", {}).get("method")
    name = method.get("name") if isinstance(method, Mapping) else method
    figures, telescope = run.figures, [run.about.get(key) for key in ("TELESCOP", "INSTRUME")]
    said = [f"{whole(figures['counts'])} counts" if "counts" in figures else "Counts"]
    if any(telescope):
        said.append(f"of {' '.join(filter(None, telescope))}")
    said.append("restored")
    if name:
        said.append(f"by {name}")
    if "iterations" in figures:
        said.append(f"in {figures['iterations']} iterations")
    return " ".join(said) + "."


def pictures(run: RunFolder, images: list[Layer]) -> str:
    """Return the images side by side; the script makes a wipe of them."""
    if not images:
        return ""
    skies = [layer for layer in (run.total, *run.skies) if layer in images]
    candidates = [*(seen.counts for seen in run.observations), run.truth, run.sensitivity]
    before = next((layer for layer in candidates if layer in images), images[0])
    after = skies[0] if skies else images[-1]
    assert before is not None
    stills = "".join(still(layer, span(layer)) for layer in dict.fromkeys([before, after, *skies]))
    apart = [
        still(seen.counts, span(seen.counts))
        for seen in run.observations
        if seen.counts.flat.ndim == 2 and seen.counts not in images
    ]
    remarks: list[str] = [note(AVERAGED if run.sampled else FITTED)]
    if run.binning > 1:
        remarks.append(
            note(
                f"To keep this page light, {run.binning} by {run.binning} pixels are joined; "
                f"{run.product} holds all of them."
            )
        )
    if apart:
        remarks.append(note("Other observations, each on its own pixels:"))
        remarks.append(f'<div class="pair">{"".join(apart)}</div>')
    return (
        f'<div id="stage" data-before="{images.index(before)}" '
        f'data-after="{images.index(after)}" hidden></div>'
        f'<template id="grid">{overlay(after)}</template>'
        f'<div class="pair" id="stills">{stills}</div>{"".join(remarks)}'
    )


def _profiles(run: RunFolder) -> str:
    """Return what has one dimension, as lines."""
    rows = [[seen.counts, seen.expected] for seen in run.observations]
    rows = [row for row in [*rows, *([sky] for sky in run.skies)] if _is_line(row[0])]
    return chart(lines(rows), "counts, expectation, restored values") if rows else ""


def _is_line(layer: Layer) -> bool:
    return layer.flat.ndim == 1 and layer.flat.size <= LONGEST_LINE


def _residuals(run: RunFolder) -> Html:
    shown = [_residual(seen) for seen in run.observations]
    if run.projections:
        shown.append(_projections(run.projections))
    if not run.observations:
        return section("What is left", *shown)
    remark = note(
        "A histogram narrower than the curve means that the model has followed noise; wings mean "
        "that it has missed something."
    )
    return section("What is left", *shown, remark) if shown else Html()


def _projections(projections: list[Projection]) -> str:
    """Return counts, expectation and residual along every axis, summed over all others."""
    told = note(
        "The counts form no image: here they are summed over all axes but one. Bars are the root "
        "of the counts; a residual that wanders shows what the model cannot make."
    )
    binned = [p for p in projections if p.axis.nside is None and p.axis.size > 1]
    drawn = chart(along(binned), "counts and expectation along the axes", "wide") if binned else ""
    maps = [
        still(layer, span(layer), SIGMA_BAR if layer.kind == "sigma" else "")
        for projection in projections
        if projection.axis.nside is not None
        for layer in projection_layers(projection)
    ]
    return f'{told}{drawn}<div class="three">{"".join(maps)}</div>'


def _residual(seen: Observation) -> str:
    layer = seen.telling
    values = layer.values[..., ::BLOCK, ::BLOCK] if layer is seen.blocks else layer.values
    known = values[np.isfinite(values)]
    spread = float(np.sqrt(np.mean(known**2))) if known.size else float("nan")
    told = f"spread {spread:.2f}{SIGMA}"
    drawn = chart(histogram(values), f"histogram of residuals, {told}")
    bars = f"<figure>{drawn}<figcaption>Histogram <span>{told}</span></figcaption></figure>"
    if layer.flat.ndim == 1:
        line = chart(lines([[layer]]), "residual of each bin, in sigma") if _is_line(layer) else ""
        return f'<div class="pair">{line}{bars}</div>'
    picture = still(layer, "blue: too few counts, red: too many, grey: masked", SIGMA_BAR)
    return f'<div class="pair">{picture}{bars}</div>'


def _significance(run: RunFolder) -> Html:
    layer = run.significance
    if layer is None or layer.flat.ndim != 2:
        return Html()
    told = note(
        "What the counts say of each value alone. Of a sky that was fitted this is only what the "
        "fit has left: zero or less at the maximum of the likelihood. There are as many tests as "
        f"pixels, so some beyond 4{SIGMA} are noise."
    )
    caption = "blue: less light is asked for, red: more, grey: no counts in reach"
    drawn = still(layer, caption, SIGMA_BAR)
    pair = f'<div class="pair">{drawn}<div>{told}</div></div>'
    return section("Where more light is asked for", pair)


def _convergence(run: RunFolder) -> Html:
    if len(run.trace) < 2:
        return Html()
    fitted = [name for name in run.normalisations if not run.holds(name)]
    rows = [{k: v for k, v in row.items() if not run.holds(k)} for row in run.trace]
    return section(
        "The way there", chart(curves(rows, fitted), "gain of log-likelihood against iteration")
    )


def _score(run: RunFolder) -> Html:
    score = run.figures.get("score")
    if not score:
        return Html()
    rows = ((words(name), number(value)) for name, value in score.items())
    told = note("These counts were simulated, so the truth is known.")
    pair = ""
    if run.truth is not None and run.truth.flat.ndim == 2:
        images = "".join(still(layer, span(layer)) for layer in (*run.skies, run.truth))
        pair = f'<div class="pair">{images}</div>'
    return section("Against the truth", told, pair, table((), rows))


def _checks(run: RunFolder) -> Html:
    rows = []
    for check in run.manifest.get("checks", []):
        level = str(check.get("level", ""))
        kind = level if level in MARKS else "warning"
        mark = Html(f'<span class="level {kind}">{MARKS[kind]} {escape(level)}</span>')
        rows.append((mark, check.get("subject", ""), check.get("message", "")))
    return section("Checks of the input", table(("", "what", "found"), rows))


def _inputs(run: RunFolder) -> Html:
    rows = []
    for entry in run.manifest.get("inputs", []):
        digest = str(entry.get("sha256", ""))
        size = whole(entry["bytes"]) if "bytes" in entry else ""
        short = copyable(digest, f"{digest[:12]}\N{HORIZONTAL ELLIPSIS}")
        path = Html(escape(str(entry.get("path", ""))).replace("/", "/<wbr>"))
        rows.append((entry.get("role", ""), path, size, short))
    return section("Inputs", table(("role", "file", "bytes", "SHA-256"), rows))


def _normalisations(run: RunFolder) -> Html:
    errors = run.figures.get("normalisation_errors", {})
    rows = [
        (name, _with_error(value, errors.get(name)), "fixed" if run.holds(name) else "fitted")
        for name, value in run.normalisations.items()
    ]
    told = note("Posterior mean and standard deviation.") if errors else ""
    return section("Normalisations", table(("component", "normalisation", ""), rows), told)


def _with_error(value: float, error: float | None) -> str:
    return number(value) if error is None else f"{number(value)} \N{PLUS-MINUS SIGN} {error:.2g}"


def _fluxes(run: RunFolder) -> Html:
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


def _settings(run: RunFolder) -> Html:
    import yaml

    settings = run.manifest.get("settings") or run.manifest.get("config")
    if not settings:
        return Html()
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    told = note("What was asked for and every default: this is a complete configuration file.")
    return section("Settings", told, f"<pre>{escape(text)}</pre>")


def _provenance(run: RunFolder) -> Html:
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


def _onward(run: RunFolder) -> Html:
    folder, commands = shlex.quote(run.path.resolve().name), {}
    if "command" in run.manifest:
        commands["this run"] = shlex.join(map(str, run.manifest["command"]))
    done = run.figures.get("iterations")
    commands["go on from here"] = f"skyfold resume {folder}" + (
        f" --iterations {2 * done}" if done else ""
    )
    if run.product == "result.fits":
        commands["look at it in DS9"] = f"ds9 {folder}/result.fits"
    return section("Go on", table((), ((what, copyable(text)) for what, text in commands.items())))


def _data(images: list[Layer]) -> str:
    """Return what the script of the page draws from, safe inside a script element."""
    described = []
    for layer in images:
        drawn = [plate(values, layer.kind, layer.upward) for values in planes(layer)]
        described.append(
            {
                "title": layer.title,
                "unit": layer.unit,
                "kind": layer.kind,
                "planes": [image.for_script() for image in drawn],
            }
        )
    placed = next((layer for layer in images if layer.wcs is not None), None)
    labels = next((layer.labels for layer in images if layer.labels), ())
    bundle = {
        "layers": described,
        "planes": ["all together", *labels] if labels else [],
        "world": placed
        and (
            ellipse_table(placed.frame)
            if placed.frame
            else world_table(placed.wcs, placed.flat.shape, placed.upward)
        ),
        "maps": {
            kind: colours(kind)(range(256), bytes=True)[:, :3].tobytes().hex()
            for kind in ("flux", "sigma")
        },
    }
    return json.dumps(bundle, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
