"""How many response products and CPU seconds each solver needs, on the problems of problems.py.

    OMP_NUM_THREADS=1 python tests/benchmarks/solvers.py [--part ml map race] [--problem image ...]
        [--rounds 5] [--most 2000] [--plain 3000]

A product is a forward and an adjoint. The gap of a model is what it lacks to the best objective
found by anyone, over what the start lacks. Seconds are CPU time of one thread. Prints markdown for
README.md.
"""

from __future__ import annotations

import argparse
import functools
import platform
import time
from collections.abc import Iterator, Mapping

import numpy as np
import scipy
import skimage
from image import head, race, ratio, row
from problems import PROBLEMS, Problem, beta_psf, dark_image
from references import REFERENCES, Path, Priors
from skimage.restoration import richardson_lucy

from skyfold.algorithm import Algorithm
from skyfold.binned import BinnedData
from skyfold.model import Component, Model
from skyfold.priors import Prior
from skyfold.refinements import Acceleration
from skyfold.registry import default_registry
from skyfold.vector import Array
from skyfold_responses import Psf

GAPS = 1e-2, 1e-3, 1e-4
EM, PLAIN, ACCELERATED = "richardson-lucy", 3000, "richardson-lucy, accelerated"
SOLVERS = "em-pcg", "momentum-em", "sgp", "lbfgs", "ordered-subsets"
MAP_SOLVERS = "sgp", "lbfgs"
ORDER = (EM, ACCELERATED, *SOLVERS, *(f"SciPy, {name}" for name in REFERENCES))
FEW, MANY = 600, 2000  # products that a solver, a reference may spend
SETTLED, WINDOW = 1e-10, 100  # a run ends if so many products bring less than this share


def follow(algorithm: Algorithm, data: BinnedData, products: float, goal: float = np.inf) -> Path:
    """Run until the products are spent, the goal is reached, or nothing moves any more."""
    model = Model.start(data)
    rows = []
    begin = time.thread_time()
    for state in algorithm.iterate(data, algorithm.start(data, model)):
        rows.append((state.products, time.thread_time() - begin, state.objective))
        if state.products >= products or state.objective >= goal or _settled(rows):
            break
    return Path(*np.array(rows).T)


def _settled(rows: list[tuple[float, float, float]]) -> bool:
    """Return whether the last products brought nothing worth mentioning."""
    early = max(0, len(rows) - 1 - WINDOW)  # a step costs at least about one product
    return early > 0 and rows[-1][2] - rows[early][2] <= SETTLED * (rows[-1][2] - rows[0][2])


def solvers(names: tuple[str, ...], priors: Priors, rows: bool) -> Iterator[tuple[str, Algorithm]]:
    """Yield the solvers that there are, saying which there are not."""
    shelf = default_registry().algorithms
    for name in names:
        if name not in shelf:
            print(f"\nleft out: there is no solver {name}.")
        elif name == "ordered-subsets" and not rows:
            print(f"\nleft out: {name}, for each subset would cost a whole transform here.")
        elif not priors or shelf[name].takes_priors:
            yield name, shelf[name](priors=priors)


def likelihood(problem: Problem, most: int, plain: int) -> None:
    """Print what each solver needs to the maximum likelihood."""
    data = problem.data
    paths = {
        name: follow(solver, data, most) for name, solver in solvers(("em-pcg",), {}, problem.rows)
    }
    paths |= {f"SciPy, {name}": find(data, {}, most) for name, find in REFERENCES.items()}
    best = max(path.objective.max() for path in paths.values())
    first = data.log_likelihood(data.forward(Model.start(data)))
    near = best - 0.9 * GAPS[-1] * (best - first)
    for name, solver in solvers(SOLVERS[1:], {}, problem.rows):
        paths[name] = follow(solver, data, FEW, near)
    make = default_registry().algorithms[EM]
    paths[ACCELERATED] = follow(make(refinements=(Acceleration(),), guard=True), data, FEW, near)
    paths[EM] = em = follow(make(), data, plain, near)

    columns = [f"{kind} to {gap:g}" for kind in ("products", "s") for gap in GAPS]
    times = [f"EM / it, products to {gap:g}" for gap in GAPS[:2]]
    head("solver", *columns, *times, f"EM / it, s to {GAPS[1]:g}", "largest fall of log L")
    best = max(path.objective.max() for path in paths.values())
    goals = [best - gap * (best - first) for gap in GAPS]
    for name in sorted(paths, key=ORDER.index):
        path = paths[name]
        row(
            name,
            *(_cost(path, path.products, goal, ".0f") for goal in goals),
            *(_cost(path, path.seconds, goal, ".2f") for goal in goals),
            *(_times(em, em.products, path, path.products, goal) for goal in goals[:2]),
            _times(em, em.seconds, path, path.seconds, goals[1]),
            "-" if name.startswith("SciPy") else f"{path.fall:.1g}",
        )
    lacking = ((best - path.objective.max()) / (best - first) for path in paths.values())
    told = ", ".join(f"{name} {gap:.1g}" for name, gap in zip(paths, lacking, strict=True))
    print(f"\nlog L rises by {best - first:.6g}. Gaps at the end of the runs: {told}.")


