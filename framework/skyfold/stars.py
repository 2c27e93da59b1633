"""Where the stars are in an image, and what lies smoothly below them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.data import BinnedData
from skyfold.errors import DataError
from skyfold.model import Model
from skyfold.response import Response
from skyfold.vector import Array

SIGNIFICANT = 6.0  # sigma, of the light in the shape of the PSF
ROUNDS, BRIGHTEST = 8, 0.2  # each round takes the stars of at least this share of its brightest
LAPS = 10
OUTSTANDING = 0.5  # of the level, for what is no part of it
APART = 3.0  # size of what counts as smooth, in units of the PSF's standard deviation


def smooth_level(data: BinnedData, name: str) -> Array:
    """Return what lies below the stars: the counts smoothed with the stars left out.

    Parameters
    ----------
    data
        One image.
    name
        Component whose PSF tells what is as narrow as a star.

    Returns
    -------
    level
        Expected counts per bin, shaped like the counts.
    """
    from scipy.ndimage import binary_dilation

    sigma = _spread(_star(data.whole[name]))
    counts, used = np.asarray(data.full_counts, float), data.weight > 0
    below, level = used, np.zeros(data.shape)
    for _ in range(4):
        held = _blurred(below.astype(float), APART * sigma)
        level = _blurred(np.where(below, counts, 0), APART * sigma) / np.maximum(held, 1e-6)
        level = np.where(held > 1e-3, level, np.mean(counts[below]))
        excess = _blurred(np.where(used, counts - level, 0), sigma)
        area = (4 * np.pi) ** (_axes(data.shape) / 2) * sigma ** _axes(data.shape)
        bright = excess > OUTSTANDING * level + 3 * np.sqrt(np.maximum(level, 1e-6) / area)
        below = used & ~binary_dilation(bright, iterations=int(np.ceil(2 * sigma)))
        if not np.any(below):
            break
    return np.maximum(level, 1e-3 * max(float(np.mean(level)), 1e-6))


def find_stars(data: BinnedData, name: str, apart: float) -> Array:
    """Return the four pixels around each star, as a mask of the sky.

    Stars are sought brightest first, as peaks of the score of the likelihood for light in the shape
    of the PSF, over what the other components and the stars found so far explain. Four pixels
    can hold a star anywhere between their centres, and leave its width to the PSF.

    Parameters
    ----------
    data
        One image, with something below the stars: a background, or a level.
    name
        Component of the sky; its response has a kernel.
    apart
        Light of a new star, in units of what known ones make at its place: large where the PSF is
        wrong, so that rings around bright stars are taken for no stars; small to divide pairs.

    Raises
    ------
    DataError
        If no star stands out.
    """
    sensitivity = np.asarray(data.sensitivity[name])
    allowed: Array = sensitivity > 0.5 * np.max(sensitivity)
    if (mask := data.components[name].mask) is not None:
        allowed &= mask
    found, sky = np.zeros(allowed.shape, bool), np.zeros(allowed.shape)
    model = Model.start(data)
    for _ in range(ROUNDS):
        new = _peaks(data, model, name, sky, allowed & ~_grown(found), apart)
        if not np.any(new):
            break
        found |= new > 0
        near = _grown(found) & allowed
        held = data.with_components(**{name: replace(data.components[name], mask=near)})
        start = np.maximum(sky, np.where(near, new + 1e-3 * np.max(new), 0))
        model = _restored(held, Model.start(held, **{**model.vector, name: start}))
        sky = model[name]
    if not np.any(found):
        raise DataError(
            f"{data.origin.name}: no star stands out by {SIGNIFICANT:g} sigma, so nothing shows "
            "the PSF; give it, and restore the sky alone (method rl)"
        )
    stars: Array = _quads(found, sky) & allowed
    return stars


def _peaks(
    data: BinnedData, model: Model, name: str, sky: Array, allowed: Array, apart: float
) -> Array:
    """Return the light of the brightest peaks that is not explained so far, zero elsewhere."""
    from scipy.ndimage import maximum_filter

    response = data.whole[name]
    kernel = response.parameters
    assert kernel is not None
    others = {n: v for n, v in model.items() if n != name}
    below = sum(data.whole[n].forward(v) for n, v in others.items())
    stars = response.forward(sky)
    weight, squared = data.weight, response.at(kernel**2)
    share = data.sensitivity[name] / kernel.sum()  # exposure, if there is one
    norm = np.maximum(share * squared.adjoint(weight), 1e-30)
    variance = share * squared.adjoint(weight * np.maximum(data.full_counts, below + stars))
    light = response.adjoint(weight * (data.full_counts - below - stars)) / norm
    score = light * norm / np.sqrt(np.maximum(variance, 1e-30))
    known = response.adjoint(weight * stars) / norm
    size = [1] * (light.ndim - _axes(light.shape))
    size += [2 * int(np.ceil(2 * _spread(kernel))) + 1] * _axes(light.shape)
    peak = (score == maximum_filter(score, size)) & (score > SIGNIFICANT)
    peak &= allowed & (light > apart * known)
    return np.where(peak & (light >= BRIGHTEST * np.max(light, where=peak, initial=0)), light, 0)


def _star(response: Response) -> Array:
    """Return what a star in the middle makes of the counts."""
    sky = np.zeros(response.model_shape)
    sky[tuple(n // 2 for n in sky.shape)] = 1.0
    return response.forward(sky)


def _spread(star: Array) -> float:
    """Return the standard deviation of a Gaussian of the same effective area."""
    area = float(np.sum(star) ** 2 / np.sum(star**2))
    lines = _axes(star.shape) == 1
    return area / float(np.sqrt(4 * np.pi)) if lines else float(np.sqrt(area / (4 * np.pi)))


def _axes(shape: tuple[int, ...]) -> int:
    """Return how many axes are places: a third one is energy."""
    return min(len(shape), 2)


def _blurred(image: Array, sigma: float) -> Array:
    from scipy.ndimage import gaussian_filter

    axes = _axes(image.shape)
    blurred: Array = gaussian_filter(image, [0.0] * (image.ndim - axes) + [sigma] * axes)
    return blurred


def _grown(found: Array) -> Array:
    """Return the pixels marked and their neighbours."""
    from scipy.ndimage import binary_dilation

    axes = _axes(found.shape)
    near: Array = binary_dilation(found, np.ones((1,) * (found.ndim - axes) + (3,) * axes))
    return near


def _restored(data: BinnedData, model: Model) -> Model:
    """Return a model after some laps."""
    algorithm = RichardsonLucy()
    state = algorithm.start(data, model)
    for _ in range(LAPS):
        state = algorithm.step(state, data)
    return state.model


def _quads(found: Array, sky: Array) -> Array:
    """Return for each star the two by two pixels around its centre of gravity."""
    quads = np.zeros(found.shape, bool)
    for place in np.argwhere(found):
        corner = []
        for axis in range(found.ndim - _axes(found.shape), found.ndim):
            line = place.copy()
            here = int(place[axis])
            sums = []
            for step in (-1, 1):
                line[axis] = here + step
                inside = 0 <= line[axis] < found.shape[axis]
                sums.append(_across(sky, line, axis) if inside else 0.0)
            corner.append(here if sums[1] >= sums[0] else max(here - 1, 0))
        leading = tuple(place[: found.ndim - len(corner)])
        quads[(*leading, *(slice(c, c + 2) for c in corner))] = True
    return quads


def _across(sky: Array, place: Array, axis: int) -> float:
    """Return the light on a line of three pixels, through a place and across an axis."""
    window = [slice(int(i), int(i) + 1) for i in place]
    for other in range(sky.ndim - _axes(sky.shape), sky.ndim):
        if other != axis:
            window[other] = slice(max(int(place[other]) - 1, 0), int(place[other]) + 2)
    return float(np.sum(sky[tuple(window)]))
