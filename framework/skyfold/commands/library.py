"""Commands about data sets and tutorials."""

from __future__ import annotations

import argparse
import shutil
import sysconfig
from importlib.metadata import version
from pathlib import Path

from skyfold.commands.telling import say
from skyfold.errors import FileError, SkyfoldError
from skyfold.registry import default_registry

Arguments = argparse.Namespace


def data_list(arguments: Arguments) -> None:
    """List the data sets."""
    from skyfold.datasets import present, readable_size

    sets = default_registry().datasets
    for name in sets:
        here = "here" if present(name, sets[name]) else ""
        say(f"{name:22} {readable_size(sets[name].size):>9} {here:5} {sets[name].description}")


def data_info(arguments: Arguments) -> None:
    """Describe a data set."""
    from skyfold.datasets import info

    say(info(default_registry().datasets[arguments.name]))


def data_get(arguments: Arguments) -> None:
    """Download a data set."""
    from skyfold.datasets import fetch

    for path in fetch(arguments.name, default_registry().datasets[arguments.name]):
        say(str(path))


def data_verify(arguments: Arguments) -> None:
    """Compare files with their checksums."""
    from skyfold.datasets import verify

    states = verify(arguments.name, default_registry().datasets[arguments.name])
    for name, state in states:
        say(f"{name:40} {state}")
    if any(state != "ok" for _, state in states):
        raise FileError(
            f"{arguments.name} is not complete; get it with: skyfold data get {arguments.name}"
        )


def data_where(arguments: Arguments) -> None:
    """Print where data sets are kept."""
    from skyfold.datasets import where

    say(str(where()))


def tutorials_list(arguments: Arguments) -> None:
    """List the tutorials by their titles."""
    for path in _tutorials():
        title = next(
            (
                line[3:].strip(" #")
                for line in path.read_text().splitlines()
                if line.startswith("# #")
            ),
            "",
        )
        say(f"{path.name:40} {title}")


def tutorials_copy(arguments: Arguments) -> None:
    """Copy the tutorials."""
    folder = Path(arguments.folder)
    for path in _tutorials():
        if (folder / path.name).exists():
            raise FileError(f"{folder / path.name} exists; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path in _tutorials():
        shutil.copy(path, folder)
    say(f"written   {folder}/")
    say('next      python -m pip install "skyfold[tutorials]", open them as notebooks, or run them')


def _tutorials() -> list[Path]:
    """Return the tutorials: of the source tree, or among the data of the installation."""
    source = Path(__file__).parents[3]
    installed = Path(sysconfig.get_path("data"), "share", "skyfold")
    for place in (source / "tutorials", installed / "tutorials"):
        if found := sorted(place.glob("[0-9]*.py")):
            return found
    raise SkyfoldError(f"the tutorials of skyfold {version('skyfold')} are not installed")
