"""Whether a result can be trusted: the figures of merit, and what they say in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from html import escape
from math import sqrt
from statistics import NormalDist
from typing import Any

from skyfold.report.markup import SIGMA, Html
from skyfold.sampling.chains.diagnostics import doubts as chain_doubts
from skyfold.sampling.chains.diagnostics import of_folder

FEW_COUNTS = 50
VANISHED = 0.2  # of its template: a fitted background is seldom so wrong
MOST_BLOCK = 4.0  # sigma; noise alone seldom takes one of a thousand blocks further
RARE = 0.05  # chance that noise takes one of very many blocks too far
MOST_OUTLIERS = 0.01  # share of bins beyond 3 sigma; 0.0027 for normal noise
MOST_C = 5.0  # sigma of the C-statistic; it is skewed, and at few counts 3 are no rarity
TOLD = 10.0  # sigma by which a PSF wider by a tenth should be told from the restored one
WIDE = 0.3  # share of the sky in use that is no confinement to stars
ASTRAY = 1.33  # times the width of the PSF given; one roughly right is nearer
NAMED = 3  # of many stars
RATIO_TOLERANCE = 5e-3  # smoothed or weighted steps keep the total only so far


def doubts(manifest: Mapping[str, Any], fixed: Collection[str] = ()) -> list[str]:
    """Return in one sentence each what speaks against a result; nothing if all is well.

    Parameters
    ----------
    manifest
        The manifest of the run.
    fixed
        Components that were not fitted: with them the totals agree only within the noise.
    """
    figures, found = manifest.get("results", {}), []
    if manifest.get("status") == "interrupted":
        found.append("The run was interrupted before its end; it can be resumed.")
    sampled = "posterior" in figures
    short = "the burn-in was too short" if sampled else "the run was too short"
    ratio, balance = figures.get("ratio", 1.0), figures.get("balance", 1.0)
    if not abs(ratio - balance) <= _tolerance(figures, fixed):
        cause = "the run was too short, or smoothing or weighting hold its steps back"
        if sampled:
            cause = f"the prior pulls on the total, or {short}"
        elif ratio > 1 and fixed:
            cause = (
                f"{', '.join(sorted(fixed))} is wrong, or, held fixed below a sky that can follow "
                "upward fluctuations only, should be fitted; or iterate less"
            )
        found.append(f"The expected counts add up to {ratio:.4f} of the observed ones: {cause}.")
    if figures.get("counts", FEW_COUNTS) < FEW_COUNTS:
        found.append(f"Only {figures['counts']:.4g} counts: upper limits are all they can give.")
    for name, value in figures.get("normalisations", {}).items():
        if name.partition("[")[0] not in fixed and value < VANISHED:
            found.append(
                f"{name} was fitted away, to {value:.2g} of its template: a free sky can take its "
                "place. Keep it fixed, or confine the sky to where sources are (sky_mask)."
            )
    block = figures.get("largest_block", 0.0)
    if not block <= _most_block(figures):
        found.append(
            f"A block of {_block(figures)} is {block:.1f}{SIGMA} off: something is seen there that "
            f"response and background cannot make, or {short}."
        )
    outliers = figures.get("outliers", 0.0)
    if not outliers <= MOST_OUTLIERS:
        found.append(
            f"{outliers:.1%} of the bins lie beyond 3{SIGMA}; normal noise puts 0.27% there."
        )
    for seen in figures.get("observations", []):
        excess = seen.get("c_stat_excess", 0.0)
        if not excess <= MOST_C:
            found.append(
                f"{seen['name']}: the C-statistic is {excess:.1f}{SIGMA} above what noise alone "
                "would make of it: the counts hold something that the model cannot make, or "
                f"{short}."
            )
    found += _psf_doubts(figures.get("psf", {}))
    found += _star_doubts(figures.get("stars", {}))
    seconds = manifest.get("timings", {}).get("iterating", 0.0)
    return [*found, *chain_doubts(figures.get("posterior", {}), seconds)]


def _psf_doubts(psf: Mapping[str, float]) -> list[str]:
    """Return what speaks against a restored PSF (see `skyfold.algorithms.blind.Blind.figures`)."""
    if not psf:
        return []
    told, before, after = psf["told"], psf["fwhm_start"], psf["fwhm"]
    remedy = "Restore the PSF on stars that stand apart from extended emission, or give it."
    found = []
    if told < TOLD:
        found.append(
            "Ambiguous: width of the PSF and extent of the sources cannot be told apart. Through a "
            f"PSF 10 % wider, a sky of any form would explain these counts to within {told:.1f}"
            f"{SIGMA}. {remedy}"
        )
    if psf["sky_in_use"] > WIDE:
        found.append(
            "The PSF was restored with a sky free to be anything, which takes on the blur itself: "
            "the PSF is too narrow. Confine the sky to stars (sky: stars), or give the PSF."
        )
    if not 1 / ASTRAY < after / before < ASTRAY:
        found.append(
            f"Ambiguous: the width of the PSF went from {before:.3g} to {after:.3g} pixels. Either "
            "the PSF given was far off, or it took on the extent of the sources. " + remedy
        )
    return found


def _star_doubts(stars: Mapping[str, Any]) -> list[str]:
    """Return what speaks against fluxes of stars (see `skyfold.photometry.figures`)."""
    found = []
    pairs = {frozenset((a, b)): f"{a} and {b}" for a, b, _ in reversed(stars.get("blended", []))}
    if pairs:
        found.append(
            f"The light of close stars cannot be told apart ({_few(list(pairs.values()))}): sums "
            "of their fluxes are known better than each of them."
        )
    if off := stars.get("off", []):
        named = [f"{name}, {sigma:+.1f}{SIGMA}" for name, sigma in off]
        found.append(
            f"Beside {len(off)} of {stars['number']} stars a pixel is far off ({_few(named)}): the "
            "PSF is not theirs, or their place is wrong; fit the places too (--stars.free)."
        )
    if peaks := stars.get("unlisted", []):
        places = [f"x {x:.4g}, y {y:.4g}" for x, y, _ in peaks]
        found.append(
            f"Something like a star is left in the background ({_few(places)}): add it to the list."
        )
    return found


def _few(names: list[str]) -> str:
    """Return the first of them, and how many more there are."""
    more = f"; {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(names[:NAMED]) + more


def _tolerance(figures: Mapping[str, Any], fixed: Collection[str]) -> float:
    """Return how far expected and observed totals may be apart."""
    noise = 3 / sqrt(max(figures.get("counts", 0), 1))
    free = not fixed and "posterior" not in figures  # a posterior mean is not at the maximum
    return RATIO_TOLERANCE if free else max(RATIO_TOLERANCE, noise)


def _most_block(figures: Mapping[str, Any]) -> float:
    """Return how far noise alone may take the worst of all blocks."""
    chance = RARE / max(figures.get("blocks", 1), 1)
    return max(MOST_BLOCK, -NormalDist().inv_cdf(chance / 2))


def _block(figures: Mapping[str, Any]) -> str:
    return str(figures.get("block", "8 x 8 pixels")).replace(" x ", " \N{MULTIPLICATION SIGN} ")


def verdict(manifest: Mapping[str, Any], fixed: Collection[str] = (), folder: str = "RUN") -> Html:
    """Return the judgement as a section of the page (`doubts`) of the run in a folder."""
    figures, found = manifest.get("results", {}), of_folder(doubts(manifest, fixed), folder)
    warned = [
        f"{check.get('subject', 'input')}: {check.get('message', '')}"
        for check in manifest.get("checks", [])
        if check.get("level") == "warning"
    ]
    if "ratio" not in figures:
        kind, headline = "doubt", "No figures of merit: this run did not end."
    elif "largest_block" not in figures and not found:
        kind, headline = "doubt", "Events have no bins: only their total can be compared."
    elif found:
        kind, headline = "doubt", "Look again before you trust this."
    elif warned:
        kind, headline = "trust", "The model explains the counts. Of the input was said:"
    else:
        kind, headline = "trust", "The model explains the counts."
    listed = "".join(f"<li>{escape(text)}</li>" for text in found + warned)
    return Html(
        f'<section class="verdict {kind}"><h2>{headline}</h2>'
        f"{f'<ul>{listed}</ul>' if listed else ''}<dl>{_tiles(figures, fixed)}</dl></section>"
    )


def _tiles(figures: Mapping[str, Any], fixed: Collection[str]) -> str:
    """Return the figures one reads first, each with what it should be."""
    balance, tolerance = figures.get("balance", 1.0), _tolerance(figures, fixed)
    allowed = f"{balance:.5g} \N{PLUS-MINUS SIGN} {tolerance:.3f}"
    if abs(balance - 1) > 1e-4:
        allowed += ", as the prior pulls"
    if fixed:
        allowed += f", with {', '.join(sorted(fixed))} held fixed"
    psf = figures.get("psf", {})
    shown = {**figures, **({"psf_fwhm": psf["fwhm"]} if psf else {})}
    tiles = {
        "ratio": ("expected / observed counts", "{:.4f}", allowed),
        "largest_block": (
            "largest residual of a block",
            "{:.1f}" + SIGMA,
            f"noise reaches {_most_block(figures):.1f}{SIGMA}; blocks of {_block(figures)}",
        ),
        "psf_fwhm": (
            "width of the PSF",
            "{:.3g} pixels",
            f"given as {psf.get('fwhm_start', 0):.3g}; one 10 % wider can be told from it by "
            f"{psf.get('told', 0):.1f}{SIGMA}, should be {TOLD:.0f}{SIGMA}",
        ),
        "outliers": (f"bins beyond 3{SIGMA}", "{:.2%}", "0.27% for normal noise"),
        "iterations": ("iterations", "{}", str(figures.get("stop_reason", ""))),
    }
    return "".join(
        f"<div><dt>{name}</dt><dd>{form.format(shown[key])}</dd><p>{escape(remark)}</p></div>"
        for key, (name, form, remark) in tiles.items()
        if key in shown
    )
