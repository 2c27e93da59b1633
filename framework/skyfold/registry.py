"""Who can do what: names in the configuration, and the code they stand for."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import pluggy

from skyfold import hooks
from skyfold.document import Document, suggestion
from skyfold.errors import ConfigError, PluginError, SkyfoldError, UnknownNameError
from skyfold.inputs import require_data

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from skyfold.algorithm import Algorithm, Refinement
    from skyfold.data import DataInterface
    from skyfold.datasets import DataSet
    from skyfold.methods import Method
    from skyfold.observers import Observer
    from skyfold.priors import Prior
    from skyfold.simulate import Demo
    from skyfold.stopping import StoppingRule

log = logging.getLogger(__name__)
T = TypeVar("T")


class Shelf(Mapping[str, T], Generic[T]):
    """A table of named entries of one kind, each with the plugin that offers it."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._entries: dict[str, T | str] = {}
        self._origins: dict[str, str] = {}
        self.offering = "this session"

    def add(self, name: str, entry: T | str) -> None:
        """Offer ``entry`` under ``name``.

        An entry may be given as ``"module:object"``; it is then imported when first used, so that
        a heavy instrument costs nothing to those who do not use it.

        Raises
        ------
        PluginError
            If the name is taken.
        """
        if name in self._entries:
            raise PluginError(
                f"{self._kind} {name!r} is offered twice: as {_spelled(self._entries[name])} by "
                f"{self.origin(name)}, and as {_spelled(entry)} by {self.offering}; uninstall one "
                "of the two plugins, or name it in SKYFOLD_DISABLE"
            )
        self._entries[name] = entry
        self._origins[name] = self.offering

    def withdraw(self, plugin: str) -> None:
        """Remove everything that a plugin offers."""
        for name in [name for name, origin in self._origins.items() if origin == plugin]:
            del self._entries[name], self._origins[name]

    def origin(self, name: str) -> str:
        """Return the name of the plugin that offers ``name``."""
        return self._origins[name]

    def __getitem__(self, name: str) -> T:
        """Return the entry.

        Raises
        ------
        UnknownNameError
            If there is none of that name; the message says which there are.
        PluginError
            If it cannot be imported.
        """
        if name not in self._entries:
            raise UnknownNameError(f"no {self._kind} named {name!r}. {suggestion(name, self)}")
        entry = self._entries[name]
        if isinstance(entry, str):
            try:
                entry = self._entries[name] = cast(T, resolve_name(entry))
            except SkyfoldError:
                raise
            except Exception as error:  # a plugin may fail in any way
                raise PluginError(
                    f"{self._kind} {name!r} of plugin {self.origin(name)} cannot be loaded from "
                    f"{entry}: {_brief(error)}"
                ) from error
        return entry

    def __contains__(self, name: object) -> bool:
        """Return whether the name is offered, without importing its entry."""
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self._entries)


