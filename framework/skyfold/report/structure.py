"""Whether there is structure beyond the known: the table and the picture of the run folder."""

from __future__ import annotations

import base64

from skyfold.errors import FileError
from skyfold.report.folder import RunFolder
from skyfold.report.markup import Html, note, number, section, table
from skyfold.sampling.structure.structure_run import PICTURE, SHOWN, TABLE, remarks

MEANING = (
    "extra is the median of the light beyond the known, low and high are the 16th and 84th "
    "percentile; share is its part of all light, tail the posterior probability of a large share "
    "(Stein et al. 2015). p_bound = gamma / tail is above the p-value, p_upper with its Monte "
    "Carlo error; p_empirical, by rank among the simulations, is right for any number of them, "
    "p_holm corrects it for the number of regions (Holm 1979). All this holds of regions that were "
    "chosen before."
)


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
        told = "".join(note(text) for text in [*remarks(found.meta), MEANING])
    except (OSError, ValueError, KeyError) as error:
        raise FileError(f"{path} is damaged or was not written by skyfold: {error}") from error
    drawn, picture = "", run.path / PICTURE
    if picture.exists():
        uri = "data:image/svg+xml;base64," + base64.b64encode(picture.read_bytes()).decode()
        alternative = "distribution of the share, observed and under the null model"
        drawn = f'<img class="chart" src="{uri}" alt="{alternative}">'
    return section("Structure beyond the known", table(SHOWN, rows), told, drawn)
