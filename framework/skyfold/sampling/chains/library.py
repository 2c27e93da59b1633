"""A library of responses, of which one is right: point-spread functions of several simulations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from skyfold.data import DataInterface
from skyfold.errors import ConfigError
from skyfold.kept import Kept
from skyfold.sampling.chains.calibration import Calibration, View
from skyfold.vector import Array, Vector

CANDIDATES = 16  # members of a library that are looked at for one draw


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
    _views: Kept[DataInterface, dict[int, View]] = field(
        default_factory=Kept, init=False, repr=False
    )
    _most: Kept[DataInterface, Vector] = field(default_factory=Kept, init=False, repr=False)

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
        return self._most.of(data, lambda: self._bound(data))

    def _bound(self, data: DataInterface) -> Vector:
        seen = [self.at(data, np.array([k])).sensitivity for k in range(len(self.members))]
        return Vector({name: np.max([one[name] for one in seen], axis=0) for name in seen[0]})

    def view(self, data: DataInterface, setting: Array) -> View:
        """Return the data seen with a member, worked out once."""
        known, key = self._views.of(data, dict), int(setting[0])
        if key not in known:
            known[key] = super().view(data, setting)
        return known[key]
