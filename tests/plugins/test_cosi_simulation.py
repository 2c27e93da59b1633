"""The simulated telescope: densities, drawn events and binned responses are one physics."""

import healpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from skyfold_cosi.simulation.binned import detector_response, interpolation, places
from skyfold_cosi.simulation.orbit import ANGLES
from skyfold_cosi.simulation.telescope import (
    ELECTRON,
    Rings,
    Telescope,
    around,
    electron_energy,
    scatter_cosine,
)

TELESCOPE = Telescope()
LINE = np.array([509.0, 513.0])
PHI = np.linspace(0, 180, 31)


def many(rng, direction, energy, count=200_000):
    return TELESCOPE.draw(np.tile(direction, (count, 1)), np.full(count, energy), rng)


@given(st.floats(50, 10_000), st.floats(0.01, np.pi))
def test_energy_is_conserved_in_the_scatter(energy, angle):
    electron = electron_energy(energy, angle)
    assert 0 < electron < energy
    assert scatter_cosine(energy, electron) == pytest.approx(np.cos(angle), abs=1e-6)


def test_backscattered_photon_keeps_the_known_energy():
    assert ELECTRON - electron_energy(ELECTRON, np.pi) == pytest.approx(ELECTRON / 3)


@pytest.mark.parametrize("centre", [-1.0, -0.3, 0.999])
@pytest.mark.parametrize("width", [0.003, 0.1, 1.0])
def test_rings_are_normalised_on_the_sphere(centre, width):
    one = Rings(np.array(1.0), np.array(centre), np.array(width))
    integral = quad(lambda cosine: float(one.density(cosine)), -1, 1, points=[centre])[0]
    assert 2 * np.pi * integral == pytest.approx(1, rel=1e-6)


def test_drawn_rings_follow_their_density(rng):
    rings = Rings(np.ones(100_000), np.full(100_000, 0.4), np.full(100_000, 0.05))
    edges = np.linspace(-1, 1, 41)
    found = np.histogram(rings.draw(rng), edges)[0]
    fine = np.linspace(edges[:-1], edges[1:], 401)
    one = Rings(np.array(1.0), np.array(0.4), np.array(0.05))
    expected = 1e5 * 2 * np.pi * np.trapezoid(one.density(fine), fine, axis=0)
    assert np.mean((found - expected) ** 2 / expected) < 1.8


