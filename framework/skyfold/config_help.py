"""What a configuration may hold, for people and editors: explanation, template, JSON schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from skyfold import options
from skyfold.config import RunConfig, named, storable
from skyfold.document import Place, suggestion
from skyfold.errors import ConfigError
from skyfold.parameters import summary
from skyfold.registry import default_registry
from skyfold.star_request import Stars


def schema() -> dict[str, Any]:
    """Return the JSON schema of configuration files, with all that is installed."""
    registry = default_registry()
    found = options.schema(RunConfig)
    properties = found["properties"]
    del properties["place"]
    instruments = {
        name: options.schema(registry.instruments[name])["properties"]
        for name in registry.instruments
    }
    keys = {key: value for inside in instruments.values() for key, value in inside.items()}
    section = {
        "type": "object",
        "properties": {
            "instrument": {"enum": sorted(instruments)},
            "demo": {"enum": list(registry.demos)},
            "seed": {"type": "integer"},
            **keys,
        },
        "additionalProperties": False,
        "description": properties["data"]["description"],
    }
    properties["data"] = {"anyOf": [section, {"type": "array", "items": section}]}
    methods: dict[str, Any] = {}
    for name in registry.methods:
        methods |= options.schema(registry.methods[name])["properties"]
    methods.pop("refinements", None)
    methods["prior"] = {
        "type": "object",
        "properties": {
            name: {
                "anyOf": [options.schema(registry.priors[name]), {"type": ["boolean", "number"]}]
            }
            for name in registry.priors
        },
        "additionalProperties": False,
    }
    first_option = {"type": ["boolean", "number", "string"]}
    refinements = {
        name: {"anyOf": [options.schema(registry.refinements[name]), first_option]}
        for name in registry.refinements
    }
    method = {
        "type": "object",
        "properties": {"name": {"enum": list(registry.methods)}, **methods, **refinements},
        "additionalProperties": False,
    }
    properties["method"] = {"anyOf": [{"enum": list(registry.methods)}, method]}
    stars = options.schema(Stars)
    properties["stars"] = {"anyOf": [{"type": "string"}, stars]}
    properties["stop"] = {
        "type": "object",
        "properties": {name: {} for name in registry.stopping_rules},
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "skyfold configuration",
        **found,
    }


def explain(key: str) -> str:
    """Return what a key of the configuration means: type, default, description, and keys below.

    Raises
    ------
    ConfigError
        If there is no such key.
    """
    registry = default_registry()
    tops: dict[str, Any] = {
        "": RunConfig,
        "stars": Stars,
        **{f"method.{name}": registry.refinements[name] for name in registry.refinements},
        **{f"method.prior.{name}": registry.priors[name] for name in registry.priors},
        **{f"stop.{name}": registry.stopping_rules[name] for name in registry.stopping_rules},
    }
    lines = []
    for kind, shelf in (("data", registry.instruments), ("method", registry.methods)):
        tops |= {f"{kind} ({name})": shelf[name] for name in shelf}
        for name in shelf:
            if key == f"{kind}.{name}":  # one instrument or method with its options
                key, tops = kind, {f"{kind} ({name})": shelf[name]}
                lines.append(f"{kind} ({name}): {summary(shelf[name])}")
    for above, entry in tops.items():
        prefix = above.partition(" (")[0]
        inside = above.partition(" ")[2]
        if key and key == prefix and not inside:
            lines.append(f"{prefix}: {summary(entry)}")
        for parameter in options.describe(entry):
            full = f"{prefix}.{parameter.name}".lstrip(".")
            if parameter.name in ("place", "refinements"):
                continue
            if key == full or (key == prefix and (key or not prefix)):
                default = "" if parameter.required else f", default {parameter.default}"
                lines.append(f"{full} {inside}: {parameter.type}{default}".replace(" :", ":"))
                lines.append(f"    {parameter.description}")
    if not lines:
        known = {above.partition(" (")[0] for above in tops} - {""}
        known |= {p.name for p in options.describe(RunConfig)} - {"place"}
        known |= {f"method.{name}" for name in registry.methods}
        raise ConfigError(f"there is no key {key!r}. {suggestion(key, known)}")
    return "\n".join(lines)


def in_force(config: RunConfig) -> dict[str, Any]:
    """Return all that a run was asked for, defaults included, as plain values."""
    registry, found = default_registry(), config.to_dict()
    known = registry.instruments
    method = _filled(registry.methods[config.method["name"]], found["method"])
    if not method.get("refinements"):
        method.pop("refinements", None)
    priors = method.get("prior") or {}
    stars = _filled(Stars, found["stars"]) if found["stars"] else {}
    if isinstance(numbers := stars.get("list"), Mapping):
        stars["list"] = f"{len(numbers['names'])} given as numbers, see config"
    for shelf, chosen in ((registry.refinements, method), (registry.priors, priors)):
        for name, given in chosen.items():
            if name in shelf and isinstance(given, Mapping):
                chosen[name] = _filled(shelf[name], given)
    return {
        **found,
        "data": [
            _filled(known[entry["instrument"]], entry) if "instrument" in entry else entry
            for entry in found["data"]
        ],
        "method": method,
        "stars": stars,
        "stop": storable(config.rules(config.build_method().until)),
    }


def _filled(entry: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the defaults of those that are not given."""
    defaults = {p.name: storable(p.default) for p in options.describe(entry) if not p.required}
    return {**given, **{name: v for name, v in defaults.items() if name not in given}}


def template(instrument: str, method: str = "rl") -> str:
    """Return a commented configuration file for instrument and method, ready to be edited."""
    opener = named(default_registry().instruments, instrument, Place())
    steps = named(default_registry().methods, method, Place())
    lines = [
        "# What skyfold shall restore, and how. Every key: skyfold config explain",
        "data:",
        f"  instrument: {instrument}",
    ]
    for parameter in options.describe(opener):
        lines.append(f"  # {parameter.description}")
        if parameter.required:
            lines.append(f"  {parameter.name}: {parameter.name}.fits")
        else:
            lines.append(f"  # {parameter.name}: {_yaml(parameter.default)}")
    lines += ["method:", f"  name: {method}"]
    for parameter in options.describe(steps):
        if parameter.name != "refinements":
            lines += [
                f"  # {parameter.description}",
                f"  # {parameter.name}: {_yaml(parameter.default)}",
            ]
            continue
        lines += [
            "  # refinements, in the order wanted:",
            '  # smoothing: {fwhm: "2 pix"}',
            "  # acceleration: {maximum: 10}",
        ]
    lines.append("# stars:")
    for parameter in options.describe(Stars):
        default = "stars.ecsv" if parameter.required else _yaml(parameter.default)
        lines += [f"#   # {parameter.description}", f"#   {parameter.name}: {default}"]
    lines += [
        "# iterations: auto",
        "# stop:",
        "#   delta_log_likelihood: 0.1",
        '#   wall_time: "10 min"',
        "seed: 0",
        '# checkpoint: "5 min"',
    ]
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    """Return a default as YAML, on one line."""
    plain = storable(value)
    return plain if isinstance(plain, str) else json.dumps(plain)
