"""A balloon-borne coded-mask camera: everything skyfold needs to know of it."""

from pathlib import Path

import numpy as np
from scipy.signal import correlate

from skyfold import Array, BinnedData, Component, Grid, Normalisations, Response, hookimpl


class CodedMask(Response):
    """Each sky pixel throws a shadow of the mask, shifted by so many cells, on the detector."""

    def __init__(self, mask: Array, detector: tuple[int, int]) -> None:
        self.mask, self.data_shape = mask, detector
        self.model_shape = tuple(m - d + 1 for m, d in zip(mask.shape, detector, strict=True))

    def forward(self, values: Array) -> Array:
        """Add up the shadows."""
        return correlate(self.mask, values, mode="valid", method="direct")

    def adjoint(self, weights: Array) -> Array:
        """Lay the detector over the mask in every way, and add up what shines through."""
        return correlate(self.mask, weights, mode="valid", method="direct")


def open_balloon(flight: Path, background_rate: float = 1.0) -> BinnedData:
    """Open a flight file.

    Parameters
    ----------
    flight
        An ``.npz`` file with the arrays ``counts``, ``mask`` and ``livetime`` (seconds).
    background_rate
        Counts per cell and second; known, since an even sky would light all cells alike too.
    """
    with np.load(flight) as file:
        counts, mask, livetime = file["counts"], file["mask"], float(file["livetime"])
    camera = CodedMask(mask * livetime, counts.shape)
    background = np.full(counts.shape, background_rate * livetime)
    kinds = {
        "sky": Component(Grid(camera.model_shape), "ph / s"),
        "background": Component(Normalisations(), fixed=True),
    }
    return BinnedData(counts, {"sky": camera, "background": background}, components=kinds)


@hookimpl
def skyfold_register(registry) -> None:
    """Offer the camera under its name."""
    registry.instruments.add("balloon", open_balloon)


@hookimpl
def skyfold_identify(path: Path) -> str | None:
    """Recognise a flight file."""
    return "balloon" if path.name.startswith("flight") and path.suffix == ".npz" else None
