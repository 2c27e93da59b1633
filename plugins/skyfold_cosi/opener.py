"""Open COSI data: counts in a Compton data space, backgrounds, and the sky's response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from skyfold.data import BinnedData, Check, Origin
from skyfold.dataspace import DataAxis, DataSpace
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Normalisations
from skyfold.model import Component, Model
from skyfold.options import Energy
from skyfold.response import Template
from skyfold.sphere import Sphere
from skyfold_cosi.counts import judge_totals, named, on_bins, open_histogram, require_frame
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.respond import DETECTOR, Sight, sight
from skyfold_cosi.sky import FLUX, back_projection, judge_coverage, mask_values, start_values
from skyfold_responses.memory import Storage, memory_sentence

ALMOST_ZERO = 1e-12  # counts that cosipy adds to the expectation of every bin

Source = Path | Any
Range = tuple[float, float]


def open_cosi(
    event: Source,
    response: Source,
    *,
    background: Source | Mapping[str, Source] | None = None,
    fit_background: bool = True,
    background_range: Range | Mapping[str, Range] | None = None,
    background_per: Literal["all", "time", "energy"] = "all",
    conversion: Source | None = None,
    orientation: Path | None = None,
    start: float | list[float] | Literal["backprojection"] | Source | None = None,
    sky_mask: Source | None = None,
    mask: Literal["impossible"] | None = None,
    nside: Annotated[int, Field(ge=1)] | None = None,
    scheme: Literal["ring", "nested"] | None = None,
    energies: list[Energy] | None = None,
    storage: Storage | None = None,
    memory: Annotated[float, Field(gt=0)] | None = None,
    reference: bool = False,
    name: str | None = None,
) -> BinnedData:
    """Open binned counts of a Compton telescope, with backgrounds and response.

    Parameters
    ----------
    event
        Counts over Em, Phi and PsiChi, in Galactic coordinates, or in the detector frame by time
        or attitude.
    response
        Response file: pre-computed in Galactic coordinates, or of the detector.
    background
        Expected background counts on the same axes; several by name.
    fit_background
        Fit the normalisation of each background.
    background_range
        Smallest and largest normalisation, for all backgrounds or by name.
    background_per
        One normalisation for all bins, or one for each time (or attitude) bin, or energy bin.
    conversion
        Coordinate conversion matrix, for a response in the detector frame.
    orientation
        Orientation file, from which the conversion matrix is made for counts in time bins.
    start
        Intensity to start from: a number, one for each energy, a map, a shape such as ``{shape:
        gaussian, lon: 0, lat: 0, sigma: 10, flux: 1e-3}``, or ``backprojection``.
    sky_mask
        Map that is positive where the sky may shine.
    mask
        Leave out ``impossible`` counts, which neither sky nor background can make.
    nside, scheme, energies
        What the sky must be like; refused if the files say otherwise.
    storage
        How the response is kept in memory; ``float32`` by default, arithmetic is in float64.
    memory
        Largest memory in GB for the response; what exceeds it is streamed from a temporary file.
    reference
        Reproduce the numbers of cosipy: float64, and 1e-12 counts more in each bin.
    name
        Name of the data set.

    Raises
    ------
    ConfigError
        If options contradict each other.
    DataError, FileError
        If files are not what they should be, or do not fit.
    """
    storage = storage or ("float64" if reference else "float32")
    limit = None if memory is None else int(memory * 1e9)
    events = open_histogram(event, "event")
    seen = sight(
        response, conversion, orientation, events.histogram, nside, storage, limit, reference
    )
    _require_sky(seen.geometry, nside, scheme, energies)
    counts, checks = on_bins(events, seen.axes, "event")
    require_frame(counts, seen.frame, str(events.path or "event"))
    given = named(background, "background")
    opened = {key: open_histogram(one, f"background {key}") for key, one in given.items()}
    templates = {}
    for key, found in opened.items():
        templates[key], more = on_bins(found, seen.axes, f"background {key}")
        checks += more
    if templates:
        checks += judge_totals(templates, counts.total)

    from_counts = isinstance(start, str) and start == "backprojection"
    values = None if from_counts else start_values(start, seen.geometry)
    sky = Component(seen.geometry, FLUX, mask=mask_values(sky_mask, seen.geometry), start=values)
    responses, components = _backgrounds(templates, seen.axes, background_per)
    for key, component in components.items():
        bounds = _range(background_range, key, components)
        components[key] = replace(component, fixed=not fit_background, bounds=bounds)
    if reference:
        nothing = np.broadcast_to(ALMOST_ZERO, tuple(axis.size for axis in seen.axes))
        responses["almost_zero"] = Template(nothing)
        components["almost_zero"] = Component(Normalisations(), fixed=True)
    files = [("event", events.path), *((f"background {k}", o.path) for k, o in opened.items())]
    origin = Origin(
        name or (events.path.name if events.path else "COSI"),
        "cosi",
        (*((role, str(path)) for role, path in files if path), *seen.files),
        (_judge_counts(counts), *checks, *seen.checks, _judge_memory(counts, seen, storage, limit)),
        DataSpace([_data_axis(axis) for axis in seen.axes]),
        remedy="Add a background, or leave these bins out (--mask impossible)",
    )
    responses, components = {"sky": seen.response, **responses}, {"sky": sky, **components}
    data = BinnedData(counts.dense, responses, components=components, origin=origin)
    if mask == "impossible":
        data = _without_impossible(data)
    if from_counts:
        data = data.with_components(sky=replace(sky, start=back_projection(data)))
    return data.with_origin(checks=(*data.origin.checks, *judge_coverage(data)))


def _backgrounds(
    templates: Mapping[str, Histogram], axes: tuple[Axis, ...], per: str
) -> tuple[dict[str, Any], dict[str, Component]]:
    """Return response and component of each background, its normalisation in groups if asked."""
    groups, names = None, ("",)
    if per != "all":
        labels = {"time": ("Time", "ScAtt"), "energy": ("Em",)}[per]
        places = [i for i, axis in enumerate(axes) if axis.label in labels]
        if not places:
            raise ConfigError(
                f"background_per: {per}: the counts have no axis {' or '.join(labels)}, only "
                f"{', '.join(axis.label for axis in axes)}"
            )
        size = axes[places[0]].size
        groups = np.arange(size).reshape([-1 if i == places[0] else 1 for i in range(len(axes))])
        names = tuple(str(i) for i in range(size))
    if "sky" in templates:
        raise ConfigError("a background cannot be called 'sky'; give it another name")
    return (
        {key: Template(template.dense, groups) for key, template in templates.items()},
        {key: Component(Normalisations(names)) for key in templates},
    )


def _range(given: Any, key: str, known: Mapping[str, Any]) -> Range:
    """Return smallest and largest normalisation of a background."""
    if given is None:
        return 0.0, float("inf")
    if isinstance(given, Mapping):
        if unknown := set(given) - set(known):
            raise ConfigError(
                f"background_range names {', '.join(sorted(unknown))}, but the backgrounds are "
                f"{', '.join(known) or 'none'}"
            )
        given = given.get(key, (0.0, float("inf")))
    low, high = (float(limit) for limit in given)
    if not 0 <= low <= high:
        raise ConfigError(f"background_range of {key}: {low:g} to {high:g} is no range above 0")
    return low, high


def _require_sky(
    geometry: Sphere, nside: int | None, scheme: str | None, energies: list[Any] | None
) -> None:
    """Refuse files that make another sky than was asked for."""
    made = "nested" if geometry.nested else "ring"
    if nside is not None and nside != geometry.nside:
        raise DataError(f"nside {nside} was asked for, but the response is for {geometry.nside}")
    if scheme is not None and scheme != made:
        raise DataError(f"{scheme} order was asked for, but the response is in {made} order")
    assert geometry.energy_edges is not None
    own = geometry.energy_edges
    if energies is None:
        return
    asked = np.array([edge.to_value(own.unit) for edge in energies])
    if asked.size != own.size or not np.allclose(asked, own.value, rtol=1e-6):
        raise DataError(
            f"energies {', '.join(f'{e:g}' for e in asked)} {own.unit} were asked for, but those "
            f"of the response are {', '.join(f'{e:g}' for e in own.value)} {own.unit}"
        )


def _without_impossible(data: BinnedData) -> BinnedData:
    """Leave out bins whose counts neither the sky nor a background can make."""
    model = Model.start(data)
    expected = data.forward(model).observed
    lost = (data.counts > 0) & ~(expected > 0)
    if not np.any(lost):
        return data
    places = np.flatnonzero(lost) if data.bins is None else data.bins[lost]
    weight = np.array(data.weight)
    weight.ravel()[places] = 0
    told = f"{places.size} bins with {data.counts[lost].sum():g} counts that nothing can make"
    check = Check("fixed", "event", f"{told}: left out")
    made = BinnedData(
        data.full_counts, data.whole, weight, components=data.components, origin=data.origin
    )
    return made.with_origin(checks=(*data.origin.checks, check))


def _judge_counts(counts: Histogram) -> Check:
    held = counts.sparse.index.size
    size = int(np.prod(counts.shape))
    axes = ", ".join(f"{axis.label} {axis.describe()}" for axis in counts.axes)
    share = f"{held} of {size} bins hold counts ({100 * held / size:.3g} %)"
    return Check("ok", "event", f"{counts.total:.10g} counts; {share}; {axes}")


def _judge_memory(counts: Histogram, seen: Sight, storage: Storage, limit: int | None) -> Check:
    """Say how much memory the rows of the response need, before they are read."""
    rows = counts.sparse.index
    if seen.frame == DETECTOR:
        rows = np.unique(rows % int(np.prod(counts.shape[1:])))
    values = seen.row
    return Check("ok", "memory", memory_sentence(rows.size, values, storage, limit))


def _data_axis(axis: Axis) -> DataAxis:
    from astropy import units as u

    if axis.nside is not None:
        return DataAxis(axis.label, nside=axis.nside, nested=axis.scheme == "NESTED")
    edges = np.asarray(axis.edges, float)
    return DataAxis(axis.label, edges * u.Unit(axis.unit) if axis.unit else edges)
