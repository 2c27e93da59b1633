"""The two channels of PLUCY: seconds beside a NumPy version of the same step, and memory.

    OMP_NUM_THREADS=1 python tests/benchmarks/two_channel.py [--rounds 7] [--size 512] [--stars 50]

The sides take turns in one run; ratios are medians over the rounds, of CPU time on one thread. Both
work on frames that wrap around, with stars on whole pixels. Prints markdown for README.md.
"""

from __future__ import annotations

import argparse
import functools
import platform
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy
from image import head, race, ratio, row
from numpy_plucy import Channels, NumpyPlucy

from skyfold.algorithm import REFRESH, Algorithm, State
from skyfold.binned import BinnedData
from skyfold.geometry import FWHM_PER_SIGMA, Grid
from skyfold.methods.plucy import PLUCY
from skyfold.methods.two_channel import TwoChannel
from skyfold.model import Component, Model
from skyfold.pixels import Shared
from skyfold.points import PointList
from skyfold.priors.blurs import _transfer
from skyfold_responses import Psf

LAPS = 4  # iterations per measurement
STRENGTH, SIGMA = 0.1, 10.0
TWO_CHANNEL = TwoChannel(STRENGTH, f"{float(FWHM_PER_SIGMA * SIGMA)!r} pix", cyclic=True)
CLOSE = 1e-3  # of the log-posterior that the optimum may be missed by
MOST = 100  # iterations of either side on the way there


class Scene:
    """Stars over a galaxy and a flat sky.

    Parameters
    ----------
    size
        Pixels along each side.
    stars
        How many.
    """

    def __init__(self, size: int, stars: int) -> None:
        rng = np.random.default_rng(1)
        y, x = np.indices((size, size))
        middle = (size - 1) // 2
        away = (y - middle) ** 2 + (x - middle) ** 2
        kernel = (1 + away / 1.5**2) ** -2.5
        self.kernel = kernel / kernel.sum()
        sky = 20 + 200 * np.exp(-away / (2 * (size / 8) ** 2))
        pixels = rng.choice(size * size, stars, replace=False)
        self.places = np.stack(np.unravel_index(pixels, sky.shape), axis=1)
        fluxes = rng.uniform(2e3, 5e4, stars)
        np.add.at(sky, tuple(self.places.T), fluxes)
        psf = Psf(self.kernel, sky.shape, "periodic", engine="scipy")
        self.counts = rng.poisson(psf.forward(sky)).astype(float)
        self.fluxes = fluxes / 2  # where both sides start

    def data(self, engine: str) -> BinnedData:
        """Return the counts and how they were seen, the transforms by scipy or ducc."""
        psf = Psf(self.kernel, self.counts.shape, "periodic", engine=engine)
        at = self.places[:, ::-1].astype(float)
        names = tuple(map(str, range(len(at))))
        components = {
            "sky": Component(Grid(self.counts.shape)),
            "stars": Component(PointList(names, at), start=self.fluxes),
        }
        stars = psf @ Shared(at, self.counts.shape)
        return BinnedData(self.counts, {"sky": psf, "stars": stars}, components=components)

    def plain(self) -> tuple[NumpyPlucy, Channels]:
        """Return the NumPy version and its start."""
        program = NumpyPlucy(self.counts, self.kernel, self.places, STRENGTH, SIGMA)
        return program, program.start(self.fluxes)


def started(method: PLUCY | TwoChannel, data: BinnedData) -> tuple[BinnedData, Algorithm, State]:
    """Return data, loop and first state."""
    seen, algorithm = method.prepare(data)
    return seen, algorithm, algorithm.start(seen, Model.start(seen))


def steps(scene: Scene, engine: str) -> Callable[[], None]:
    """Return the work of some iterations of ours."""
    data, algorithm, start = started(PLUCY(STRENGTH, SIGMA), scene.data(engine))

    def work() -> None:
        state = start
        for _ in range(LAPS):
            state = algorithm.step(state, data)

    return work