class Registry:
    """All that the installed plugins offer.

    Attributes
    ----------
    shelves
        The tables by their names; each is also an attribute: ``registry.instruments``.
    providers
        Name of each working plugin, with distribution and version.
    broken
        Name of each plugin that was set aside, with the traceback of what went wrong; its last
        line says it in short.
    """

    def __init__(self) -> None:
        self.instruments: Shelf[Callable[..., DataInterface]] = Shelf("instrument")
        self.methods: Shelf[type[Method]] = Shelf("method")
        self.algorithms: Shelf[type[Algorithm]] = Shelf("algorithm")
        self.refinements: Shelf[Callable[..., Refinement]] = Shelf("refinement")
        self.priors: Shelf[type[Prior]] = Shelf("prior")
        self.stopping_rules: Shelf[type[StoppingRule]] = Shelf("stopping rule")
        self.observers: Shelf[Callable[..., Observer]] = Shelf("observer")
        self.layouts: Shelf[Callable[..., Observer]] = Shelf("layout")
        self.demos: Shelf[Callable[[int], Demo]] = Shelf("demo")
        self.datasets: Shelf[DataSet] = Shelf("data set")
        self.commands: Shelf[Callable[..., Any]] = Shelf("command")
        self.shelves: dict[str, Shelf[Any]] = {
            name: shelf for name, shelf in vars(self).items() if isinstance(shelf, Shelf)
        }
        self.providers: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self._plugins = pluggy.PluginManager("skyfold")
        self._plugins.add_hookspecs(hooks)

    @property
    def hook(self) -> pluggy.HookRelay:
        """Call a hook on all plugins."""
        return self._plugins.hook

    def load(self) -> Registry:
        """Find the installed plugins and let each of them register; our own come first.

        A plugin that fails to import or to register is set aside with a warning, and everything
        that it offered is taken back: it must not take the others down with it.
        """
        from importlib.metadata import entry_points

        disabled = {name.strip() for name in os.environ.get("SKYFOLD_DISABLE", "").split(",")}
        found = sorted(entry_points(group="skyfold"), key=_own_first)
        for name in sorted(disabled - {point.name for point in found} - {""}):
            log.warning("SKYFOLD_DISABLE names %r, but no such plugin is installed", name)
        for point in found:
            if point.name not in disabled:
                self._admit(point)
        return self

    def _admit(self, point: EntryPoint) -> None:
        """Import a plugin and let it register, or set it aside."""
        provider = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
        taken = {*self.providers, *self.broken}
        name = point.name if point.name not in taken else f"{point.name} ({provider})"
        try:
            self.register(point.load(), name, provider)
        except (Exception, SystemExit) as error:  # a plugin may fail in any way
            brief = _brief(error)
            log.warning("plugin %s (%s) is set aside: %s", name, provider, brief)
            told = "".join(traceback.format_exception(error)).rstrip()
            self.broken[name] = told if told.endswith(brief) else f"{told}\n{brief}"

    def register(self, plugin: object, name: str, provider: str = "this session") -> None:
        """Let one plugin, a module or an object with hooks, join in.

        Raises
        ------
        Exception
            Whatever the plugin raises; what it had offered until then is taken back.
        """
        if self._plugins.has_plugin(name):
            raise PluginError(f"there are two plugins named {name!r}; uninstall one of them")
        try:
            self._plugins.register(plugin, name)
            self._plugins.check_pending()
            for shelf in self.shelves.values():
                shelf.offering = name
            self._ask(plugin, "skyfold_register", registry=self)
        except BaseException:
            for shelf in self.shelves.values():
                shelf.withdraw(name)
            if self._plugins.has_plugin(name):
                self._plugins.unregister(name=name)
            raise
        finally:
            for shelf in self.shelves.values():
                shelf.offering = "this session"
        self.providers[name] = provider

    def identify(self, path: Path) -> str:
        """Return the name of the instrument that wrote a file, as its plugin recognises it.

        Raises
        ------
        ConfigError
            If no installed plugin recognises it.
        FileError
            If nobody could, because it is empty, damaged or a web page.
        """
        for answer in reversed(self.hook.skyfold_identify.get_hookimpls()):
            try:
                name: str | None = self._ask(answer.plugin, "skyfold_identify", path=path)
            except Exception as error:  # a plugin may fail in any way
                plugin = answer.plugin_name
                log.warning("plugin %s failed to look at %s: %s", plugin, path, _brief(error))
                continue
            if name is not None:
                return name
        if path.exists():
            require_data(path)
        raise ConfigError(
            f"no installed instrument recognises {path}; name one: {', '.join(self.instruments)}"
        )

    def translate(self, document: Document, flags: Sequence[str]) -> Document | None:
        """Return a configuration of another program as one of ours, or None if nobody knows it."""
        ours: Document | None = self.hook.skyfold_translate(document=document, flags=flags)
        return ours

    def _ask(self, plugin: object, hook: str, **arguments: Any) -> Any:
        """Call a hook on one plugin only."""
        others = [other for other in self._plugins.get_plugins() if other is not plugin]
        return self._plugins.subset_hook_caller(hook, others)(**arguments)


@cache
def default_registry() -> Registry:
    """Return the registry of this environment; plugins are searched for once."""
    return Registry().load()


def _own_first(point: EntryPoint) -> tuple[bool, str, str]:
    """Sort so that a stranger's plugin never takes a name of ours."""
    owner = point.dist.name if point.dist else ""
    return owner != "skyfold", owner, point.name


def _brief(error: BaseException) -> str:
    """Return an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _spelled(entry: Any) -> str:
    """Return the home of an entry."""
    if isinstance(entry, str) or not hasattr(entry, "__qualname__"):
        return str(entry)
    return f"{entry.__module__}:{entry.__qualname__}"
