"""What is made for a component once, and used as long as it lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from skyfold.model import Component

T = TypeVar("T")


class Kept(WeakKeyDictionary[Component, T]):
    """What was made for components, each forgotten with its own; copies begin empty."""

    def of(self, component: Component, make: Callable[[], T]) -> T:
        """Return what there is for a component, made now if there is nothing yet."""
        if component not in self:
            self[component] = make()
        return self[component]

    def __reduce__(self) -> tuple[type[Kept[T]], tuple[()]]:
        return type(self), ()

    def __deepcopy__(self, memo: object) -> Kept[T]:
        return type(self)()