def _cost(path: Path, costs: Array, goal: float, style: str) -> str:
    """Return what it cost to reach a goal, or the least that it would have."""
    at = path.reached(goal)
    return f"{costs[at]:{style}}" if at is not None else f"> {costs[-1]:{style}}"


def _times(em: Path, em_costs: Array, path: Path, costs: Array, goal: float) -> str:
    """Return how many times more EM spends on a goal."""
    theirs, ours = em.reached(goal), path.reached(goal)
    if ours is None:
        return "-"
    at_least = "" if theirs is not None else "> "
    return f"{at_least}{em_costs[-1 if theirs is None else theirs] / costs[ours]:.1f}"


def strengths(data: BinnedData) -> Mapping[str, tuple[str, Mapping[str, float]]]:
    """Return priors and their options in units of expected counts per value.

    On the image a unit of the sky is one count at full exposure, so these are the plain numbers.
    """
    count = float(data.sensitivity["sky"].max())
    level = float(np.mean(Model.start(data)["sky"]))
    return {
        "tsv 0.01": ("tsv", {"coefficient": 0.01 * count**2}),
        "tsv 0.3": ("tsv", {"coefficient": 0.3 * count**2}),
        "relative difference 0.3": ("relative_difference", {"coefficient": 0.3 * count}),
        "relative difference 3": ("relative_difference", {"coefficient": 3 * count}),
        "entropy 0.3": ("entropy", {"coefficient": 0.3 * count, "reference": level}),
        "gamma k = 1.1": ("gamma", {"k": 1.1}),
        "huber 0.3": ("huber", {"coefficient": 0.3 * count, "smoothing": 0.3 * level}),
    }


def posterior(problem: Problem, most: int) -> None:
    """Print what each solver that heeds priors needs to the maximum, for concave ones."""
    data, shelf = problem.data, default_registry().priors
    names = [name for name, _ in solvers(MAP_SOLVERS, {}, problem.rows)]
    head(
        "prior",
        *(f"{names[0]} to {gap:g}" for gap in GAPS),
        f"s to {GAPS[1]:g}",
        *(f"{name} to {GAPS[1]:g}" for name in names[1:]),
        *(f"gap of {name}" for name in [names[0], *REFERENCES]),
        "largest fall",
    )
    for label, (kind, options) in strengths(data).items():
        if kind not in shelf:
            print(f"\nleft out: there is no prior {kind}.")
            continue
        priors = {kind: shelf[kind](**options)}
        _posterior_row(label, data, priors, names, most)


def _posterior_row(
    label: str, data: BinnedData, priors: dict[str, Prior], names: list[str], most: int
) -> None:
    make = default_registry().algorithms
    first, *rest = (make[name](priors=priors) for name in names)
    path = follow(first, data, most)
    runs = [path, *(find(data, priors, most) for find in REFERENCES.values())]
    ends = [run.objective.max() for run in runs]
    best, start = max(ends), path.objective[0]
    goals = [best - gap * (best - start) for gap in GAPS]
    others = [follow(solver, data, FEW, goals[1]) for solver in rest]
    row(
        label,
        *(_cost(path, path.products, goal, ".0f") for goal in goals),
        _cost(path, path.seconds, goals[1], ".2f"),
        *(_cost(other, other.products, goals[1], ".0f") for other in others),
        *(f"{(best - end) / (best - start):.1g}" for end in ends),
        f"{path.fall:.1g}",
    )


