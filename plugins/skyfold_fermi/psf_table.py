"""Point spread functions given as radial profiles: gtpsf tables and the PSF of a MapDataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import DataError
from skyfold.origin import Check
from skyfold.vector import Array
from skyfold_fermi.tables import (
    column,
    extension,
    interpolation,
    require_cover,
    spectral_points,
)

PER_SQUARE_DEGREE = (180 / np.pi) ** 2  # 3283 square degrees in a steradian
CORE = 8  # pixels around the middle where the profile is sampled finely


@dataclass(frozen=True)
class PsfTable:
    """Radial profiles of a PSF at some energies.

    Parameters
    ----------
    energy
        Energies in MeV, shape (k,).
    theta
        Angles from the source in radians, increasing from about zero, shape (m,).
    profile
        Probability per steradian, shape (k, m).
    exposure
        Exposure at these energies, any unit, shape (k,).
    file
        Where it comes from, for messages.

    Raises
    ------
    DataError
        If the integral over the sphere is not one: the units are not what they claim to be.
    """

    energy: Array
    theta: Array
    profile: Array
    exposure: Array
    file: str = "PSF"

    def __post_init__(self) -> None:
        if not np.all(np.isfinite(self.profile)) or np.any(self.profile < 0):
            raise DataError(f"{self.file}: the PSF profile has negative or non-finite values")
        if self.theta[-1] > np.pi:
            raise DataError(
                f"{self.file}: angles reach {self.theta[-1]:.3g} rad, more than half a turn; they "
                "look like degrees"
            )
        worst = self.integral[np.argmax(np.abs(np.log(np.maximum(self.integral, 1e-30))))]
        if not 0.9 < worst < 1.1:
            raise DataError(
                f"{self.file}: integral of the PSF over the sphere is {worst:.4g}, expected 1"
                f"{_suspicion(worst)}"
            )

    @property
    def cumulative(self) -> Array:
        """Integral of the profile out to each angle, shape (k, m)."""
        ring = 2 * np.pi * self.profile * np.sin(self.theta)
        steps = 0.5 * (ring[:, 1:] + ring[:, :-1]) * np.diff(self.theta)
        return np.concatenate([np.zeros((len(ring), 1)), np.cumsum(steps, axis=1)], axis=1)

    @property
    def integral(self) -> Array:
        """Integral over the sphere, shape (k,)."""
        total: Array = self.cumulative[:, -1]
        return total

    def containment_radius(self, fraction: float) -> Array:
        """Return the angle in radians that holds a fraction of the light, shape (k,)."""
        inside = self.cumulative / self.integral[:, None]
        return np.array([np.interp(fraction, share, self.theta) for share in inside])

    def averaged(self, edges: Array, index: float) -> PsfTable:
        """Return the mean over energy bins, weighted by exposure and a power-law spectrum.

        Parameters
        ----------
        edges
            Energy edges in MeV, length n + 1.
        index
            The spectrum is E^-index.
        """
        if len(self.energy) == 1:
            return self
        require_cover(self.energy, edges, f"{self.file}: the PSF")
        energies, weights = spectral_points(edges, index)
        below, fraction = interpolation(energies, self.energy)
        fraction = np.clip(fraction, 0, 1)
        share = np.zeros((len(weights), len(self.energy)))
        exposure = np.maximum(self.exposure, np.finfo(float).tiny)
        weights = weights * exposure[below] ** (1 - fraction) * exposure[below + 1] ** fraction
        rows = np.arange(len(weights))[:, None]
        np.add.at(share, (rows, below), weights * (1 - fraction))
        np.add.at(share, (rows, below + 1), weights * fraction)
        seen = share.sum(axis=1)
        share /= seen[:, None]
        return PsfTable(
            np.sqrt(edges[1:] * edges[:-1]), self.theta, share @ self.profile, seen, self.file
        )

    def kernels(self, pixel: tuple[float, float], containment: float) -> tuple[Array, Check]:
        """Return an image of the PSF for each energy.

        The profile is integrated over each pixel, because the PSF may be narrower than one.

        Parameters
        ----------
        pixel
            Height and width of a pixel in radians.
        containment
            Share of the light at which the PSF is cut off; what lies beyond is put back into the
            kernel.

        Returns
        -------
        kernels, check
            Shape (k, y, x), odd, each plane of sum one; and a line for the report.
        """
        radii = self.containment_radius(containment)
        fine = self.containment_radius(0.1) / 6
        images = [
            _integrated(self.theta, profile, pixel, radius, step)
            for profile, radius, step in zip(self.profile, radii, fine, strict=True)
        ]
        shape = np.max([image.shape for image in images], axis=0)
        kernels = np.zeros((len(images), *shape))
        for kernel, image in zip(kernels, images, strict=True):
            y, x = (shape - image.shape) // 2
            kernel[y : y + image.shape[0], x : x + image.shape[1]] = image / image.sum()
        r68, r95 = (np.degrees(self.containment_radius(f)) for f in (0.68, 0.95))
        text = (
            f"PSF from {self.file}: 68% within {_span(r68)} deg, 95% within {_span(r95)} deg; "
            f"kernels of {shape[1]}x{shape[0]} pixels hold {containment:.1%} of the light "
            "and are renormalised"
        )
        return kernels, Check("ok", "psf", text)


def read_psf_table(hdus: Any, path: Path | str) -> PsfTable:
    """Read the table of gtpsf: PSF (Energy, Exposure, Psf) and THETA.

    Units that the file leaves unsaid are MeV, deg and sr-1, as documented for gtpsf.
    """
    file = Path(path).name
    psf, theta = extension(hdus, "PSF", path), extension(hdus, "THETA", path)
    profile = column(psf, "Psf", "sr-1", "sr-1", file)
    return PsfTable(
        energy=column(psf, "Energy", "MeV", "MeV", file),
        theta=column(theta, "Theta", "rad", "deg", file),
        profile=profile.reshape(len(profile), -1),
        exposure=column(psf, "Exposure", "cm2 s", "cm2 s", file),
        file=file,
    )


def read_mapdataset_psf(hdus: Any, path: Path | str) -> PsfTable:
    """Read the PSF of a MapDataset: a long table with angle and energy of each row beside it."""
    file = Path(path).name
    psf, bands = extension(hdus, "PSF", path), extension(hdus, "PSF_BANDS", path)
    if psf.is_image:
        raise DataError(
            f"{file}[PSF] is a map of PSFs by position; give one PSF for the field with --psf"
        )
    energy = column(bands, "ENERGY_TRUE", "MeV", "MeV", file)
    angle = column(bands, "RAD", "rad", "deg", file)
    energies, angles = np.unique(energy), np.unique(angle)
    if len(energies) * len(angles) != len(energy):
        raise DataError(f"{file}[PSF]: {len(energy)} rows are no grid of energy and angle")
    order = np.lexsort((angle, energy))
    profile = column(psf, "DATA", "sr-1", "sr-1", file)[order]
    exposure = np.ones(len(energies))
    if "PSF_EXPOSURE" in hdus and not hdus["PSF_EXPOSURE"].is_image:
        given = column(hdus["PSF_EXPOSURE"], "DATA", "cm2 s", "cm2 s", file)
        exposure = given if len(given) == len(energies) else exposure
    return PsfTable(energies, angles, profile.reshape(len(energies), -1), exposure, file)


def _suspicion(integral: float) -> str:
    for factor, profile, angle in (
        (1 / PER_SQUARE_DEGREE, "deg-2, not sr-1", "radians, not degrees"),
        (PER_SQUARE_DEGREE, "sr-1, not deg-2", "degrees, not radians"),
    ):
        if 0.5 < integral / factor < 2:
            return (
                f": units look like {profile} (or the angles like {angle}); say so in TUNIT of the "
                "column"
            )
    return ""


def _integrated(
    theta: Array, profile: Array, pixel: tuple[float, float], radius: float, step: float
) -> Array:
    """Integrate a profile over pixels: one quadrant, mirrored."""
    half = [int(np.ceil(radius / size - 0.5)) for size in pixel]

    def quadrant(half: list[int], samples: int) -> Array:
        offsets = (np.arange(samples) + 0.5) / samples - 0.5
        y, x = (
            ((np.arange(h + 1)[:, None] + offsets) * size).ravel()
            for h, size in zip(half, pixel, strict=True)
        )
        angle = np.hypot(y[:, None], x)
        value = np.where(angle <= radius, np.interp(angle, theta, profile), 0)
        shape = (half[0] + 1, samples, half[1] + 1, samples)
        mean: Array = value.reshape(shape).mean(axis=(1, 3))
        return mean * pixel[0] * pixel[1]

    image = quadrant(half, 3)
    core = [min(h, CORE) for h in half]
    samples = int(np.clip(np.ceil(max(pixel) / step), 5, 101)) | 1
    image[: core[0] + 1, : core[1] + 1] = quadrant(core, samples)
    rows, columns = (np.abs(np.arange(-h, h + 1)) for h in half)
    mirrored: Array = image[rows][:, columns]
    return mirrored


def _span(values: Array) -> str:
    low, high = f"{values.min():.2g}", f"{values.max():.2g}"
    return low if low == high else f"{low} to {high}"