def iterations(scene: Scene, rounds: int) -> None:
    """One accelerated iteration, beside NumPy."""
    program, first = scene.plain()

    def plain() -> None:
        now = first
        for _ in range(LAPS):
            now = program.step(now)

    works = {"numpy": plain, "scipy": steps(scene, "scipy"), "ducc": steps(scene, "ducc")}
    times = race(works, rounds)
    head("NumPy ms", "ours, scipy.fft", "ours, ducc0")
    slow = times["numpy"]
    row(1e3 * np.median(slow) / LAPS, ratio(slow, times["scipy"]), ratio(slow, times["ducc"]))


def to_the_optimum(scene: Scene, rounds: int) -> None:
    """Seconds until the log-posterior is within a thousandth of the best that either found."""
    program, now = scene.plain()
    data, plucy, state = started(PLUCY(STRENGTH, SIGMA), scene.data("ducc"))
    sides = {
        "PLUCY's steps": (plucy, state),
        "conjugate steps": (replace(plucy, conjugate=True), state),
        "two-channel": started(TWO_CHANNEL, scene.data("ducc"))[1:],
    }
    total = scene.counts.sum()
    constant = total * (np.log(total) - 1)
    best = max(
        reached.objective
        for algorithm, start in sides.values()
        for reached, _ in zip(algorithm.iterate(data, start), range(MOST), strict=False)
    )

    def plain() -> int:
        channels = now
        for lap in range(MOST):
            channels = program.step(channels)
            if channels.objective * total + constant >= best - CLOSE:  # that of one step before
                return lap
        raise RuntimeError(f"not there after {MOST} iterations")

    def ours(algorithm: Algorithm, start: State) -> int:
        for lap, reached in enumerate(algorithm.iterate(data, start)):
            if reached.objective >= best - CLOSE:
                return lap
        raise RuntimeError("it never ends")

    works = {name: functools.partial(ours, *side) for name, side in sides.items()}
    times = race({"NumPy": plain, **works}, rounds)
    head("", "iterations", "seconds", "faster than NumPy by")
    for name, work in {"NumPy": plain, **works}.items():
        mine = times[name]
        row(name, work(), float(np.median(mine)), ratio(times["NumPy"], mine))


def memory(scene: Scene) -> None:
    """The most that is held at once beside the counts, in frames of float64 of their size.

    From opening the data to the iteration in which what linearity hands on is made anew.
    """
    head("program", "frames at the peak")
    frame = scene.counts.nbytes

    def plain() -> None:
        program, now = scene.plain()
        for _ in range(LAPS):
            now = program.step(now)

    def ours(method: PLUCY | TwoChannel, engine: str) -> None:
        data, algorithm, state = started(method, scene.data(engine))
        for _ in range(REFRESH):
            state = algorithm.step(state, data)

    plucy = PLUCY(STRENGTH, SIGMA)
    works = {
        "NumPy": plain,
        "PLUCY's steps, scipy.fft": functools.partial(ours, plucy, "scipy"),
        "PLUCY's steps, ducc0": functools.partial(ours, plucy, "ducc"),
        "two-channel, ducc0": functools.partial(ours, TWO_CHANNEL, "ducc"),
    }
    for name, work in works.items():
        _transfer.cache_clear()  # the transform of the blur counts in each row
        tracemalloc.start()
        work()
        row(name, tracemalloc.get_traced_memory()[1] / frame)
        tracemalloc.stop()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--stars", type=int, default=50)
    options = parser.parse_args()
    print(
        f"Measured {time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}; "
        f"{options.size} x {options.size} pixels, {options.stars} stars"
    )
    scene = Scene(options.size, options.stars)
    print("\n### One accelerated iteration")
    iterations(scene, options.rounds)
    print(f"\n### To within {CLOSE:g} of the largest log-posterior")
    to_the_optimum(scene, max(options.rounds // 2, 1))
    print("\n### Memory")
    memory(scene)


if __name__ == "__main__":
    main()
