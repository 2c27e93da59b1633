"""Public Chandra data for the tutorials."""

from __future__ import annotations

from skyfold.datasets import DataFile, DataSet

# astrostat/pylira, release v0.2
PYLIRA = (
    "https://raw.githubusercontent.com/astrostat/pylira/"
    "b8d0df780eb7d3097ebf1b097ffe8b92cecd8fc1/pylira/data/files/"
)

DATASETS: dict[str, DataSet] = {
    "chandra-gc-4684": DataSet(
        description=(
            "Chandra ACIS observation 4684 of Sgr A* (49.5 ks, July 2004): counts image, 256 x 256 "
            "pixels of 0.246 arcsec, and PSF traced with MARX, 48 x 48 pixels."
        ),
        files=(
            DataFile(
                "chandra-counts-obs-id-4684.fits.gz",
                PYLIRA + "chandra-counts-obs-id-4684.fits.gz",
                "80af9c588004423c4fd0c5aee9cefcb21f0ea5f650e5237589dbdd37eb743672",
                24_717,
            ),
            DataFile(
                "chandra-psf-obs-id-4684.fits.gz",
                PYLIRA + "chandra-psf-obs-id-4684.fits.gz",
                "ff479843a47303a0f784456d1794cba301e64172f953f5bf75536a24a96dee9f",
                7_525,
            ),
        ),
        licence="GPL-3.0-or-later, that of Pylira, with which the files are distributed",
        source="Chandra X-ray Observatory (NASA/CXC), as prepared for Pylira 0.2",
    )
}
