"""The request: what a run is asked to do, from a YAML file, the command line or Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field

from skyfold import options
from skyfold.binned import BinnedData
from skyfold.document import Document, Place, shown
from skyfold.errors import ConfigError, FileError, UnknownNameError
from skyfold.inputs import split_part
from skyfold.mosaic import together
from skyfold.options import Duration
from skyfold.origin import Origin
from skyfold.priors import Prior
from skyfold.registry import default_registry

if TYPE_CHECKING:
    from skyfold.data import DataInterface
    from skyfold.methods import Method
    from skyfold.observers import Observer
    from skyfold.simulate import Demo
    from skyfold.star_request import Stars
    from skyfold.stopping import StoppingRule

LONGEST = 1000  # iterations for rules that may never speak


@dataclass(frozen=True, eq=False)
class RunConfig:
    """Everything that defines a run.

    Parameters
    ----------
    data
        One entry per observation: ``counts`` and what belongs to it, as the instrument takes it;
        ``instrument`` names it where the file does not tell.
    method
        ``name`` and options of the method; refinements by name, in the order wanted. By default
        what the instrument advises, else ``rl``; with a prior ``map``.
    iterations
        Stop after so many, or ``auto``: when the method finds it right. By default ``stop``
        decides, within 1000, or more if the method would do more; without it the instrument, else
        ``auto``.
    stars
        Point sources that are restored with the sky: their ``list``, and how it is read.
    stop
        Further stopping rules by name; the first that speaks ends the run.
    seed
        Seed of all that is random.
    checkpoint
        How often the state is stored.
    output
        Run folder.
    layout
        Further ways to write the results, by name, with their options.
    place
        Where all this was written, for messages and for relative file names.
    """

    data: list[dict[str, Any]]
    method: dict[str, Any] = field(default_factory=dict)
    iterations: Annotated[int, Field(ge=0)] | Literal["auto"] | None = None
    stars: dict[str, Any] = field(default_factory=dict)
    stop: dict[str, Any] = field(default_factory=dict)
    seed: Annotated[int, Field(ge=0)] = 0
    checkpoint: Duration = "5 min"
    output: str | None = None
    layout: str | dict[str, Any] = field(default_factory=dict)
    format: Annotated[int, Field(ge=1, le=1)] = 1
    place: Place = field(default_factory=Place, repr=False)

    @classmethod
    def read(cls, path: Path, given: Mapping[str, Any] | None = None) -> RunConfig:
        """Read a YAML file; ``given`` overrules it, as ``{"method.smoothing.fwhm": "2 deg"}``.

        Raises
        ------
        ConfigError
            If the file is no strict YAML, a key is unknown or a value out of range; the message
            names the line.
        FileError
            If the file cannot be read.
        """
        document = load(path)
        for key, value in (given or {}).items():
            document = document.replaced(tuple(key.split(".")), value, key)
        return cls.from_document(document)

    @classmethod
    def of(cls, **content: Any) -> RunConfig:
        """Return a configuration from keys and values given in Python, checked like a file."""
        return cls.from_document(Document(content))

    @classmethod
    def from_document(cls, document: Document) -> RunConfig:
        """Return a configuration from keys and values that know where they stand."""
        place, content = document.place(), dict(document.data)
        if isinstance(content.get("data"), Mapping):
            content["data"] = [content["data"]]
        if isinstance(content.get("method"), str):
            content["method"] = {"name": content["method"]}
        elif isinstance(content.get("method"), Mapping) and content["method"]:
            content["method"] = {"name": method_of(content["method"]), **content["method"]}
        if isinstance(content.get("stars"), str | Path):
            content["stars"] = {"list": content["stars"]}
        if "data" not in content:
            raise place.error("there is no 'data' section; say at least data: {counts: FILE}")
        known = [f.name for f in dataclasses.fields(cls) if f.name != "place"]
        for key in content:
            if key not in known:
                raise place.unknown(key, known)
        return options.build(cls, {**content, "place": place}, place)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys and values that `from_dict` takes."""
        plain = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "place"
        }
        plain["checkpoint"] = str(self.checkpoint)
        stored: dict[str, Any] = storable(plain)
        return stored

    def describe(self) -> str:
        """Return what will be done, in one line."""
        laps = "any number of" if self.iterations is None else self.iterations
        return f"method {self.method['name']}, {laps} iterations, {len(self.data)} observation(s)"

    def advised(self, data: DataInterface) -> RunConfig:
        """Return the request with what the data advise where it says nothing."""
        advice = data.parts[0].origin.advice
        usual = {"name": "rl", **advice.get("method", {})}
        config = dataclasses.replace(self, method=self.method or usual)
        if self.iterations is None and not self.stop and config.method["name"] == usual["name"]:
            config = dataclasses.replace(config, iterations=advice.get("iterations"))
        return config

    def build_method(self) -> Method:
        """Return the method with its options; refinements and priors are looked up by name."""
        registry = default_registry()
        given = dict(self.method)
        name = given.pop("name")
        entry = named(registry.methods, name, self.place / "method" / "name")
        takes = _fields(entry)
        given = resolve_files(entry, given, self.place / "method")
        if "refinements" in takes:
            chosen = {k: given.pop(k) for k in list(given) if _refines(k, takes)}
            given["refinements"] = (
                *given.get("refinements", ()),
                *(self._refinement(k, v) for k, v in chosen.items() if v is not False),
            )
        if "prior" in takes and isinstance(given.get("prior"), Mapping):
            given["prior"] = {k: self._prior(k, v) for k, v in given["prior"].items()}
        refining = registry.refinements if "refinements" in takes else ()
        known = sorted({*takes - {"refinements"}, *refining})
        for key in given.keys() - takes:
            if key in registry.refinements:
                raise (self.place / "method" / key).error(
                    f"{key!r} treats the steps of a method; {name} has none that could be treated"
                )
            others = [m for m in registry.methods if key in _fields(registry.methods[m])]
            if others:
                raise (self.place / "method" / key).error(
                    f"{key!r} belongs to the method {' or '.join(others)}, not to {name}: say "
                    f"--method {others[0]}, or method: {{name: {others[0]}}}"
                )
        method: Method = options.build(entry, given, self.place / "method", known=known)
        return method

    def build_stars(self) -> Stars:
        """Return what is asked of the point sources."""
        from skyfold.star_request import Stars

        place = self.place / "stars"
        return options.build(Stars, resolve_files(Stars, self.stars, place), place)

    def with_files(self) -> RunConfig:
        """Return the same request, in which its files but those of the data have full names."""
        from skyfold.star_request import Stars

        registry = default_registry()
        entry = registry.methods[self.method["name"]]
        method = {
            key: self._refinement_options(key, given)
            if _refines(key, _fields(entry)) and given is not False
            else given
            for key, given in resolve_files(entry, self.method, self.place / "method").items()
        }
        if isinstance(priors := method.get("prior"), Mapping):
            method["prior"] = {
                k: v if isinstance(v, Prior) else self._prior_options(k, v)
                for k, v in priors.items()
            }
        stars = resolve_files(Stars, self.stars, self.place / "stars")
        return dataclasses.replace(self, method=method, stars=stars)

    def build_layouts(self, folder: Path, data: DataInterface) -> list[Observer]:
        """Return observers that write the results of a run folder in further ways."""
        chosen = {self.layout: {}} if isinstance(self.layout, str) else self.layout
        registry, place = default_registry(), self.place / "layout"
        here = {"folder": folder, "data": data}
        return [
            options.build(
                named(registry.layouts, name, place), {**(given or {}), **here}, place / name
            )
            for name, given in chosen.items()
        ]

    def build_stop(self, until: Mapping[str, Any], own: StoppingRule | None = None) -> StoppingRule:
        """Return the stopping rules, joined by "or".

        Parameters
        ----------
        until
            The rules of the method, for when nothing else was said.
        own
            One more, made in Python.
        """
        registry = default_registry()
        rules: list[StoppingRule] = [own] if own else []
        for name, value in self.rules(until, own).items():
            entry = named(registry.stopping_rules, name, self.place / "stop" / name)
            rules.append(options.build(entry, _in_full(entry, value), self.place / "stop" / name))
        first, *others = rules
        for rule in others:
            first = first | rule
        return first

    def rules(self, until: Mapping[str, Any], own: StoppingRule | None = None) -> dict[str, Any]:
        """Return the stopping rules by name: see `build_stop`."""
        chosen = dict(self.stop)
        if isinstance(self.iterations, int):
            chosen.setdefault("iterations", self.iterations)
        elif self.iterations == "auto" or not (chosen or own):
            chosen = {**until, **chosen}
        elif own is None and "held_out" not in chosen:
            chosen.setdefault("iterations", max(LONGEST, until.get("iterations", 0)))
        return chosen

    def _refinement(self, name: str, given: Any) -> Any:
        entry: Any = default_registry().refinements[name]
        place = self.place / "method" / name
        return options.build(entry, self._refinement_options(name, given), place)

    def _refinement_options(self, name: str, given: Any) -> dict[str, Any]:
        entry: Any = default_registry().refinements[name]
        return resolve_files(entry, _in_full(entry, given), self.place / "method" / name)

    def _prior(self, name: str, given: Any) -> Any:
        if isinstance(given, Prior):
            return given
        place = self.place / "method" / "prior" / name
        entry = named(default_registry().priors, name, place)
        return options.build(entry, self._prior_options(name, given), place)

    def _prior_options(self, name: str, given: Any) -> dict[str, Any]:
        entry: Any = default_registry().priors[name]
        place = self.place / "method" / "prior" / name
        return resolve_files(entry, _in_full(entry, given), place)


