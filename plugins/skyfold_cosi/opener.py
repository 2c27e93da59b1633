"""Open COSI data: counts in a Compton data space, backgrounds, and the sky's response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from skyfold.binned import BinnedData
from skyfold.dataspace import DataAxis, DataSpace
from skyfold.errors import ConfigError, DataError
from skyfold.geometry import Normalisations
from skyfold.inputs import by_name
from skyfold.matrices import Template
from skyfold.model import Component, Model
from skyfold.options import Energy
from skyfold.origin import Check, Origin
from skyfold.response import Response
from skyfold.sphere import Sphere
from skyfold_cosi.backgrounds import components_of, responses_of
from skyfold_cosi.counts import (
    Opened,
    in_units_of_events,
    judge_copies,
    judge_totals,
    on_bins,
    open_histogram,
    require_expected,
)
from skyfold_cosi.histogram import Axis, Histogram
from skyfold_cosi.list_mode import event_rows, inside, interpolation, judge_bins
from skyfold_cosi.respond import DETECTOR, Sight, sight
from skyfold_cosi.sky import (
    FLUX,
    Ordering,
    back_projection,
    judge_coverage,
    mask_values,
    start_values,
)
from skyfold_cosi.unbinned import Unbinned
from skyfold_responses.matrix import RowMatrix
from skyfold_responses.memory import Storage, memory_sentence

ALMOST_ZERO = 1e-12  # counts that cosipy adds to the expectation of every bin

Source = Path | Any
Range = tuple[float, float]

# few counts in very many bins: plain steps are short, held-out photons cost several readings
ITERATIONS = 100
FAST = {"name": "rl", "acceleration": {"maximum": 10.0}}


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
    ordering: Ordering | None = None,
    mask: Literal["impossible"] | None = None,
    list_mode: bool = False,
    nside: Annotated[int, Field(ge=1)] | None = None,
    scheme: Literal["ring", "nested"] | None = None,
    energies: list[Energy] | None = None,
    storage: Storage | None = None,
    memory: Annotated[float, Field(gt=0)] | None = None,
    reference: bool = False,
    name: str | None = None,
) -> BinnedData:
    """Open counts or events of a Compton telescope, with backgrounds and response.

    Parameters
    ----------
    event
        Counts over Em, Phi and PsiChi, in Galactic coordinates, or in the detector frame by time
        or attitude; or events, which are binned as the response is.
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
    ordering
        Order of the pixels of start and mask, where their files do not state it.
    mask
        Leave out ``impossible`` counts, which neither sky nor background can make.
    list_mode
        Take each event as it is, without bins; for Galactic responses.
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
    from_counts = isinstance(start, str) and start == "backprojection"
    limit = None if memory is None else int(memory * 1e9)
    events = open_histogram(event, "event")
    seen = sight(
        response, conversion, orientation, events.histogram, nside, storage, limit, reference
    )
    _require_sky(seen.geometry, nside, scheme, energies)
    given = by_name(background, "background")
    opened = {key: open_histogram(one, f"background {key}") for key, one in given.items()}
    templates, checks = {}, []
    for key, found in opened.items():
        templates[key], more = on_bins(found, seen.axes, f"background {key}")
        require_expected(templates[key], str(found.path or f"background {key}"))
        checks += more
    components = {
        "sky": Component(
            seen.geometry,
            FLUX,
            mask=mask_values(sky_mask, seen.geometry, ordering),
            start=None if from_counts else start_values(start, seen.geometry, ordering),
        ),
        **components_of(templates, seen.axes, background_per, fit_background, background_range),
    }
    files = [("event", events.path), *((f"background {k}", o.path) for k, o in opened.items())]
    origin = Origin(
        name or (events.path.name if events.path else "COSI"),
        "cosi",
        (*((role, str(path)) for role, path in files if path), *seen.files),
        remedy="Add a background, or leave these bins out (--mask impossible)",
        advice={"iterations": ITERATIONS, **({} if reference else {"method": FAST})},
    )
    if list_mode:
        if background_per != "all":
            raise ConfigError(f"list mode has no background_per {background_per}, only all")
        if reference:
            raise ConfigError("cosipy knows no list mode: leave out --reference, or --list-mode")
        data = _event_list(events, seen, templates, components, origin, limit)
    else:
        counts, noted = on_bins(events, seen.axes, "event")
        noted += judge_copies(templates, counts)
        responses = {"sky": seen.response, **responses_of(templates, seen.axes, background_per)}
        if reference:
            responses["almost_zero"] = Template(np.broadcast_to(ALMOST_ZERO, counts.shape))
            components["almost_zero"] = Component(Normalisations(), fixed=True)
        origin = replace(
            origin,
            checks=(_judge_counts(counts), *noted, _judge_memory(counts, seen, storage, limit)),
            geometry=DataSpace([_data_axis(axis) for axis in seen.axes]),
        )
        data = BinnedData(counts.dense, responses, components=components, origin=origin)
    if mask == "impossible":
        data = _without_impossible(data)
    if from_counts:
        sky = replace(data.components["sky"], start=back_projection(data))
        data = data.with_components(sky=sky)
    total = float(np.sum(data.full_counts))
    checks += [*seen.checks, *judge_totals(templates, total), *judge_coverage(data)]
    return data.with_origin(checks=(*data.origin.checks, *checks))


def _event_list(
    events: Opened,
    seen: Sight,
    templates: Mapping[str, Histogram],
    components: Mapping[str, Component],
    origin: Origin,
    limit: int | None,
) -> BinnedData:
    """Return data of one bin for each event.

    Raises
    ------
    ConfigError
        If there are no events, or the response is in the detector's frame.
    """
    if events.histogram is not None:
        raise ConfigError("list mode needs a file of events; this one holds counts in bins")
    if not isinstance(seen.response, RowMatrix):
        raise ConfigError(
            "list mode needs a Galactic response; with a detector response give --orientation"
        )
    every, axes = Unbinned.joined(events.events()), in_units_of_events(seen.axes)
    taken = every[inside(axes, every)]
    memory = memory_sentence(len(taken.time), seen.row, "float32", limit)
    weights = interpolation(axes, taken)
    responses: dict[str, Response] = {"sky": event_rows(seen.response, weights)}
    for key, template in templates.items():
        totals = np.array([template.total])
        responses[key] = Template(weights @ template.dense.ravel(), totals=totals)
    text = f"{len(taken.time)} of {len(every.time)} events lie within the response; list mode"
    checks = (Check("ok", "event", text), *judge_bins(axes), Check("ok", "memory", memory))
    origin = replace(origin, checks=checks)
    return BinnedData(np.ones(len(taken.time)), responses, components=components, origin=origin)


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
    told = f"{places.size} bins with {data.counts[lost].sum():g} counts that nothing can make"
    check = Check("fixed", "event", f"{told}: left out")
    counts, weight = data.full_counts, data.weight
    if data.complete:
        weight = np.array(weight)
        weight.ravel()[places] = 0
    else:  # events are no share of the exposure
        counts = np.array(counts)
        counts[places] = 0
    made = BinnedData(counts, data.whole, weight, components=data.components, origin=data.origin)
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
    return Check("ok", "memory", memory_sentence(rows.size, seen.row, storage, limit))


def _data_axis(axis: Axis) -> DataAxis:
    from astropy import units as u

    if axis.nside is not None:
        return DataAxis(axis.label, nside=axis.nside, nested=axis.scheme == "NESTED")
    edges = np.asarray(axis.edges, float)
    return DataAxis(axis.label, edges * u.Unit(axis.unit) if axis.unit else edges)
