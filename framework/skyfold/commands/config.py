"""Commands about configuration files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from skyfold.commands.telling import say
from skyfold.errors import FileError

Arguments = argparse.Namespace


def init(arguments: Arguments) -> None:
    """Write a commented configuration file."""
    from skyfold import files
    from skyfold.config_help import template

    path = Path(arguments.file)
    if path.exists():
        raise FileError(f"{path} exists; give another name")
    files.write_text(path, template(arguments.instrument, arguments.method))
    say(f"written   {path}")
    say(f"next      edit it, then: skyfold run {path} -o out")


def schema(arguments: Arguments) -> None:
    """Print the JSON schema."""
    from skyfold.config_help import schema

    say(json.dumps(schema(), indent=1))


def explain(arguments: Arguments) -> None:
    """Explain a key."""
    from skyfold.config_help import explain

    say(explain(arguments.key or ""))
