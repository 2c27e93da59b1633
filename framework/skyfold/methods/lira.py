"""LIRA for people: the posterior of a sky under a multi-scale law, or its mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from skyfold.algorithm import Algorithm
from skyfold.algorithms.gibbs import Gibbs
from skyfold.algorithms.law_em import LawEM
from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.likelihood import Poisson
from skyfold.methods import Method
from skyfold.model import Component
from skyfold.points import PointList
from skyfold.priors.reference import on_places
from skyfold.sampling.chains.calibration import Calibration
from skyfold.sampling.chains.psf_library import calibration_of
from skyfold.sampling.laws.hierarchy import spread
from skyfold.sampling.laws.law import Law
from skyfold.sampling.laws.masked_law import Masked
from skyfold.sampling.laws.multiscale_law import MultiScale
from skyfold.sampling.laws.scale_law import GammaFactor, LogNormalFactor, Scale
from skyfold.sampling.laws.strengths import HalfCauchy, HyperPrior, Lira
from skyfold.sphere import Sphere
from skyfold.vector import Array, Vector

Positive = Annotated[float, Field(gt=0)]
Pair = tuple[float, float]
Source = Path | Array | None

HYPER = (0.0, 1000.0, 3.0)  # k1, k2, k3 of Esch et al.
TOTAL, PUBLISHED = (1.0, 1e-3), (1.0, 0.05)  # shape and rate of the total
FLAT = GammaFactor(1.0, 0.0)
KEPT = 50_000_000  # values of all chains that are kept by default, 200 MB


@dataclass(frozen=True)
class MultiScaleMethod(Method):
    """What is the same for the posterior under a multi-scale law and for its mode.

    Parameters
    ----------
    hyper
        kap1, kap2, kap3 of the density ``alpha^kap1 exp(-kap2 alpha^kap3)`` of the smoothing
        strengths. The default makes points of what it can; [1, 0.02, 1] lets diffuse light be.
    half_cauchy
        Scale of a half-Cauchy density of the strengths instead.
    alpha
        Strengths to keep instead: one number, or one for each level from the pixels up.
    total
        Shape and rate of the Gamma density of the total, in counts as if the sky was seen
        everywhere as well as at best; 1 and 0.001 by default, which takes a thousandth of it.
    template
        What the sky is expected to look like: an image or a HEALPix map above zero; flat by
        default.
    strength
        Factor of the strengths by pixel: an image or a HEALPix map above zero.
    levels
        Factor of the strengths by level, from the pixels up.
    background_error
        Relative uncertainty of the backgrounds that are fitted, around one, before the counts are
        seen: one number, or one for each by name. Where nothing is said, their counts have the
        law that the total has by default.
    background_law
        Law of a background whose uncertainty is stated.
    """

    hyper: tuple[Annotated[float, Field(gt=-1)], Positive, Positive] = HYPER
    half_cauchy: Positive | None = None
    alpha: Positive | tuple[Positive, ...] | None = None
    total: tuple[Positive, Positive] | None = None
    template: Source = None
    strength: Source = None
    levels: tuple[Positive, ...] | None = None
    background_error: Positive | Mapping[str, Positive] | None = None
    background_law: Literal["gamma", "lognormal"] = "gamma"

    def laws(
        self,
        data: DataInterface,
        origins: int = 1,
        usual: Pair = TOTAL,
        sensitivity: Vector | None = None,
        **more: Any,
    ) -> dict[str, Law]:
        """Return the law of each component that is fitted: trees for skies, factors for the rest.

        Fluxes of point sources may be anything above zero, all equally likely, so that what is
        drawn of them is what the counts say.

        Parameters
        ----------
        data
            The data.
        origins
            Number of places where the trees of an image begin.
        usual
            The total where the options say nothing.
        sensitivity
            That of the data by default.
        more
            Further options of `skyfold.sampling.laws.multiscale_law.MultiScale`.

        Raises
        ------
        ConfigError
            If nothing is fitted, or options contradict each other.
        """
        usual_hyper = tuple(self.hyper) == HYPER
        if self.half_cauchy is not None and self.alpha is not None:
            raise ConfigError("half_cauchy is a density of strengths, alpha keeps them: give one")
        if self.half_cauchy is not None and not usual_hyper:
            raise ConfigError("hyper and half_cauchy are two densities of strengths: give one")
        if self.alpha is not None and not usual_hyper:
            raise ConfigError("hyper is a density of strengths, alpha keeps them: give one")
        seen = data.sensitivity if sensitivity is None else sensitivity
        fitted = {name: part for name, part in data.components.items() if not part.fixed}
        if not any(part.geometry.sky for part in fitted.values()):
            raise ConfigError("there is no sky to draw: every component is fixed or a background")
        _require_plain(data, fitted)
        factors = [
            name
            for name, part in fitted.items()
            if not (part.geometry.sky or isinstance(part.geometry, PointList))
        ]
        if isinstance(self.background_error, Mapping):
            for name in self.background_error:
                if name not in factors:
                    known = ", ".join(factors) or "none"
                    raise ConfigError(
                        f"background_error: no background {name!r} is fitted; fitted: {known}"
                    )
        elif self.background_error is not None and not factors:
            raise ConfigError("background_error: no background is fitted; leave it out")
        return {
            name: self._tree(
                part,
                seen[name],
                origins=spread(part.geometry, origins),
                total=self.total or usual,
                **more,
            )
            if part.geometry.sky
            else self._scale(name, part, seen[name])
            for name, part in fitted.items()
        }

    def _tree(self, part: Component, sensitivity: Array, **more: Any) -> Law:
        hyper: HyperPrior | None = Lira(*self.hyper)
        if self.half_cauchy is not None:
            hyper = HalfCauchy(self.half_cauchy)
        elif self.alpha is not None:
            hyper, more["alpha"] = None, self.alpha
        return MultiScale(
            part,
            sensitivity,
            hyper=hyper,
            template=None
            if self.template is None
            else on_places(self.template, part.geometry, "template"),
            strength=None
            if self.strength is None
            else on_places(self.strength, part.geometry, "strength"),
            factors=self.levels,
            **more,
        )

    def _scale(self, name: str, part: Component, seen: Array) -> Law:
        if not isinstance(part.geometry, PointList):
            return Scale(seen, self._factor(name, seen), part.bounds)
        inside = np.ones(seen.shape, bool) if part.mask is None else part.mask
        _require_seen(part.geometry, np.where(inside, seen, np.inf))
        if inside.all():
            return Scale(seen, FLAT, part.bounds)
        return Masked(Scale(seen[inside], FLAT, part.bounds), inside)

    def _factor(self, name: str, seen: Array) -> GammaFactor | LogNormalFactor:
        error = self.background_error
        if isinstance(error, Mapping):
            error = error.get(name)
        if error is None:
            shape, rate = TOTAL
            return GammaFactor(shape, rate * float(np.max(seen, initial=0.0)))
        if self.background_law == "lognormal":
            return LogNormalFactor(1.0, error)
        return GammaFactor.of(1.0, error)


def _require_seen(sources: PointList, seen: Array) -> None:
    """Refuse sources that no count could come from: there is nothing to draw their flux from."""
    for name, sensitivity in zip(sources.names, seen, strict=True):
        if not np.all(sensitivity > 0):
            raise ConfigError(
                f"no count in use can come from star {name!r}, so its flux could be anything: "
                "leave it out of the list, or use the pixels around it"
            )


def _require_plain(data: DataInterface, fitted: Mapping[str, Component]) -> None:
    """Refuse what a sampler cannot heed."""
    for part in data.parts:
        if type(part.likelihood) is not Poisson:
            raise ConfigError(
                f"{part.origin.name}: photons are drawn from Poisson's law, but the data are "
                f"judged by {type(part.likelihood).__name__}: leave that out"
            )
    for name, component in fitted.items():
        if component.geometry.sky and component.bounds != (0.0, inf):
            raise ConfigError(
                f"component {name!r}: a multi-scale law has no bounds, but {component.bounds} are "
                "asked for: leave them out"
            )


@dataclass(frozen=True)
class LIRA(MultiScaleMethod):
    """Draws from the posterior of the sky under LIRA's multi-scale law (Esch et al. 2004).

    Parameters
    ----------
    chains
        Number of chains, each a thread.
    draws
        Sweeps of each chain that count; ``iterations`` are these and burn-in.
    burn
        Sweeps of each chain before these, which do not count.
    thin
        Of the images of each chain one of so many is kept; by default so that they take up to
        200 MB.
    origin
        Where the blocks of the multi-scale law begin. ``ensemble``: groups of chains have
        different origins, over which the result is averaged; ``fixed``: in the first pixel;
        ``sampled``: an unknown like others; ``random``: drawn anew at each sweep, as published,
        which is calibrated for no prior and there to compare with.
    origins
        Number of origins of an ensemble; by default two chains share one.
    rungs
        Chains on a ladder of ever smoother laws behind each chain, itself counted, that carry it
        from one solution to another: for skies whose chains do not agree, at their multiple of the
        work. 8 are a good number.
    published
        Draw from the law that the published code draws from: strengths, random origins and its
        prior of the total, which takes 5 % of the flux. Compare it on a periodic boundary.
    psf_library
        What the PSF may be: a cube of PSFs along its first axis, or several images. Which of them
        it is, is drawn along with the sky, so that intervals hold what is not known of it.
    psf_components
        Draw so many principal components of the library instead of one of its members.
    """

    chains: Annotated[int, Field(ge=1)] = 4
    draws: Annotated[int, Field(ge=1)] = 3000
    burn: Annotated[int, Field(ge=0)] = 1000
    thin: Annotated[int, Field(ge=1)] | None = None
    origin: Literal["ensemble", "fixed", "sampled", "random"] = "ensemble"
    origins: Annotated[int, Field(ge=1)] | None = None
    rungs: Annotated[int, Field(ge=1)] = 1
    published: bool = False
    psf_library: tuple[Path, ...] | Source = None
    psf_components: Annotated[int, Field(ge=1)] | None = None

    @property
    def until(self) -> Mapping[str, Any]:  # type: ignore[override]
        """Burn-in and draws."""
        return {"iterations": self.burn + self.draws}

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data and the sampler.

        Raises
        ------
        ConfigError
            If nothing is fitted, or options contradict each other.
        """
        skies = [part.geometry for part in data.components.values() if part.geometry.sky]
        size = self.chains * sum(prod(geometry.shape) for geometry in skies)
        thin = self.thin or max(1, -(-self.draws * size // KEPT))
        if thin > self.draws:
            raise ConfigError(f"thin {thin} keeps no image of {self.draws} draws; lower it")
        if self.published and self.origin != "ensemble":
            raise ConfigError(
                f"the published law draws its origin anew each time: leave out origin {self.origin}"
            )
        mode = "random" if self.published else self.origin
        more: dict[str, Any] = {}
        if mode in ("sampled", "random"):
            more["origin"] = mode
        if self.published:
            more |= {"published": True, "usual": PUBLISHED}
        several = mode == "ensemble" and not all(isinstance(g, Sphere) for g in skies)
        origins = (self.origins or _halved(self.chains)) if several else 1
        calibration = self._calibration(data)
        if calibration is not None:
            more["sensitivity"] = calibration.sensitivity(data)
        return data, Gibbs(
            laws=self.laws(data, origins, **more),
            chains=self.chains,
            origins=origins,
            burn=self.burn,
            draws=self.draws,
            thin=thin,
            calibration=calibration,
            rungs=self.rungs,
        )

    def _calibration(self, data: DataInterface) -> Calibration | None:
        """Return what is not known of the PSF."""
        if self.psf_library is not None:
            return calibration_of(data, self.psf_library, self.psf_components)
        if self.psf_components is not None:
            raise ConfigError("psf_components are those of a library: give psf_library too")
        return None


def _halved(chains: int) -> int:
    """Return how many origins chains have, if two share one; one, if that does not go."""
    return max(1, chains // 2) if chains % 2 == 0 else 1


@dataclass(frozen=True)
class LIRAMode(MultiScaleMethod):
    """The mode of the posterior under LIRA's multi-scale law, by EM: quick, without errors.

    The strengths are those most probable given the counts attributed, so that only where ``alpha``
    keeps them each step raises the log-posterior.
    """

    until: ClassVar = {
        "delta_log_likelihood": {"threshold": 0.1, "over": 20},
        "iterations": 2000,
    }

    def prepare(self, data: DataInterface) -> tuple[DataInterface, Algorithm]:
        """Return the data and the loop.

        Raises
        ------
        ConfigError
            If nothing is fitted, or options contradict each other.
        """
        return data, LawEM(laws=self.laws(data))