def against_scikit_image(rounds: int, most: int) -> None:
    """Print how much faster than skimage.restoration, at two likelihoods; the border is dark."""
    data = dark_image().data
    reference = follow(default_registry().algorithms["em-pcg"](), data, most)
    best, first = reference.objective.max(), reference.objective[0]
    for gap in GAPS[:2]:
        laps, goal = _their_laps(data, best - gap * (best - first))
        print(f"\nscikit-image's {laps} iterations end at a gap of", end=" ")
        print(f"{(best - goal) / (best - first):.3g} ({gap:g} was asked for).")
        _same_likelihood(data, laps, goal, rounds)


def _same_likelihood(data: BinnedData, laps: int, goal: float, rounds: int) -> None:
    """Race each solver against so many iterations of scikit-image."""
    counts, psf = data.full_counts, beta_psf()

    def theirs() -> Array:
        restored: Array = richardson_lucy(counts, psf, laps, clip=False)
        return restored

    found = data.log_likelihood(data.forward({"sky": theirs()}))
    print(f"Its own code and ours for the same rule differ by {abs(found - goal):.1g} in log L.")
    works, costs = {"scikit-image": theirs}, {}
    for name, solver in solvers((EM, "em-pcg", "momentum-em", "sgp", "lbfgs"), {}, False):
        for engine in ("scipy", "ducc"):
            path = follow(solver, _dark(counts, psf, engine), FEW, goal)
            steps, label = path.reached(goal), f"{name}, {engine}"
            if steps is None:
                print(f"{label}: not there after {path.products[-1]:.0f} products.")
                continue
            works[label] = functools.partial(_restore, solver, counts, psf, engine, steps)
            costs[label] = f"{steps} ({path.products[steps]:.0f})"
    times = race(works, rounds)
    slow = times.pop("scikit-image")
    head("solver, engine", "steps (products)", "ms", "scikit-image ms", "faster by")
    for label, fast in times.items():
        shown = (f"{1e3 * np.median(t):.0f}" for t in (fast, slow))
        row(label, costs[label], *shown, ratio(slow, fast))


def _restore(solver: Algorithm, counts: Array, psf: Array, engine: str, steps: int) -> None:
    """Do all that a user does, from counts and PSF to the restored image."""
    data = _dark(counts, psf, engine)
    state = solver.start(data, Model.start(data))
    for _ in range(steps):
        state = solver.step(state, data)


def _dark(image: Array, psf: Array, engine: str) -> BinnedData:
    """Return the problem made anew, with all that its set-up costs."""
    data = BinnedData(image, {"sky": Psf(psf, image.shape, "same", engine)})
    return data.with_components(sky=Component(data.components["sky"].geometry, start=0.5))


def _their_laps(data: BinnedData, goal: float) -> tuple[int, float]:
    """Return how many laps of scikit-image's rule reach a log-likelihood, and which they reach.

    Its rule lacks the sensitivity, so it may not get there: then it is where it stands highest.
    """
    response, counts, now = data.whole["sky"], data.full_counts, Model.start(data)["sky"]
    reached = []
    for _ in range(PLAIN):
        expected = response.forward(now) + 1e-12
        now = now * response.adjoint(counts / expected)
        values = {"sky": now}
        reached.append(data.log_likelihood(data.forward(values)))
        if reached[-1] >= goal:
            break
    laps = int(np.argmax(reached))
    return laps + 1, reached[laps]


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", choices=["ml", "map", "race"], default=None)
    parser.add_argument("--problem", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--rounds", type=int, default=5, help="times each side of the race runs")
    parser.add_argument("--most", type=int, default=MANY, help="products of a reference")
    parser.add_argument("--plain", type=int, default=PLAIN, help="products of plain EM")
    options = parser.parse_args()
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (np, scipy, skimage))
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {versions}")
    parts = options.part or ["ml", "map", "race"]
    made = {n: PROBLEMS[n]() for n in options.problem} if {"ml", "map"} & set(parts) else {}
    for problem in made.values() if "ml" in parts else ():
        print(f"\n### Maximum likelihood: {problem.about}")
        likelihood(problem, options.most, options.plain)
    for problem in made.values() if "map" in parts else ():
        print(f"\n### Maximum of the posterior: {problem.about}")
        posterior(problem, options.most)
    if "race" in parts:
        print("\n### From the same start to the same likelihood beside skimage.restoration")
        against_scikit_image(options.rounds, options.most)


if __name__ == "__main__":
    main()
