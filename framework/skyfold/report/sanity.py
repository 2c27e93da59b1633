"""Whether the model explains each data set: its C-statistic beside what noise alone would give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from typing import Any

from skyfold.report.folder import RunFolder
from skyfold.report.markup import SIGMA, Html, note, section, table, whole

MINUS, PLUS_MINUS = "\N{MINUS SIGN}", "\N{PLUS-MINUS SIGN}"
READING = (
    "C is twice the log-likelihood by which the model falls short of one that meets every bin "
    f"exactly. If the model were the truth, noise would bring C to what is expected, within a few"
    f"{SIGMA}. "
)
FITTED = (
    "Far above: the counts hold something that the model cannot make, or the run was too "
    "short. Below is normal: a fitted sky follows part of the noise, and where bins hold some "
    "counts each value that the fit could effectively choose takes about one unit off C. Agreement "
    "thus proves less the more was fitted, and it proves little where nearly all bins are empty."
)
SAMPLED = (
    "Far above: the counts hold something that model and prior cannot make, or the burn-in was too "
    "short. The model is here the mean of all draws, which follows the noise as far as the prior "
    "lets it: somewhat below is normal. Agreement proves little where nearly all bins are empty."
)


def sanity(run: RunFolder) -> Html:
    """Return the section with one row for each data set and one for each component."""
    figures = run.figures
    seen: list[Mapping[str, Any]] = list(figures.get("observations", []))
    if not any("c_stat" in one for one in seen):
        return Html()
    rows = [_row(one) for one in seen]
    if len(seen) > 1:
        rows.append(_row(together(seen)))
    head = ("data set", "bins", "counts", "expected", "C", "C expected", f"above by [{SIGMA[1:]}]")
    return section(
        "Sanity: does the model explain each data set?",
        table(head, rows),
        note(READING + (SAMPLED if run.sampled else FITTED)),
        table(("component", "expected counts", "share", ""), _components(run)),
    )


def together(seen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of all data sets that have bins as one."""
    binned = [one for one in seen if "c_stat" in one]
    keys = ("bins", "counts", "expectation", "c_stat", "c_stat_expected")
    all_: dict[str, Any] = {key: sum(one[key] for one in binned) for key in keys}
    sigma = sqrt(sum(one["c_stat_sigma"] ** 2 for one in binned))
    excess = (all_["c_stat"] - all_["c_stat_expected"]) / sigma if sigma else 0.0
    return all_ | {"name": "all with bins", "c_stat_sigma": sigma, "c_stat_excess": excess}


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    counted = str(one["name"]), whole(one["counts"]), whole(one["expectation"])
    if "c_stat" not in one:
        return counted[0], "events", *counted[1:], "", "", ""
    return (
        counted[0],
        whole(one["bins"]),
        *counted[1:],
        whole(one["c_stat"]),
        f"{whole(one['c_stat_expected'])} {PLUS_MINUS} {whole(one['c_stat_sigma'])}",
        f"{one['c_stat_excess']:+.1f}".replace("-", MINUS),
    )


def _components(run: RunFolder) -> Iterable[tuple[str, ...]]:
    expected: Mapping[str, float] = run.figures.get("components", {})
    total = sum(expected.values()) or 1.0
    for name, counts in expected.items():
        fitted = "fixed" if run.holds(name) else "fitted"
        yield name, whole(counts), f"{counts / total:.1%}", fitted
