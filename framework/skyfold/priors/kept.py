"""What is made for a component once, and used as long as it lives."""

from __future__ import annotations

from typing import TypeVar
from weakref import WeakKeyDictionary

from skyfold.model import Component

T = TypeVar("T")


class Kept(WeakKeyDictionary[Component, T]):
    """What was made for components, each forgotten with its own; copies begin empty."""

    def __reduce__(self) -> tuple[type[Kept[T]], tuple[()]]:
        return type(self), ()

    def __deepcopy__(self, memo: object) -> Kept[T]:
        return type(self)()