def _in_full(entry: Any, given: Any) -> dict[str, Any]:
    """Return options; ``true`` stands for the defaults, a value for the first option."""
    given = {} if given is True or given is None else given
    return dict(given) if isinstance(given, Mapping) else {dataclasses.fields(entry)[0].name: given}


def _fields(entry: Any) -> set[str]:
    return {f.name for f in dataclasses.fields(entry)}


def _refines(key: str, takes: set[str]) -> bool:
    """Return whether a key names a refinement; the options of the method itself come first."""
    return key in default_registry().refinements and key not in takes


def method_of(given: Mapping[str, Any]) -> Any:
    """Return the method that options are meant for."""
    return given.get("name", "map" if "prior" in given else "rl")


def load(path: Path, flags: Sequence[str] = ()) -> Document:
    """Return a configuration file as a document; a method given as text becomes a section.

    A file written for another program is translated by the plugin that knows it.
    """
    from skyfold import strict_yaml

    document = strict_yaml.load(path)
    document = default_registry().translate(document, flags) or document
    if isinstance(document.data.get("method"), str):
        section = {"name": document.data["method"]}
        document = document.replaced(("method",), section, document.place("method").origin)
    return document


def demo_of(config: RunConfig) -> Demo | None:
    """Return the simulation that a configuration asks for instead of files, or None."""
    if len(config.data) != 1 or "demo" not in config.data[0]:
        return None
    entry, place = config.data[0], config.place / "data"

    def simulated(demo: str, seed: Annotated[int, Field(ge=0)] = 1) -> Demo:
        make: Callable[[int], Demo] = named(default_registry().demos, demo, place / "demo")
        return make(seed)

    found = options.build(simulated, entry, place)
    return dataclasses.replace(found, data=found.data.with_origin(options=entry))


