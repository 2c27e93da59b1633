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
def em_update(
    values: NDArray[Any],
    back: NDArray[Any],
    sensitivity: NDArray[Any],
    out: NDArray[Any],
    threads: int = 1,
) -> None: ...
