"""Parameter files of cosipy 0.1 to 2026, as configurations of ours.

Four generations spell the same things differently. Every key is translated, and the notes of the
document say into what; a key that no generation knows is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyfold.document import Document, Key, KeyPath, shown, spell, suggestion
from skyfold.errors import ConfigError

SECTIONS = {"model_definition", "model_property", "model_initialization", "deconvolution"}
METADATA = ("author", "date")
METHODS = {"RL": "rl", "RLsimple": "rl", "RLbasic": "rl", "RLadvanced": "rl", "MAP_RL": "map"}
FLUX = "cm-2 s-1 sr-1"


class ParameterFile:
    """A parameter file whose keys are taken one by one, so that none is forgotten.

    Parameters
    ----------
    document
        The file.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.left = dict(_leaves(dict(document.data)))
        self.known: set[str] = set()
        self.origins: dict[KeyPath, int | str] = {}
        self.notes: list[str] = []

    def take(self, *spellings: str, into: str = "", note: str = "") -> Any:
        """Return the value of the first spelling that is there, or None.

        Parameters
        ----------
        spellings
            Keys joined by colons; ``parameter:`` stands for the algorithm's section by any name.
        into
            Key of ours that takes the value.
        note
            What to say of it instead.
        """
        paths = [path for text in spellings for path in _paths(text)]
        self.known |= {":".join(map(str, path)) for path in paths}
        for path in paths:
            if path in self.left:
                value = self.left.pop(path)
                self.notes.append(f"{':'.join(map(str, path))} = {shown(value)}: {note or into}")
                if into and path in self.document.origins:
                    ours = tuple(_key(k) for k in into.split("."))
                    self.origins[ours] = self.document.origins[path]
                return value
        return None

    def active(self, *spellings: str) -> bool | None:
        """Return whether something is switched on: by itself, or by ``activate`` inside."""
        names = [f"{text}{end}" for text in spellings for end in ("", ":activate")]
        given = self.take(*names, note="a switch")
        if given is not None and not isinstance(given, bool):
            raise ConfigError(f"{spellings[0]}: expected true or false, got {shown(given)}")
        return given

    def quantities(self, unit: str, *spellings: str, into: str) -> list[float] | None:
        """Return a number or a list of them in a unit, from the unit that stands beside them."""
        from astropy import units as u

        ends = (":value", ":values", "")
        value = self.take(*(f"{s}{end}" for s in spellings for end in ends), into=into)
        own = self.take(*(f"{s}:unit" for s in spellings), note=f"unit of {into}")
        if value is None:
            return None
        given = value if isinstance(value, list) else [value]
        try:
            return [float(u.Quantity(float(v), own or unit).to_value(unit)) for v in given]
        except (ValueError, TypeError, u.UnitConversionError) as error:
            raise ConfigError(f"{spellings[0]}: {shown(value)} {own or ''}: {error}") from None

    def number(self, *spellings: str, into: str, unit: str = "") -> float | None:
        """Return a single number; see `quantities`."""
        found = self.quantities(unit, *spellings, into=into)
        if found is None:
            return None
        if len(found) != 1:
            raise ConfigError(f"{spellings[0]}: expected one number, got {shown(found)}")
        return found[0]

    def group(self, *spellings: str, into: str) -> dict[str, Any] | None:
        """Return a group of keys, whose names are the user's own, or None."""
        paths = [path for text in spellings for path in _paths(text)]
        self.known |= {":".join(map(str, (*path, "NAME"))) for path in paths}
        for path in paths:
            inside = [own for own in self.left if own[: len(path)] == path]
            if inside:
                return {
                    str(own[-1]): self.take(":".join(map(str, own)), into=f"{into}.{own[-1]}")
                    for own in inside
                }
        return None

    def refuse_rest(self) -> None:
        """Refuse keys that were not taken.

        Raises
        ------
        ConfigError
            It names the first, its line, and what may have been meant.
        """
        for path in self.left:
            name, place = ":".join(map(str, path)), self.document.place(*path)
            near = suggestion(name, self.known).partition("Known:")[0].strip()
            raise ConfigError(f"{place.origin}: no release of cosipy knows the key {name}. {near}")


