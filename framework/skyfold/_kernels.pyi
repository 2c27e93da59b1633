from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Key = Sequence[int] | NDArray[np.uint64]

def poisson_ratio(
    counts: NDArray[Any],
    expectation: NDArray[Any],
    accuracy: float,
    ratio: NDArray[Any],
    others: NDArray[Any] | None = None,
    threads: int = 1,
) -> float: ...
def poisson_along(
    counts: NDArray[Any],
    expectation: NDArray[Any],
    direction: NDArray[Any],
    step: float,
    accuracy: float,
    threads: int = 1,
) -> list[float]: ...
def em_update(
    values: NDArray[Any],
    back: NDArray[Any],
    sensitivity: NDArray[Any],
    out: NDArray[Any],
    threads: int = 1,
) -> None: ...
def scaled_slope(
    values: NDArray[Any],
    back: NDArray[Any],
    sensitivity: NDArray[Any],
    floor: float,
    low: float,
    high: float,
    last: NDArray[Any],
    slope: NDArray[Any],
    scaled: NDArray[Any],
    threads: int = 1,
) -> tuple[float, float]: ...
def conjugate_direction(
    values: NDArray[Any],
    scaled: NDArray[Any],
    slope: NDArray[Any],
    last: NDArray[Any],
    beta: float,
    length: float,
    low: float,
    high: float,
    out: NDArray[Any],
    threads: int = 1,
) -> tuple[float, float]: ...
def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]: ...
def draw_uniform(key: Key, size: int) -> NDArray[np.float64]: ...
def draw_normal(key: Key, size: int) -> NDArray[np.float64]: ...
def draw_exponential(key: Key, size: int) -> NDArray[np.float64]: ...
def draw_gamma(key: Key, size: int, shape: float) -> NDArray[np.float64]: ...
def draw_log_gamma(key: Key, size: int, shape: float) -> NDArray[np.float64]: ...
def draw_poisson(key: Key, size: int, mean: float) -> NDArray[np.int64]: ...
def draw_binomial(key: Key, size: int, n: int, p: float) -> NDArray[np.int64]: ...
def draw_gammas(
    key: Key, shapes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def quad_order(ny: int, nx: int, side: int, row: int, column: int) -> NDArray[np.int32]: ...
def with_missed(
    counts: NDArray[np.int64],
    values: NDArray[Any],
    missed: NDArray[np.float64],
    key: Key,
) -> NDArray[np.int64]: ...

class Trees:
    def __init__(
        self,
        order: NDArray[np.int32],
        branching: Sequence[int],
        energies: int,
        pixels: int,
        energy_last: bool,
        measure: NDArray[np.float64] | None,
        strength: NDArray[np.float64] | None,
        factors: Sequence[float] | NDArray[np.float64],
    ) -> None: ...
    def draw(
        self,
        counts: NDArray[np.int64],
        alpha: NDArray[np.float64],
        prior: Sequence[float] | None,
        total: tuple[float, float],
        scale: NDArray[np.float64],
        seen: bool,
        key: Key,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float]: ...
    def maximise(
        self,
        counts: NDArray[np.float64],
        alpha: NDArray[np.float64],
        prior: Sequence[float] | None,
        total: tuple[float, float],
        scale: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float]: ...
    def log_density(
        self,
        values: NDArray[Any],
        alpha: NDArray[np.float64],
        prior: Sequence[float] | None,
        total: tuple[float, float],
        scale: NDArray[np.float64],
    ) -> float: ...
    def log_marginal(
        self, counts: NDArray[np.int64], alpha: NDArray[np.float64], total: tuple[float, float]
    ) -> float: ...
    def splits(
        self, energy: int
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]: ...
    def leaves(self, energy: int) -> NDArray[np.int32]: ...
