"""Nested parameters, reached by keys joined with colons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skyfold import strict_yaml
from skyfold.errors import ConfigError

SAME = ({"alpha_max", "accel_factor_max"},)  # names of one parameter in different releases


class Configurator:
    """Parameters in groups: ``parameter["deconvolution:parameter:iteration_max"]``.

    Parameters
    ----------
    config
        Nested dictionaries.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self._config: dict[str, Any] = {} if config is None else config
        self.config_path: Path | None = None

    @classmethod
    def open(cls, config_path: str | Path) -> Configurator:
        """Read a YAML file; ``1e-2`` is a number.

        Raises
        ------
        FileError, ConfigError
            If it cannot be read, or is no YAML.
        """
        new = cls(strict_yaml.load(config_path).data)
        new.config_path = Path(config_path)
        return new

    def __getitem__(self, key: str) -> Any:
        value: Any = self._config
        for part in key.split(":"):
            if not isinstance(value, dict) or part not in value:
                raise KeyError(f"there is no parameter {key!r}")
            value = value[part]
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        *groups, last = key.split(":")
        place: Any = self._config
        for part in groups:
            if not isinstance(place, dict) or part not in place:
                raise KeyError(f"there is no group of parameters {part!r} for {key!r}")
            if isinstance(place[part], bool):  # switches of 2023 are groups today
                place[part] = {"activate": place[part]}
            place = place[part]
        if not isinstance(place, dict):
            raise KeyError(f"{key!r}: {groups[-1]!r} is no group of parameters")
        for other in set().union(*(names for names in SAME if last in names)) - {last}:
            place.pop(other, None)
        place[last] = value

    def get(self, key: str, default: Any = None) -> Any:
        """Return a parameter, or ``default`` where there is none."""
        try:
            return self[key]
        except KeyError:
            return default

    def override(self, *args: Any) -> None:
        """Set parameters by text as ``"group:key = value"``; the value is read as YAML.

        A group must be there; a key may be new, and is checked where the parameters are used.

        Raises
        ------
        KeyError
            If there is no such group.
        ConfigError
            If a text has no, or more than one, equals sign.
        """
        for given in args:
            if not isinstance(given, str):
                self.override(*given)
                continue
            key, equals, value = (part.strip() for part in given.partition("="))
            if not (key and equals and value) or "=" in value:
                raise ConfigError(f"{given!r}: expected 'group:key = value'")
            self[key] = strict_yaml.scalar(value)

    def dump(self) -> str:
        """Return the parameters as YAML."""
        import yaml

        text: str = yaml.safe_dump(self._config, sort_keys=False)
        return text