def translate(document: Document, flags: Sequence[str], *, strict: bool = True) -> Document | None:
    """Return a parameter file as a configuration of ours, or None if it is no such file.

    Parameters
    ----------
    document
        The file.
    flags
        Flags of the command line; ``--reference`` asks for the published recipe.
    strict
        Whether unknown keys are refused; an algorithm of one's own may have keys of its own.

    Raises
    ------
    ConfigError
        If a key is unknown, or a value cannot be what it should.
    """
    if not SECTIONS & document.data.keys():
        return None
    reference = any(flag in ("--reference", "--reference=true") for flag in flags)
    file = ParameterFile(document)
    for key in METADATA:
        file.take(key, note="not needed")
    generation = _generation(file)
    file.notes.append(f"parameter file of cosipy {generation}")
    algorithm = file.take("deconvolution:algorithm", into="method.name") or "RL"
    if algorithm not in METHODS:
        raise document.place("deconvolution", "algorithm").error(
            f"no algorithm {shown(algorithm)}. {suggestion(str(algorithm), METHODS)}"
        )
    data = {"instrument": "cosi", **_sky(file), **_background(file, generation, reference)}
    method: dict[str, Any] = {"name": METHODS[algorithm]}
    steps = _steps(file, generation)
    if method["name"] == "map":
        method |= _most_probable(file, steps, reference)
    else:
        method |= {"published": steps} if reference else _ours(steps)
    stop = _stop(file, generation, algorithm)
    ours = {
        "data": [data],
        "method": method,
        "iterations": file.take("parameter:iteration_max", "parameter:iteration", into="iterations")
        or 1,
        **({"stop": stop} if stop else {}),
        **_saving(file),
    }
    if strict:
        file.refuse_rest()
    return Document(ours, document.source, file.origins, tuple(file.notes))


def _generation(file: ParameterFile) -> str:
    """Return the releases that a file was written for, by the spelling of its keys."""
    names = {spell(path) for path in file.left}
    ends = {path[-1] for path in file.left}
    if any(name.startswith(("model_property", "model_initialization")) for name in names):
        return "0.1 or 0.2"
    if ends & {"accel_factor_max", "accel_bkg_norm"}:
        return "2026"
    flat = {"acceleration", "smoothing", "smoothing_FWHM", "response_weighting", "save_results"}
    flat |= {"response_weighting_index", "background_normalization_optimization"}
    return "0.3" if any(len(path) == 3 and path[-1] in flat for path in file.left) else "2025"


def _sky(file: ParameterFile) -> dict[str, Any]:
    """Translate what is said of the model."""
    kind = file.take("model_definition:class", note="an all-sky image")
    if kind not in (None, "AllSkyImage"):
        raise ConfigError(f"model_definition:class: expected AllSkyImage, got {shown(kind)}")
    own = ("model_definition:property", "model_property")

    def taken(key: str, into: str = "", note: str = "") -> Any:
        return file.take(*(f"{section}:{key}" for section in own), into=into, note=note)

    frame = taken("coordinate", note="frame of the sky")
    if frame not in (None, "galactic"):
        raise ConfigError(f"coordinate: only galactic is known, not {shown(frame)}")
    taken("unit", note=f"the sky is in {FLUX}")
    found = {"nside": taken("nside", "data.0.nside"), "scheme": taken("scheme", "data.0.scheme")}
    if isinstance(found["scheme"], str):
        found["scheme"] = "nested" if found["scheme"].lower().startswith("nest") else "ring"
    edges = [f"{section}:energy_edges" for section in own]
    if (values := file.quantities("keV", *edges, into="data.0.energies")) is not None:
        found["energies"] = [f"{edge:.17g} keV" for edge in values]
    return {key: value for key, value in {**found, **_start(file)}.items() if value is not None}


