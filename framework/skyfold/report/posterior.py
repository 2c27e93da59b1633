"""What a sampler has drawn: how well each pixel is known, and whether chains can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np

from skyfold.errors import FileError
from skyfold.report.folder import RunFolder
from skyfold.report.markup import Html, chart, note, section, table, whole
from skyfold.report.read_fits import SCATTER
from skyfold.report.stills import span, still
from skyfold.sampling.chains import diagnostics
from skyfold.sampling.posterior import netcdf
from skyfold.sampling.posterior.chain_drawing import headings, told
from skyfold.sampling.posterior.images import tails
from skyfold.sampling.posterior.shown import telling
from skyfold.sampling.posterior.trace_pictures import intervals, traces, worst_first
from skyfold.vector import Array

PARAMETERS = 12  # whose traces are shown
SURE = np.array([0.0, 0.5, 5.0])  # mean / standard deviation beyond which all is bright
WORST = 12  # parameters in the table
LEVEL = 0.68
KINDS = {
    "pixel": "credible intervals of bright pixels",
    "block": "credible intervals of blocks",
}
SEVERAL = (
    "Maps of how well each pixel is known are drawn here of one sky only; of several, "
    "posterior.plot draws each by its name, in a notebook."
)
MAPS = (
    "Mean and interval share one scale of colours. The standard deviation is that of all draws of "
    "all chains, the interval holds the middle 68 % of the draws of a pixel. Neighbours share "
    "light: the error of a region is not the root of the sum of squares of its pixels, but the "
    "scatter of its flux over the draws."
)
READING = (
    "Below 1.01, R-hat says that the chains of one origin agree; the effective sample sizes (ESS) "
    "should be above 400. What misses stands out."
)
ORIGINS = (
    " Between origins: how far their means lie apart, in standard deviations within one; that is "
    "what the prior adds."
)


@dataclass(frozen=True, eq=False)
class Draws:
    """The parameters of all sweeps of a run.

    Parameters
    ----------
    columns, table
        Their names and values, burn-in included, ``(chains, sweeps, columns)``.
    origins
        Number of the origin of each chain.
    burn
        Sweeps that do not count.
    """

    columns: list[str]
    table: Array
    origins: Array
    burn: int

    def of(self, names: Sequence[str]) -> Array:
        """Return the values of some parameters."""
        return self.table[:, :, [self.columns.index(name) for name in names]]

    @classmethod
    def read(cls, run: RunFolder) -> Draws | None:
        """Read them from the file for ArviZ; None where there is none.

        Raises
        ------
        FileError
            If the file is damaged.
        """
        import h5py

        path = run.path / netcdf.FILE
        if not path.exists():
            return None
        try:
            with h5py.File(path, "r") as file:
                sweeps = file[netcdf.SWEEPS]
                return cls(
                    [str(name) for name in sweeps["parameter"].asstr()[()]],
                    sweeps["values"][()],
                    file["sample_stats/origin_of_chain"][()],
                    int(np.ravel(file.attrs["burn"])[0]),
                )
        except (OSError, ValueError, KeyError) as error:
            raise FileError(f"{path} is damaged or was not written by skyfold: {error}") from error


def posterior(run: RunFolder) -> Html:
    """Return the section of a sampled run; nothing for all others."""
    drawn, found = Draws.read(run), run.figures.get("posterior", {})
    if drawn is None or not found:
        return Html()
    figures = diagnostics.diagnose(drawn.table[:, drawn.burn :], drawn.origins)
    return section(
        "Posterior",
        note(_setting(found)),
        _judgement(run, found),
        _maps(run),
        _traces(drawn, figures),
        _worst(drawn, figures),
        _intervals(drawn),
    )


def _setting(judged: Mapping[str, Any]) -> str:
    """Return how was drawn, in words."""
    chains, origins = judged["chains"], judged["origins"]
    said = f"{chains} chains" if chains > 1 else "One chain"
    if origins > 1:
        said += f" of {origins} origins of the tree"
    return f"{said}, {whole(judged['draws'])} draws each after {whole(judged['burn'])} of burn-in."


def _judgement(run: RunFolder, judged: Mapping[str, Any]) -> Html:
    """Return what the chains say of themselves."""
    seconds = run.manifest.get("timings", {}).get("iterating", 0.0)
    if diagnostics.doubts(judged, seconds):
        return note("What speaks against these draws stands at the top of this page.")
    said = "The chains agree"
    if "r_hat" in judged:
        worst = diagnostics.spoken(judged["r_hat_of"])
        said += f": R-hat is at most {judged['r_hat']:.3f}, for {worst}"
    if "ess" in judged:
        worst = diagnostics.spoken(judged["ess_of"])
        said += f"; the smallest effective sample size is {whole(judged['ess'])}, for {worst}"
    return Html(f"<p>{escape(said)}.</p>")


def _maps(run: RunFolder) -> Html:
    """Return how well each pixel is known, as images; of several energies the brightest."""
    if len(run.skies) > 1:
        return note(SEVERAL)
    if len(run.scatter) != len(SCATTER) or run.skies[0].flat.ndim != 2:
        return Html()
    sky, energy = run.skies[0], None
    of = ""
    if sky.total is not None:
        energy = int(np.argmax(np.nansum(sky.values, axis=(-2, -1))))
        of = f" Shown is the brightest energy, {sky.labels[energy]}."
    mean, std, low, high = (
        layer.values if energy is None else layer.values[energy] for layer in (sky, *run.scatter)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(std > 0, mean / std, np.nan)
    sky = replace(sky, total=None, labels=(), marks=())
    fluxes = {
        "Posterior mean": mean,
        "Lower end of the interval": low,
        "Upper end of the interval": high,
    }
    scale, drawn = np.stack(list(fluxes.values())), ""
    for title, values in fluxes.items():
        layer = replace(sky, title=title, values=values, kind="sky")
        drawn += still(layer, span(layer, scale), scale=scale)
    layer = replace(sky, title="Standard deviation", values=std)
    drawn += still(layer, span(layer))
    title = "Mean / standard deviation"
    layer = replace(sky, title=title, values=ratio, unit="", kind="sky")
    drawn += still(layer, span(layer, SURE), scale=SURE)
    return Html(f'<div class="three">{drawn}</div>{note(MAPS + of)}')


def _traces(drawn: Draws, figures: Mapping[str, Array]) -> Html:
    """Return the traces of the parameters that matter most."""
    moving = telling(drawn.columns, drawn.table, figures, len(drawn.columns))
    names = telling(drawn.columns, drawn.table, figures, PARAMETERS)
    if not names:
        return Html()
    rest = headings([name for name in moving if name not in names])
    left = f" Not shown, as they mix better: {', '.join(rest)}." if rest else ""
    figure = traces(drawn.of(names), names, drawn.burn, origins=drawn.origins)
    told = note(
        "The way of each chain; burn-in is pale, lines are mean and standard deviation after it. "
        f"Chains that have mixed look like noise about one level.{left}"
    )
    return Html(chart(figure, "traces of parameters, chain by chain", "wide") + told)


def _worst(drawn: Draws, figures: Mapping[str, Array]) -> Html:
    """Return the parameters that mix worst, with mean and interval."""
    rows, order, titles = [], worst_first(figures)[:WORST], headings(drawn.columns, brief=False)
    draws, several = drawn.table[:, drawn.burn :], len(np.unique(drawn.origins)) > 1
    for i in order:
        low, high = np.quantile(draws[..., i], tails(LEVEL))
        row = [titles[i], told(float(figures["mean"][i]), low, high)]
        r_hat, bulk, tail = (float(figures[n][i]) for n in ("r_hat", "ess_bulk", "ess_tail"))
        row.append(_marked(f"{r_hat:.3f}", r_hat > diagnostics.MOST_R_HAT, r_hat))
        row += [_marked(whole(size), size < diagnostics.LEAST_ESS, size) for size in (bulk, tail)]
        rows.append([*row, _marked(f"{figures['between'][i]:.2f}", False, figures["between"][i])])
    if not rows:
        return Html()
    head = ["parameter", f"mean ({LEVEL:.0%} of the draws)", "R-hat", "ESS", "ESS of the tails"]
    head += ["between origins"] * several
    reading = f"The {len(rows)} of {len(drawn.columns)} parameters that mix worst. {READING}"
    rows = [row[: len(head)] for row in rows]
    return Html(table(head, rows) + note(reading + ORIGINS * several))


def _marked(text: str, missed: bool, value: float) -> Html | str:
    """Return a figure, marked if it misses, nothing if it is not known."""
    if not np.isfinite(value):
        return ""
    return Html(f'<span class="level warning">{text}</span>') if missed else text


def _intervals(drawn: Draws) -> Html:
    """Return credible intervals of the brightest pixels and of the blocks, as charts."""
    charts = ""
    for kind, alternative in KINDS.items():
        names = [name for name in drawn.columns if f".{kind}[" in name]
        if names:
            charts += chart(intervals(drawn.of(names), names, drawn.burn), alternative)
    if not charts:
        return Html()
    blocks = [name for name in drawn.columns if ".block[" in name]
    parts = "blocks, 4 x 4 equal parts of the image, counted from 0 at pixel (0, 0)"
    if blocks and "," not in blocks[0]:
        parts = "the base pixels of the sphere"
    told = note(
        f"Fluxes with their intervals: of the brightest pixels, and of {parts}. Regions of your "
        "own: skyfold errors."
    )
    return Html(f'<div class="pair">{charts}</div>{told}')
