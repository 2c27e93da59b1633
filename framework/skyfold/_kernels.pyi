from typing import Any

from numpy.typing import NDArray

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