def _start(file: ParameterFile) -> dict[str, Any]:
    """Translate how the model begins."""
    own = ("model_definition:initialization", "model_initialization")
    kind = file.take(*(f"{section}:algorithm" for section in own), note="how the sky begins")
    if kind not in (None, "flat"):
        raise ConfigError(f"initialization:algorithm: only flat is known, not {shown(kind)}")
    places = [f"{section}:{name}" for section in own for name in ("parameter", "parameter_flat")]
    values = file.quantities(FLUX, *places, into="data.0.start")
    return {} if values is None else {"start": values}


def _background(file: ParameterFile, generation: str, reference: bool) -> dict[str, Any]:
    """Translate what is said of background normalisations."""
    names = [
        f"parameter:background_normalization{end}" for end in ("_optimization", "_fitting", "")
    ]
    fitted = file.active(*names)
    into = "data.0.background_range"
    spellings = [f"{name}:range" for name in names] + ["parameter:background_normalization_range"]
    found = file.take(*spellings, into=into) or file.group(*spellings, into=into)
    if found is None and reference and fitted:
        found = [0.5, 1.5] if generation == "0.1 or 0.2" else [0.0, 100.0]
    ranges = {} if found is None or not fitted else {"background_range": found}
    return {"fit_background": bool(fitted), **ranges}


def _steps(file: ParameterFile, generation: str) -> dict[str, Any]:
    """Translate the treatments of a step: exponent, width, largest factor, floor."""
    steps: dict[str, Any] = {}
    weighted = file.active("parameter:response_weighting")
    index = file.number(
        "parameter:response_weighting:index",
        "parameter:response_weighting_index",
        into="method.response_weighting.power",
    )
    if weighted:
        steps["response_weighting"] = 0.5 if index is None else index
    smoothed = file.active("parameter:smoothing")
    fwhm = file.number(
        "parameter:smoothing:FWHM",
        "parameter:smoothing_FWHM",
        into="method.smoothing.fwhm",
        unit="deg",
    )
    if smoothed and fwhm is None:
        raise ConfigError("smoothing is switched on, but smoothing:FWHM is missing")
    if smoothed:
        steps["smoothing"] = f"{fwhm:.17g} deg"
    accelerated = file.active("parameter:acceleration")
    largest = file.number(
        "parameter:acceleration:alpha_max",
        "parameter:acceleration:accel_factor_max",
        "parameter:alpha_max",
        into="method.acceleration.maximum",
    )
    _accelerator(file)
    if accelerated or (generation == "0.1 or 0.2" and largest is not None):
        default = 10.0 if generation == "2026" else 1.0
        steps["acceleration"] = default if largest is None else largest
    floor = file.number("parameter:minimum_flux", into="method.floor.minimum", unit=FLUX)
    if floor:
        steps["floor"] = floor
    return steps


def _accelerator(file: ParameterFile) -> None:
    """Take what the releases of 2026 say of the kind of acceleration; ours is one for all."""
    note = "the likelihood is searched along the step"
    kind = file.take("parameter:acceleration:algorithm", note=note)
    if kind not in (None, "MaxStep", "LineSearch"):
        raise ConfigError(f"acceleration:algorithm: MaxStep or LineSearch, not {shown(kind)}")
    inside = "parameter:acceleration:accel_bkg_norm"
    norms = file.active(inside)
    for key in ("independent", "max", "search_method", "grid_n"):
        file.take(f"{inside}:{key}", note="normalisations are never accelerated")
    if norms:
        file.notes.append("accel_bkg_norm: normalisations are fitted, but not accelerated")


def _ours(steps: Mapping[str, Any]) -> dict[str, Any]:
    """Return the treatments as refinements, in the order of the published recipe."""
    keys = {
        "response_weighting": "power",
        "smoothing": "fwhm",
        "acceleration": "maximum",
        "floor": "minimum",
    }
    return {name: {keys[name]: steps[name]} for name in keys if name in steps}


def _most_probable(file: ParameterFile, steps: dict[str, Any], reference: bool) -> dict[str, Any]:
    """Return priors and treatments of MAP_RL; our own solver takes steps of its own."""
    if reference:
        recipe = {"solver": "one-step-late", "guard": False}
        return {**recipe, **_priors(file, "published_"), **_ours(steps)}
    for name in ("response_weighting", "acceleration"):
        if steps.pop(name, None) is not None:
            file.notes.append(f"{name}: left out, the solver finds the maximum without it")
    return {**_priors(file), **_ours(steps)}


