"""Fluxes of stars over a background: errors beside those of a background known exactly.

    OMP_NUM_THREADS=1 python tests/benchmarks/photometry.py scenes.py [--seeds 100]

The scenes are those of section 10 of the specification, which `scenes.py` draws: one field of each
kind, seen with 100 seeds. Strength and blur are chosen from the data alone in every realisation.
Biases are relative to the fit with the background known, on the same realisations. Prints markdown
for README.md.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

import skyfold
from skyfold.binned import BinnedData
from skyfold.geometry import Grid
from skyfold.model import Component
from skyfold.points import PointList
from skyfold_responses import Psf

Array = np.ndarray[Any, Any]
Fluxes = tuple[Array, Array | None]  # fluxes of stars and their errors, if it tells them

FIELD, FIRST = 100, 1000  # seeds of the field and of the first realisation, fixed before any run
KINDS = ("crowded", "background_limited", "off_grid")


@dataclass(frozen=True, eq=False)
class Scene:
    """A field: expected counts, PSF, places from 0, true fluxes, background."""

    mean: Array
    psf: Array
    places: Array
    fluxes: Array
    background: Array

    @property
    def stars(self) -> Array:
        """What each star makes of the counts with a flux of one, one column each."""
        points = Psf(self.psf, self.mean.shape, "periodic").points(self.places)
        columns = [points.forward(unit).ravel() for unit in np.eye(len(self.places))]
        return np.stack(columns, axis=1)

    @property
    def bound(self) -> Array:
        """The least errors that fluxes can have: those with the background known."""
        stars = self.stars
        return np.sqrt(np.diag(np.linalg.inv(stars.T @ (stars / self.mean.reshape(-1, 1)))))

    def data(self, counts: Array) -> BinnedData:
        """Return counts with a sky and stars, of which only the places are known."""
        sight = Psf(self.psf, counts.shape, "periodic")
        names = tuple(str(i) for i in range(1, len(self.places) + 1))
        even = np.full(len(names), counts.sum() / 2 / len(names))
        return BinnedData(
            counts,
            {"sky": sight, "stars": sight.points(self.places)},
            components={
                "sky": Component(Grid(counts.shape)),
                "stars": Component(PointList(names, self.places), start=even),
            },
        )


def background_known(scene: Scene, counts: Array) -> Fluxes:
    """Fit the fluxes alone, by Fisher's scoring."""
    stars, fluxes, n = scene.stars, scene.fluxes.copy(), counts.ravel()
    known = scene.mean.ravel() - stars @ fluxes
    for _ in range(20):
        mean = known + stars @ fluxes
        fisher = stars.T @ (stars / mean[:, None])
        fluxes = fluxes + np.linalg.solve(fisher, stars.T @ (n / mean - 1))
    return fluxes, np.sqrt(np.diag(np.linalg.inv(fisher)))


def two_channel(relative: bool) -> Callable[[Scene, Array], Fluxes]:
    """Return a restoration that chooses its settings itself."""

    def measured(scene: Scene, counts: Array) -> Fluxes:
        data = scene.data(counts)
        result = skyfold.run(data, "two-channel", relative=relative, progress=False)
        table = result.stars
        return np.asarray(result.model["stars"]), np.asarray(table["flux_error"])

    return measured


def aperture(image: Array, scene: Scene, radius: float, kernel: Array | None = None) -> Array:
    """Return sums within a radius over the median of a ring, for a kernel corrected for losses."""
    from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture

    circles = CircularAperture(scene.places, radius)
    ring = ApertureStats(image, CircularAnnulus(scene.places, 6, 10))
    fluxes = np.asarray(circles.do_photometry(image)[0]) - ring.median * circles.area
    if kernel is None:
        return np.asarray(fluxes)
    middle = (len(kernel) - 1) // 2
    inside = CircularAperture((middle, middle), radius).do_photometry(kernel)[0][0]
    return np.asarray(fluxes / inside)


def by_aperture(scene: Scene, counts: Array) -> Fluxes:
    """Sum within three pixels."""
    return aperture(counts, scene, 3, scene.psf), None


def by_richardson_lucy(scene: Scene, counts: Array) -> Fluxes:
    """Restore without stars, 30 times, and sum within two pixels."""
    data = BinnedData(counts, {"sky": Psf(scene.psf, counts.shape, "periodic")})
    restored = skyfold.run(data, "rl", iterations=30, progress=False).model["sky"]
    return aperture(np.asarray(restored), scene, 2), None


