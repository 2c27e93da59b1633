"""What can go wrong, sorted by who can mend it; each error knows its exit code."""

from __future__ import annotations

import importlib
from types import ModuleType


class SkyfoldError(Exception):
    """Root of all errors that skyfold raises on purpose."""

    exit_code = 4

    def __str__(self) -> str:
        """Return the message itself; `KeyError` among the bases would quote it."""
        return " ".join(str(part) for part in self.args)


class ConfigError(SkyfoldError, ValueError):
    """The request is wrong: an unknown key, a bad value, options that contradict each other."""

    exit_code = 2


class UnknownNameError(ConfigError, KeyError):
    """A name that no installed plugin offers."""


class PluginError(ConfigError):
    """A plugin breaks the rules of the house."""


class DataError(SkyfoldError, ValueError):
    """The input cannot be what it claims to be: negative counts, a shifted exposure map."""

    exit_code = 3


class NumericalError(SkyfoldError, ArithmeticError):
    """The computation left the road."""

    exit_code = 4


class Interrupted(SkyfoldError):
    """The run was stopped from outside; ``result`` holds what was reached."""

    exit_code = 5

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class MissingExtraError(SkyfoldError, ImportError):
    """An optional dependency is not installed."""

    exit_code = 6


class FileError(SkyfoldError, OSError):
    """A file or disk is at fault: cut off, unreadable, full, read-only."""

    exit_code = 7


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say how to install it.

    Raises
    ------
    MissingExtraError
        If ``module`` cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs {module.partition('.')[0]}, which is not installed: "
            f'python -m pip install "skyfold[{extra}]"'
        ) from error
