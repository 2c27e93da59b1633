"""Where the stars are in an image, and what lies smoothly below them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyfold.algorithm import State
from skyfold.algorithms.em_pcg import EMConjugateGradient
from skyfold.binned import BinnedData
from skyfold.errors import DataError
from skyfold.geometry import FWHM_PER_SIGMA
from skyfold.model import Model
from skyfold.response import Response
from skyfold.vector import Array

SIGNIFICANT = 6.0  # sigma, of the light in the shape of the PSF
ROUNDS, BRIGHTEST = 12, 0.2  # each round takes the stars of at least this share of its brightest
LAPS = 5
MOVES = 0.6  # pixels off, a star is centred anew
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
        moved = _recentred(found, sky) & allowed
        if np.any(moved != found):
            found, new = moved, np.zeros(found.shape)
        else:
            new = _peaks(data, model, name, sky, allowed & ~_grown(found), apart)
            if not np.any(new):
                break
            found = found | (new > 0)
        near = _grown(found) & allowed
        held = data.with_components(**{name: replace(data.components[name], mask=near)})
        faint = 1e-3 * max(float(np.max(sky)), float(np.max(new)))
        start = np.maximum(sky, np.where(near, _spread_out(new) + faint, 0))
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
    """Return the light of the brightest peaks that is not explained so far, zero elsewhere.

    The filter is the third power of the kernel: it divides pairs better than the kernel itself.
    """
    from scipy.ndimage import maximum_filter

    response = data.whole[name]
    kernel = response.parameters
    assert kernel is not None
    others = {n: v for n, v in model.items() if n != name}
    below = sum(data.whole[n].forward(v) for n, v in others.items())
    stars = response.forward(sky)
    weight, sharp = data.weight, [response.at(kernel**power) for power in (3, 4, 6)]
    share = data.sensitivity[name] / kernel.sum()  # exposure, if there is one
    norm = np.maximum(share * sharp[1].adjoint(weight), 1e-30)
    variance = share * sharp[2].adjoint(weight * np.maximum(data.full_counts, below + stars))
    light = sharp[0].adjoint(weight * (data.full_counts - below - stars)) / norm
    score = light * norm / np.sqrt(np.maximum(variance, 1e-30))
    known = sharp[0].adjoint(weight * stars) / norm
    size = [1] * (light.ndim - _axes(light.shape))
    size += [2 * int(np.ceil(2 * _spread(kernel))) + 1] * _axes(light.shape)
    peak = (score == maximum_filter(score, size)) & (score > SIGNIFICANT)
    peak &= allowed & (light > apart * known)
    return np.where(peak & (light >= BRIGHTEST * np.max(light, where=peak, initial=0)), light, 0)


def _star(response: Response) -> Array:
    """Return what a star in the middle makes of the counts."""
    middle = [n // 2 for n in response.model_shape]
    *energies, y, x = [0] * (2 - len(middle)) + middle
    star = response.points(np.array([[x, y]], float))
    flux = np.zeros(star.model_shape)
    flux[(0, *energies)] = 1.0
    return star.forward(flux)


def star_fwhm(response: Response) -> float:
    """Return the full width at half maximum of the image of a star, in pixels of the counts.

    It is that of a Gaussian of the same effective area.
    """
    return float(FWHM_PER_SIGMA * _spread(_star(response)))


def _spread(star: Array) -> float:
    """Return the standard deviation of a Gaussian of the same effective area."""
    area = float(np.sum(star) ** 2 / max(np.sum(star**2), 1e-300))
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
    algorithm = EMConjugateGradient()
    state: State = algorithm.start(data, model)
    for _ in range(LAPS):
        state = algorithm.step(state, data)
    return state.model


def _spread_out(light: Array) -> Array:
    """Return light divided among each pixel and its neighbours."""
    from scipy.ndimage import uniform_filter

    axes = _axes(light.shape)
    spread: Array = uniform_filter(light, (1,) * (light.ndim - axes) + (3,) * axes)
    return spread


def _recentred(found: Array, sky: Array) -> Array:
    """Return the stars where their centres of gravity are."""
    moved = np.zeros(found.shape, bool)
    for place in np.argwhere(found):
        there = place + np.trunc(_offset(sky, place) / MOVES).astype(int)
        moved[tuple(np.clip(there, 0, np.array(found.shape) - 1))] = True
    return moved


def _quads(found: Array, sky: Array) -> Array:
    """Return for each star the two by two pixels around its centre of gravity."""
    quads = np.zeros(found.shape, bool)
    axes = _axes(found.shape)
    for place in np.argwhere(found):
        corner = np.maximum(place - (_offset(sky, place) < 0), 0)
        leading = tuple(corner[: found.ndim - axes])
        quads[(*leading, *(slice(c, c + 2) for c in corner[found.ndim - axes :]))] = True
    return quads


def _offset(sky: Array, place: Array) -> Array:
    """Return how far the centre of gravity of a pixel and its neighbours is from the pixel."""
    reach = np.where(np.arange(sky.ndim) < sky.ndim - _axes(sky.shape), 0, 1)
    first = np.maximum(place - reach, 0)
    light = sky[tuple(slice(f, p + r + 1) for f, p, r in zip(first, place, reach, strict=True))]
    away = np.indices(light.shape).reshape(sky.ndim, -1) + (first - place)[:, None]
    offset: Array = away @ light.ravel() / max(float(np.sum(light)), 1e-300)
    return offset
