"""What is made for an object once, and used as long as that lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

K = TypeVar("K")
T = TypeVar("T")


class Kept(WeakKeyDictionary[K, T]):
    """What was made for objects, each forgotten with its own; copies begin empty."""

    def of(self, owner: K, make: Callable[[], T]) -> T:
        """Return what there is for an object, made now if there is nothing yet."""
        if owner not in self:
            self[owner] = make()
        return self[owner]

    def __reduce__(self) -> tuple[type[Kept[K, T]], tuple[()]]:
        return type(self), ()

    def __deepcopy__(self, memo: object) -> Kept[K, T]:
        return type(self)()
