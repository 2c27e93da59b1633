"""Public pictures for the examples."""

from __future__ import annotations

from skyfold.datasets import DataFile, DataSet

DATASETS: dict[str, DataSet] = {
    "lincoln": DataSet(
        description=(
            "A portrait of Abraham Lincoln in four shades, 128 x 128 pixels: the picture of an "
            "example of Pylira."
        ),
        files=(
            DataFile(
                "lincoln.png",
                # astrostat/pylira, release v0.2
                "https://raw.githubusercontent.com/astrostat/pylira/"
                "b8d0df780eb7d3097ebf1b097ffe8b92cecd8fc1/pylira/data/files/lincoln.png",
                "cb3a35fb7fb5be274fd59f3e2977726429952284a4485eccf351289290850ce6",
                1_400,
            ),
        ),
        licence="GPL-3.0-or-later, that of Pylira, with which the file is distributed",
        source="Pylira 0.2",
    )
}