def test_directions_drawn_around_others_keep_the_angle(rng):
    directions = rng.standard_normal((1000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cosine = rng.uniform(-1, 1, 1000)
    drawn = around(directions, cosine, rng)
    assert np.allclose(np.sum(drawn * directions, axis=1), cosine)
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1)


def test_source_lies_on_the_ring_of_an_event(rng):
    direction = np.array([0.6, 0.0, 0.8])
    measured, angle, psichi = many(rng, direction, 511.0)
    peak = np.abs(measured - 511) < 4
    measure = np.degrees(np.arccos(psichi @ direction) - angle)[peak]
    assert abs(np.median(measure)) < 0.1
    assert 3 < 2 * 1.48 * np.median(np.abs(measure)) < 7  # about the resolution of COSI


def test_rings_are_narrower_at_higher_energy():
    angle = np.radians(40)
    rings = [
        TELESCOPE.rings(e, electron_energy(e, angle), np.ones(1)) for e in (200.0, 511.0, 2000.0)
    ]
    assert rings[0].width > rings[1].width > rings[2].width


def test_lost_energy_makes_the_measured_angle_larger(rng):
    direction = np.array([0.0, 0.0, 1.0])
    measured, angle, psichi = many(rng, direction, 1500.0)
    lost = measured < 1200
    assert np.median((np.arccos(psichi[:, 2]) - angle)[lost]) < np.radians(-5)


def test_telescope_sees_less_away_from_its_axis_and_far_from_its_best_energy():
    angles = np.radians([0, 30, 60, 90, 180])
    assert np.all(np.diff(TELESCOPE.opening(np.cos(angles))) < 0)
    assert TELESCOPE.opening(-1.0) > 0
    assert TELESCOPE.area(400.0) > TELESCOPE.area(5000.0)


@pytest.mark.parametrize("nside", [1, 4])
def test_response_adds_up_to_the_effective_area(nside):
    energies = np.array([200.0, 400.0, 900.0])
    everything = np.array([0.0, 150.0, 300.0, 500.0, 1000.0])
    response = detector_response(TELESCOPE, nside, energies, everything, PHI)
    whole = response.dense()
    assert np.all(whole >= 0)
    assert np.allclose(whole.sum(axis=(2, 3, 4)), response.area, rtol=1e-6)


def test_mean_area_does_not_depend_on_the_resolution():
    areas = [
        detector_response(TELESCOPE, nside, LINE, LINE, PHI, line=ELECTRON).area.mean()
        for nside in (1, 2, 8)
    ]
    assert areas == pytest.approx([areas[0]] * 3, rel=1e-9)


def test_resolution_of_the_line_decides_what_the_window_holds():
    response = detector_response(TELESCOPE, 1, LINE, LINE, PHI, line=ELECTRON)
    sigma = TELESCOPE.resolution(ELECTRON)
    inside = 0.95 < response.share.sum() / TELESCOPE.absorbed(ELECTRON) < 1
    assert inside
    assert 0.8 < sigma < 1.1


def test_drawn_events_follow_the_binned_response(rng):
    energies, measured = np.array([600.0, 601.0]), np.array([100.0, 300.0, 500.0, 598.0, 610.0])
    response = detector_response(TELESCOPE, 4, energies, measured, PHI, line=600.5)
    pixel, count = 20, 200_000
    rows = next(rows for first, rows in response if first == pixel)
    expected = rows[0].reshape(4, 30, 192) / response.area[pixel, 0] * count
    inside = places(4, 512)[pixel]
    drawn = TELESCOPE.draw(inside[rng.integers(0, len(inside), count)], np.full(count, 600.5), rng)
    em, phi = np.digitize(drawn[0], measured) - 1, np.degrees(drawn[1]) // 6
    used = (em >= 0) & (em < 4)
    place = em, np.clip(phi, 0, 29).astype(int), healpy.vec2pix(4, *drawn[2].T)
    found = np.zeros(expected.shape)
    np.add.at(found, tuple(p[used] for p in place), 1)
    enough = expected > 8
    assert np.mean((found - expected)[enough] ** 2 / expected[enough]) < 1.15
    assert found.sum(axis=(1, 2)) == pytest.approx(expected.sum(axis=(1, 2)), rel=0.03)


def test_both_ways_to_average_a_table_agree(rng):
    place = rng.uniform(0, len(ANGLES) - 1, (5, 32))
    table = rng.random((len(ANGLES), 3))
    several = np.stack([np.interp(place, np.arange(len(ANGLES)), t).sum(axis=1) for t in table.T])
    assert np.allclose(interpolation(place, len(ANGLES)) @ table, several.T)
    few = interpolation(place[:, :8], len(ANGLES)) + interpolation(place[:, 8:16], len(ANGLES))
    assert np.allclose((few @ table), interpolation(place[:, :16], len(ANGLES)) @ table)


def test_events_without_bins_have_the_density_of_the_bins():
    """The density of an event, integrated over a bin, is the content of the bin."""
    measured, phi = np.array([300.0, 320.0]), np.array([60.0, 66.0])
    response = detector_response(TELESCOPE, 1, np.array([600.0, 601.0]), measured, phi, line=600.5)
    share = response.share.item()
    em, angle = np.meshgrid(np.linspace(300, 320, 41), np.radians(np.linspace(60, 66, 41)))
    _, escaped = TELESCOPE.event_rings(600.5, em.ravel(), angle.ravel())
    mean = np.trapezoid(np.trapezoid(escaped.weight.reshape(41, 41), em[0]), angle[:, 0])
    assert mean == pytest.approx(share, rel=1e-3)
