"""A configuration as plain values that still know where each was written."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from skyfold.errors import ConfigError

Key = str | int
KeyPath = tuple[Key, ...]


@dataclass(frozen=True)
class Document:
    """Nested keys and values, and where they come from.

    Parameters
    ----------
    data
        The values: mappings, lists, text, numbers, true or false, None.
    source
        Name of the file, as the user gave it.
    origins
        For each key path the line in the file, or in words what replaced it: ``--set seed``.
    notes
        What the reader wants to tell of the file: keys of another program, and what they became.
    """

    data: dict[str, Any]
    source: str = ""
    origins: Mapping[KeyPath, int | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def place(self, *path: Key) -> Place:
        """Return the place of a key path."""
        return Place(path, self)

    def replaced(self, path: KeyPath, value: Any, origin: str) -> Document:
        """Return the document with one value replaced or added.

        Parameters
        ----------
        path
            Keys from the top; positions in lists count from zero and may be text. Groups of keys
            that do not exist yet are made.
        value
            The new value.
        origin
            Where the value comes from, for messages: ``--set method.iterations``.

        Raises
        ------
        ConfigError
            If the path leads through a value that is neither a group of keys nor a list, or to a
            position that a list does not have.
        """
        data, exact = self._with(self.data, path, (), value, origin)
        kept = {p: o for p, o in self.origins.items() if p[: len(exact)] != exact}
        return replace(self, data=data, origins={**kept, exact: origin})

    def _with(
        self, tree: Any, path: KeyPath, above: KeyPath, value: Any, origin: str
    ) -> tuple[Any, KeyPath]:
        """Return the tree with the value set, and the path with positions as numbers."""
        if not path:
            return value, above
        key, rest = path[0], path[1:]
        if isinstance(tree, list):
            if not (str(key).isdecimal() and int(key) < len(tree)):
                raise ConfigError(
                    f"{origin}: {spell(above)} is a list of {len(tree)}; "
                    f"say which item by a number from 0 to {len(tree) - 1}, not {key!r}"
                )
            key = int(key)
            below, exact = self._with(tree[key], rest, (*above, key), value, origin)
            return [*tree[:key], below, *tree[key + 1 :]], exact
        if tree is not None and not isinstance(tree, dict):
            raise ConfigError(f"{origin}: {spell(above)} is {shown(tree)}, not a group of keys")
        inner = tree or {}
        below, exact = self._with(inner.get(key), rest, (*above, key), value, origin)
        return {**inner, key: below}, exact


@dataclass(frozen=True)
class Place:
    """Where a value stands: a key path, in a document if there is one.

    Parameters
    ----------
    path
        Keys from the top.
    document
        The document; without one a place is known by its key path alone.
    """

    path: KeyPath = ()
    document: Document | None = None

    def __truediv__(self, key: Key) -> Place:
        """Return the place of a key below this one."""
        return Place((*self.path, key), self.document)

    def __str__(self) -> str:
        """Return where it is in words: ``run.yaml:14: method.smoothing.fwhm``."""
        name = spell(self.path)
        return ": ".join(part for part in (self.origin, name) if part and part != f"--set {name}")

    @property
    def _found(self) -> int | str | None:
        """Origin of the nearest key at or above this place."""
        if self.document is None:
            return None
        above = (self.path[:n] for n in range(len(self.path), -1, -1))
        return next((self.document.origins[p] for p in above if p in self.document.origins), None)

    @property
    def origin(self) -> str:
        """File and line (``run.yaml:14``), or what replaced the value (``--set seed``), or ""."""
        found = self._found
        if isinstance(found, str):
            return found
        source = self.document.source if self.document else ""
        return source if found is None else f"{source}:{found}"

    @property
    def folder(self) -> Path | None:
        """Folder that relative paths written here refer to; None is the current folder."""
        if self.document is None or not isinstance(self._found, int):
            return None
        return Path(self.document.source).parent

    def error(self, message: str) -> ConfigError:
        """Return an error that says where it is."""
        prefix = self.origin if self.origin.endswith(f" {spell(self.path)}") else str(self)
        return ConfigError(f"{prefix}: {message}" if prefix else message)

    def unknown(self, key: Key, known: Iterable[str]) -> ConfigError:
        """Return the error of a key below this place that nobody asked for."""
        origin = (self / key).origin
        inside = f" in {spell(self.path)}" if self.path else ""
        text = f"unknown key {key!r}{inside}. {suggestion(key, known)}"
        return ConfigError(f"{origin}: {text}" if origin else text)


def spell(path: KeyPath) -> str:
    """Return a key path as text: ``data[0].counts``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def suggestion(name: Key, known: Iterable[str]) -> str:
    """Return what may have been meant, and what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    return (f"Did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(names) or 'none'}"


def shown(value: Any) -> str:
    """Return a value in a few words, spelled as in a configuration where that is possible."""
    if getattr(value, "ndim", 0):
        return f"an array of shape {value.shape}"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value) if isinstance(value, complex) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
