"""Bring a point spread function as people have it into the form that a convolution needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skyfold.errors import DataError
from skyfold.origin import Check
from skyfold.vector import Array
from skyfold_responses import stamp

if TYPE_CHECKING:
    from astropy.units import Quantity

Centre = Literal["centroid", "peak", "keep"]
Say = Callable[[str, str], None]

NEGLIGIBLE = 1e-6  # negative values up to this share of the peak are rounding
SAME_SCALE = 0.01  # pixel sizes closer than this are the same
PEDESTAL_LEVEL, PEDESTAL_LIGHT = 0.005, 0.1  # of the peak; of all light
WINGS = 0.02  # of the light, beyond half of the image: fluxes are off by as much


@dataclass(frozen=True)
class Conditioned:
    """A kernel ready for use, and what was found on the way.

    Parameters
    ----------
    kernel
        Shape of the input, but odd along x and y with the reference pixel ``(k - 1) // 2`` in
        the middle.
    checks
        The report, a line for each thing looked at.
    """

    kernel: Array
    checks: tuple[Check, ...]


def condition(
    psf: Any,
    *,
    pixel_size: Quantity | None = None,
    data_pixel_size: Quantity | None = None,
    rotation: float = 0.0,
    energy: Quantity | None = None,
    data_energies: Quantity | None = None,
    centre: Centre = "centroid",
    norm: Literal["unit", "keep"] = "unit",
    pedestal: Literal["keep", "subtract"] = "keep",
    resample: bool = False,
    max_shape: tuple[int, ...] | None = None,
    keep: bool = False,
) -> Conditioned:
    """Return a PSF with odd sides, its light in the middle and its sum at one, and a report.

    Nothing is interpolated unless ``resample`` asks for it: a PSF is moved by whole pixels, which
    keeps its shape, sum and sign, and what remains of the offset is stated.

    Parameters
    ----------
    psf
        Values, shape ``(x,)``, ``(y, x)`` or ``(energy, y, x)``; planes of a cube are conditioned
        each for itself.
    pixel_size, data_pixel_size
        Pixel sizes of PSF and data, angles.
    rotation
        Angle in degrees by which the PSF's coordinates are turned against those of the data.
    energy, data_energies
        Energy that the PSF was made for, and the range of the data.
    centre
        What comes to lie on the middle pixel: the centroid, the brightest pixel, or the middle of
        the array as it is.
    norm
        Divide by the sum, or keep it because it contains an efficiency.
    pedestal
        Keep or subtract the level of the outermost ring of pixels.
    resample
        Bring the PSF to the pixels of the data, weighted by area.
    max_shape
        Shape of the image; a larger PSF is cropped to it.
    keep
        Take the PSF exactly as it is, sum, size and centre.

    Raises
    ------
    DataError
        If values are not finite, negative or all zero, or the pixel size differs from that of the
        data and ``resample`` was not asked for.
    """
    given = np.asarray(psf, dtype=np.float64)
    if given.ndim not in (1, 2, 3) or given.size == 0:
        raise DataError(f"PSF has shape {given.shape}; expected (x,), (y, x) or (energy, y, x)")
    planes = given.reshape((1,) * (3 - given.ndim) + given.shape)
    _require_light(planes)
    if keep:
        total = _span(planes.sum(axis=(1, 2)), ".5g")
        return Conditioned(given, (Check("ok", "psf", f"PSF taken as it is; sum {total}"),))

    checks: list[Check] = []

    def say(level: str, message: str) -> None:
        checks.append(Check(level, "psf", message))

    scale = pixel_size if data_pixel_size is None else data_pixel_size
    planes = _clip(planes, say)
    planes = _unwrap(planes, say)
    planes = _level(planes, pedestal, say)
    _compare(rotation, energy, data_energies, say)
    ratio = _scale_ratio(pixel_size, data_pixel_size, resample)
    where = _positions(planes, centre)
    _report_centre(planes, where, centre, ratio, pixel_size, say)
    if ratio == 1:
        planes = stamp.placed(planes, where)
    else:
        planes = stamp.resampled(planes, where, ratio)
        text = (
            f"PSF resampled from {_angle(pixel_size)} to {_angle(data_pixel_size)} pixels by area"
        )
        coarse = "; it is coarser than the data and stays blocky" if ratio > 1 else ""
        say("warning" if coarse else "fixed", text + coarse)
    totals = planes.sum(axis=(1, 2))
    planes = _crop(planes, max_shape, say)
    planes = _normalise(planes, totals, norm, say)
    _describe(planes, scale, say)
    return Conditioned(planes[(0,) * (3 - given.ndim)], tuple(checks))


def _require_light(planes: Array) -> None:
    bad = ~np.isfinite(planes)
    if bad.any():
        raise DataError(
            f"PSF has {np.count_nonzero(bad)} values that are not finite, first at "
            f"{_place(bad)}; repair the file"
        )
    peaks = planes.max(axis=(1, 2))
    if np.any(peaks <= 0):
        dark = int(np.argmax(peaks <= 0))
        which = f" in plane {dark + 1} of {len(planes)}" if len(planes) > 1 else ""
        level = "nowhere above zero" if planes[dark].any() else "zero everywhere"
        raise DataError(f"PSF is {level}{which}: it holds no light")
    negative = planes < -NEGLIGIBLE * peaks[:, None, None]
    if negative.any():
        raise DataError(
            f"PSF has {np.count_nonzero(negative)} negative values (lowest {planes.min():.3g}, "
            f"peak {peaks.max():.3g}), first at {_place(negative)}; a PSF cannot take light away: "
            "subtract less background from it, or set these pixels to zero"
        )


def _clip(planes: Array, say: Say) -> Array:
    negative = np.count_nonzero(planes < 0)
    if negative:
        say("fixed", f"{negative} tiny negative values of the PSF set to zero")
    return np.maximum(planes, 0)


def _unwrap(planes: Array, say: Say) -> Array:
    wrapped = [stamp.is_wrapped(plane) for plane in planes]
    if not any(wrapped):
        return planes
    say("fixed", "peak in the corner: PSF looks wrapped; rolled to the centre")
    pairs = zip(planes, wrapped, strict=True)
    return np.stack([stamp.unwrapped(plane) if so else plane for plane, so in pairs])


def _level(planes: Array, pedestal: str, say: Say) -> Array:
    """Look for light that is the same all round, and subtract it where asked to."""
    levels = stamp.ring_level(planes)
    light = levels * planes[0].size / planes.sum(axis=(1, 2))
    if pedestal == "subtract":
        say("fixed", f"pedestal subtracted: {_span(100 * light, '.2g')} % of the light")
        above: Array = np.maximum(planes - levels[:, None, None], 0)
        if not np.all(above.max(axis=(1, 2)) > 0):
            raise DataError("subtracting the pedestal leaves nothing of the PSF: it is flat")
        return above
    share = levels / planes.max(axis=(1, 2))
    if np.any(share > PEDESTAL_LEVEL) or np.any(light > PEDESTAL_LIGHT):
        say(
            "warning",
            f"outer ring of the PSF is not zero ({_span(100 * share, '.2g')} % of the peak): "
            "pedestal, or wings cut off? --psf-pedestal subtract",
        )
    return planes


def _compare(rotation: float, energy: Quantity | None, range_: Quantity | None, say: Say) -> None:
    turned = (rotation + 180) % 360 - 180
    if abs(turned) > 0.5:
        say("warning", f"PSF WCS is rotated by {turned:.1f} deg with respect to the data")
    if energy is not None and range_ is not None:
        low, high = range_.min(), range_.max()
        if not low <= energy <= high:
            text = f"PSF computed at {energy:g}, data {low.value:g} to {high:g}"
            say("warning", text)


def _scale_ratio(mine: Quantity | None, data: Quantity | None, resample: bool) -> float:
    """Return how many data pixels a PSF pixel is wide."""
    if mine is None or data is None:
        return 1.0
    ratio = float((mine / data).to_value(""))
    if abs(ratio - 1) < SAME_SCALE:
        return 1.0
    if not resample:
        raise DataError(
            f"PSF pixels are {_angle(mine)} but data pixels {_angle(data)}. Resample with "
            "--psf-resample (area-weighted), or rebin"
        )
    return ratio


def _positions(planes: Array, centre: Centre) -> Array:
    """Return what shall come to lie in the middle, (y, x) for each plane."""
    if centre == "centroid":
        return stamp.centroids(planes)
    if centre == "peak":
        return stamp.peaks(planes)
    return np.tile([float((n - 1) // 2) for n in planes.shape[1:]], (len(planes), 1))


def _report_centre(
    planes: Array,
    where: Array,
    centre: Centre,
    ratio: float,
    scale: Quantity | None,
    say: Say,
) -> None:
    shape = np.array(planes.shape[1:])
    offset = where - (shape - 1) / 2
    worst = int(np.argmax(np.hypot(*offset.T)))
    even = np.any((shape % 2 == 0) & (shape > 1))
    moved = np.max(np.abs(offset)) > 0.5 + 1e-9
    plane = f" in plane {worst + 1} of {len(planes)}" if len(planes) > 1 else ""
    if moved and centre != "keep":
        shift = float(np.hypot(*offset[worst]))
        by = f"{shift:.2g} pixels" if scale is None else _angle(shift * scale)
        say(
            "warning",
            f"PSF {centre} is {_xy(offset[worst])} pixels from the centre{plane}. The result "
            f"would be shifted by {by}. Recentred; --psf-centre keep to disable",
        )
    if ratio != 1:
        return
    if even:
        full = stamp.placed(planes, where).shape[1:]
        about = "the middle" if centre == "keep" else f"its {centre}"
        say(
            "fixed",
            f"PSF {_size(planes.shape[1:])} is even: padded to {_size(full)} about {about}; "
            f"reference pixel {_xy(where[worst], '.1f')}{plane}",
        )
    rest = where - np.rint(where)
    most = int(np.argmax(np.hypot(*rest.T)))
    if np.max(np.abs(rest)) > 0.005:
        say(
            "warning" if np.max(np.abs(rest)) > 0.3 else "ok",
            f"whole-pixel shift leaves the {centre} {_xy(rest[most])} pixels off the middle; "
            "restored sources are displaced by the opposite; --psf-centre peak|keep takes another "
            "centre",
        )


def _crop(planes: Array, max_shape: tuple[int, ...] | None, say: Say) -> Array:
    """Leave out what reaches farther than half across the image; wings within it are kept."""
    shape = planes.shape[1:]
    if max_shape is None:
        return planes
    inside = stamp.cropped(planes, (1, *max_shape)[-2:])
    if inside.shape == planes.shape:
        return planes
    lost = 1 - inside.sum(axis=(1, 2)) / planes.sum(axis=(1, 2))
    say(
        "warning" if np.max(lost) > WINGS else "fixed",
        f"PSF {_size(shape)} is larger than the image {_size(max_shape[-2:])}: cropped to "
        f"{_size(inside.shape[1:])}, {_span(100 * lost, '.2g')} % of its light lost",
    )
    return inside


def _normalise(planes: Array, totals: Array, norm: str, say: Say) -> Array:
    said = f"PSF sums to {_span(totals, '.4g')}"
    if norm == "keep":
        say("ok", f"{said}: kept")
        return planes
    if np.all(np.abs(totals - 1) < 1e-5):
        say("ok", "PSF sums to 1")
    elif np.all((totals > 0.5) & (totals < 1 + 1e-5)):
        lost = 100 * (1 - totals)
        say(
            "warning" if lost.max() > 2 else "fixed",
            f"{said}: renormalised; {_span(lost, '.1f')} % of the light lies outside the stamp "
            "(say --psf-norm keep if it contains efficiency)",
        )
    else:
        say("fixed", f"{said}: renormalised (say --psf-norm keep if it contains efficiency)")
    unit: Array = planes / planes.sum(axis=(1, 2), keepdims=True)
    return unit


def _describe(planes: Array, scale: Quantity | None, say: Say) -> None:
    if np.any(np.count_nonzero(planes, axis=(1, 2)) == 1):
        say("warning", "PSF is a single pixel: restoration will equal the input")
    texts = []
    for fraction in (0.68, 0.95):
        radii = np.array([stamp.containment_radius(plane, fraction) for plane in planes])
        angle = "" if scale is None else f" ({_angle(radii.max() * scale)})"
        texts.append(f"{fraction:.0%} within {_span(radii, '.1f')} pixels{angle}")
    say("ok", f"PSF {_size(planes.shape[1:])}: {', '.join(texts)} of the middle")


def _place(bad: Array) -> str:
    plane, y, x = (int(i) for i in np.argwhere(bad)[0])
    return f"pixel x={x} y={y}" + (f" of plane {plane + 1}" if len(bad) > 1 else "")


def _size(shape: Sequence[int]) -> str:
    return "x".join(str(int(n)) for n in reversed(shape))


def _xy(yx: Array, form: str = "+.2f") -> str:
    return f"({yx[1]:{form}}, {yx[0]:{form}})"


def _span(values: Array, form: str) -> str:
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"


def _angle(angle: Any) -> str:
    """Write an angle in the unit that suits it."""
    degrees = float(angle.to_value("deg"))
    for size, unit in ((1.0, "deg"), (1 / 60, "arcmin")):
        if abs(degrees) >= size:
            return f"{degrees / size:.3g} {unit}"
    return f"{degrees * 3600:.3g} arcsec"
