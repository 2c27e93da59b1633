"""The way to the optimum of two channels: convolutions beside those of the historical step.

    OMP_NUM_THREADS=1 python tests/benchmarks/two_channel_solver.py FOLDER

FOLDER holds the reference data of the two channels. Every convolution with the PSF, the blur and
their transposes counts. Prints markdown for README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from skyfold.algorithm import Algorithm
from skyfold.algorithms.lbfgs import LBFGS
from skyfold.algorithms.plucy import Plucy
from skyfold.binned import BinnedData
from skyfold.geometry import FWHM_PER_SIGMA, Grid
from skyfold.model import Component, Model
from skyfold.points import PointList
from skyfold.priors.blurs import Smoothed
from skyfold.priors.entropy import Entropy
from skyfold.response import Response
from skyfold_responses import BlockSum, Psf
from skyfold_responses.convolution import Fourier

HISTORICAL = {"a": 168, "b": 354, "c": 252}  # to 1e-3, of the original: 6 for each iteration
GAPS = (0.1, 1e-2, 1e-3, 1e-5)
LAPS = 50
Array = np.ndarray[Any, Any]


def with_stars(
    counts: Array, sky: Response, places: Array, flux: Array | None = None
) -> BinnedData:
    """Return counts with a sky and stars, which without fluxes share half of the counts."""
    flux = np.full(len(places), counts.sum() / 2 / len(places)) if flux is None else flux
    names = tuple(str(i) for i in range(len(places)))
    stars = Component(PointList(names, places), start=flux)
    return BinnedData(
        counts,
        {"sky": sky, "stars": sky.points(places)},
        components={"sky": Component(Grid(sky.model_shape)), "stars": stars},
    )


def case(folder: Path, name: str) -> tuple[BinnedData, dict[str, Entropy]]:
    """Return a star (a), a quasar in a galaxy on finer pixels (b) or a crowded field (c)."""
    if name == "c":
        scenes: dict[str, Any] = {}
        exec((folder / "scenes.py").read_text(), scenes)
        mean, kernel, positions, _, _ = scenes["crowded"](0)
        counts = np.random.default_rng(1).poisson(mean).astype(float)
        flux, sigma, block = np.full(len(positions), 10**3.6), 3.0, 1
    else:
        given = np.load(folder / f"case_{name}_input.npz")
        block, sigma = int(given["xsub"]), float(given["skernel"])
        counts, kernel = given["detector" if block > 1 else "data"], given["psf"]
        positions, flux = given["stars"][:, :2], given["stars"][:, 2]
    counts = np.maximum(counts, 0)
    fine = tuple(n * block for n in counts.shape)
    psf = Psf(kernel / kernel.sum(), fine, "periodic")
    sky = BlockSum(block, counts.shape) @ psf if block > 1 else psf
    prior = Entropy(0.1, {"smooth": f"{sigma * FWHM_PER_SIGMA} pix", "cyclic": True})
    return with_stars(counts, sky, np.rint(positions) - 1, flux), {"floating": prior}


def solvers(priors: dict[str, Entropy]) -> dict[str, Algorithm]:
    """Return what the method `two-channel` takes for one entropy, and for other priors."""
    return {
        "conjugate steps": Plucy(priors=priors, guard=True, conjugate=True),
        "L-BFGS": LBFGS(priors=priors, conserve_flux=True),
    }


@contextmanager
def counting() -> Iterator[dict[str, int]]:
    """Count the convolutions with the PSF and with the blur."""
    spent = {"psf": 0, "blur": 0}
    convolve, smooth = Fourier._convolve, Smoothed.__call__

    def counted(*given: Any, **options: Any) -> Array:
        spent["psf"] += 1
        return convolve(*given, **options)

    def blurred(*given: Any) -> Array:
        spent["blur"] += 1
        return smooth(*given)

    with patch.object(Fourier, "_convolve", counted), patch.object(Smoothed, "__call__", blurred):
        yield spent


def path(algorithm: Algorithm, data: BinnedData, laps: int = LAPS) -> list[tuple[float, int, int]]:
    """Return the objective of each lap, and the convolutions with PSF and blur spent so far."""
    with counting() as spent:
        found = []
        for state in algorithm.iterate(data, algorithm.start(data, Model.start(data))):
            found.append((state.objective, spent["psf"], spent["blur"]))
            if len(found) > laps:
                return found
    raise AssertionError


def main() -> None:
    """Print one row for each case, solver and gap."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("folder", type=Path)
    folder = given.parse_args().folder
    print("| case | solver | gap | iterations | PSF | blur | all | historical / all |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, historical in HISTORICAL.items():
        for solver in solvers({}):
            data, priors = case(folder, name)  # anew: the sensitivity counts too
            way = path(solvers(priors)[solver], data)
            for gap in GAPS:
                lap = next(i for i, (value, *_) in enumerate(way) if value >= way[-1][0] - gap)
                _, psf, blur = way[lap]
                ratio = f"{historical / (psf + blur):.1f}" if gap == 1e-3 else ""
                print(
                    f"| {name} | {solver} | {gap:g} | {lap} | {psf} | {blur} | {psf + blur} "
                    f"| {ratio} |"
                )


if __name__ == "__main__":
    main()