def by_psf(scene: Scene, counts: Array) -> Fluxes:
    """Fit the exact PSF at the known places, in groups, over the median of a ring."""
    from astropy.table import Table
    from photutils.background import LocalBackground
    from photutils.psf import ImagePSF, PSFPhotometry, SourceGrouper

    middle = (len(scene.psf) - 1) // 2
    model = ImagePSF(scene.psf, origin=(middle, middle))
    model.x_0.fixed = model.y_0.fixed = True
    fit = PSFPhotometry(
        model,
        (5, 5),
        grouper=SourceGrouper(6),
        local_bkg_estimator=LocalBackground(6, 10),
        aperture_radius=3,
    )
    x, y = scene.places.T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = fit(
            counts, error=np.sqrt(np.maximum(counts, 1)), init_params=Table({"x": x, "y": y})
        )
    table.sort("id")
    return np.asarray(table["flux_fit"]), np.asarray(table["flux_err"])


METHODS: Mapping[str, Callable[[Scene, Array], Fluxes]] = {
    "background known": background_known,
    "two-channel": two_channel(relative=False),
    "two-channel, relative": two_channel(relative=True),
    "photutils, PSF": by_psf,
    "aperture": by_aperture,
    "Richardson-Lucy 30 + aperture": by_richardson_lucy,
}


def opened(path: Path, kind: str, field: int = FIELD) -> Scene:
    """Return a field that a file of scenes draws."""
    spec = spec_from_file_location("scenes", path)
    assert spec is not None
    assert spec.loader is not None
    scenes = module_from_spec(spec)
    spec.loader.exec_module(scenes)
    drawn = scenes.background_limited() if kind == KINDS[1] else getattr(scenes, kind)(field)
    mean, psf, positions, fluxes, background = drawn
    return Scene(mean, psf, positions - 1, fluxes, background)


def realisations(scene: Scene, seeds: int, first: int = FIRST) -> Iterator[Array]:
    """Yield counts, one image for each seed."""
    for seed in range(first, first + seeds):
        yield np.random.default_rng(seed).poisson(scene.mean).astype(float)


def figures(scene: Scene, fluxes: Array, errors: Array | None, oracle: Array) -> dict[str, float]:
    """Return what the table tells of one method.

    Parameters
    ----------
    scene
        The field.
    fluxes, errors
        By realisation and star.
    oracle
        Fluxes with the background known, of the same realisations.
    """
    off = fluxes - scene.fluxes
    bias = 100 * (fluxes - oracle).mean(axis=0) / scene.fluxes
    bright = scene.fluxes >= np.median(scene.fluxes)
    return {
        "mean bias %": float(bias.mean()),
        "bright half, rms bias %": float(np.sqrt(np.mean(bias[bright] ** 2))),
        "scatter / bound": float(np.sqrt(np.mean((off.std(axis=0, ddof=1) / scene.bound) ** 2))),
        "rmse / bound": float(np.sqrt(np.mean((off / scene.bound) ** 2))),
        "pulls": np.nan if errors is None else float(np.std(off / errors)),
    }


def main() -> None:
    """Print one table for each scene."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("scenes", type=Path, help="scenes.py")
    given.add_argument("--seeds", type=int, default=100)
    given.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    asked = given.parse_args()
    for kind in asked.kinds:
        scene = opened(asked.scenes, kind)
        found: dict[str, list[Fluxes]] = {name: [] for name in METHODS}
        for counts in realisations(scene, asked.seeds):
            for name, method in METHODS.items():
                found[name].append(method(scene, counts))
        show(kind, scene, found)


def show(kind: str, scene: Scene, found: Mapping[str, list[Fluxes]]) -> None:
    """Print the table of a scene."""
    oracle = np.array([fluxes for fluxes, _ in found["background known"]])
    print(f"\n### {kind.replace('_', ' ').capitalize()}, {len(oracle)} realisations\n")
    for i, (name, each) in enumerate(found.items()):
        told = all(errors is not None for _, errors in each)
        errors = np.array([errors for _, errors in each]) if told else None
        row = figures(scene, np.array([fluxes for fluxes, _ in each]), errors, oracle)
        if i == 0:
            print("| method |", " | ".join(row), "|")
            print("| --- |", " | ".join("---" for _ in row), "|")
        print(f"| {name} |", " | ".join("-" if x != x else f"{x:.2f}" for x in row.values()), "|")


if __name__ == "__main__":
    main()
