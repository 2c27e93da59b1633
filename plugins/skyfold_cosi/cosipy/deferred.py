"""Histograms of the data space whose bins are made when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from histpy import Axes, Histogram

from skyfold.data import EStep
from skyfold.vector import Array


class Deferred(Histogram):  # type: ignore[misc]
    """What an E-step says of all bins, although only bins with counts were visited.

    Whoever looks at it, by any attribute, operator or index, finds an ordinary histpy histogram:
    its bins are made then, and it forgets the E-step, as the bins may be changed from then on.

    Parameters
    ----------
    axes
        Axes of the data.
    make
        Returns the contents.
    step
        The E-step that the products are taken from for as long as nobody has looked.
    """

    def __init__(self, axes: Axes, make: Callable[[], Array], step: EStep | None = None) -> None:
        self.__dict__.update(_deferred=(axes, make), _step=step)

    def __getattr__(self, name: str) -> Any:
        if "_deferred" not in vars(self):
            raise AttributeError(name)
        axes, make = self.__dict__.pop("_deferred")
        del self._step
        self.__class__ = Histogram
        Histogram.__init__(self, axes, contents=make())
        return getattr(self, name)


def step_of(histogram: Any) -> EStep | None:
    """Return the E-step behind a histogram that nobody has looked at, or None."""
    step: EStep | None = vars(histogram).get("_step")
    return step


def was_seen(histogram: Any) -> bool:
    """Return whether the bins of a histogram exist, so that somebody may have changed them."""
    return "_deferred" not in vars(histogram)
