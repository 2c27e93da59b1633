"""The state of any algorithm in one file, and back, bit by bit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from skyfold import files
from skyfold.algorithm import State
from skyfold.data import Expectation
from skyfold.errors import FileError
from skyfold.model import Model
from skyfold.vector import Vector

FORMAT = 3


def save(path: Path, state: State, trace: list[dict[str, float]]) -> None:
    """Write state and trace, whole or not at all.

    Raises
    ------
    FileError
        If the disk is full or not writable.
    TypeError
        If a field of the state is of a kind that cannot be stored.
    """
    arrays: dict[str, Any] = {}
    structure = {"format": FORMAT, "state": _pack(state, arrays), "trace": trace}
    arrays["structure"] = np.frombuffer(json.dumps(structure).encode(), dtype=np.uint8)
    with files.replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def load(path: Path, start: State) -> tuple[State, list[dict[str, float]]]:
    """Read a state and its trace.

    Parameters
    ----------
    path
        A file that `save` wrote.
    start
        A state of the same algorithm on the same data: it lends its class and its components.

    Raises
    ------
    FileError
        If the file is damaged, or belongs to another model.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        structure = json.loads(arrays.pop("structure").tobytes())
        if structure["format"] != FORMAT:
            raise FileError(
                f"{path} is a checkpoint of format {structure['format']}, this version reads "
                f"{FORMAT}: start the run again"
            )
        packed, trace = structure["state"], structure["trace"]
        fields = {
            f.name: _unpack(packed[f.name], arrays, getattr(start, f.name, None))
            for f in dataclasses.fields(start)
        }
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise FileError(f"{path} is damaged or not a checkpoint: {error}") from error
    for name, value in fields["model"].items():
        if name not in start.model or start.model[name].shape != value.shape:
            raise FileError(f"{path} holds another model: {name} has shape {value.shape}")
    return dataclasses.replace(start, **fields), trace


def _pack(value: Any, arrays: dict[str, Any]) -> Any:
    """Return a JSON-like image of a value; arrays go into the table and leave their key."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.ndarray():
            key = f"a{len(arrays)}"
            arrays[key] = value
            return {"array": key}
        case Model():
            return {"model": _pack(dict(value), arrays)}
        case Vector():
            return {"vector": {name: _pack(v, arrays) for name, v in value.items()}}
        case Mapping():
            return {"mapping": {name: _pack(v, arrays) for name, v in value.items()}}
        case tuple() | list():
            return {"tuple": [_pack(v, arrays) for v in value]}
        case State() | Expectation():
            return {
                f.name: _pack(getattr(value, f.name), arrays) for f in dataclasses.fields(value)
            }
        case np.generic():
            return _pack(value.item(), arrays)
    raise TypeError(f"a state cannot hold {type(value).__name__}")


def _unpack(packed: Any, arrays: dict[str, Any], like: Any) -> Any:
    match packed, like:
        case {"array": key}, _:
            return arrays[key]
        case {"model": values}, Model():
            return like.with_values(Vector(_unpack(values, arrays, None)))
        case {"vector": items}, _:
            return Vector({name: _unpack(v, arrays, None) for name, v in items.items()})
        case {"mapping": items}, _:
            inside = {name: _unpack(v, arrays, None) for name, v in items.items()}
            return Vector(inside) if isinstance(like, Vector) else inside
        case {"tuple": items}, _:
            return tuple(_unpack(v, arrays, like[0] if like else None) for v in items)
        case dict(), _:
            inside = {
                name: _unpack(v, arrays, getattr(like, name, None)) for name, v in packed.items()
            }
            return dataclasses.replace(like, **inside)
    return packed
