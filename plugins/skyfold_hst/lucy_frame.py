"""Frames as the task lucy took them: read noise, weights, and a background that was subtracted."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid, Normalisations, shifted
from skyfold.matrices import Template
from skyfold.model import Component
from skyfold.origin import Check, Origin
from skyfold.response import Response
from skyfold.vector import Array
from skyfold_hst.kernels import as_it_is, peak_centred
from skyfold_image.align import require_same_pixels
from skyfold_image.image import Image
from skyfold_image.maps import uniform
from skyfold_image.reading import read_image
from skyfold_image.sources import ImageSource, MapSource, is_number
from skyfold_responses.psf import Psf

SKY, NOISE, BACKGROUND = "sky", "read noise", "background"
NOT_MEASURED = 1e-3  # of the largest sensitivity
Size = Annotated[int, Field(ge=0)]


def open_lucy(
    counts: ImageSource,
    psf: ImageSource,
    *,
    adu: Annotated[float, Field(gt=0)] = 1.0,
    noise: Annotated[float, Field(ge=0)] = 0.0,
    background: MapSource | None = None,
    weight: ImageSource | None = None,
    mask: ImageSource | None = None,
    good: Literal[0, 1] = 1,
    nsigma: Annotated[float, Field(ge=0)] = 5.0,
    start: ImageSource | None = None,
    size: tuple[Size, Size] = (0, 0),
    centred: bool = True,
    name: str | None = None,
) -> BinnedData:
    """Open data as lucy took them: data numbers with read noise, in a frame with cyclic borders.

    In electrons, data N with the background b subtracted and read noise of standard deviation
    sigma are nearly ``N + b + sigma^2 ~ Poisson(H x + b + sigma^2)`` (Snyder, Hammoud & White
    1993, JOSA A 10, 1014). Pixels far below zero are left out, the others below are set to zero.
    The restored image is in data numbers. Weights multiply the log-likelihood of each pixel.

    Parameters
    ----------
    counts
        Image of the data, in data numbers.
    psf
        Image of the PSF; its peak is moved to the pixel that light comes from.
    adu
        Electrons per data number.
    noise
        Standard deviation of the read noise, in electrons.
    background
        What was subtracted, in data numbers: an image, or a number, the same everywhere.
    weight
        Image of weights.
    mask
        Image of the good pixels.
    good
        Its value there.
    nsigma
        Pixels further below zero than so many sigma of noise and background are bad, too; with 0
        those below minus the sum of background and variance.
    start
        Image to start from, of the size of the data or of the restored image; the mean of the data
        by default.
    size
        Size of the restored image in x and y; 0 is that of the data.
    centred
        Put the data in the middle of the restored image, else in its lower left corner.
    name
        Name of the data; that of the file by default.

    Raises
    ------
    ConfigError
        If the restored image is to be smaller than the data.
    DataError
        If an image is not what it must be, or no pixel is good.
    FileError
        If a file cannot be read.
    """
    image = read_image(counts, "counts")
    if image.values.ndim > 2:
        raise DataError(f"{image.file}: shape {image.values.shape}; expected (x,) or (y, x)")
    frame, given = _Frame.around(image, size, centred), _Given(image)
    level = given.values(background, "background", 0.0)
    marked = given.values(mask, "mask", float(good))
    variance, checks = noise**2 / adu, [*image.checks]
    seen = _good(image, (marked != 0) == bool(good), level + variance, adu, nsigma, checks)
    weights = seen * given.values(weight, "weight", 1.0)
    if not np.any(weights > 0):
        raise DataError(f"{image.file}: mask and weights leave no good pixel")
    data = np.where(seen, image.values, 0.0)
    total = seen * (data + level + variance)
    if below := np.count_nonzero(total < 0):
        text = f"{below} good pixels below zero even with background and noise, set to zero"
        checks.append(Check("warning", "counts", text))
    blur = given.read(psf, "psf")
    kernel, said = as_it_is(replace(blur, values=peak_centred(blur.values)), frame.grid.shape)
    response: Response = Psf(adu * kernel, frame.grid.shape, "periodic")
    padded = frame.padded(weights)
    sensitivity = response.sensitivity(padded)
    measured = sensitivity >= NOT_MEASURED * sensitivity.max()
    mean = float(np.sum(weights * data) / np.sum(weights))
    first: Any = mean if mean > 0 else 1.0
    if start is not None:
        first = frame.started(given.read(start, "start"))
    responses: dict[str, Response] = {SKY: response}
    components = {SKY: Component(frame.grid, "", mask=measured, start=first)}
    for part, expected in ((NOISE, np.full(level.shape, noise**2)), (BACKGROUND, adu * level)):
        if np.any(expected > 0):
            responses[part] = Template(frame.padded(expected))
            components[part] = Component(Normalisations(), fixed=True)
    origin = Origin(
        name=name or ("frame" if image.path is None else image.path.name.partition(".")[0]),
        instrument="lucy",
        files=given.files,
        checks=(*checks, *given.checks, *said),
        geometry=frame.grid,
        header=image.header,
    )
    # a weight of the log-likelihood is one of counts and expectation alike
    weighted = frame.padded(weights * np.maximum(adu * total, 0))
    return BinnedData(weighted, responses, padded, components=components, origin=origin)


class _Given:
    """The images that belong to data, read one by one.

    Parameters
    ----------
    image
        The data.
    """

    def __init__(self, image: Image) -> None:
        self.image, self.checks = image, list[Check]()
        self.files = () if image.path is None else (("counts", str(image.path)),)

    def read(self, source: Any, role: str) -> Image:
        """Return an image."""
        found = read_image(source, role)
        if found.path is not None:
            self.files = (*self.files, (role, str(found.path)))
        return found

    def values(self, source: Any, role: str, usual: float) -> Array:
        """Return an image on the pixels of the data, or a number, the same everywhere."""
        shape = self.image.values.shape
        if source is None or is_number(source):
            return uniform(usual if source is None else source, role, role, shape).values
        found = self.read(source, role)
        require_same_pixels(self.image, found)
        if not np.all(np.isfinite(found.values)) or np.any(found.values < 0):
            raise DataError(f"{found.file}: the {role} has values below zero, or none at all")
        self.checks += found.checks
        return found.values


def _good(
    image: Image, seen: Array, level: Array, adu: float, nsigma: float, checks: list[Check]
) -> Array:
    """Return the good pixels: those not far below zero."""
    least = -nsigma * np.sqrt(level / adu) if nsigma else -level
    if not np.all(np.isfinite(image.values[seen])):
        raise DataError(f"{image.file}: values that are not finite; leave them out with a mask")
    low = seen & (np.nan_to_num(image.values) < least)
    if low.any():
        rule = f"{nsigma:g} sigma below zero" if nsigma else "minus background and variance"
        text = f"{np.count_nonzero(low)} pixels lower than {rule} are left out"
        checks.append(Check("warning", "counts", text))
    good: Array = seen & ~low
    return good


class _Frame:
    """The restored image, and where the data are in it.

    Parameters
    ----------
    grid
        Places of its pixels.
    inside
        Where the data are.
    """

    def __init__(self, grid: Grid, inside: tuple[slice, ...]) -> None:
        self.grid, self.inside = grid, inside

    @classmethod
    def around(cls, image: Image, size: tuple[int, int], centred: bool) -> _Frame:
        """Return the frame of a size in x and y, 0 being that of the data."""
        shape = image.values.shape
        wanted = tuple(s or n for s, n in zip(size[::-1][-len(shape) :], shape, strict=True))
        if any(w < n for w, n in zip(wanted, shape, strict=True)):
            asked, held = (" x ".join(map(str, s[::-1])) for s in (wanted, shape))
            raise ConfigError(f"xsizeout, ysizeout: {asked} is smaller than the data, {held}")
        before = [(w - n) // 2 if centred else 0 for w, n in zip(wanted, shape, strict=True)]
        inside = tuple(slice(b, b + n) for b, n in zip(before, shape, strict=True))
        wcs = image.wcs if image.wcs is None else shifted(image.wcs, *before[::-1])
        return cls(Grid(wanted, wcs), inside)

    def padded(self, values: Array) -> Array:
        """Return values of the data in the frame, zero around."""
        full = np.zeros(self.grid.shape)
        full[self.inside] = values
        return full

    def started(self, image: Image) -> Array:
        """Return an image to start from."""
        values = np.maximum(image.values, 0)
        if values.shape == self.grid.shape:
            return values
        full = self.padded(np.zeros(1))
        if values.shape != full[self.inside].shape:
            raise DataError(
                f"{image.file}: the model has shape {values.shape}, the restored image "
                f"{self.grid.shape}; they must agree"
            )
        return self.padded(values)
