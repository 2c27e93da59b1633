"""What held-out photons chose: the number of iterations, the strength of priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skyfold.report.folder import RunFolder
from skyfold.report.markup import Html, chart, note, section
from skyfold.trails import held_out

HEADINGS = {
    "iteration": "How many iterations",
    "strength": "How strong a prior",
    "width": "How strong a prior, and how wide",
}
NO_SAY = (
    "The weakest is best: photons held out would rather have no such prior, and the image follows "
    "noise. Take another prior, or end early (method rl)."
)


def choices(run: RunFolder) -> Html:
    """Return the curves that the choices were made from."""
    told = note(
        "Part of the photons was held out at random and the rest restored, several times. The "
        "curve is the log-likelihood of the photons held out, below its best; the band is its "
        "error against the best. On one side the restoration follows the counts too little, on "
        "the other it follows their noise."
    )
    drawn = [
        section(
            HEADINGS["width" if "width" in rows[0] else kind],
            chart(held_out(rows), f"held-out log-likelihood against {kind}"),
            told,
            note(NO_SAY) if kind == "strength" and _weakest_is_best(rows) else "",
        )
        for kind, rows in run.choices.items()
    ]
    return Html("".join(drawn))


def _weakest_is_best(rows: Sequence[Mapping[str, float]]) -> bool:
    best = max(rows, key=lambda row: row["held_out"])
    return len(rows) > 1 and best["strength"] == min(row["strength"] for row in rows)
