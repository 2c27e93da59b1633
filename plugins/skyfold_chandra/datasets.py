"""Public Chandra data for the tutorials."""

from __future__ import annotations

from skyfold.datasets import DataFile, DataSet

# astrostat/pylira, release v0.2
PYLIRA = (
    "https://raw.githubusercontent.com/astrostat/pylira/"
    "b8d0df780eb7d3097ebf1b097ffe8b92cecd8fc1/pylira/data/files/"
)


def _observation(obs_id: int, date: str, counts: tuple[str, int], psf: tuple[str, int]) -> DataSet:
    """Return one observation of Sgr A*: checksum and size of its two files."""
    names = (f"chandra-{kind}-obs-id-{obs_id}.fits.gz" for kind in ("counts", "psf"))
    files = zip(names, (counts, psf), strict=True)
    return DataSet(
        description=(
            f"Chandra ACIS observation {obs_id} of Sgr A* (49.5 ks, {date}): counts image, "
            "256 x 256 pixels of 0.246 arcsec, and PSF traced with MARX, 48 x 48 pixels."
        ),
        files=tuple(DataFile(name, PYLIRA + name, *about) for name, about in files),
        licence="GPL-3.0-or-later, that of Pylira, with which the files are distributed",
        source="Chandra X-ray Observatory (NASA/CXC), as prepared for Pylira 0.2",
    )


DATASETS: dict[str, DataSet] = {
    "chandra-gc-4683": _observation(
        4683,
        "5 July 2004",
        ("6cd6214ba9ac65f18480a4b004a06446a4d29472d1b1ec0b3a27a44363c5e81f", 24_867),
        ("098ce23a4ba8e21a04cfac5c2f93987648b995735db9d6ed461559d6d7be9269", 7_540),
    ),
    "chandra-gc-4684": _observation(
        4684,
        "6 July 2004",
        ("80af9c588004423c4fd0c5aee9cefcb21f0ea5f650e5237589dbdd37eb743672", 24_717),
        ("ff479843a47303a0f784456d1794cba301e64172f953f5bf75536a24a96dee9f", 7_525),
    ),
}
