"""Runs side by side on one page: figures, the way up, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skyfold import files
from skyfold.compare import labels, rows
from skyfold.layers import Layer, same_field
from skyfold.report.folder import RunFolder
from skyfold.report.markup import Html, chart, note, section, table
from skyfold.report.page import assembled, pictures
from skyfold.trails import climbs


def write(path: Path, runs: Sequence[Path], figures: Sequence[Mapping[str, Any]]) -> Path:
    """Write a page that compares runs.

    Parameters
    ----------
    path
        The page to write, self-contained.
    runs
        Run folders.
    figures
        Their figures (see `skyfold.compare.compare`).

    Raises
    ------
    FileError
        If a folder holds no run, or the page cannot be written.
    """
    names = labels([str(run) for run in runs])
    read = [RunFolder.read(run) for run in runs]
    head, *body = rows(figures)
    sections = [
        section("Figures", table(head, body)),
        _ways({name: run.trace for name, run in zip(names, read, strict=True)}),
        _skies(names, read),
    ]
    lede = f"{len(runs)} runs side by side."
    files.write_text(path, assembled(", ".join(names), lede, sections, _images(names, read)))
    return path


def _ways(trails: Mapping[str, Sequence[Mapping[str, float]]]) -> Html:
    trails = {name: trace for name, trace in trails.items() if len(trace) > 1}
    if not trails:
        return Html()
    told = note(
        "How far each run lies below the best of them, iteration by iteration. It compares runs "
        "with the same data and the same priors (by their log-posterior), or "
        "without (by their log-likelihood), and says how soon each comes near the optimum: "
        "without a prior the best picture comes before the optimum, not at it."
    )
    drawn = chart(climbs(trails), "objective below the best, against products and seconds", "wide")
    return section("The way up", drawn, told)


def _images(names: Sequence[str], runs: Sequence[RunFolder]) -> list[Layer]:
    """Return the skies of all runs under the runs' names, and the truth, as far as they agree."""
    skies = [
        replace(layer, title=name if len(run.skies) == 1 else f"{name}: {layer.title}")
        for name, run in zip(names, runs, strict=True)
        for layer in run.skies
    ]
    truths = [run.truth for run in runs if run.truth is not None][:1]
    flat = [layer for layer in (*skies, *truths) if layer.flat.ndim == 2]
    return [layer for layer in flat if same_field(flat[0], layer)]


def _skies(names: Sequence[str], runs: Sequence[RunFolder]) -> Html:
    images = _images(names, runs)
    together = replace(runs[0], skies=images[1:], truth=None, observations=[], sensitivity=None)
    return section("Skies", pictures(together, images))
