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
