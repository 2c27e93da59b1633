"""What is not known of a response: a library of point-spread functions, or principal components.

A calibration is drawn along with the sky (Lee et al. 2011; Xu et al. 2014): given the values, from
the likelihood of the counts themselves, before it is drawn where each count came from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from skyfold.data import DataInterface
from skyfold.errors import ConfigError, NumericalError
from skyfold.vector import Array, Vector

CANDIDATES = 16  # members of a library that are looked at for one draw
LIMIT = 5.0  # standard deviations that a principal component may be off
TRIES = 4  # proposals for one draw of the principal components
STEPS = (0.03, 0.15, 0.6)  # of which a proposal takes one
NOISE = 1e-3  # share of a kernel that may be below zero, and is cut off
NOWHERE = np.zeros(0, np.intp)
ROUNDING = 1e-5  # of the largest sensitivity


@dataclass(frozen=True, eq=False)
class View:
    """Data as they are seen with one setting of a calibration.

    The sensitivity of a value changes with the setting where its light leaves the field, and the
    laws know one sensitivity. They are told the largest of all settings; what it is more than that
    of the data is made up for by counts that were never seen, drawn as Poisson numbers.

    Parameters
    ----------
    data
        The data.
    gaps
        By component: places of the values that are seen less than their law believes, flat, and
        by how much.
    """

    data: DataInterface
    gaps: Mapping[str, tuple[Array, Array]]

    @classmethod
    def of(cls, data: DataInterface, most: Vector) -> View:
        """Return the view of data, given the largest sensitivities.

        Raises
        ------
        NumericalError
            If the data are more sensitive than that.
        """
        gaps = {}
        for name, bound in most.items():
            gap = (bound - data.sensitivity[name]).ravel()
            scale = float(np.max(bound, initial=0.0)) * ROUNDING
            if np.min(gap, initial=0.0) < -scale:
                raise NumericalError(
                    f"component {name!r} is more sensitive with one of its PSFs than was foreseen"
                )
            places = np.flatnonzero(gap > scale)
            gaps[name] = (places, gap[places])
        return cls(data, gaps)

    def completed(self, name: str, drawn: Array, values: Array, rng: np.random.Generator) -> Array:
        """Return the counts drawn for each value of a component, and those never seen."""
        places, gap = self.gaps.get(name, (NOWHERE, NOWHERE))
        if not places.size:
            return drawn
        full = drawn.copy()
        full.flat[places] += rng.poisson(gap * values.flat[places])
        return full


class Calibration(ABC):
    """Settings of a response, of which one is right.

    Attributes
    ----------
    names
        Parameters of the data that it sets (see `skyfold.data.DataInterface.parameters`).
    every
        Sweeps from one draw to the next.
    columns
        What the numbers of a setting are called.
    """

    names: tuple[str, ...]
    every: int
    columns: tuple[str, ...]

    @abstractmethod
    def start(self, rng: np.random.Generator) -> Array:
        """Draw a setting before any counts are seen: float64, one number for each column."""

    @abstractmethod
    def parameters(self, setting: Array) -> Array:
        """Return what the response depends on with a setting."""

    @abstractmethod
    def draw(
        self, data: DataInterface, values: Mapping[str, Array], setting: Array,
        rng: np.random.Generator,
    ) -> Array:  # fmt: skip
        """Draw the setting given all values, leaving its posterior as it is.

        Parameters
        ----------
        data
            The data, seen with any setting.
        values
            Values of all components.
        setting
            The one of before.
        rng
            Source of randomness.
        """

    @abstractmethod
    def log_density(self, setting: Array) -> float:
        """Return the log-density of a setting before counts are seen, up to a constant."""

    @abstractmethod
    def sensitivity(self, data: DataInterface) -> Vector:
        """Return the largest sensitivity of any setting, for the laws."""

    def view(self, data: DataInterface, setting: Array) -> View:
        """Return the data seen with a setting."""
        return View.of(self.at(data, setting), self.sensitivity(data))

    def at(self, data: DataInterface, setting: Array) -> DataInterface:
        """Return the same counts seen with a setting."""
        return data.at(dict.fromkeys(self.names, self.parameters(setting)))

    def log_likelihood(
        self, data: DataInterface, values: Mapping[str, Array], setting: Array
    ) -> float:
        """Return the log-likelihood of the values with a setting."""
        seen = self.view(data, setting).data
        return seen.log_likelihood(seen.forward(values))


@dataclass(frozen=True, eq=False)
class Library(Calibration):
    """One of a few known settings, each with its probability.

    Parameters
    ----------
    names
        Parameters of the data that it sets, all to the same.
    members
        What they may be, shape (members, ...).
    weights
        Probability of each before counts are seen; all alike by default.
    every
        Sweeps from one draw to the next; each costs as many products as there are members, up to
        sixteen.
    """

    names: tuple[str, ...]
    members: Array
    weights: Array | None = None
    every: int = 5
    _views: WeakKeyDictionary[DataInterface, dict[int, View]] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )
    _most: WeakKeyDictionary[DataInterface, Vector] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.weights is not None and (
            np.shape(self.weights) != (len(self.members),)
            or not np.all(np.isfinite(self.weights) & (self.weights > 0))
        ):
            raise ConfigError(
                f"a library of {len(self.members)} members needs as many weights above zero, got "
                f"{np.array2string(np.asarray(self.weights), threshold=8)}"
            )

    @cached_property
    def chances(self) -> Array:
        """Probability of each member before counts are seen."""
        number = len(self.members)
        given = np.ones(number) if self.weights is None else np.asarray(self.weights, float)
        chances: Array = given / given.sum()
        return chances

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The number of the member."""
        return (f"{self.names[0]}.response",)

    def start(self, rng: np.random.Generator) -> Array:
        """Draw one by its weight."""
        return np.array([float(rng.choice(len(self.members), p=self.chances))])

    def parameters(self, setting: Array) -> Array:
        """Return the member."""
        found: Array = self.members[int(setting[0])]
        return found

    def draw(
        self, data: DataInterface, values: Mapping[str, Array], setting: Array,
        rng: np.random.Generator,
    ) -> Array:  # fmt: skip
        """Draw from the posterior of the members; of many, from some and the present one.

        Which others are looked at does not depend on the present one, given the set, so that
        drawing from it alone leaves the posterior of all as it is.
        """
        number, here = len(self.members), int(setting[0])
        if number == 1:
            return setting
        chosen = np.arange(number)
        if number > CANDIDATES:
            others = rng.choice(number - 1, CANDIDATES - 1, replace=False)
            chosen = np.append(others + (others >= here), here)
        logs = np.log(self.chances[chosen])
        logs += [self.log_likelihood(data, values, np.array([k])) for k in chosen]
        odds = np.exp(logs - logs.max())
        return np.array([float(rng.choice(chosen, p=odds / odds.sum()))])

    def log_density(self, setting: Array) -> float:
        """Return the logarithm of the probability."""
        return float(np.log(self.chances[int(setting[0])]))

    def sensitivity(self, data: DataInterface) -> Vector:
        """Return the largest of all members."""
        if data not in self._most:
            seen = [self.at(data, np.array([k])).sensitivity for k in range(len(self.members))]
            self._most[data] = Vector(
                {name: np.max([one[name] for one in seen], axis=0) for name in seen[0]}
            )
        return self._most[data]

    def view(self, data: DataInterface, setting: Array) -> View:
        """Return the data seen with a member, worked out once."""
        known, key = self._views.setdefault(data, {}), int(setting[0])
        if key not in known:
            known[key] = super().view(data, setting)
        return known[key]


