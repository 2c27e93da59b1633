"""Point sources as a component of a model: one flux for each, at given places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.attribution import Attribution
from skyfold.binned import BinnedData
from skyfold.data import DataInterface
from skyfold.errors import ConfigError, require
from skyfold.geometry import Geometry, Grid
from skyfold.joint import JointData
from skyfold.matrices import Matrix
from skyfold.model import Component, Model
from skyfold.origin import Check
from skyfold.pixels import Shared
from skyfold.response import Chain, Response
from skyfold.source_finding import compare
from skyfold.sources import placed, psf_numbers
from skyfold.sphere import Sphere
from skyfold.stars import star_fwhm
from skyfold.vector import Array

if TYPE_CHECKING:
    from astropy.units import Quantity

    from skyfold.sources import Sources

LEAST_SEEN = 1e-3  # of the best seen: what is seen less does not start brighter
HALVINGS, LEAST_LEFT = 20, 0.1  # of the light below the stars, beside them
UNSEEN = 1e-4  # of the best seen, were all bins in use: what is seen less, as by ringing, is not
MOST_HELD = 2**23  # numbers in the columns of all bins, 130 MB at most
NARROW = 2.0  # full width of a PSF in pixels, below which its samples do not hold all of it


@dataclass(frozen=True, eq=False)
class PointList(Geometry):
    """Places of point sources: one value for each, or one for each and every energy.

    Parameters
    ----------
    names
        What each is called.
    places
        x and y in pixels of the data, from 0 at the centre of the first, or longitude and latitude
        in degrees, shape ``(n, 2)``.
    frame
        Celestial frame of longitude and latitude; empty for pixels.
    energies
        Number of energies; none where values have no energy.
    listed
        The list that they are from.
    """

    names: tuple[str, ...]
    places: Array
    frame: str = ""
    energies: int | None = None
    listed: Sources | None = None
    sky = False

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """One value for each source, or for each source and energy."""
        return (len(self.names),) if self.energies is None else (len(self.names), self.energies)

    def difference(self, other: Geometry) -> str | None:
        """Compare names and places (to a thousandth of a pixel or degree)."""
        if not isinstance(other, PointList):
            return f"point sources against {type(other).__name__}"
        if self.names != other.names or self.shape != other.shape:
            return f"{len(self.names)} point sources against {len(other.names)} others"
        apart = np.abs(self.places - other.places).max(axis=1, initial=0)
        if self.frame != other.frame or np.max(apart, initial=0) > 1e-3:
            i = int(np.argmax(apart))
            return f"source {self.names[i]!r} at {self.places[i]} against {other.places[i]}"
        return None

    def smooth(self, values: Array, fwhm: Quantity) -> Array:
        """Refuse: a point has no width."""
        raise ConfigError("point sources cannot be smoothed")


def with_points(
    data: DataInterface,
    sources: Sources,
    name: str = "stars",
    each: bool = False,
    free: bool = False,
) -> DataInterface:
    """Return data with one more component: the fluxes of point sources.

    They are seen as the sky is: through its exposure, and exactly between its pixels where it is
    convolved with a PSF; in proportion to the nearest pixels elsewhere.

    Parameters
    ----------
    data
        Data with one sky; pixels are those of the first observation.
    sources
        The sources; those without a flux share half of the counts that no background explains.
    name
        Name of the component.
    each
        Whether each observation has fluxes of its own, named ``stars 1``, ``stars 2``, ...;
        else all see the same.
    free
        Whether their places are to be fitted: then those in whole pixels, too, are seen through a
        response of their own that can move them.

    Raises
    ------
    DataError
        If a source lies outside, no bin in use sees it, or there are no coordinates for its place.
    ConfigError
        If the data have several skies, or a component of that name.
    """
    if not isinstance(data, JointData):
        assert isinstance(data, BinnedData)
        part = _with(data, data, sources, name, free)
        _require_seen(sources, [_sensitivity(part, part.whole[name])[1]])
        return part
    names = [f"{name} {i}" if each else name for i in range(1, len(data.members) + 1)]
    pairs = list(zip(data.parts, names, strict=True))
    parts = [_with(part, data.parts[0], sources, own, free) for part, own in pairs]
    seen = [_sensitivity(part, part.whole[own])[1] for part, own in zip(parts, names, strict=True)]
    _require_seen(sources, seen)
    if each:
        parts = [_confined(*one) for one in zip(parts, names, seen, strict=True)]
    return JointData(parts)


def _sensitivity(data: BinnedData, response: Response) -> tuple[Array, Array]:
    """Return the sensitivity to point sources, and which of their fluxes are seen at all."""
    made = whole = response.sensitivity(data.weight)
    if not np.all(data.weight > 0):
        whole = response.sensitivity(np.ones(data.shape, data.dtype))
    return made, made > UNSEEN * float(np.max(whole, initial=0.0))


def _require_seen(sources: Sources, seen: Sequence[Array]) -> None:
    """Refuse sources that no observation sees: their flux could be anything."""
    anywhere = np.any(seen, axis=0).reshape(len(sources), -1).any(axis=1)
    for i in np.flatnonzero(~anywhere):
        raise sources.error(
            f"no count in use can come from {sources.told(int(i))}, so its flux could be "
            "anything: the bins around it are masked; leave it out of the list, or use these bins"
        )


def _confined(data: BinnedData, name: str, seen: Array) -> BinnedData:
    """Return an observation where the fluxes of sources that it does not see are held at zero."""
    if np.all(seen):
        return data
    return data.with_components(**{name: replace(data.components[name], mask=seen)})


def _with(
    data: BinnedData, first: BinnedData, sources: Sources, name: str, free: bool
) -> BinnedData:
    """Return an observation with point sources, whose pixels are those of the first one."""
    if name in data.components:
        raise ConfigError(f"the data have a component {name!r} already")
    sky = _one_sky(data)
    component = data.components[sky]
    places, response, unit = _seen(data, first, sources, sky, free)
    frame = sources.frame if isinstance(component.geometry, Sphere) else ""
    energies = response.model_shape[1] if len(response.model_shape) > 1 else None
    geometry = PointList(sources.names, places, frame, energies, sources)
    start = _first_fluxes(data, sources, response)
    added = Component(geometry, unit, start=start)
    origin = data.origin
    if sources.file:
        origin = replace(origin, files=(*origin.files, ("stars", sources.file)))
    checks = (*origin.checks, *sources.checks, Check("ok", name, _told(sources, unit)))
    checks += _compared(data, sources, places, sky) if data is first else ()
    checks += _sampled(data, sky, response, name)
    seen = data.with_responses({name: response}, {name: added})
    return _dimmed(seen.with_origin(files=origin.files, checks=checks), name)


def point_components(components: Mapping[str, Component]) -> dict[str, PointList]:
    """Return the point sources among the components."""
    return {
        name: part.geometry
        for name, part in components.items()
        if isinstance(part.geometry, PointList)
    }


class Few(Chain):
    """A chain with few values: worked out once, as the columns that these few need.

    So are those of the bins with counts, which the products visit; of all bins they are only where
    they take little memory.
    """

    def forward(self, values: Array) -> Array:
        """Return the product with the columns."""
        return self._matrix.forward(values) if self._small else super().forward(values)

    def adjoint(self, weights: Array) -> Array:
        """Return the product with the columns, transposed."""
        return self._matrix.adjoint(weights) if self._small else super().adjoint(weights)

    def rows(self, bins: Array) -> Response:
        """Work the columns out for these bins alone."""
        columns = super().rows(bins).columns(np.arange(prod(self.model_shape)))
        return Matrix(columns.csr(len(bins)).T.tocsr(), self.model_shape)

    def attribute(
        self, values: Array, counts: Array, others: Array | None, rng: np.random.Generator
    ) -> Attribution:
        """Attribute by the columns."""
        if not self._small:
            return super().attribute(values, counts, others, rng)
        return self._matrix.attribute(values, counts, others, rng)

    @property
    def _small(self) -> bool:
        return prod(self.model_shape) * prod(self.data_shape) <= MOST_HELD

    @cached_property
    def _matrix(self) -> Matrix:
        columns = self.columns(np.arange(prod(self.model_shape)))
        matrix = columns.csr(prod(self.data_shape)).T.tocsr()
        return Matrix(matrix, self.model_shape, self.data_shape)


def _one_sky(data: BinnedData) -> str:
    skies = [name for name, part in data.components.items() if part.geometry.sky]
    if len(skies) != 1:
        raise ConfigError(f"point sources need data with one sky; there are {len(skies)}")
    return skies[0]


def _seen(
    data: BinnedData, first: BinnedData, sources: Sources, sky: str, free: bool
) -> tuple[Array, Response, str]:
    """Return places, response and unit of point sources."""
    component, response = data.components[sky], data.whole[sky]
    geometry, own = component.geometry, places_of(first)
    places = placed(sources, own)
    if isinstance(geometry, Sphere):
        sight = Few(response, _interpolation(geometry, places))
        return places, sight, _per_source(component.unit)
    assert isinstance(own, Grid)
    assert isinstance(geometry, Grid)
    on_sky, which = on_grid(places, own, geometry), psf_numbers(sources, response.psfs)
    alike = not (free or np.any(which))
    if alike and np.array_equal(on_sky, np.rint(on_sky)):  # they go through the PSF with the sky
        return places, response @ Shared(on_sky, geometry.shape), component.unit
    return places, response.points(on_sky, which), component.unit


def places_of(data: BinnedData) -> Geometry:
    """Return what the places of point sources are places on: the pixels of the data, or a sphere.

    Raises
    ------
    ConfigError
        If the data have no sky, or several.
    """
    sky = data.components[_one_sky(data)].geometry
    if isinstance(data.origin.geometry, Grid) and not isinstance(sky, Sphere):
        return data.origin.geometry
    return Grid(data.shape) if isinstance(sky, Grid) else sky


def seen_from(data: BinnedData, first: BinnedData, places: Array) -> Array:
    """Return places in pixels of the first observation, in pixels of another one."""
    own, known = places_of(data), places_of(first)
    if data is first or not (isinstance(own, Grid) and isinstance(known, Grid)):
        return places
    there, here = own.crop().wcs, known.crop().wcs
    if there is None or here is None:
        return places
    moved: Any = there.world_to_pixel(here.pixel_to_world(*places.T))
    return np.stack(moved, axis=1)


def on_grid(places: Array, own: Grid, grid: Grid) -> Array:
    """Return places in pixels of the data, in pixels of the sky that is modelled."""
    moved: Array = (places + 0.5) * fineness(own, grid) - 0.5 + grid.first
    return moved


def fineness(own: Grid, grid: Grid) -> Array:
    """Return how many pixels of the sky one pixel of the data has in x and y."""
    block = np.ones(2)
    for axis, part in enumerate(grid.inside[:-3:-1]):
        size = len(range(*part.indices(grid.shape[-1 - axis])))
        block[axis] = size / own.shape[-1 - axis]
    return block


def _interpolation(sphere: Sphere, places: Array) -> Matrix:
    """Return the map from fluxes to intensities around them, for each energy."""
    from scipy.sparse import coo_array, identity, kron

    healpy = require("healpy", "healpix")
    lon, lat = places.T
    pixels, share = healpy.get_interp_weights(sphere.nside, lon, lat, sphere.nested, lonlat=True)
    source = np.broadcast_to(np.arange(len(places)), pixels.shape)
    entries = (share / sphere.pixel_area).ravel(), (pixels.ravel(), source.ravel())
    one = coo_array(entries, shape=(sphere.pixels, len(places)))
    energies = sphere.shape[1]
    return Matrix(kron(one, identity(energies)).tocsr(), (len(places), energies), sphere.shape)


def _per_source(unit: str) -> str:
    from astropy import units as u

    return str((u.Unit(unit) * u.sr).decompose(bases=[u.cm, u.s, u.keV, u.rad]).to_string())


def _first_fluxes(data: BinnedData, sources: Sources, response: Response) -> Array:
    """Return first fluxes; those not given share half of what no background explains."""
    total = float(np.sum(data.full_counts * (data.weight > 0)))
    known = sum(
        float(np.sum(data.sensitivity[name] * (1.0 if part.start is None else part.start)))
        for name, part in data.components.items()
        if not part.geometry.sky
    )
    total = max(total - known, 0.1 * total)
    sensitivity, seen = _sensitivity(data, response)
    best = float(np.max(sensitivity, initial=0.0, where=seen)) or 1.0
    held = np.where(seen, np.maximum(sensitivity, LEAST_SEEN * best), best)
    even: Array = 0.5 * total / (held * max(held.size, 1))
    if sources.flux is None:
        return even
    given = sources.flux.reshape(-1, *(1,) * (sensitivity.ndim - 1))
    given = given / (sensitivity.size / max(len(given), 1))
    start: Array = np.where(np.isfinite(given), given, even)
    made = float(np.sum(sensitivity * start))
    if made > total:  # what lies below would start at nothing
        start *= 0.5 * total / made
    return start


def _compared(data: BinnedData, sources: Sources, places: Array, sky: str) -> tuple[Check, ...]:
    """Return whether the counts have their peaks where the stars are, if they form an image."""
    own = places_of(data)
    if not isinstance(own, Grid) or len(own.shape) < 2:
        return ()
    counts = np.where(data.weight > 0, data.full_counts, 0).reshape(-1, *own.shape[-2:])
    fwhm = star_fwhm(data.whole[sky])
    return (compare(sources, places, counts.sum(axis=0), fwhm),)


def _dimmed(data: BinnedData, name: str) -> BinnedData:
    """Return data whose stars start faint enough for all counts to be expected.

    Shifted kernels that are sampled too coarsely have negative parts beside their peak.
    """
    for _ in range(HALVINGS):
        model = Model.start(data)
        below = {n: v for n, v in model.items() if n != name}
        expected, least = data.forward(model).observed, data.forward(below).observed
        if np.all((expected > LEAST_LEFT * least)[data.counts > 0]):
            break
        part = data.components[name]
        data = data.with_components(**{name: replace(part, start=np.asarray(part.start) / 2)})
    return data


def _sampled(data: BinnedData, sky: str, response: Response, name: str) -> tuple[Check, ...]:
    """Return a warning where sources lie between pixels that are too wide for the PSF."""
    grid = data.components[sky].geometry
    if not isinstance(grid, Grid) or isinstance(getattr(response, "inner", None), Shared):
        return ()
    width = star_fwhm(data.whole[sky]) * float(np.mean(fineness(Grid(data.shape), grid)))
    if width * data.whole[sky].finer >= NARROW:
        return ()
    text = (
        f"a star is only {width:.2g} pixels of the sky wide, so what it is between them is a "
        "guess and fluxes may be off by some per cent: give the PSF on finer pixels (--block 2)"
    )
    return (Check("warning", name, text),)


def _told(sources: Sources, unit: str) -> str:
    count = len(sources.names)
    return f"{count} point source{'' if count == 1 else 's'}, fluxes in {unit or 'counts'}"
