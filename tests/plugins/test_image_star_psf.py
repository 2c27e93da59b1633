"""Stars with PSFs of their own, numbered from 2."""

from __future__ import annotations

import numpy as np
import pytest

import skyfold
from skyfold.errors import ConfigError, DataError
from skyfold.points import with_points
from skyfold.response import check_adjoint
from skyfold.sources import Sources
from skyfold_image.kernels import gauss
from skyfold_image.opener import open_image

SHAPE = (30, 32)
WIDE = gauss(5.0)
PLACES = np.array([[7.0, 8.0], [20.3, 12.6]])


def opened(counts=None, **more):
    counts = np.ones(SHAPE) if counts is None else counts
    return open_image(counts, gauss(2.5), star_psf=WIDE, **more)


def listed(psf, places=PLACES):
    names = tuple(f"s{i}" for i in range(len(places)))
    return Sources(names, places, psf=None if psf is None else np.array(psf))


@pytest.mark.parametrize("block", [1, 2])
def test_a_star_is_seen_through_the_psf_that_its_list_names(block):
    data = with_points(opened(block=block), listed([0, 1]))
    response = data.whole["stars"]
    assert check_adjoint(response) < 1e-13
    narrow, wide = (response.forward(row) for row in np.eye(2))
    assert narrow.sum() == pytest.approx(1, abs=1e-3)
    assert wide.sum() == pytest.approx(1, abs=1e-3)
    assert narrow.max() > 1.5 * wide.max()
    y, x = np.indices(SHAPE)
    assert (wide * x).sum() == pytest.approx(20.3, abs=0.05)
    assert (wide * y).sum() == pytest.approx(12.6, abs=0.05)


def test_exposure_counts_at_the_star():
    exposure = 1 + np.indices(SHAPE)[1] / 10
    data = with_points(opened(exposure=exposure, exposure_unit="s"), listed([0, 1]))
    seen = data.sensitivity["stars"]
    assert seen == pytest.approx([1.7, 3.03], rel=1e-2)


def test_fluxes_of_both_kinds_are_found():
    data = with_points(opened(), listed([0, 1]))
    truth = {"sky": np.full(data.components["sky"].geometry.shape, 3.0), "stars": [9000.0, 9000.0]}
    truth["stars"] = np.array(truth["stars"])
    counts = np.random.default_rng(2).poisson(data.full_expectation(truth))
    run = skyfold.run(
        with_points(opened(counts), listed([0, 1])), "two-channel", smooth="9 pix", progress=False
    )
    assert run.model["stars"] == pytest.approx([9000, 9000], rel=0.05)


def test_the_list_must_name_psfs_that_are_there():
    with pytest.raises(DataError, match="2 PSFs are given, but the list does not say"):
        with_points(opened(), listed(None))
    with pytest.raises(DataError, match="asks for PSF 3, but there are 2"):
        with_points(opened(), listed([0, 2]))
    with pytest.raises(DataError, match="asks for PSF 2, but there is one"):
        with_points(open_image(np.ones(SHAPE), WIDE), listed([0, 1]))
    with pytest.raises(ConfigError, match="do not go with the boundary reflect"):
        opened(boundary="reflect")


def test_files_of_further_psfs_are_inputs_of_the_run(tmp_path):
    from astropy.io import fits

    for name, kernel in (("one", WIDE), ("two", gauss(3.0))):
        fits.writeto(tmp_path / f"{name}.fits", kernel)
    several = [str(tmp_path / "one.fits"), str(tmp_path / "two.fits")]
    data = open_image(np.ones(SHAPE), gauss(2.0), star_psf=several)
    assert [role for role, _ in data.origin.files] == ["star_psf 2", "star_psf 3"]
    assert {"star_psf 2", "star_psf 3"} < {check.subject for check in data.checks}
    alone = skyfold.read(np.ones(SHAPE), psf=gauss(2.0), star_psf=several[0])
    assert alone.whole["sky"].psfs == 2