@dataclass(frozen=True, eq=False)
class Components(Calibration):
    """A mean and principal components, whose coefficients are standard normal.

    Parameters are ``mean + sum of a_j v_j`` with ``a_j ~ N(0, 1)``, cut off where a thousandth of
    it or more is below zero, and at five standard deviations; what is below zero is set to zero.

    Parameters
    ----------
    names
        Parameters of the data that it sets, all to the same.
    mean
        The mean.
    axes
        The principal components, each as long as its standard deviation, shape (components, ...).
    every
        Sweeps from one draw to the next; each costs four products.
    """

    names: tuple[str, ...]
    mean: Array
    axes: Array
    every: int = 5
    _most: WeakKeyDictionary[DataInterface, Vector] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    @classmethod
    def of(cls, library: Library, number: int) -> Components:
        """Return the mean and the first principal components of a library.

        Raises
        ------
        ConfigError
            If it has too few members.
        """
        kernels, chances = library.members, library.chances
        most = len(kernels) - 1
        if not 1 <= number <= most:
            raise ConfigError(
                f"a library of {len(kernels)} members has 1 to {most} principal components, not "
                f"{number}"
            )
        mean = np.tensordot(chances, kernels, 1)
        rest = (kernels - mean).reshape(len(kernels), -1) * np.sqrt(chances)[:, None]
        _, sizes, rows = np.linalg.svd(rest, full_matrices=False)
        axes = (sizes[:, None] * rows)[:number].reshape(number, *mean.shape)
        return cls(library.names, mean, axes, library.every)

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The coefficients."""
        return tuple(f"{self.names[0]}.response[{j}]" for j in range(len(self.axes)))

    def start(self, rng: np.random.Generator) -> Array:
        """Draw coefficients until they are allowed."""
        for _ in range(1000):
            setting = rng.standard_normal(len(self.axes))
            if self.allowed(setting):
                return setting
        raise ConfigError(
            "hardly any principal components make a PSF that is nowhere below zero: ask for fewer "
            "of them, or draw from the library itself"
        )

    def allowed(self, setting: Array) -> bool:
        """Return whether the coefficients are within their limits."""
        made = self._linear(setting)
        below = -float(np.minimum(made, 0).sum())
        return bool(np.all(np.abs(setting) <= LIMIT)) and below <= NOISE * float(made.sum())

    def parameters(self, setting: Array) -> Array:
        """Return the mean, changed by the components; what is cut off does not change its sum."""
        made = self._linear(setting)
        above = np.maximum(made, 0)
        scaled: Array = above * (made.sum() / above.sum())
        return scaled

    def draw(
        self, data: DataInterface, values: Mapping[str, Array], setting: Array,
        rng: np.random.Generator,
    ) -> Array:  # fmt: skip
        """Draw by proposals that leave their normal law as it is (Neal 1999)."""
        level = None
        for size in rng.choice(STEPS, TRIES):
            way, chance = rng.standard_normal(setting.shape), rng.random()
            proposed = np.sqrt(1 - size**2) * setting + size * way
            if not self.allowed(proposed):
                continue
            if level is None:
                level = self.log_likelihood(data, values, setting)
            found = self.log_likelihood(data, values, proposed)
            if np.log(chance) < found - level:
                setting, level = proposed, found
        return setting

    def log_density(self, setting: Array) -> float:
        """Return that of standard normal numbers."""
        return float(-0.5 * np.sum(setting**2))

    def sensitivity(self, data: DataInterface) -> Vector:
        """Return a bound for all coefficients that are allowed."""
        if data not in self._most:
            middle, *ends = [
                data.at(dict.fromkeys(self.names, kernel)).sensitivity
                for kernel in (self.mean, *(self.mean + self.axes))
            ]
            most = {}
            for name, own in middle.items():
                scale = float(np.max(own, initial=0.0))
                change = sum(np.abs(end[name] - own) for end in ends)
                changes = change > ROUNDING * scale
                most[name] = own + np.where(changes, LIMIT * change + NOISE * scale, 0)
            self._most[data] = Vector(most)
        return self._most[data]

    def log_likelihood(
        self, data: DataInterface, values: Mapping[str, Array], setting: Array
    ) -> float:
        """Return the log-likelihood, without looking at the laws."""
        seen = self.at(data, setting)
        return seen.log_likelihood(seen.forward(values))

    def _linear(self, setting: Array) -> Array:
        made: Array = self.mean + np.tensordot(setting, self.axes, 1)
        return made
