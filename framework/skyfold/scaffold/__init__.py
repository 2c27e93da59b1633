"""The skeleton of an instrument plugin: ``skyfold plugins new NAME``."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files as resource_files
from pathlib import Path
from string import Template

from skyfold import files
from skyfold.errors import ConfigError, FileError

TEMPLATES = {
    "pyproject.toml": "pyproject.template",
    "{module}.py": "module.template",
    "test_{module}.py": "test.template",
    "README.md": "readme.template",
}


def write(name: str, into: Path) -> Path:
    """Write a working plugin for an instrument, to be changed bit by bit.

    Parameters
    ----------
    name
        Name of the instrument: letters, digits and hyphens.
    into
        Where its folder is created.

    Returns
    -------
    folder
        ``into/skyfold-NAME``.

    Raises
    ------
    ConfigError
        If the name cannot be the name of a module.
    FileError
        If the folder exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a plugin: small letters, digits and hyphens, please"
        )
    folder = into / f"skyfold-{name}"
    if folder.exists():
        raise FileError(f"{folder} exists; choose another name or place (--into)")
    folder.mkdir(parents=True)
    names = {
        "name": name,
        "module": f"skyfold_{name.replace('-', '_')}",
        "function": name.replace("-", "_"),
        "title": name.replace("-", " ").capitalize(),
    }
    for target, source in TEMPLATES.items():
        template = (resource_files("skyfold.scaffold") / source).read_text(encoding="utf-8")
        files.write_text(folder / target.format(**names), Template(template).substitute(names))
    return folder
