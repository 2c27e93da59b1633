"""How fast images are drawn from their posterior beside Pylira, on the same data, taking turns.

    OMP_NUM_THREADS=1 python tests/benchmarks/lira.py --peer PYTHON [--rounds 5] [--part speed ...]

PYTHON is an interpreter in which Pylira 0.2 can be imported. Both sides are whole calls of
``LIRADeconvolver.run`` in processes of their own on one thread, ours with ``compat=True``; only one
works at a time. The Chandra images are those of ``skyfold data get chandra-gc-4684``. Prints
markdown for README.md.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from arviz_stats.base import array_stats
from cosi import Side, head, row

from skyfold_image.pylira.data import chandra_gc, point_source_gauss_psf

BRIGHT = 60
DRAWS = 5000, 1000  # iterations and burn-in for the effective sample sizes
PAPER = {"ms_al_kap1": 1.0, "ms_al_kap2": 0.02, "ms_al_kap3": 1.0}
AGAIN = 20  # times the iterations of Pylira's turn that ours has, for about as long a turn
# problem: iterations of Pylira per turn, options
PROBLEMS: dict[str, tuple[int, dict[str, Any]]] = {
    "32 x 32 point source": (300, {}),
    "32 x 32 Chandra": (300, PAPER),
    "128 x 128 Chandra": (25, PAPER),
    "256 x 256 Chandra": (6, PAPER),
}


def problem(name: str) -> dict[str, np.ndarray]:
    """Return the data set of a problem, with the start image of the reference runs."""
    if "point" in name:
        data = point_source_gauss_psf(random_state=np.random.RandomState(836))
    else:
        size = int(name.split()[0])
        cut, whole = chandra_gc(4684), chandra_gc(4684, cutout=False)
        data = {**(whole if size == 256 else cut), "psf": cut["psf"]}
        edge = (len(data["counts"]) - size) // 2
        middle = slice(edge, edge + size)
        for key in ("counts", "exposure", "background"):
            data[key] = data[key][middle, middle]
    shape = data["counts"].shape
    data["flux_init"] = np.random.RandomState(1).gamma(10, size=shape)
    return {key: data[key] for key in ("counts", "psf", "exposure", "background", "flux_init")}


def load(folder: Path, name: str, *sides: Side) -> dict[str, Any]:
    """Hand a problem to the sides; return the options of the deconvolver."""
    path = folder / f"{name.replace(' ', '-')}.npz"
    data = problem(name)
    np.savez(path, **data)
    for side in sides:
        side.ask("load", path=str(path))
    levels = int(np.log2(len(data["counts"])))
    return {"alpha_init": [0.1] * levels, **PROBLEMS[name][1]}


def speed(folder: Path, ours: Side, peer: Side | None, rounds: int) -> None:
    """CPU time per iteration of a whole run, on one thread."""
    head("problem", "counts", "Pylira ms", "skyfold ms", "faster by", "range over the rounds")
    for name, (iterations, _) in PROBLEMS.items():
        options = load(folder, name, ours, *([peer] if peer else []))
        turns = [(ours, AGAIN * iterations, {"compat": True})]
        if peer:
            turns.insert(0, (peer, iterations, {}))
        times = []
        for seed in range(rounds + 1):
            times.append(
                [
                    side.ask("run", iterations=n, burn=0, seed=seed, **options, **more)["seconds"]
                    / n
                    for side, n, more in turns
                ]
            )
        medians = [1e3 * statistics.median(column) for column in zip(*times[1:], strict=True)]
        counts = int(problem(name)["counts"].sum())
        if peer:
            ratios = [theirs / own for theirs, own in times[1:]]
            spread = f"{min(ratios):.0f} to {max(ratios):.0f}"
            row(name, counts, *medians, statistics.median(ratios), spread)
        else:
            row(name, counts, "-", *medians, "-", "-")


def mixing(folder: Path, ours: Side, peer: Side | None, rounds: int) -> None:
    """Effective sample size of the 60 brightest pixels, per second of CPU time on one thread."""
    head(
        "problem", "Pylira ESS/it", "skyfold ESS/it", "Pylira ESS/s", "skyfold ESS/s", "ratio",
        "worst pixel: Pylira ESS/s", "skyfold ESS/s", "ratio",
    )  # fmt: skip
    iterations, burn = DRAWS
    for name in list(PROBLEMS)[:2]:
        sides = [(side, more) for side, more in ((peer, {}), (ours, {"compat": True})) if side]
        options = load(folder, name, *(side for side, _ in sides))
        found, bright = [], None
        for seed in range(1, rounds + 1):
            turns = []
            for side, more in sides:
                trace = str(folder / f"{side.name}.npy")
                asked = {"iterations": iterations, "burn": burn, "seed": seed, **options, **more}
                taken = side.ask("run", trace=trace, **asked)["seconds"]
                images = np.load(trace).reshape(iterations - burn, -1)
                if bright is None:
                    bright = np.argsort(-images.mean(axis=0))[:BRIGHT]
                sizes = np.array([float(array_stats.ess(images[:, [i]].T)) for i in bright])
                of_all = taken * (iterations - burn) / iterations
                median, worst = float(np.median(sizes)), float(np.min(sizes))
                turns.append((median / (iterations - burn), median / of_all, worst / of_all))
            found.append(turns)
        each = np.array(found)  # round, side, what
        cells = np.median(each, axis=0).T
        if peer:
            ratios = np.median(each[:, 1] / each[:, 0], axis=0)
            row(name, *cells[0], *cells[1], ratios[1], *cells[2], ratios[2])
        else:
            row(name, "-", *cells[0], "-", *cells[1], "-", "-", *cells[2], "-")


def chains(folder: Path, ours: Side, peer: Side | None, rounds: int) -> None:
    """Two chains on two cores beside one: wall time, draws of both per time of one."""
    head("problem", "one chain ms", "two chains ms", "draws per time")
    for name in PROBLEMS:
        options = load(folder, name, ours)
        iterations = AGAIN * PROBLEMS[name][0]
        times = []
        for seed in range(rounds + 1):
            asked = {"iterations": iterations, "seed": seed, **options}
            times.append([ours.ask("chains", number=n, **asked)["wall"] for n in (1, 2)])
        one, two = (1e3 * statistics.median(c) / iterations for c in zip(*times[1:], strict=True))
        row(name, one, two, statistics.median(2 * a / b for a, b in times[1:]))


def pylira(python: str | None) -> Side | None:
    """Return the side of Pylira, or None and say why there is none."""
    if python is None:
        print("\nNo --peer PYTHON with Pylira: our side alone.")
        return None
    tried = subprocess.run(
        [python, "-c", "import pylira"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        why = tried.stderr.strip().splitlines()[-1]
        print(f"\nPylira could not be had ({why}): our side alone.")
        return None
    return Side(python, "lira_peer.py")


def main() -> None:
    """Run the parts asked for."""
    parts = {"speed": speed, "mixing": mixing, "chains": chains}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="interpreter in which Pylira can be imported")
    parser.add_argument("--rounds", type=int, default=5, help="times each side is measured")
    parser.add_argument("--part", nargs="+", choices=parts, default=list(parts))
    options = parser.parse_args()
    print(
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, numpy {np.__version__}"
    )
    ours, peer = Side(sys.executable, "lira_ours.py"), pylira(options.peer)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.part:
            print(f"\n### {(parts[name].__doc__ or '').strip()}")
            parts[name](Path(folder), ours, peer, options.rounds)


if __name__ == "__main__":
    main()