def open_data(config: RunConfig) -> DataInterface:
    """Open every observation of a configuration; several are one joint data set.

    Raises
    ------
    ConfigError
        If no instrument is known for a file, or an option is wrong.
    DataError, FileError
        If a file is not what it should be.
    """
    if not config.data:
        raise ConfigError("no data: give a file of counts")
    parts = [_open(config, i, dict(entry)) for i, entry in enumerate(config.data)]
    return parts[0] if len(parts) == 1 else together(parts)


def _open(config: RunConfig, index: int, entry: dict[str, Any]) -> BinnedData:
    place = config.place / "data"
    place = place / index if len(config.data) > 1 else place
    registry = default_registry()
    name, source = entry.pop("instrument", None), entry.pop("source", None)
    if name is None:
        name = _identify(entry if source is None else {"counts": source}, place)
    opener = named(registry.instruments, name, place / "instrument")
    if source is not None:
        entry = {options.describe(opener)[0].name: source, **entry}
    entry = resolve_files(opener, entry, place)
    data: BinnedData = options.build(opener, entry, place)
    paths = [(k, v) for k, v in entry.items() if isinstance(v, str) and Path(v).is_absolute()]
    origin: dict[str, Any] = {"instrument": name, "options": {"instrument": name, **entry}}
    if not data.origin.files:
        origin["files"] = tuple((key, path) for key, path in paths if Path(path).is_file())
    if data.origin.name == Origin().name and paths:
        origin["name"] = Path(paths[0][1]).name
    return data.with_origin(**origin)


