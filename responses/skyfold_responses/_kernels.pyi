from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

def correlate(image: Array, kernel: Array, threads: int = 1) -> Array: ...

class Footprints:
    def __init__(
        self, kernel: Array, kx: int, rows: Array, columns: Array, planes: int, my: int, mx: int
    ) -> None: ...
    def attribute(
        self,
        model: Array,
        pixels: Array | None,
        counts: Array,
        others: Array | None,
        key: Array,
        threads: int = 1,
    ) -> tuple[Array, Array, Array, int]: ...
    def columns(self, pixels: Array) -> tuple[Array, Array, Array]: ...

def row_products(
    rows: Array,
    index: Array | None = None,
    scales: Array | None = None,
    values: Array | None = None,
    counts: Array | None = None,
    others: Array | None = None,
    expectation: Array | None = None,
    back: Array | None = None,
    threads: int = 1,
) -> None: ...
def run_products(
    rows: Array,
    scales: Array | None,
    row: Array,
    ends: Array,
    attitude: Array,
    groups: Array,
    seen: Array | None = None,
    counts: Array | None = None,
    others: Array | None = None,
    expectation: Array | None = None,
    back: Array | None = None,
    threads: int = 1,
) -> None: ...
def store(slab: Array, factor: float, steps: Array | None, out: Array, threads: int = 1) -> int: ...
def pick_rows(slab: Array, bins: Array, rows: Array, at: int, threads: int = 1) -> None: ...
def read_once(numbers: Array, threads: int = 1) -> float: ...
def interpolation(nside: int, directions: Array, threads: int = 1) -> tuple[Array, Array]: ...
def visible_seconds(
    seconds: Array,
    zenith: Array,
    horizon: Array,
    first: Array,
    directions: Array,
    threads: int = 1,
) -> Array: ...
def sojourn(
    nside: int,
    rotations: Array,
    seconds: Array,
    zenith: Array,
    horizon: Array,
    first: Array,
    directions: Array,
    threads: int = 1,
) -> tuple[Array, Array, Array]: ...
def turned_response(
    response: Array,
    pixels: Array,
    weights: Array,
    table: Array,
    table_weights: Array,
    threads: int = 1,
) -> Array: ...
