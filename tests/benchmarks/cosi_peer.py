"""The peer's side of the COSI benchmark: obeys lines of JSON, run by an interpreter with cosipy.

Each line names what to do; the answer is a line of JSON with the seconds it took.
"""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

from worker import memory, obey

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
held: dict[str, Any] = {}


def galactic(response: str, event: str, background: str) -> dict[str, Any]:
    """Open data in Galactic coordinates and prepare Richardson-Lucy with a fitted background."""
    from cosipy.image_deconvolution import DataIF_COSI_DC2
    from histpy import Histogram

    if held.get("response path") != response:
        held.clear()
        held.update({"response path": response, "response": Histogram.open(response)})
    opened = [Histogram.open(path).project(["Em", "Phi", "PsiChi"]) for path in (event, background)]
    data = DataIF_COSI_DC2.load("data", opened[0], {"background": opened[1]}, held["response"])
    return prepare(data)


def local(response: str, event: str, background: str, conversion: str) -> dict[str, Any]:
    """Open data in the detector frame, the same way."""
    from cosipy.image_deconvolution import CoordsysConversionMatrix, DataIF_COSI_DC2
    from cosipy.response import FullDetectorResponse
    from histpy import Histogram

    held.clear()
    opened = [Histogram.open(path) for path in (event, background)]
    data = DataIF_COSI_DC2.load(
        "data",
        opened[0],
        {"background": opened[1]},
        FullDetectorResponse.open(response),
        CoordsysConversionMatrix.open(conversion),
    )
    return prepare(data)


def prepare(data: Any) -> dict[str, Any]:
    """Start the algorithm from a flat sky."""
    from cosipy.image_deconvolution import AllSkyImageModel, RichardsonLucy
    from yayc import Configurator

    sky = data.model_axes["lb"]
    model = AllSkyImageModel(sky.nside, data.model_axes["Ei"].edges)
    model[:] = 1e-4 * model.unit
    options = {
        "iteration_max": 1000,
        "stopping_criteria": {"statistics": "log-likelihood", "threshold": 1e-12},
        "background_normalization_optimization": {
            "activate": True,
            "range": {"background": [0.01, 10.0]},
        },
    }
    held["algorithm"] = RichardsonLucy(
        initial_model=model, dataset=[data], mask=None, parameter=Configurator(options)
    )
    held["algorithm"].initialization()
    return {}


def iterate() -> dict[str, Any]:
    """Do one iteration."""
    began = time.perf_counter()
    held["algorithm"].iteration()
    seconds = time.perf_counter() - began
    likelihood = float(held["algorithm"].results[-1]["log-likelihood"][0])
    return {"seconds": seconds, "log_likelihood": likelihood}


def conversion(response: str, orientation: str, nside: int, bins: int) -> dict[str, Any]:
    """Make a conversion matrix by attitude for some bins and return seconds per (bin, pixel)."""
    from cosipy.image_deconvolution import CoordsysConversionMatrix, SpacecraftAttitudeExposureTable
    from cosipy.response import FullDetectorResponse
    from cosipy.spacecraftfile import SpacecraftFile

    opened = FullDetectorResponse.open(response)
    table = SpacecraftAttitudeExposureTable.from_orientation(
        SpacecraftFile.parse_from_file(orientation), nside=nside
    )
    few = SpacecraftAttitudeExposureTable(table.iloc[:bins], nside=nside)
    began = time.perf_counter()
    CoordsysConversionMatrix.spacecraft_attitude_binning_ccm(
        opened, few, nside_model=nside, use_averaged_pointing=True
    )
    return {"each": (time.perf_counter() - began) / (bins * 12 * nside**2)}


def point_source(response: str, orientation: str, nside: int) -> dict[str, Any]:
    """Make the Galactic response of one pixel and return its seconds."""
    from cosipy.response import FullDetectorResponse
    from cosipy.spacecraftfile import SpacecraftFile
    from histpy import HealpixAxis

    opened = FullDetectorResponse.open(response)
    history = SpacecraftFile.parse_from_file(orientation)
    place = HealpixAxis(nside=nside, coordsys="galactic").pix2skycoord(6 * nside**2)
    began = time.perf_counter()
    seen = history.get_scatt_map(nside=nside, target_coord=place, earth_occ=True)
    opened.get_point_source_response(coord=place, scatt_map=seen, Earth_occ=True)
    return {"seconds": time.perf_counter() - began}


if __name__ == "__main__":
    obey({**globals(), "memory": memory})
