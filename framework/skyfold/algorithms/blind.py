"""Blind restoration: the sky and the kernel of its PSF by turns."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from skyfold.algorithm import Algorithm, Proposal, State
from skyfold.algorithms.em_pcg import EMConjugateGradient
from skyfold.data import DataInterface, Expectation
from skyfold.errors import ConfigError
from skyfold.linesearch import best_step
from skyfold.model import Model
from skyfold.profiles import Profile, balanced, centroid, fwhm_of, mirrored, stretched
from skyfold.vector import Array, Vector

log = logging.getLogger(__name__)

SHORTEST = 2.0**-12  # part of a Newton step that is still tried
LONGEST = 0.3  # change of ln(width) or another number of a profile in one lap
UNLIKE = 0.05  # of the light of a PSF that its profile puts elsewhere
WIDER, LAPS = 1.1, 30  # the PSF and the laps of the free sky that try to tell it apart


@dataclass(frozen=True, eq=False)
class BlindState(State):
    """A state that remembers the numbers of the profile.

    Parameters
    ----------
    profile
        Numbers of the profile (see `Profile`); empty for a kernel of free pixels.
    start_fwhm
        Width of the PSF before the first lap.
    """

    profile: Array = field(default_factory=lambda: np.zeros(0))
    start_fwhm: float = np.nan


@dataclass(frozen=True)
class Blind(Algorithm):
    """Some laps on the sky with the PSF held, then one step of the PSF with the sky held, by turns.

    Both raise the likelihood. The kernel keeps its sum, its centroid and its support. A profile
    takes a step of Fisher scoring, halved until the likelihood rises; free pixels take the
    multiplicative step of EM (Fish et al. 1995), put back to sum and centroid, with a line search.

    A sky free to be anything explains counts as well through a narrower PSF, by wider sources, and
    noise even better: with a wholly free sky the PSF becomes too narrow, from whichever side it
    starts. A sky confined to stars determines it.

    Parameters
    ----------
    shape
        Family of kernels: a Moffat profile, a Gaussian, or free pixels.
    round
        Whether profiles are the same in all directions; free pixels are made equal under
        reflections.
    support
        Radius in pixels beyond which the kernel stays zero; that of the given one by default.
    laps
        Laps on the sky for one step of the PSF.
    inner
        Algorithm of the laps on the sky.
    diffuse
        Component that may be part of the sky when the ambiguity is judged.
    """

    takes_priors: ClassVar[bool] = False
    takes_places: ClassVar[bool] = False

    shape: Literal["moffat", "gaussian", "pixels"] = "moffat"
    round: bool = False
    support: Annotated[float, Field(gt=0)] | None = None
    laps: Annotated[int, Field(ge=1)] = 5
    inner: Algorithm = field(default_factory=EMConjugateGradient)
    diffuse: str | None = None

    def start(self, data: DataInterface, model: Model) -> State:
        """Return the state before the first lap, with the kernel nearest to the given one.

        Raises
        ------
        ConfigError
            If nothing has a PSF, or several have one, or the options do not fit its kernel.
        """
        name, given = _only(data.parameters)
        inside = self._support(given)
        kernel, numbers = np.where(inside, given, 0), np.zeros(0)
        kernel *= given.sum() / kernel.sum()
        if self.shape != "pixels":
            profile = self._profile(given)
            numbers = profile.fit(kernel)
            kernel = profile.kernel(numbers)
            unlike = 0.5 * float(np.sum(np.abs(kernel - given)) / given.sum())
            if unlike > UNLIKE:
                log.warning(
                    "the PSF given is no %s profile: %.0f %% of its light lies elsewhere; with "
                    "shape pixels its form is kept",
                    self.shape,
                    100 * unlike,
                )
        elif self.round:
            kernel = mirrored(kernel)
        parameters = Vector({name: kernel})
        state = super().start(data.at(parameters), model)
        width = self._fwhm(kernel, numbers)
        state = replace(state, parameters=parameters, notes={**state.notes, "psf_fwhm": width})
        return BlindState.of(state, profile=numbers, start_fwhm=width)

    def m_step(self, state: State, data: DataInterface) -> Proposal:
        """Return a sky restored with the PSF held, and a PSF restored with that sky held."""
        assert isinstance(state, BlindState)
        seen = data.at(state.parameters)
        sky = self.inner.start(seen, state.model)
        for _ in range(self.laps):
            sky = self.inner.step(sky, seen)
        name, given = _only(data.parameters)
        if self.shape == "pixels":
            new = _pixel_step(sky, seen, name, self.round)
        else:
            new = _profile_step(sky, seen, name, self._profile(given), state.profile)
        return Proposal(
            sky.model.vector.only(sky.model.free),
            new.expectation,
            sky.products + new.products,
            {"psf_fwhm": self._fwhm(new.kernel, new.numbers), "psf_step": new.share},
            {"parameters": Vector({name: new.kernel}), "profile": new.numbers},
        )

    def step(self, state: State, data: DataInterface) -> State:
        """Return the next state, seen through its own PSF."""
        proposal = self.m_step(state, data)
        return self.follow(state, proposal, data.at(proposal.memory["parameters"]))

    def figures(self, state: State, data: DataInterface) -> Mapping[str, Any]:
        """Return the widths of the PSF before and after, and how well the counts tell it.

        ``told`` is by how many sigma a PSF wider by a tenth can be told from the restored one,
        whatever the sky. The expected counts of the restored model are taken as counts without
        noise, and a wholly free sky tries to explain them through the wider PSF; the likelihood
        stays below its maximum by half the square of ``told``. A narrower PSF can always be
        explained, by wider sources: what excludes it is only that the sky was confined to stars,
        to the share ``sky_in_use`` of its pixels. ``given`` and ``restored`` are the mean of the
        PSF in rings around its centroid, at ``radius`` in pixels.
        """
        assert isinstance(state, BlindState)
        component = state.model.components[_only(state.parameters)[0].partition("[")[0]]
        return {
            "psf": {
                "fwhm_start": state.start_fwhm,
                "fwhm": state.notes["psf_fwhm"],
                "told": self.told(state, data),
                "sky_in_use": 1.0 if component.mask is None else float(np.mean(component.mask)),
                **_profiles(_only(data.parameters)[1], _only(state.parameters)[1]),
            }
        }

    def told(self, state: BlindState, data: DataInterface) -> float:
        """Return by how many sigma the counts tell a PSF wider by a tenth (see `figures`)."""
        seen = data.at(state.parameters)
        name, _ = _only(state.parameters)
        if len(data.parts) > 1:
            return np.nan
        part = seen.parts[0]
        without_noise = part.with_counts(part.full_expectation(state.model))
        best = without_noise.log_likelihood(without_noise.forward(state.model))
        sky = state.model[name]
        values = {n: v for n, v in state.model.items() if n != name}
        if self.diffuse is not None:
            level = part.forward({self.diffuse: values[self.diffuse]}).observed
            below = part.adjoint(level)[name] / np.maximum(
                part.adjoint(np.ones_like(level))[name], 1e-30
            )
            sky = sky + np.where(part.sensitivity[name] > 0, below, 0)
            values[self.diffuse] = values[self.diffuse] * 1e-3
        sky = np.maximum(sky, 1e-6 * float(np.mean(sky)))
        wider = without_noise.at({name: self._widened(data, state)})
        free = wider.with_components(**{name: replace(wider.components[name], mask=None)})
        algorithm = EMConjugateGradient()
        tried: State = algorithm.start(free, Model.start(free, **{**values, name: sky}))
        for _ in range(LAPS):
            tried = algorithm.step(tried, free)
        return float(np.sqrt(2 * max(best - tried.log_likelihood, 0.0)))

    def _profile(self, kernel: Array) -> Profile:
        if kernel.ndim > 2:
            raise ConfigError(
                "a PSF for each energy is restored as free pixels only: set shape to pixels"
            )
        assert self.shape != "pixels"
        total, inside = float(kernel.sum()), self._support(kernel)
        return Profile(self.shape, kernel.shape, centroid(kernel), total, self.round, inside)

    def _support(self, kernel: Array) -> Array:
        if self.support is None:
            return np.ones(kernel.shape, bool)
        axes = min(kernel.ndim, 2)
        place = np.indices(kernel.shape[-axes:])
        middle = np.array([(n - 1) // 2 for n in kernel.shape[-axes:]])
        far = np.hypot.reduce(place - middle.reshape(-1, *(1,) * axes), axis=0)
        return np.broadcast_to(far <= self.support, kernel.shape)

    def _fwhm(self, kernel: Array, numbers: Array) -> float:
        if numbers.size:
            return float(np.exp(numbers[0]))
        return fwhm_of(kernel if kernel.ndim < 3 else kernel.sum(axis=0))

    def _widened(self, data: DataInterface, state: BlindState) -> Array:
        if self.shape == "pixels":
            return stretched(_only(state.parameters)[1], WIDER)
        profile = self._profile(_only(data.parameters)[1])
        return profile.kernel(profile.widened(state.profile, WIDER))


class _Step(NamedTuple):
    """A kernel with its numbers, what it makes of the sky, and what it took to find it."""

    kernel: Array
    numbers: Array
    expectation: Expectation
    share: float
    products: float


def _profile_step(
    sky: State, data: DataInterface, name: str, profile: Profile, numbers: Array
) -> _Step:
    """Return the kernel after a step of Fisher scoring, halved until the likelihood rises."""
    tangent, kernel = data.tangent(sky.model), data.parameters[name]
    others = sky.expectation + tangent.forward({name: kernel}) * -1.0
    slopes = [tangent.forward({name: slope}) for slope in profile.slopes(numbers)]
    curvature = data.curvature(sky.expectation)
    rise = [data.along(sky.expectation, slope, 0.0)[1] for slope in slopes]
    observed = np.stack([slope.observed for slope in slopes])
    step = np.linalg.lstsq((observed * curvature) @ observed.T, np.array(rise), rcond=1e-10)[0]
    step *= min(1.0, LONGEST / max(float(np.max(np.abs(step))), 1e-30))
    share, products = 1.0, 1.0 + 0.5 * len(slopes)
    while share > SHORTEST:
        trial = np.clip(numbers + share * step, *profile.bounds)
        changed = profile.kernel(trial)
        expectation = others + tangent.forward({name: changed})
        products += 0.5
        if data.log_likelihood(expectation) > sky.log_likelihood:
            return _Step(changed, trial, expectation, share, products)
        share /= 2
    return _Step(kernel, numbers, sky.expectation, 0.0, products)


def _pixel_step(sky: State, data: DataInterface, name: str, symmetric: bool) -> _Step:
    """Return the kernel after the best multiple of the EM step within the constraints."""
    tangent, kernel = data.tangent(sky.model), data.parameters[name]
    back, seen = tangent.back_project(sky.expectation).back[name], tangent.sensitivity[name]
    updated = np.where(seen > 0, kernel * back / np.maximum(seen, 1e-30), kernel)
    updated = balanced(mirrored(updated) if symmetric else updated, kernel)
    move = updated - kernel
    falling = move < 0
    longest = float(np.min(kernel[falling] / -move[falling])) if np.any(falling) else 1.0
    along = tangent.forward({name: move})
    share = best_step(data, sky.expectation, along, longest)
    changed = np.maximum(kernel + share * move, 0)
    expectation = sky.expectation + along * share
    if not data.log_likelihood(expectation) > sky.log_likelihood:
        return _Step(kernel, np.zeros(0), sky.expectation, 0.0, 1.5)
    return _Step(changed, np.zeros(0), expectation, share, 1.5)


def _profiles(given: Array, restored: Array) -> dict[str, list[float]]:
    """Return the mean of kernels in rings around their centroid; of several energies, their sum."""
    kernels = [k if k.ndim < 3 else k.sum(axis=0) for k in (given, restored)]
    middle = np.array(centroid(kernels[0])).reshape(-1, *(1,) * kernels[0].ndim)
    ring = np.rint(np.hypot.reduce(np.indices(kernels[0].shape) - middle, axis=0)).astype(int)
    inside = ring <= min(kernels[0].shape) // 2
    count = np.bincount(ring[inside])
    held = np.flatnonzero(count)
    means = [np.bincount(ring[inside], k[inside])[held] / count[held] for k in kernels]
    return {
        "radius": held.astype(float).tolist(),
        "given": means[0].tolist(),
        "restored": means[1].tolist(),
    }


def _only(parameters: Mapping[str, Array]) -> tuple[str, Array]:
    """Return name and kernel of the one PSF that there is."""
    if len(parameters) != 1:
        held = ", ".join(parameters) or "nothing"
        raise ConfigError(
            f"blind restoration needs one component with a PSF, here {held} has one: "
            "restore one observation at a time, and name its PSF with --psf"
        )
    return next(iter(parameters.items()))
