"""Where the counts ask for more light than a model has, in sigma: a score test of each value."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skyfold import files
from skyfold.algorithm import State
from skyfold.data import DataInterface
from skyfold.vector import Array, Vector

if TYPE_CHECKING:
    from skyfold.result import Result

FILE, NAME = "significance.fits", "SIGNIFICANCE"


def significance(state: State, data: DataInterface, probes: int = 64, seed: int = 0) -> Vector:
    """Return how many sigma the slope of the log-likelihood by each value of a sky is from zero.

    The score test: ``g / sqrt(F)`` with the slope ``g = R^T(n/e) - R^T w`` and its variance under
    the model, ``F = diag(R^T diag(n/e^2) R)``. It asks of each value alone whether more light
    (positive) or less (negative) is wanted, everything else kept.

    F needs no matrix: for random signs z it is the mean of ``(R^T (z sqrt(n)/e))^2``. With K
    probes it is known to sqrt(2/K), the significance to half of that: 9 % for 64. That costs K
    adjoint products, K/2 of the products that a trace counts. Few probes have long tails
    (Student's t with K degrees of freedom): with 16 of them, noise alone takes several of 50 000
    values beyond 5 sigma.

    What holds, and what does not:

    - Of a model that was not fitted to the counts (a known background below a dark sky, say) noise
      is a unit normal wherever tens of counts are within reach of a value.
    - Fewer counts give less than their probability is worth: k of them never reach more than
      sqrt(k) sigma. An excess is not overstated; a lack of counts can be.
    - A fitted sky has taken up what it could. At the maximum of the likelihood this is zero where
      the sky is positive and negative where it is zero; before that, or under a prior, it shows
      what is still left. Backgrounds fitted along with the sky make it smaller too.
    - There are as many tests as values. Neighbours are not independent.

    Parameters
    ----------
    state
        The model with its own E-step: of a `skyfold.Result`, its ``state``.
    data
        The data that it was fitted to.
    probes
        Number of random probes.
    seed
        Seed of the probes.

    Returns
    -------
    sigma
        Per sky, masked values included: there too light may be missing. NaN where no count is
        within reach.
    """
    rng = np.random.default_rng(seed)
    skies = frozenset(n for n, part in state.model.components.items() if part.geometry.sky)
    weight = np.sqrt(np.maximum(data.curvature(state.expectation), 0))
    squares = {name: np.zeros(state.model[name].shape) for name in skies}
    for _ in range(probes):
        signs = 1 - 2 * rng.integers(0, 2, weight.size, dtype=np.int8)
        back = data.adjoint((weight * signs).astype(data.dtype, copy=False))
        for name, total in squares.items():
            total += np.square(back[name], dtype=np.float64)
    slope = state.back.only(skies) - data.sensitivity.only(skies)
    return Vector({name: _pull(slope[name], squares[name] / probes) for name in sorted(skies)})


def _pull(slope: Array, variance: Array) -> Array:
    """Return slopes in sigma; NaN where the variance is no more than rounding noise."""
    known = variance > 1e-12 * float(np.max(variance, initial=0.0))
    return np.where(known, slope / np.sqrt(np.where(known, variance, 1.0)), np.nan)


def write(result: Result, folder: Path | str, probes: int = 64, seed: int = 0) -> Path:
    """Write the significance of the one sky of a result into a folder, where the report finds it.

    Returns
    -------
    path
        ``significance.fits``: ``SIGNIFICANCE``, laid out like the restored sky.

    Raises
    ------
    DataError
        If the model has no sky, or several.
    FileError
        If the folder cannot be written to.
    """
    from astropy.io import fits

    from skyfold.products import sky_hdu

    path, sky = Path(folder) / FILE, result.sky
    values = significance(result.state, result.data, probes, seed)[sky]
    hdu = sky_hdu(result, sky, values, NAME, "sigma")
    hdu.header["PROBES"] = (probes, "random probes of the variance")
    with files.replacing(path) as partial:
        hdus = fits.HDUList([fits.PrimaryHDU(), hdu])
        hdus.writeto(partial, overwrite=True, checksum=True)
    return path
