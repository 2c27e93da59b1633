"""Our side of the COSI benchmark: obeys lines of JSON, as `cosi_peer.py` does."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from worker import memory, obey

from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.model import Model
from skyfold_cosi.conversion import conversion_histogram
from skyfold_cosi.exposure import by_attitude
from skyfold_cosi.galactic import Detector, galactic_response
from skyfold_cosi.opener import open_cosi
from skyfold_cosi.orientation import read_orientation
from skyfold_cosi.response_files import open_response

logging.disable(logging.CRITICAL)
held: dict[str, Any] = {}


def galactic(background: str, **files: Any) -> dict[str, Any]:
    """Open data and prepare plain Richardson-Lucy with a fitted background and a flat start."""
    held.clear()
    held["data"] = data = open_cosi(**files, background={"background": background})
    flat = np.full(data.components["sky"].geometry.shape, 1e-4)
    held["state"] = RichardsonLucy().start(data, Model.start(data, sky=flat))
    return {}


local = galactic


def iterate() -> dict[str, Any]:
    """Do one iteration."""
    began = time.perf_counter()
    held["state"] = RichardsonLucy().step(held["state"], held["data"])
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "log_likelihood": held["state"].log_likelihood}


def read() -> dict[str, Any]:
    """Read the rows in use once with the BLAS of NumPy; return seconds and GB."""
    numbers = held["data"].responses["sky"].numbers
    ones = np.ones(numbers.shape[1], numbers.dtype)
    began = time.perf_counter()
    numbers @ ones
    return {"seconds": time.perf_counter() - began, "gb": numbers.nbytes / 1e9}


def conversion(response: str, orientation: str, nside: int, bins: int) -> dict[str, Any]:
    """Make a conversion matrix by attitude for some bins and return seconds per (bin, pixel)."""
    pixels = open_response(response)["NuLambda"]
    table = by_attitude(read_orientation(orientation), nside)
    few = table.take(np.arange(bins))
    began = time.perf_counter()
    conversion_histogram(few, pixels, nside, averaged=True)
    return {"each": (time.perf_counter() - began) / (bins * 12 * nside**2)}


def whole_sky(response: str, orientation: str, nside: int) -> dict[str, Any]:
    """Make the Galactic response of the whole sky; return seconds per pixel, tables included."""
    file = open_response(response)
    detector = Detector.from_slabs(file.axes, file.slabs("float32"))
    began = time.perf_counter()
    table = by_attitude(read_orientation(orientation), nside)
    for _ in galactic_response(detector, table, nside):
        pass
    return {"seconds": (time.perf_counter() - began) / (12 * nside**2)}


if __name__ == "__main__":
    obey({**globals(), "memory": memory})