def _priors(file: ParameterFile, kind: str = "") -> dict[str, Any]:
    """Translate the priors of MAP_RL; those on the sky are of a kind."""
    priors: dict[str, Any] = {}
    inside, sky = "parameter:prior", f"method.prior.{kind}"
    if (tsv := file.number(f"{inside}:TSV:coefficient", into=f"{sky}tsv")) is not None:
        priors[f"{kind}tsv"] = {"coefficient": tsv}
    strength = file.number(f"{inside}:entropy:coefficient", into=f"{sky}entropy")
    level = f"{inside}:entropy:reference_map"
    reference = file.number(level, into=f"{sky}entropy.reference", unit=FLUX)
    if strength is not None:
        priors[f"{kind}entropy"] = {"coefficient": strength, "reference": reference}
    for ours, theirs, unit in (
        (f"{kind}gamma", "model", FLUX),
        ("gamma_background", "background", ""),
    ):
        gamma, into = f"{inside}:gamma:{theirs}", f"method.prior.{ours}"
        shape = file.number(f"{gamma}:k", into=f"{into}.k")
        scale = file.number(f"{gamma}:theta", into=f"{into}.theta", unit=unit)
        if shape is not None or scale is not None:
            priors[ours] = {"k": 1.0 if shape is None else shape}
            if scale is not None and scale < float("inf"):
                priors[ours]["theta"] = scale
    return {"prior": priors} if priors else {}


def _stop(file: ParameterFile, generation: str, algorithm: str) -> dict[str, float]:
    """Translate when to stop."""
    what = file.take("parameter:stopping_criteria:statistics", note="what decides the end")
    threshold = file.number(
        "parameter:stopping_criteria:threshold", into="stop.delta_log_likelihood"
    )
    rules = {
        "log-likelihood": "delta_log_likelihood",
        "loglikelihood": "delta_log_likelihood",
        "log-posterior": "delta_log_posterior",
    }
    if what is None:
        what = "log-posterior" if algorithm == "MAP_RL" else "log-likelihood"
    if what not in rules:
        raise ConfigError(f"stopping_criteria:statistics: {shown(what)}; {suggestion(what, rules)}")
    if algorithm in ("RLsimple", "RLbasic") or (
        threshold is None and generation in ("0.1 or 0.2", "0.3")
    ):
        return {}
    if threshold is not None and threshold <= 0:
        return {}  # no rise is smaller: cosipy, too, goes on to the last iteration
    return {rules[what]: 1e-2 if threshold is None else threshold}


def _saving(file: ParameterFile) -> dict[str, Any]:
    """Translate what to write."""
    kept = file.active("parameter:save_results", "parameter:save_results_each_iteration")
    folder = file.take(
        "parameter:save_results:directory", "parameter:save_results_directory", into="output"
    )
    last = file.take(
        "parameter:save_results:only_final_result", "parameter:only_final_result", into="layout"
    )
    if not kept:
        return {}
    layout = {"layout": {"cosipy": {"only_final_result": bool(last)}}}
    return {**layout, **({"output": folder} if folder else {})}


def _leaves(tree: Mapping[Any, Any], above: KeyPath = ()) -> list[tuple[KeyPath, Any]]:
    """Return every value that is no group of keys, with its path."""
    found: list[tuple[KeyPath, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found += _leaves(value, (*above, key))
        elif value is not None:
            found.append(((*above, key), value))
    return found


def _paths(text: str) -> list[KeyPath]:
    """Return the paths that a spelling stands for."""
    if not text.startswith("parameter:"):
        return [tuple(text.split(":"))]
    rest = tuple(text.split(":")[1:])
    sections = ("parameter", "parameter_RL", "parameter_RLsimple", "parameter_MAP_RL")
    return [("deconvolution", section, *rest) for section in sections]


def _key(text: str) -> Key:
    return int(text) if text.isdecimal() else text
