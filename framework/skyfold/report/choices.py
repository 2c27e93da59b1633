"""What held-out photons chose: the number of iterations, the strength of priors."""

from __future__ import annotations

from skyfold.report.folder import RunFolder
from skyfold.report.markup import Html, chart, note, section
from skyfold.trails import held_out

HEADINGS = {
    "iteration": "How many iterations",
    "strength": "How strong a prior",
    "width": "How strong a prior, and how wide",
}


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
        )
        for kind, rows in run.choices.items()
    ]
    return Html("".join(drawn))
