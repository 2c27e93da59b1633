"""Public Fermi-LAT data for the tutorials."""

from __future__ import annotations

from skyfold.datasets import DataFile, DataSet

# gammapy/gammapy-data, release v2.1
GAMMAPY_DATA = (
    "https://raw.githubusercontent.com/gammapy/gammapy-data/"
    "79a6f428f733bcdea10be62ae67b2aeb9ecef4aa/fermi-3fhl-gc/"
)

DATASETS: dict[str, DataSet] = {
    "fermi-3fhl-gc": DataSet(
        description=(
            "Fermi-LAT Galactic Centre, 10 to 500 GeV (3FHL selection), 400 x 200 pixels of "
            "0.05 deg: counts, exposure, background and PSF as images; counts and exposure cubes "
            "and gtpsf table in 11 energy bins; all of it, with the background cube, in one "
            "MapDataset file."
        ),
        files=(
            DataFile(
                "fermi-3fhl-gc-counts.fits.gz",
                GAMMAPY_DATA + "fermi-3fhl-gc-counts.fits.gz",
                "6da311f7d4a78ee1cde94fb0102d0ee2ed01df9e98cbe2e82f490def56961c85",
                25_987,
            ),
            DataFile(
                "fermi-3fhl-gc-psf.fits.gz",
                GAMMAPY_DATA + "fermi-3fhl-gc-psf.fits.gz",
                "f0c21600aef1815f05ab29f50d610057e540162685322d22b63a4bbcc51c6084",
                1_299,
            ),
            DataFile(
                "fermi-3fhl-gc-exposure.fits.gz",
                GAMMAPY_DATA + "fermi-3fhl-gc-exposure.fits.gz",
                "c152fd79fd81958ca733c4ead22da2bb4c40ccf28b8226beee5de50d584b08d2",
                7_062,
            ),
            DataFile(
                "fermi-3fhl-gc-background.fits.gz",
                GAMMAPY_DATA + "fermi-3fhl-gc-background.fits.gz",
                "3e3406e6455405b0b15d69bd8dd62c498984a85dd241196276d6a8e2413d7db8",
                276_011,
            ),
            DataFile(
                "fermi-3fhl-gc-counts-cube.fits.gz",
                GAMMAPY_DATA + "fermi-3fhl-gc-counts-cube.fits.gz",
                "fa9d8cc646fe3111f45a8ed3e8780c311d87dcb0c14a237485fb72a2861b1d7e",
                551_140,
            ),
            DataFile(
                "fermi-3fhl-gc-exposure-cube.fits.gz",
                GAMMAPY_DATA + "fermi-3fhl-gc-exposure-cube.fits.gz",
                "0a1b280ca8e19cea2de770f8e600ce66b3d2f974dfb12e3dbb715ee915ebe93f",
                572_834,
            ),
            DataFile(
                "fermi-3fhl-gc-psf-cube.fits.gz",
                GAMMAPY_DATA + "fermi-3fhl-gc-psf-cube.fits.gz",
                "aec9909e0d0ad491d3948aa32a7893c74577b094f85f376abf091ed68dc8e015",
                28_072,
            ),
            DataFile(
                "fermi-3fhl-gc.fits.gz",
                GAMMAPY_DATA + "fermi-3fhl-gc.fits.gz",
                "28f70509f48e6777fafda9bbc8b41220576640c239b4179f37cf883d17708c48",
                3_185_078,
            ),
        ),
        licence="CC BY-NC-SA 4.0",
        source="Fermi-LAT Collaboration (NASA), as prepared by the Gammapy Coordination Committee",
    )
}
