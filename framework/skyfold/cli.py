"""The ``skyfold`` command.

What can be said stands in `skyfold.command_line`; what is done then in `skyfold.commands`, imported
only after the line was understood.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from io import TextIOWrapper

from skyfold.command_line import parser
from skyfold.errors import SkyfoldError

OPEN = ("runs.demo", "runs.run", "runs.check", "plugins.check")  # take flags of instruments, too


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal without Greek letters is no error
            stream.reconfigure(errors="replace")
    words = sys.argv[1:] if argv is None else list(argv)
    top = parser()
    if words[:1] in ([], ["-h"], ["--help"]):
        return _guarded(lambda: _help(top))
    if not words[0].startswith("-") and words[0] not in _own(top):
        return _guarded(lambda: _plugin_command(top, words))
    arguments, rest = top.parse_known_args(words)
    action = getattr(arguments, "action", None)
    if rest and action not in OPEN:
        top.error(f"unrecognised arguments: {' '.join(rest)}")
    arguments.rest = rest
    return _guarded(lambda: _obey(top, action, arguments))


def _guarded(work: Callable[[], int]) -> int:
    """Do the work and return its exit code; what goes wrong is said in a line, not a traceback."""
    try:
        code = work()
        sys.stdout.flush()
    except SkyfoldError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 5)
        sys.stderr.flush()
        os._exit(5)  # CPython dies of the signal later if it came while text was executed
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 7
    except OSError as error:
        return _fail(str(error), 7)
    except Exception as error:
        if os.environ.get("SKYFOLD_TRACEBACK"):
            raise
        return _fail(
            f"unexpected {type(error).__name__}: {error}\nThis should not happen. Set "
            "SKYFOLD_TRACEBACK=1 to see where it did, and please report it",
            4,
        )
    return code


def _help(top: argparse.ArgumentParser) -> int:
    """Print what there is, the commands of plugins included."""
    from skyfold.registry import default_registry

    top.print_help()
    if names := ", ".join(default_registry().commands):
        sys.stdout.write(f"\ncommands of plugins: {names}\n")
    return 0


def _own(top: argparse.ArgumentParser) -> Iterable[str]:
    """Return the names of our own commands."""
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    names: Iterable[str] = commands.choices
    return names


def _plugin_command(top: argparse.ArgumentParser, words: list[str]) -> int:
    """Run the command of a plugin."""
    plugin_commands = import_module("skyfold.plugin_commands")
    name = plugin_commands.find(words)
    if name is None:
        from skyfold.document import suggestion
        from skyfold.registry import default_registry

        known = [*_own(top), *default_registry().commands]
        return _fail(f"no command named {words[0]!r}. {suggestion(words[0], known)}", 2)
    code: int = plugin_commands.run(name, words[len(name.split()) :])
    return code


def _obey(top: argparse.ArgumentParser, action: str | None, arguments: argparse.Namespace) -> int:
    """Do what was asked for, and return the exit code."""
    if arguments.version:
        from importlib.metadata import version

        sys.stdout.write(f"skyfold {version('skyfold')}\n")
        return 0
    if action is None:
        (getattr(arguments, "group", None) or top).print_help()
        return 0 if arguments.command is None else 2
    module, _, name = action.partition(".")
    code: int | None = getattr(import_module(f"skyfold.commands.{module}"), name)(arguments)
    return code or 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"skyfold: {message}\n")
    return code
