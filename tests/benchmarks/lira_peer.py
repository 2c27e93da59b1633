"""The peer's side of the LIRA benchmark: obeys lines of JSON, run by an interpreter with Pylira."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from worker import obey

warnings.filterwarnings("ignore")
held: dict[str, Any] = {}


def load(path: str) -> dict[str, Any]:
    """Read the data set of a problem."""
    held["data"] = dict(np.load(path))
    return {}


def run(iterations: int, burn: int, seed: int, trace: str = "", **options: Any) -> dict[str, Any]:
    """Deconvolve, and write the images of the trace to a file if one is named."""
    from pylira import LIRADeconvolver

    random_state = np.random.RandomState(seed)
    deconvolver = LIRADeconvolver(
        n_iter_max=iterations, n_burn_in=burn, random_state=random_state, **options
    )
    begin, processor = time.perf_counter(), time.process_time()
    result = deconvolver.run(held["data"])
    images = result.image_trace
    answer = {
        "wall": time.perf_counter() - begin,
        "seconds": time.process_time() - processor,
    }
    if trace:
        np.save(trace, np.asarray(images[burn:], dtype=np.float32))
    return answer


if __name__ == "__main__":
    obey({"load": load, "run": run})