def options_of(source: Any, instrument: str | None = None) -> tuple[str, ...]:
    """Return the names of what the instrument of a file or array takes."""
    name = instrument or _identify({"counts": source}, Place())
    opener = named(default_registry().instruments, name, Place())
    return tuple(parameter.name for parameter in options.describe(opener))


def _identify(entry: Mapping[str, Any], place: Place) -> str:
    """Return the instrument of the first file among the options."""
    for key, value in entry.items():
        if not isinstance(value, str | Path):
            continue
        path, _ = split_part(value, _folder(place / key))
        if path.exists():
            return default_registry().identify(path)
    first = next(iter(entry.values()), None)
    if isinstance(first, str | Path):
        raise FileError(f"{first}: there is no such file")
    return "image"


def resolve_files(entry: Callable[..., Any], given: dict[str, Any], place: Place) -> dict[str, Any]:
    """Return options in which names of files start from the folder of their configuration.

    Files are the parameters with `pathlib.Path` in their annotation; a text that names no existing
    file there is left as it is, for the entry to understand or to refuse. A mapping of options that
    a dataclass takes has its own parameters.
    """
    hints = {parameter.name: parameter.annotation for parameter in options.describe(entry)}

    def takes_files(hint: Any) -> bool:
        return hint is Path or any(takes_files(part) for part in get_args(hint))

    def absolute(value: Any, folder: Path) -> Any:
        match value:
            case str() | Path():
                path, part = split_part(value, folder)
                whole = f"{path}[{part}]" if part else str(path)
                return whole if path.is_file() else value
            case Mapping():
                return {key: absolute(inside, folder) for key, inside in value.items()}
            case list() | tuple():
                return [absolute(inside, folder) for inside in value]
        return value

    def resolved(key: str, value: Any) -> Any:
        hint = hints.get(key)
        parts = (part for part in get_args(hint) if dataclasses.is_dataclass(part))
        inside: Any = next(parts, None)
        if inside is not None and isinstance(value, Mapping):
            return resolve_files(inside, dict(value), place / key)
        return absolute(value, _folder(place / key)) if takes_files(hint) else value

    return {key: resolved(key, value) for key, value in given.items()}


def _folder(place: Place) -> Path:
    return (place.folder or Path()).absolute()


def named(shelf: Any, name: str, place: Place) -> Any:
    """Look a name up, and say where it was asked for if there is none."""
    if not isinstance(name, str):
        raise place.error(f"expected a name, got {shown(name)}")
    try:
        return shelf[name]
    except UnknownNameError as error:
        raise UnknownNameError(f"{place}: {error}" if str(place) else str(error)) from None


def storable(value: Any) -> Any:
    """Return a value as JSON can hold it; of an array only its shape remains."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(k): storable(v) for k, v in value.items()}
        case list() | tuple():
            return [storable(v) for v in value]
    shape = getattr(value, "shape", None)
    return str(value) if not shape else {"array": list(shape)}
