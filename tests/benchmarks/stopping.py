"""How well held-out photons choose the number of iterations: predictive loss against the best.

    python tests/benchmarks/stopping.py [--seeds 10] [--counts 5e3 5e4 5e5] [--longest 450]

The loss of an image is the expected log-likelihood, under the true mean, below the truth's own:
what it would cost in predicting another observation. Prints markdown for README.md.
"""

from __future__ import annotations

import argparse
from itertools import islice

import numpy as np
from problems import Problem, image

from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.heldout import HeldOut, choose
from skyfold.model import Model


def losses(problem: Problem, longest: int) -> np.ndarray:
    """Return the loss of each iteration of Richardson-Lucy."""
    data, em = problem.data, RichardsonLucy()
    mean = data.full_expectation(problem.truth)
    found = []
    for state in islice(em.iterate(data, em.start(data, Model.start(data))), longest + 1):
        expected = data.full_expectation(state.model)
        seen = mean > 0
        found.append(
            np.sum(mean[seen] * np.log(mean[seen] / expected[seen])) - np.sum(mean - expected)
        )
    return np.array(found)


def trial(seed: int, counts: float, longest: int) -> tuple[int, float, int, float]:
    """Return iteration and loss that held-out photons choose, and the best of both."""
    problem = image(128, counts, seed)
    em, data = RichardsonLucy(), problem.data
    rule = HeldOut(longest=longest)
    chosen, _ = choose(rule, em, data, em.start(data, Model.start(data)), seed)
    loss = losses(problem, longest)
    assert chosen.best is not None
    best = int(np.argmin(loss))
    return chosen.best, float(loss[chosen.best]), best, float(loss[best])


def main() -> None:
    """Print one row for each number of counts."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seeds", type=int, default=10)
    given.add_argument("--counts", type=float, nargs="+", default=[5e3, 5e4, 5e5])
    given.add_argument("--longest", type=int, default=450)
    asked = given.parse_args()
    print("| counts | chosen iterations | best iterations | loss | best loss | mean excess |")
    print("| --- | --- | --- | --- | --- | --- |")
    for counts in asked.counts:
        found = np.array([trial(seed, counts, asked.longest) for seed in range(1, asked.seeds + 1)])
        chosen, loss, best, least = found.T
        spans = [f"{int(x.min())} to {int(x.max())}" for x in (chosen, best)]
        excess = (loss - least).mean()
        print(
            f"| {counts:.0e} | {spans[0]} | {spans[1]} | {loss.mean():.2f} | {least.mean():.2f} "
            f"| {excess:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
