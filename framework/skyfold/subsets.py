"""Parts of a data set, and other counts in its bins; whatever is large is shared."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from skyfold.binned import BinnedData
from skyfold.vector import Array, Vector


def deal(counts: Array, k: int) -> list[Array]:
    """Return the places of k parts with nearly the same sums, each spread over all places.

    Of each k neighbours every part gets one, the largest going to the part that has least so far;
    which of equal parts comes first is drawn by a fixed lot, so that no part repeats the pattern
    of the axes. The sums differ by the largest number at most.

    Parameters
    ----------
    counts
        Numbers that are not negative, flat.
    k
        How many parts.
    """
    groups = -(-counts.size // k)
    table = np.zeros((groups, k))
    table.flat[: counts.size] = counts
    lots = np.random.Generator(np.random.Philox(0)).random((groups, k))
    largest = np.argsort(-table, axis=1, kind="stable")
    parts, sums = np.argsort(lots, axis=1), np.zeros(k)
    for group in np.flatnonzero(table.max(axis=1) > table.min(axis=1)):
        parts[group] = np.lexsort((lots[group], sums))
        sums[parts[group]] += table[group, largest[group]]
    turn = np.empty_like(parts)
    np.put_along_axis(turn, largest, parts, axis=1)
    turn = turn.ravel()[: counts.size]
    ends = np.cumsum(np.bincount(turn, minlength=k))[:-1]
    return np.split(np.argsort(turn, kind="stable"), ends)


class Part(BinnedData):
    """Some of the bins that the products of a data set visit, and a share of the others.

    A bin that the products need not visit holds no counts, and is shared by all parts. Rows of
    responses are views wherever these hold them in memory.
    """

    def __init__(self, whole: BinnedData, chosen: Array, share: float) -> None:
        origin = replace(whole.origin, options={})
        vars(self).update(vars(whole) | {"origin": origin, "parts": (self,)})
        for large in ("weight", "full_counts"):
            vars(self).pop(large, None)
        self._whole, self._chosen, self._share = whole, chosen, share
        self.bins = chosen if whole.bins is None else whole.bins[chosen]
        self.responses = {name: r.rows(chosen) for name, r in whole.responses.items()}
        self.counts, self._seen_weight = whole.counts[chosen], whole._seen_weight[chosen]

    @property
    def full_counts(self) -> Array:  # type: ignore[override]
        """Counts of all bins, those of other parts included."""
        return self._whole.full_counts

    @cached_property
    def weight(self) -> Array:  # type: ignore[override]
        """One weight per bin: none in the bins of other parts, a share where no one has counts."""
        weight: Array = self._whole.weight * self.dtype.type(self._share)
        seen = np.arange(weight.size) if self._whole.bins is None else self._whole.bins
        weight.flat[seen] = 0
        weight.flat[seen[self._chosen]] = self._seen_weight
        return weight


class Recounted(BinnedData):
    """Other counts in the bins that a data set visits, by a part of its exposure.

    Responses are shared, and what would be large is made only when it is asked for.
    """

    def __init__(self, whole: BinnedData, counts: Array, share: float) -> None:
        vars(self).update(vars(whole))
        for name in ("weight", "full_counts", "_whole_counts"):
            vars(self).pop(name, None)
        self.origin, self.parts = replace(whole.origin, options={}), (self,)
        self._whole, self._share = whole, self.dtype.type(share)
        self.counts = counts.astype(self.dtype)
        self._seen_weight = whole._seen_weight * self._share
        self.sensitivity = whole.sensitivity * share

    @cached_property
    def full_counts(self) -> Array:  # type: ignore[override]
        """Counts of all bins."""
        full = np.zeros(self.shape, self.dtype)
        full.flat[slice(None) if self.bins is None else self.bins] = self.counts
        return full

    @cached_property
    def weight(self) -> Array:  # type: ignore[override]
        """One weight per bin."""
        return np.asarray(self._whole.weight * self._share)


def split(data: BinnedData, k: int) -> list[Part]:
    """Return ``k`` parts whose log-likelihoods, counts and sensitivities add up to the whole.

    The sensitivity to the bins that the products visit is found from their rows, half a product;
    that to all others, which is known from the whole, is shared. Where the bins are events, the
    parts share all of it in proportion to their number.
    """
    parts = [Part(data, chosen, 1 / k) for chosen in deal(data.counts, k)]
    own = [part.adjoint(part._seen_weight) for part in parts]
    seen = sum(own[1:], own[0])
    events = max(float(np.sum(data._seen_weight)), 1.0)
    for part, visited in zip(parts, own, strict=True):
        listed = float(np.sum(part._seen_weight)) / events
        part.sensitivity = Vector(
            {
                name: visited[name] + np.maximum(of_all - seen[name], 0) / data.dtype.type(k)
                if data.whole[name].complete
                else of_all * data.dtype.type(listed)
                for name, of_all in data.sensitivity.items()
            }
        )
    return parts
