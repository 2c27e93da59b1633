import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import gaussian_filter

import skyfold
from skyfold import report
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.significance import significance, write


def dark_sky(rng, level, values=400):
    """A known background, a response of random ways, and a sky that is dark."""
    matrix = rng.random((300, values)) ** 20
    counts = rng.poisson(np.full(300, level))
    parts = {
        "sky": skyfold.Component(skyfold.Grid((values,))),
        "background": skyfold.Component(skyfold.Normalisations(), fixed=True),
    }
    responses = {"sky": skyfold.Matrix(matrix), "background": np.full(300, level)}
    data = skyfold.BinnedData(counts, responses, components=parts)
    return matrix, data, RichardsonLucy().start(data, skyfold.Model.start(data, sky=0.0))


def exact(matrix, counts, expected):
    slope = matrix.T @ (counts / expected) - matrix.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return slope / np.sqrt((matrix**2).T @ (counts / expected**2))


def test_it_is_the_slope_over_its_error(rng):
    matrix, data, state = dark_sky(rng, 4.0)
    found = significance(state, data, probes=400)["sky"]
    true = exact(matrix, data.full_counts, 4.0)
    ratio = found / true
    assert np.std(ratio) < 1.3 / np.sqrt(2 * 400)
    assert np.mean(ratio) == pytest.approx(1, abs=0.02)
    again = significance(state, data, probes=400)["sky"]
    np.testing.assert_array_equal(found, again)
    other = significance(state, data, probes=400, seed=1)["sky"]
    assert not np.array_equal(found, other)


def test_noise_above_a_known_background_is_a_unit_normal(rng):
    pulls = []
    for _ in range(60):
        _, data, state = dark_sky(rng, 20.0, values=30)
        pulls.append(significance(state, data)["sky"])
    assert np.std(pulls) == pytest.approx(1, abs=0.12)
    assert abs(np.mean(pulls)) < 0.4  # one background fluctuation moves all values together


def test_few_counts_are_not_overstated(rng):
    matrix, data, state = dark_sky(rng, 0.02)
    true = exact(matrix, data.full_counts, 0.02)
    assert np.nanmax(true) <= np.sqrt(data.counts.sum())
    assert np.nanmax(significance(state, data, 200)["sky"]) < 1.2 * np.sqrt(data.counts.sum())


def test_a_fitted_sky_leaves_nothing_positive(rng):
    matrix = rng.random((300, 12)) ** 3
    data = skyfold.BinnedData(
        rng.poisson(matrix @ (10.0 * (np.arange(12) > 5))), {"sky": skyfold.Matrix(matrix)}
    )
    before = skyfold.run(data, iterations=1, progress=False)
    result = skyfold.run(data, iterations=400, progress=False)
    sky, sigma = result.image.value, result.significance()
    assert before.significance().max() > 3
    assert np.abs(sigma[sky > 1]).max() < 0.02
    assert sigma.max() < 0.1
    assert sigma[sky < 1e-3].max() < 0


def missing_star(rng, path=None):
    """A flat sky that is known, and a star nobody thought of."""
    shape, wcs = (24, 30), WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [266.4, -29.0]
    wcs.wcs.cdelt, wcs.wcs.crpix = [-0.01, 0.01], [15, 12]
    star = np.zeros(shape)
    star[7, 20] = 300.0
    columns = [gaussian_filter(one.reshape(shape), 1.5).ravel() for one in np.eye(720)]
    grid = skyfold.Grid(shape, wcs)
    response = skyfold.Matrix(np.transpose(columns), shape, shape)
    sky = skyfold.Component(grid, "ct", fixed=True, start=3.0)
    data = skyfold.BinnedData(
        rng.poisson(3.0 + gaussian_filter(star, 1.5)),
        {"sky": response},
        components={"sky": sky},
        origin=skyfold.Origin("field", geometry=grid),
    )
    return skyfold.run(data, iterations=1, output=path, progress=False)


def test_a_source_is_found_where_it_is(rng):
    sigma = missing_star(rng).significance()
    assert np.unravel_index(np.argmax(sigma), sigma.shape) == (7, 20)
    assert sigma.max() > 8
    assert np.sum(sigma > 5) < 60


def test_it_is_written_and_shown(rng, tmp_path):
    result = missing_star(rng, tmp_path / "run")
    path = write(result, tmp_path / "run", probes=8)
    with fits.open(path) as hdus:
        hdu = hdus["SIGNIFICANCE"]
        np.testing.assert_array_equal(hdu.data, result.significance(probes=8))
        assert hdu.header["BUNIT"] == "sigma"
        assert WCS(hdu.header).has_celestial
    page = report.write(tmp_path / "run").read_text("utf-8")
    assert "Where more light is asked for" in page


def test_a_whole_sky_is_written_as_a_table(sky_result, tmp_path):
    healpy = pytest.importorskip("healpy")
    sky_result.write(tmp_path)
    path = write(sky_result, tmp_path, probes=4)
    values = sky_result.significance(probes=4)
    assert values.shape == (192, 2)
    for energy in range(2):
        found = healpy.read_map(path, field=energy, hdu="SIGNIFICANCE")
        np.testing.assert_array_equal(found, values[:, energy])
    page = report.write(tmp_path).read_text("utf-8")
    assert "Where more light is asked for" in page
