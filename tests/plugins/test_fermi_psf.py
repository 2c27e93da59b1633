"""Radial profiles of the Fermi LAT become kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from skyfold.errors import DataError
from skyfold_fermi.psf_table import PsfTable, read_mapdataset_psf, read_psf_table

PIXEL = (np.radians(0.05), np.radians(0.05))
EDGES = np.geomspace(1e4, 5e5, 12)


def gaussian(sigma: np.ndarray, factor: float = 1.0) -> PsfTable:
    """Return Gaussian profiles of these widths in radians, at energies from 1 GeV on."""
    theta = sigma.max() * 7 * np.linspace(0, 1, 600) ** 2
    profile = np.exp(-0.5 * (theta / sigma[:, None]) ** 2) / (2 * np.pi * sigma[:, None] ** 2)
    energy = np.geomspace(1e3, 1e5, len(sigma)) if len(sigma) > 1 else np.array([1e4])
    return PsfTable(energy, theta, factor * profile, np.ones(len(sigma)), "psf.fits")


def table_file(table: PsfTable, theta_unit: str = "", psf_unit: str = "") -> fits.HDUList:
    """Return a file as gtpsf writes it, its columns scaled as they are."""
    columns = [
        fits.Column("Energy", "D", array=table.energy),
        fits.Column("Exposure", "D", array=table.exposure),
        fits.Column("Psf", f"{len(table.theta)}D", psf_unit or None, array=table.profile),
    ]
    theta = fits.Column("Theta", "D", theta_unit or None, array=table.theta)
    return fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.BinTableHDU.from_columns(columns, name="PSF"),
            fits.BinTableHDU.from_columns([theta], name="THETA"),
        ]
    )


@given(st.floats(0.05, 30), st.floats(0.5, 2))
def test_kernel_of_a_gaussian_is_its_integral_over_pixels(width: float, aspect: float) -> None:
    """From far narrower than a pixel to far wider."""
    from scipy.special import erf

    pixel = (1e-3, 1e-3 * aspect)
    sigma = width * 1e-3
    (kernel,), _ = gaussian(np.array([sigma])).kernels(pixel, 0.999)
    exact = np.ones((1, 1))
    for n, size in zip(kernel.shape, pixel, strict=True):
        edges = (np.arange(n + 1) - n / 2) * size / sigma / np.sqrt(2)
        exact = exact[..., None] * np.diff(erf(edges)) / 2
    assert kernel.shape[0] % 2 == kernel.shape[1] % 2 == 1
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(kernel, exact[0, 0], atol=2e-3 * kernel.max())
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1])


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("fermi-3fhl-gc-psf-cube.fits.gz", read_psf_table),
        ("fermi_3fhl_psf_gc.fits.gz", read_psf_table),
        ("fermi-3fhl-gc.fits.gz", read_mapdataset_psf),
    ],
)
def test_real_tables(shared_data: Path, name: str, reader: object) -> None:
    with fits.open(shared_data / "fermi" / name) as hdus:
        table = reader(hdus, name)  # type: ignore[operator]
    np.testing.assert_allclose(table.integral, 1, atol=4e-3)
    means = table.averaged(EDGES, 2.0)
    kernels, check = means.kernels(PIXEL, 0.999)
    np.testing.assert_allclose(kernels.sum(axis=(1, 2)), 1, rtol=1e-12)
    assert kernels.min() >= 0
    assert "99.9% of the light" in check.message
    # light within a radius, against the table's own containment there
    y, x = np.indices(kernels.shape[1:]) - np.array(kernels.shape[1:]).reshape(2, 1, 1) // 2
    fine = np.hypot(y, x) * PIXEL[0]
    for kernel, share in zip(kernels, means.cumulative / means.integral[:, None], strict=True):
        radii = np.radians([0.2, 0.3, 0.5, 1.0])
        inside = [kernel[fine <= r].sum() for r in radii]
        np.testing.assert_allclose(inside, np.interp(radii, means.theta, share), atol=0.015)


def test_r68_shrinks_with_energy_as_in_the_table(shared_data: Path) -> None:
    with fits.open(shared_data / "fermi" / "psf_00.fits.gz") as hdus:
        table = read_psf_table(hdus, "psf_00")
    edges = table.energy[::2]
    means = table.averaged(edges, 2.0)
    nodes = table.containment_radius(0.68)
    mean = means.containment_radius(0.68)
    assert np.all(mean < nodes[:-2:2])
    assert np.all(mean > nodes[2::2])


def test_two_products_of_one_field_agree(shared_data: Path) -> None:
    kernels = []
    for name in ("fermi-3fhl-gc-psf-cube.fits.gz", "fermi_3fhl_psf_gc.fits.gz"):
        with fits.open(shared_data / "fermi" / name) as hdus:
            kernels.append(read_psf_table(hdus, name).averaged(EDGES, 2.0).kernels(PIXEL, 0.99)[0])
    half = min(k.shape[1] for k in kernels) // 2
    first, second = (k[:, (m := k.shape[1] // 2) - half : m + half + 1] for k in kernels)
    assert abs(first[:, :, first.shape[2] // 2] - second[:, :, second.shape[2] // 2]).max() < 2e-3


def test_mean_over_a_bin_is_weighted_by_spectrum_and_exposure() -> None:
    table = gaussian(np.array([4e-3, 2e-3, 1e-3]))
    edges = np.array([1e3, 1e5])
    hard, soft = (table.averaged(edges, index).containment_radius(0.68)[0] for index in (0.0, 4.0))
    low, high = table.containment_radius(0.68)[[0, -1]]
    assert high < hard < soft < low
    rising = PsfTable(table.energy, table.theta, table.profile, table.energy**2, "psf.fits")
    # E^-2 seen through an exposure that rises as E^2 is a flat spectrum
    np.testing.assert_allclose(
        rising.averaged(edges, 2.0).profile, table.averaged(edges, 0.0).profile, rtol=1e-6
    )


def test_p12_units() -> None:
    per_steradian = gaussian(np.array([2e-3, 1e-3]))
    degrees = np.degrees(1)

    def scaled(theta: float, psf: float) -> PsfTable:
        table = object.__new__(PsfTable)
        table.__dict__.update(per_steradian.__dict__)
        table.__dict__.update(theta=table.theta * theta, profile=table.profile * psf)
        return table

    good = read_psf_table(table_file(scaled(degrees, 1)), "a.fits")
    np.testing.assert_allclose(good.profile, per_steradian.profile)
    np.testing.assert_allclose(good.theta, per_steradian.theta)
    said = read_psf_table(table_file(scaled(1, degrees**-2), "rad", "deg-2"), "a.fits")
    np.testing.assert_allclose(said.profile, per_steradian.profile)
    with pytest.raises(DataError, match=r"is 0.0003046, expected 1.*look like deg-2"):
        read_psf_table(table_file(scaled(degrees, degrees**-2)), "a.fits")
    with pytest.raises(DataError, match=r"is 0.0003046, expected 1.*radians, not degrees"):
        read_psf_table(table_file(scaled(1, 1)), "a.fits")
    with pytest.raises(DataError, match=r"is 3283, expected 1.*look like sr-1"):
        read_psf_table(table_file(scaled(degrees, 1), "", "deg-2"), "a.fits")
    with pytest.raises(DataError, match=r"half a turn; they look like degrees"):
        read_psf_table(table_file(scaled(degrees * 10, 1), "rad"), "a.fits")
    with pytest.raises(DataError, match=r"expected 1$"):
        gaussian(np.array([1e-3]), factor=0.5)


def test_energies_that_the_table_lacks_are_refused() -> None:
    with pytest.raises(DataError, match=r"covers 1 to 100 GeV, but the counts 10 to 1000 GeV"):
        gaussian(np.array([2e-3, 1e-3, 5e-4])).averaged(np.array([1e4, 1e6]), 2.0)


def test_missing_parts_are_named() -> None:
    file = table_file(gaussian(np.array([1e-3])))
    with pytest.raises(DataError, match=r"a.fits has no extension 'THETA'; it has PRIMARY, PSF"):
        read_psf_table(fits.HDUList(file[:2]), "a.fits")
    file["PSF"].columns["Psf"].name = "Value"
    with pytest.raises(DataError, match=r"no column 'Psf'; it has Energy, Exposure, Value"):
        read_psf_table(file, "a.fits")
