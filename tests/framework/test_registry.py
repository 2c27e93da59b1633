"""Plugins join in by entry points; a broken one harms nobody."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from skyfold.errors import ConfigError, PluginError, UnknownNameError
from skyfold.registry import Registry, Shelf, default_registry

HEADER = "from skyfold.hooks import hookimpl\n"
GOOD = """
@hookimpl
def skyfold_register(registry):
    registry.instruments.add("NAME", "NAME:open_file")
@hookimpl
def skyfold_identify(path):
    return "NAME" if path.suffix == ".NAME" else None
def open_file():
    return "opened by NAME"
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a plugin of one module, as a package installer would."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def install(name: str, source: str, point: str | None = None) -> None:
        (tmp_path / f"{name}.py").write_text(HEADER + source.replace("NAME", name))
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[skyfold]\n{point or name} = {name}\n")
        modules.append(name)

    yield install
    for name in modules:
        sys.modules.pop(name, None)


def assert_unharmed(registry: Registry) -> None:
    assert {"core", "image"} <= set(registry.providers)
    assert "richardson-lucy" in registry.algorithms
    assert registry.hook.skyfold_observers(config=None) is not None


def test_installed_plugin_is_found(install):
    install("telescope", GOOD)
    registry = Registry().load()
    assert registry.providers["telescope"] == "telescope 1.2"
    assert registry.instruments.origin("telescope") == "telescope"
    assert registry.instruments["telescope"]() == "opened by telescope"
    assert registry.identify(Path("a.telescope")) == "telescope"
    assert registry.broken == {}


def test_our_own_come_by_the_same_door():
    registry = Registry().load()
    assert_unharmed(registry)
    assert registry.algorithms.origin("richardson-lucy") == "core"
    assert registry.algorithms["richardson-lucy"].__name__ == "RichardsonLucy"
    assert set(registry.shelves) == {
        "instruments", "methods", "algorithms", "refinements", "stopping_rules",
        "observers", "demos", "datasets", "commands", "priors", "layouts",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import there_is_no_such_module", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("@hookimpl\ndef skyfold_register(registry, more): ...", "PluginValidationError"),
        ("@hookimpl\ndef skyfold_registre(registry): ...", "PluginValidationError"),
        (
            "@hookimpl\ndef skyfold_register(registry):\n"
            "    registry.instruments.add('half', print)\n    1 / 0",
            "ZeroDivisionError",
        ),
    ],
)
def test_broken_plugin_is_set_aside_and_harms_nothing(install, caplog, source, said):
    install("shaky", source)
    install("telescope", GOOD)
    registry = Registry().load()
    assert list(registry.broken) == ["shaky"]
    assert said in registry.broken["shaky"].splitlines()[-1]
    assert "Traceback" in registry.broken["shaky"]
    assert "shaky" not in registry.providers
    assert "plugin shaky (shaky 1.2) is set aside" in caplog.text
    assert "half" not in registry.instruments
    assert registry.identify(Path("a.telescope")) == "telescope"
    assert_unharmed(registry)


def test_hooks_of_a_broken_plugin_are_removed(install):
    source = GOOD.replace('registry.instruments.add("NAME", "NAME:open_file")', "raise OSError")
    install("other", source + "@hookimpl\ndef skyfold_observers(config): 1 / 0\n")
    registry = Registry().load()
    assert list(registry.broken) == ["other"]
    with pytest.raises(ConfigError, match=r"no installed instrument recognises a\.other"):
        registry.identify(Path("a.other"))


def test_name_taken_twice_sets_the_second_plugin_aside(install):
    install("aaa", GOOD)
    install("zzz", GOOD.replace('add("NAME"', 'add("aaa"'))
    registry = Registry().load()
    assert registry.instruments["aaa"]() == "opened by aaa"
    message = registry.broken["zzz"].splitlines()[-1]
    for part in ("'aaa'", "aaa:open_file by aaa", "zzz:open_file by zzz", "SKYFOLD_DISABLE"):
        assert part in message


def test_a_stranger_never_takes_a_name_of_ours(install):
    source = GOOD.replace("registry.instruments", "registry.algorithms")
    install("aaa", source.replace('add("NAME"', 'add("richardson-lucy"'))
    registry = Registry().load()
    assert list(registry.broken) == ["aaa"]
    assert registry.algorithms.origin("richardson-lucy") == "core"


def test_two_plugins_of_one_name_are_told_apart(install):
    install("aaa", GOOD, point="twin")
    install("zzz", GOOD, point="twin")
    registry = Registry().load()
    assert registry.providers["twin"] == "aaa 1.2"
    assert registry.providers["twin (zzz 1.2)"] == "zzz 1.2"
    assert registry.instruments.origin("zzz") == "twin (zzz 1.2)"


def test_plugins_can_be_disabled(install, monkeypatch, caplog):
    install("telescope", GOOD)
    monkeypatch.setenv("SKYFOLD_DISABLE", "telescope, nonsense,")
    registry = Registry().load()
    assert "telescope" not in registry.instruments
    assert registry.broken == {}
    assert "SKYFOLD_DISABLE names 'nonsense'" in caplog.text
    assert_unharmed(registry)


def test_plugin_that_fails_to_identify_is_passed_over(install, caplog):
    install("telescope", GOOD)
    install("zzz", "@hookimpl(tryfirst=True)\ndef skyfold_identify(path): 1 / 0\n")
    with caplog.at_level(logging.WARNING):
        assert Registry().load().identify(Path("a.telescope")) == "telescope"
    assert "plugin zzz failed to look at a.telescope" in caplog.text


def test_order_of_identification_is_the_plugins_own(install):
    last = "@hookimpl(trylast=True)\ndef skyfold_identify"
    eager = GOOD.replace('"NAME" if', '"NAME" if True or')
    install("general", eager.replace("@hookimpl\ndef skyfold_identify", last))
    install("exact", GOOD)
    registry = Registry().load()
    assert registry.identify(Path("a.exact")) == "exact"
    assert registry.identify(Path("a.unheard-of")) == "general"


def test_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError) as caught:
        default_registry().algorithms["richardson-lucey"]
    assert str(caught.value).startswith(
        "no algorithm named 'richardson-lucey'. Did you mean 'richardson-lucy'? Known: "
    )
    assert caught.value.exit_code == 2


def test_entry_is_imported_when_first_used_only():
    shelf: Shelf[object] = Shelf("thing")
    shelf.add("lazy", "there_is_no_such_module:thing")
    assert "lazy" in shelf
    assert list(shelf) == ["lazy"]
    with pytest.raises(PluginError, match="thing 'lazy' of plugin this session cannot be loaded"):
        shelf["lazy"]


def test_lazy_entry_that_misses_an_attribute_says_so():
    shelf: Shelf[object] = Shelf("thing")
    shelf.add("lazy", "skyfold.errors:Nothing")
    with pytest.raises(PluginError, match=r"skyfold\.errors:Nothing: AttributeError"):
        shelf["lazy"]


def test_objects_can_join_in_without_being_installed():
    class Mine:
        from skyfold.hooks import hookimpl

        @hookimpl
        def skyfold_register(self, registry):
            registry.refinements.add("mine", print)

    registry = Registry()
    registry.register(Mine(), "mine")
    assert registry.refinements.origin("mine") == "mine"
    with pytest.raises(PluginError, match="two plugins named 'mine'"):
        registry.register(Mine(), "mine")
    assert "mine" in registry.refinements


def test_default_registry_searches_once():
    assert default_registry() is default_registry()
