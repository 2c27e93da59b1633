"""How fast image restoration is beside scikit-image and NumPy: ratios of CPU time on one thread.

    python tests/benchmarks/image.py [--rounds 7] [--part rl direct fused]

The sides take turns in one run; each number is the median over the rounds of the ratio of their
times, so that other work on the machine hits both. Prints markdown for README.md.
"""

from __future__ import annotations

import argparse
import functools
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy
import skimage
from skimage.restoration import richardson_lucy

from skyfold._kernels import em_update, poisson_ratio
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.model import Model
from skyfold_responses import Psf

Work = Callable[[], object]
LAPS = 4  # iterations of Richardson-Lucy per measurement


def seconds(work: Work, repeat: int = 1) -> float:
    """Return the CPU time of one call."""
    begin = time.thread_time()
    for _ in range(repeat):
        work()
    return (time.thread_time() - begin) / repeat


def race(works: dict[str, Work], rounds: int, repeat: int = 1) -> dict[str, list[float]]:
    """Return the CPU times of all, taking turns; a first round warms up and does not count."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work, repeat))
    return times


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return how many times faster, the median of the rounds."""
    return statistics.median(s / f for s, f in zip(slow, fast, strict=True))


def row(*cells: object) -> None:
    """Print a row of a markdown table."""
    shown = (f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells)
    print("|", " | ".join(shown), "|", flush=True)


def head(*cells: str) -> None:
    """Print the head of a markdown table."""
    print()
    row(*cells)
    row(*("---" for _ in cells))


def gauss(size: int, sigma: float) -> np.ndarray:
    """Return a round PSF of sum one."""
    line = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / sigma) ** 2)
    kernel = np.outer(line, line)
    return np.asarray(kernel / kernel.sum())


def laps(counts: np.ndarray, kernel: np.ndarray, dtype: type, **options: str) -> Work:
    """Return the work of some laps of the framework's own loop."""
    psf = Psf(kernel, counts.shape, dtype=dtype, **options)
    data, algorithm = BinnedData(counts, {"sky": psf}, dtype=dtype), RichardsonLucy()
    start = algorithm.start(data, Model.start(data))

    def work() -> None:
        state = start
        for _ in range(LAPS):
            state = algorithm.step(state, data)

    return work


def iterations(rounds: int) -> None:
    """One iteration of Richardson-Lucy, dark border, beside skimage.restoration."""
    head(
        "image, PSF",
        "dtype",
        "scikit-image ms",
        "scipy",
        "ducc0",
        "scipy extended",
        "ducc0 extended",
    )
    for size, width in [(512, 33), (1024, 33), (512, 511), (1024, 1023)]:
        counts = np.random.default_rng(size).poisson(20.0, (size, size)).astype(float)
        kernel = gauss(width, width / 8)
        for dtype in (np.float64, np.float32):
            image, psf = counts.astype(dtype), kernel.astype(dtype)

            def theirs(image: np.ndarray = image, psf: np.ndarray = psf) -> None:
                richardson_lucy(image, psf, num_iter=LAPS, clip=False)

            works: dict[str, Work] = {"theirs": theirs}
            for boundary in ("same", "extended"):
                for engine in ("scipy", "ducc"):
                    options = {"boundary": boundary, "engine": engine}
                    works[f"{engine} {boundary}"] = laps(counts, kernel, dtype, **options)
            times = race(works, rounds)
            slow = times.pop("theirs")
            row(
                f"{size}, {width}",
                np.dtype(dtype).name,
                1e3 * statistics.median(slow) / LAPS,
                *(ratio(slow, fast) for fast in times.values()),
            )


def direct(rounds: int) -> None:
    """One convolution of 512 x 512 pixels: the sum beside the transform."""
    head("PSF", "dtype", "scipy ms", "direct ms", "direct is faster by")
    rng = np.random.default_rng(1)
    for dtype in (np.float64, np.float32):
        for width in range(3, 18, 2):
            engines = {
                engine: Psf(gauss(width, 2), (512, 512), "same", engine, dtype)
                for engine in ("scipy", "direct")
            }
            x = rng.random((512, 512)).astype(dtype)
            works: dict[str, Work] = {
                name: (lambda psf=psf, x=x: psf.forward(x)) for name, psf in engines.items()
            }
            times = race(works, rounds, repeat=3)
            medians = [1e3 * statistics.median(t) for t in times.values()]
            name = np.dtype(dtype).name
            row(f"{width}x{width}", name, *medians, ratio(times["scipy"], times["direct"]))


def numpy_step(*arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Take the element-wise part of an iteration with NumPy's expressions."""
    f, b, n, x, s, back = arrays
    e = f + b
    ratio = n / e
    fit = np.sum(n * np.log(e))
    x *= back / s
    return e, ratio, float(fit)


def kernel_step(*arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Take the same with the compiled kernels."""
    e, b, n, x, s, back = arrays
    ratio = np.empty_like(e)
    fit = poisson_ratio(n, e, 1e-15, ratio, b)
    em_update(x, back, s, x)
    return e, ratio, fit


def fused(rounds: int) -> None:
    """The element-wise part of an iteration, e = f + b; n/e; sum n log e; x *= back/s."""
    head("pixels", "dtype", "NumPy ms", "kernels ms", "kernels are faster by")
    rng = np.random.default_rng(2)
    for size in (128, 256, 512, 1024):
        for dtype in (np.float64, np.float32):
            shape = (size, size)
            f, b, x, s = (rng.uniform(1, 20, shape).astype(dtype) for _ in range(4))
            n, back = rng.poisson(20, shape).astype(dtype), s.copy()
            arrays = f, b, n, x, s, back
            works = {
                "numpy": functools.partial(numpy_step, *arrays),
                "kernels": functools.partial(kernel_step, f.copy(), *arrays[1:]),
            }
            times = race(works, rounds, max(1, (512 // size) ** 2))
            medians = [1e3 * statistics.median(t) for t in times.values()]
            name = np.dtype(dtype).name
            row(f"{size} x {size}", name, *medians, ratio(times["numpy"], times["kernels"]))


def main() -> None:
    """Run the parts asked for."""
    parts = {"rl": iterations, "direct": direct, "fused": fused}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="times each side is measured")
    parser.add_argument("--part", nargs="+", choices=parts, default=list(parts))
    options = parser.parse_args()
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (np, scipy, skimage))
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {versions}")
    for name in options.part:
        print(f"\n### {(parts[name].__doc__ or '').strip()}")
        parts[name](options.rounds)


if __name__ == "__main__":
    main()
