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
    top: float = 0.0,
) -> float: ...
def poisson_along(
    counts: NDArray[Any],
    expectation: NDArray[Any],
    direction: NDArray[Any],
    step: float,
    accuracy: float,
    threads: int = 1,
) -> list[float]: ...
def dot(one: NDArray[Any], other: NDArray[Any]) -> float: ...
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
def unscaled_slope(
    values: NDArray[Any],
    scaled: NDArray[Any],
    sensitivity: NDArray[Any],
    last: NDArray[Any],
    slope: NDArray[Any],
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
def relative_entropy(
    values: NDArray[np.float64], level: NDArray[np.float64], threads: int = 1
) -> list[float]: ...
def level_quotient(
    values: NDArray[np.float64],
    level: NDArray[np.float64],
    back: NDArray[np.float64],
    out: NDArray[np.float64],
    threads: int = 1,
) -> float: ...
def advance(
    start: NDArray[np.float64],
    step: NDArray[np.float64],
    share: float,
    out: NDArray[np.float64],
    threads: int = 1,
) -> None: ...
def entropy_step(
    values: NDArray[np.float64],
    back: NDArray[np.float64],
    sensitivity: NDArray[np.float64],
    quotient: NDArray[np.float64],
    spread: NDArray[np.float64],
    pulls: tuple[float, float, float],
    floor: float,
    out: NDArray[np.float64],
    threads: int = 1,
) -> list[float]: ...
def entropy_along(
    values: NDArray[np.float64],
    step: NDArray[np.float64],
    level: NDArray[np.float64],
    level_step: NDArray[np.float64],
    share: float,
    threads: int = 1,
) -> list[float]: ...
def attribute_rows(
    rows: NDArray[Any],
    index: NDArray[np.int64] | None,
    attitude: NDArray[np.int64] | None,
    order: NDArray[np.int64] | None,
    scales: NDArray[Any] | None,
    values: NDArray[Any],
    counts: NDArray[np.int64],
    others: NDArray[Any] | None,
    key: Key,
    drawn: NDArray[np.int64],
    expectation: NDArray[np.float64],
    left: NDArray[np.int64],
    threads: int = 1,
) -> int: ...
def attribute_sparse(
    data: NDArray[Any],
    indices: NDArray[Any],
    start: NDArray[Any],
    values: NDArray[Any],
    counts: NDArray[np.int64],
    others: NDArray[Any] | None,
    key: Key,
    drawn: NDArray[np.int64],
    expectation: NDArray[np.float64],
    left: NDArray[np.int64],
    threads: int = 1,
) -> int: ...
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
def add_moments(
    values: NDArray[np.float64],
    count: int,
    mean: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> None: ...

class Trees:
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
    def links(
        self, energy: int
    ) -> tuple[
        NDArray[np.int64],
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.int32],
    ]: ...
    def strengths(
        self, energy: int, alpha: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
    def sums(self, energy: int, values: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def tiling(
        self, energy: int, level: int, shift: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...

class Forest:
    def __init__(
        self,
        axes: Sequence[int],
        order: NDArray[np.int32] | None,
        branching: Sequence[int],
        energies: int,
        pixels: int,
        measure: NDArray[np.float64] | None,
        strength: NDArray[np.float64] | None,
        factors: Sequence[float] | NDArray[np.float64],
    ) -> None: ...
    def at(self, origin: Sequence[int]) -> Trees: ...
    def draw(
        self,
        origin: Sequence[int],
        steps: Sequence[tuple[float, Sequence[int]]],
        counts: NDArray[np.int64],
        values: NDArray[Any],
        missed: NDArray[np.float64] | None,
        alpha: NDArray[np.float64],
        prior: Sequence[float] | None,
        total: tuple[float, float],
        scale: NDArray[np.float64],
        key: Key,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int], float]: ...

def transfer(
    sums: NDArray[np.float64],
    parent: NDArray[np.int32],
    child: NDArray[np.int32],
    leaf: NDArray[np.int32],
    end: NDArray[np.int32],
    strength: NDArray[np.float64],
    power: NDArray[np.float64],
    sensitivity: NDArray[np.float64],
    tiles: NDArray[np.int64],
    members: NDArray[np.int64],
    chosen: NDArray[np.int64],
    trials: int,
    rows: NDArray[np.int64],
    start: NDArray[np.int64],
    bins: NDArray[np.int64],
    weights: NDArray[np.float64],
    counts: NDArray[np.float64],
    expectation: NDArray[np.float64],
    key: Key,
) -> tuple[int, int]: ...
def tree_light(
    log_total: float,
    one: NDArray[np.float64],
    two: NDArray[np.float64],
    alpha: NDArray[np.float64],
    weight: NDArray[np.float64],
    offsets: NDArray[np.int64],
    parent: NDArray[np.int32],
    tight: NDArray[np.bool_],
) -> tuple[
    float,
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
]: ...
def tree_slopes(
    by_light: NDArray[np.float64],
    share: NDArray[np.float64],
    parent: NDArray[np.int32],
) -> NDArray[np.float64]: ...
