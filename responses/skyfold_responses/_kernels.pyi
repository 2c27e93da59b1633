from typing import Any

from numpy.typing import NDArray

def correlate(image: NDArray[Any], kernel: NDArray[Any], threads: int = 1) -> NDArray[Any]: ...
