"""The arithmetic of models: one named array per component."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Vector(Mapping[str, Array]):
    """One array per component, with ``+ - * /`` and a dot product.

    A name that one side lacks counts as zero in ``+``, ``-`` and `dot`. Arrays are never copied and
    never converted: dtype and array library follow the input.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = dict(arrays)

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}: {value.shape}" for name, value in self.items())
        return f"Vector({inside})"

    def map(self, function: Callable[..., Array], *others: Vector | float) -> Vector:
        """Apply ``function`` array by array; the other vectors must hold the same names."""
        return Vector(
            {
                name: function(value, *(o[name] if isinstance(o, Vector) else o for o in others))
                for name, value in self.items()
            }
        )

    def only(self, names: frozenset[str]) -> Vector:
        """Return the part that carries one of ``names``."""
        return Vector({name: value for name, value in self.items() if name in names})

    def __add__(self, other: Vector) -> Vector:
        both = {**self, **other}
        return Vector(
            {n: self[n] + other[n] if n in self and n in other else v for n, v in both.items()}
        )

    def __sub__(self, other: Vector) -> Vector:
        return self + other * -1.0

    def __mul__(self, other: Vector | float) -> Vector:
        return self.map(np.multiply, other)

    def __truediv__(self, other: Vector | float) -> Vector:
        return self.map(np.divide, other)

    def dot(self, other: Mapping[str, Array]) -> float:
        """Return the sum over all components of value times value, accumulated in float64."""
        return sum(
            float((value * other[name]).sum(dtype=np.float64))
            for name, value in self.items()
            if name in other
        )
