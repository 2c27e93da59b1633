"""What is said on the terminal of data and results."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO


def say(text: str) -> None:
    """Print a line for people."""
    sys.stdout.write(text + "\n")


def tell_data(data: Any) -> None:
    """Print one line per check."""
    for part in data.parts:
        shape = " x ".join(map(str, part.shape))
        total = part.full_counts.sum(where=part.weight > 0)
        say(f"data      {part.origin.name}: {shape} bins, {total:.0f} counts")
        for item in part.origin.checks:
            mark = {"ok": "ok     ", "fixed": "fixed  ", "warning": "WARNING"}[item.level]
            say(f"  {mark} {item.subject}: {item.message}")


def tell_warnings(data: Any) -> None:
    """Print what a quiet run has to say of its input."""
    for item in data.checks:
        if item.level == "warning":
            sys.stderr.write(f"WARNING   {item.subject}: {item.message}\n")


def tell_doubts(result: Any, folder: Path, stream: TextIO) -> None:
    """Print what speaks against a result."""
    from skyfold.sampling.chains.diagnostics import of_folder

    for doubt in of_folder(result.doubts, folder):
        stream.write(f"NOTE      {doubt}\n")


def tell_result(result: Any, folder: Path) -> None:
    """Print what a newcomer wants to know, in a few lines."""
    from skyfold.star_products import told

    fixed = set(result.model) - result.model.free
    figures: Mapping[str, Any] = result.manifest["results"]
    method, errors = result.manifest["config"]["method"], figures.get("normalisation_errors", {})
    if method.get("strength", 1.0) != 1.0:
        smooth = method.get("smooth")
        blur = f", and a blur of {smooth}" if isinstance(smooth, str) else ""
        say(f"strength  {method['strength']:.4g} times the prior given{blur}")
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
    elif method["name"] == "two-channel":
        say("NOTE      no stars were given: the whole image is background; list them with --stars")
    if psf := figures.get("psf"):
        say(f"psf       {psf['fwhm']:.3g} pixels wide, given as {psf['fwhm_start']:.3g}")
    tell_doubts(result, folder, sys.stdout)
    for name, value in figures.get("score", {}).items():
        say(f"truth     {name}: {value:.4g}")
    files: Iterable[str] = ("report.html", "result.fits", "result.h5")
    written = [str(folder / name) for name in files if (folder / name).exists()]
    say(f"written   {', '.join(written)}")


def last_line(traceback: str) -> str:
    """Return what a traceback says in the end."""
    return traceback.strip().splitlines()[-1]
