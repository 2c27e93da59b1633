"""Our side of the LIRA benchmark: obeys lines of JSON."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from worker import obey

from skyfold.model import Model
from skyfold_image.pylira import LIRADeconvolver
from skyfold_image.pylira.deconvolver import binned

held: dict[str, Any] = {}


def load(path: str) -> dict[str, Any]:
    """Read the data set of a problem."""
    held["data"] = dict(np.load(path))
    return {}


def run(iterations: int, burn: int, seed: int, trace: str = "", **options: Any) -> dict[str, Any]:
    """Deconvolve, and write the images of the trace to a file if one is named."""
    random_state = np.random.RandomState(seed)
    deconvolver = LIRADeconvolver(
        n_iter_max=iterations, n_burn_in=burn, random_state=random_state, **options
    )
    begin, processor = time.perf_counter(), time.process_time()
    images = deconvolver.run(held["data"]).image_trace
    answer = {
        "wall": time.perf_counter() - begin,
        "seconds": time.process_time() - processor,
    }
    if trace:
        np.save(trace, images[burn:])
    return answer


def chains(iterations: int, number: int, seed: int, **options: Any) -> dict[str, Any]:
    """Let several chains walk, each in a thread."""
    deconvolver, data = LIRADeconvolver(n_iter_max=iterations, n_burn_in=0, **options), held["data"]
    seen = binned(data)
    sampler = replace(deconvolver.sampler(seen, seed), chains=number, origins=number)
    state = sampler.start(seen, Model.start(seen, sky=data["flux_init"]))
    begin = time.perf_counter()
    while state.sweeps < iterations:
        state = sampler.step(state, seen)
    return {"wall": time.perf_counter() - begin}


if __name__ == "__main__":
    obey({"load": load, "run": run, "chains": chains})
