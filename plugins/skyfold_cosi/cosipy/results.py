"""Rows of results that answer to the names of all generations."""

from __future__ import annotations

from typing import Any

NAMES = {"accel_factor": "alpha", "loglikelihood": "log-likelihood"}


class Row(dict[str, Any]):
    """What an iteration has found, by the names of 2025; older and newer ones are understood."""

    def __missing__(self, key: str) -> Any:
        if key not in NAMES:
            raise KeyError(key)
        return self[NAMES[key]]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(NAMES.get(str(key), key))

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or ``default`` where there is none."""
        try:
            return self[key]
        except KeyError:
            return default
