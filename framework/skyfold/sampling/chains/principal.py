"""A response that differs from a mean by a few principal components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.kept import Kept
from skyfold.sampling.chains.calibration import ROUNDING, Calibration
from skyfold.sampling.chains.library import Library
from skyfold.vector import Array, Vector

LIMIT = 5.0  # standard deviations that a principal component may be off
TRIES = 4  # proposals for one draw of the principal components
STEPS = (0.03, 0.15, 0.6)  # of which a proposal takes one
NOISE = 1e-3  # share of a kernel that may be below zero, and is cut off


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
    _most: Kept[DataInterface, Vector] = field(default_factory=Kept, init=False, repr=False)

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
        return self._most.of(data, lambda: self._bound(data))

    def _bound(self, data: DataInterface) -> Vector:
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
        return Vector(most)

    def log_likelihood(
        self, data: DataInterface, values: Mapping[str, Array], setting: Array
    ) -> float:
        """Return the log-likelihood, without looking at the laws."""
        seen = self.at(data, setting)
        return seen.log_likelihood(seen.forward(values))

    def _linear(self, setting: Array) -> Array:
        made: Array = self.mean + np.tensordot(setting, self.axes, 1)
        return made
