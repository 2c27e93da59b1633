"""The deconvolver: options and data of Pylira, the sampler of skyfold."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.algorithms.gibbs import Gibbs
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Grid, Normalisations
from skyfold.matrices import Template
from skyfold.model import Component, Model
from skyfold.pixels import Diagonal
from skyfold.response import Response
from skyfold.sampling.laws.law import Law
from skyfold.sampling.laws.multiscale_law import MultiScale
from skyfold.sampling.laws.scale_law import GammaFactor, Scale
from skyfold.sampling.laws.strengths import Lira
from skyfold.sampling.posterior.hdus import SCALE, TOTAL_COUNTS, pylira_names
from skyfold.vector import Array
from skyfold_image.pylira.result import LIRADeconvolverResult
from skyfold_responses.psf import Psf

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)
SKY, BACKGROUND = "sky", "background"
RATE, RATE_OF_PYLIRA = 1e-3, 0.05  # of the total
FACTOR, FACTOR_OF_PYLIRA = GammaFactor(1.0, 1.0), GammaFactor(0.001, 0.0)  # of a background


class LIRADeconvolver:
    """Draw images from their posterior under the multi-scale prior of LIRA.

    counts ~ Poisson(PSF * (exposure . (flux + background))), on a periodic image; the flux has a
    Dirichlet distribution at each level of a quad-tree (Esch et al. 2004, ApJ 610, 1213).

    Parameters
    ----------
    alpha_init
        Start values of the smoothing parameters, one per level from the finest to the coarsest:
        log2 of the image's width.
    n_iter_max
        Iterations, burn-in included.
    n_burn_in
        Iterations before the images count.
    fit_background_scale
        Draw a normalisation of the background as well: before counts are seen its density is
        Gamma with mean and standard deviation 1, with ``compat`` Gamma(0.001, 0).
    save_thin
        Taken for the sake of old scripts, without effect, as in Pylira; so are ``filename_out``
        and ``filename_out_par``.
    ms_ttlcnt_pr, ms_ttlcnt_exp
        Shape and rate of the Gamma distribution of the total, in counts at the largest exposure.
        The rate is 0.001 by default, which leaves the flux as it is; with ``compat`` it is
        Pylira's 0.05, which lessens it by 5 %.
    ms_al_kap1, ms_al_kap2, ms_al_kap3
        Hyper-prior of the smoothing parameters, see `utils.f_hyperprior_lira`.
    random_state
        The seed is drawn from it; a new one by default.
    compat
        Draw from the distribution of Pylira 0.2 instead of the documented one: the smoothing
        parameters are raised (their density is multiplied by alpha), and the tree has a new origin
        in each iteration, which is no draw from the posterior of any prior.
    """

    def __init__(
        self,
        alpha_init: Sequence[float],
        n_iter_max: int = 3000,
        n_burn_in: int = 1000,
        fit_background_scale: bool = False,
        save_thin: bool = True,
        ms_ttlcnt_pr: float = 1,
        ms_ttlcnt_exp: float | None = None,
        ms_al_kap1: float = 0.0,
        ms_al_kap2: float = 1000.0,
        ms_al_kap3: float = 3.0,
        filename_out: object = None,
        filename_out_par: object = None,
        random_state: np.random.RandomState | None = None,
        *,
        compat: bool = False,
    ) -> None:
        if not 0 <= n_burn_in < n_iter_max:
            raise ConfigError(
                f"n_burn_in {n_burn_in} is not below n_iter_max {n_iter_max}: no image would count"
            )
        if ms_ttlcnt_exp is None:
            ms_ttlcnt_exp = RATE_OF_PYLIRA if compat else RATE
        self.alpha_init = [float(alpha) for alpha in alpha_init]
        self.n_iter_max, self.n_burn_in = int(n_iter_max), int(n_burn_in)
        self.fit_background_scale, self.save_thin = bool(fit_background_scale), bool(save_thin)
        self.ms_ttlcnt_pr, self.ms_ttlcnt_exp = ms_ttlcnt_pr, ms_ttlcnt_exp
        self.ms_al_kap1, self.ms_al_kap2 = ms_al_kap1, ms_al_kap2
        self.ms_al_kap3, self.compat = ms_al_kap3, bool(compat)
        if filename_out is not None or filename_out_par is not None:
            log.warning(
                "filename_out and filename_out_par have no effect: everything is in the result, "
                "whose write() makes one FITS file"
            )
        self.random_state = random_state or np.random.RandomState()

    def to_dict(self) -> dict[str, Any]:
        """Return the options."""
        return {key: value for key, value in vars(self).items() if key != "random_state"}

    def __str__(self) -> str:
        lines = [f"    {key:21}: {value}" for key, value in self.to_dict().items()]
        return "\n".join([type(self).__name__, "-" * len(type(self).__name__), "", *lines])

    def run(self, data: Mapping[str, Any]) -> LIRADeconvolverResult:
        """Draw images, and warn if they are too few for what they hang together.

        Parameters
        ----------
        data
            ``counts`` and ``psf``; if known also ``exposure`` (1 by default), ``background``
            (per pixel, in the unit of the flux; none by default), ``flux_init`` and ``wcs``.
            Square images, 2^L pixels wide; the PSF may have any shape, its centre is the pixel
            ``shape // 2``, and its sum is taken as one.

        Raises
        ------
        DataError
            If counts or PSF are missing, or the images have the wrong shape.
        ConfigError
            If ``alpha_init`` does not have log2 of the width as many values, or a background is
            to be fitted that is not there.
        """
        if self.fit_background_scale and data.get("background") is None:
            raise ConfigError("fit_background_scale asks for a background, and the data have none")
        seen = binned(data, self.fit_background_scale)
        width = len(seen.full_counts)
        if 2 ** len(self.alpha_init) != width:
            raise ConfigError(
                f"alpha_init has {len(self.alpha_init)} values; an image {width} pixels wide "
                f"has {width.bit_length() - 1} levels"
            )
        seed = int(self.random_state.randint(1, 2**32 - 1, dtype=np.int64))
        gibbs = self.sampler(seen, seed)
        (chain,) = gibbs.chains_at(gibbs.start(seen, _start(seen, data)), seen)
        none, walks = deepcopy(chain.moments), []
        for sweeps in filter(None, (self.n_burn_in, self.n_iter_max - self.n_burn_in)):
            chain.moments = deepcopy(none)  # those of the burn-in are forgotten
            walks.append(chain.walk(sweeps, 0, 1))
        rows, trace = (
            np.concatenate(part)
            for part in zip(*((rows, kept[SKY]) for rows, kept in walks), strict=True)
        )
        found = chain.moments
        result = LIRADeconvolverResult(
            {**self.to_dict(), "random_seed": seed},
            found.mean[SKY],
            np.sqrt(found.spread[SKY] / found.count),
            _table(rows, chain.columns, seen),
            trace,
            data.get("wcs"),
        )
        for doubt in result.doubts:
            log.warning("%s", doubt)
        return result

    def sampler(self, data: BinnedData, seed: int) -> Gibbs:
        """Return the sampler of these options, of one chain that keeps every image.

        Parameters
        ----------
        data
            What `binned` returns.
        seed
            Seed of the random numbers.
        """
        sky = data.components[SKY]
        places = np.random.default_rng(seed).integers(sky.geometry.shape[0], size=2)
        laws: dict[str, Law] = {
            SKY: MultiScale(
                sky,
                data.sensitivity[SKY],
                alpha=self.alpha_init,
                hyper=Lira(self.ms_al_kap1, self.ms_al_kap2, self.ms_al_kap3),
                total=(self.ms_ttlcnt_pr, self.ms_ttlcnt_exp),
                origin="random" if self.compat else "sampled",
                origins=[tuple(places)],
                published=self.compat,
            )
        }
        if self.fit_background_scale:
            laws[BACKGROUND] = Scale(
                data.sensitivity[BACKGROUND], FACTOR_OF_PYLIRA if self.compat else FACTOR
            )
        return Gibbs(
            laws=laws,
            chains=1,
            origins=1,
            burn=0,
            draws=self.n_iter_max,
            thin=1,
            moves=not self.compat,
            seed=seed,
        )


def _table(rows: Array, columns: Sequence[str], data: BinnedData) -> Table:
    """Return the parameters of each iteration under the names that Pylira gives them."""
    from astropy.table import Table

    names = pylira_names(columns, SKY)
    found = {names.get(name, name): v for name, v in zip(columns, rows.T, strict=True)}
    levels = [name for name in found if name.startswith("smoothingParam")]
    table = {
        "iteration": np.arange(1, len(rows) + 1),
        "logPost": found["logPost"],
        "stepSize": np.diff(found["logPost"], prepend=np.nan),
        **{name: found[name].astype(int) for name in ("cycleSpinRow", "cycleSpinCol")},
        **{name: found[name] for name in levels},
        TOTAL_COUNTS: found[f"{SKY}.total"] * data.sensitivity[SKY].max(),
    }
    if SCALE in found:
        table[SCALE] = found[SCALE]
    return Table({**table, "logLikelihood": found["log_likelihood"]})


def binned(data: Mapping[str, Any], fit_background: bool = False) -> BinnedData:
    """Return a data set of Pylira as data of skyfold: a periodic sky, and a background behind it.

    Parameters
    ----------
    data
        What `LIRADeconvolver.run` takes.
    fit_background
        Whether the normalisation of the background is fitted.

    Raises
    ------
    DataError
        If counts or PSF are missing, or the images have the wrong shape.
    """
    counts, kernel = _image(data, "counts"), _image(data, "psf")
    size = len(counts)
    if counts.shape != (size, size) or size < 2 or size.bit_count() != 1:
        raise DataError(
            f"counts has shape {counts.shape}, but must be square and 2^L pixels wide; "
            "skyfold.run(..., method='lira') takes images of any size"
        )
    exposure = _like(counts, data, "exposure", 1.0)
    see = Psf(_centred(kernel), counts.shape, "periodic")
    responses: dict[str, Response] = {SKY: see @ Diagonal(exposure)}
    components = {SKY: Component(Grid(counts.shape, data.get("wcs")))}
    if data.get("background") is not None:
        baseline = _like(counts, data, "background", 0.0)
        responses[BACKGROUND] = Template(np.maximum(see.forward(exposure * baseline), 0))
        components[BACKGROUND] = Component(Normalisations(), fixed=not fit_background, start=1.0)
    return BinnedData(counts, responses, components=components)


def _image(data: Mapping[str, Any], key: str) -> Array:
    """Return an image as float64."""
    if data.get(key) is None:
        raise DataError(f"the data have no {key!r}; there are {', '.join(data)}")
    image = np.asarray(data[key], dtype=float)
    if image.ndim != 2 or not np.all(np.isfinite(image)) or np.any(image < 0):
        raise DataError(f"{key} must be an image (y, x) without negative or undefined values")
    return image


def _like(counts: Array, data: Mapping[str, Any], key: str, otherwise: float) -> Array:
    """Return an image on the pixels of the counts; a flat one if the data have none."""
    if data.get(key) is None:
        return np.full(counts.shape, otherwise)
    image = _image(data, key)
    if image.shape != counts.shape:
        raise DataError(f"{key} has shape {image.shape}, the counts have {counts.shape}")
    return image


def _centred(kernel: Array) -> Array:
    """Return a kernel of sum one, padded such that its pixel ``shape // 2`` is the middle."""
    if kernel.sum() <= 0:
        raise DataError("the psf is zero everywhere")
    return np.pad(kernel / kernel.sum(), [(0, (n + 1) % 2) for n in kernel.shape])


def _start(seen: BinnedData, data: Mapping[str, Any]) -> Model:
    """Return what the chain starts near."""
    if data.get("flux_init") is None:
        return Model.start(seen)
    return Model.start(seen, **{SKY: _like(seen.full_counts, data, "flux_init", 0.0)})
