"""Whether there is structure beyond the known: the table and the picture of the run folder."""

from __future__ import annotations

import base64

from skyfold.errors import FileError
from skyfold.report.folder import RunFolder
from skyfold.report.markup import Html, note, number, section, table
from skyfold.sampling.structure.structure_run import PICTURE, TABLE

SHOWN = {
    "region": "region",
    "extra": "extra light",
    "low": "16 %",
    "high": "84 %",
    "share": "share",
    "tail": "Pr(share ≥ c)",
    "p_bound": "p below",
    "p_upper": "with its error",
    "p_empirical": "p by rank",
    "p_holm": "corrected",
}


def structure(run: RunFolder) -> Html:
    """Return how significant structure in regions is, nothing if nobody asked.

    Raises
    ------
    FileError
        If a file is damaged.
    """
    from astropy.table import Table

    path = run.path / TABLE
    if not path.exists():
        return Html()
    try:
        found = Table.read(path, format="ascii.ecsv")
        rows = [[number(row[name]) for name in SHOWN] for row in found]
        meta = found.meta
        told = note(
            f"Compared with {meta['simulations']} simulations of all other components alone, each "
            "sampled like the counts observed (Stein et al. 2015). The p-value is below gamma / "
            f"Pr(share ≥ c), gamma = {meta['gamma']:g}; by rank among the simulations it is right "
            "for any number of them, corrected for the number of regions (Holm 1979). All this "
            f"holds of regions that were chosen before. Light in {meta['unit'] or 'counts'}."
        )
    except (OSError, ValueError, KeyError) as error:
        raise FileError(f"{path} is damaged or was not written by skyfold: {error}") from error
    drawn, picture = "", run.path / PICTURE
    if picture.exists():
        uri = "data:image/svg+xml;base64," + base64.b64encode(picture.read_bytes()).decode()
        alternative = "distribution of the share, observed and under the null model"
        drawn = f'<img class="chart" src="{uri}" alt="{alternative}">'
    return section("Structure beyond the known", table(SHOWN.values(), rows), told, drawn)
