"""The page: what the run folder tells, in the order in which one asks."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import PurePath
from string import Template

from skyfold.layers import Layer, same_field
from skyfold.plotting import lines
from skyfold.report.choices import choices
from skyfold.report.folder import RunFolder
from skyfold.report.markup import Html, chart, note, number, section, table, whole, words
from skyfold.report.overlay import overlay
from skyfold.report.pixels import ellipse_table, planes, plate, world_table
from skyfold.report.posterior import posterior
from skyfold.report.psf import psf
from skyfold.report.record import (
    checks,
    fluxes,
    inputs,
    normalisations,
    onward,
    provenance,
    settings,
)
from skyfold.report.sanity import sanity
from skyfold.report.stars import stars
from skyfold.report.stills import span, still
from skyfold.report.structure import structure
from skyfold.report.unexplained import is_line, residuals, significance
from skyfold.report.verdict import verdict
from skyfold.shades import colours
from skyfold.skymap import frame_name
from skyfold.trails import curves

FITTED = (
    "A fit to the counts is not unique. Structure finer than the response is an extrapolation: "
    "compare runs of different length before you believe it."
)
AVERAGED = (
    "The mean of all images drawn, each of which explains the counts. Structure finer than the "
    "response comes from the prior as much as from the counts: believe it where mean / standard "
    "deviation is high (see Posterior), and no more where another prior takes it away."
)


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
        verdict(run.manifest, run.fixed, run.path.resolve().name),
        section(_heading(run), pictures(run, images), _profiles(run)),
        sampled,
        sanity(run),
        residuals(run),
        significance(run),
        stars(run),
        choices(run),
        psf(run),
        Html() if sampled else _convergence(run),
        _score(run),
        checks(run),
        inputs(run),
        normalisations(run),
        fluxes(run),
        structure(run),
        settings(run),
        provenance(run),
        onward(run),
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
    after = next((layer for layer in run.skies if layer in skies), images[-1])
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
    rows = [row for row in [*rows, *([sky] for sky in run.skies)] if is_line(row[0])]
    return chart(lines(rows), "counts, expectation, restored values") if rows else ""


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
    told, pair = "These counts were simulated, so the truth is known.", ""
    if run.truth is not None and run.truth.flat.ndim == 2:
        told += " All images have the scale of colours of the truth."
        true = run.truth.flat
        images = "".join(
            still(layer, span(layer, true), scale=true) for layer in (*run.skies, run.truth)
        )
        pair = f'<div class="pair">{images}</div>'
    return section("Against the truth", note(told), pair, table((), rows))


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
