"""Sampling from the command line: what is left, killed runs, numbers that make no sense."""

from __future__ import annotations

import time

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

LIRA = "run counts.fits --psf psf.fits --method lira --chains 2 --origins 1 -q -o out"
RUN = f"{LIRA} --burn 100 --draws 600 --thin 5 --checkpoint '30 ms'"


def left(folder):
    """Return everything that was drawn."""
    with np.load(folder / "checkpoint.npz") as stored:
        arrays = {name: stored[name] for name in stored if name != "structure"}
    with fits.open(folder / "result.fits", memmap=False) as hdus:
        images = {
            hdu.name: hdu.data.copy() for hdu in hdus if hdu.is_image and hdu.data is not None
        }
    return arrays, images, (folder / "samples.f32").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(workplace, tmp_path_factory):
    """Return what the run leaves if nobody disturbs it, and how long it takes."""
    skyfold, files = workplace(tmp_path_factory.mktemp("uninterrupted"))
    files.observation()
    began = time.monotonic()
    skyfold.accepts(RUN)
    return left(files.folder / "out"), time.monotonic() - began


def test_what_a_run_leaves(uninterrupted):
    (_, images, samples), _ = uninterrupted
    shape = images["PRIMARY"].shape
    assert len(samples) == 4 * 2 * 120 * np.prod(shape)
    kept = np.frombuffer(samples, "<f4").reshape(120, 2, *shape).astype(float)
    assert np.all(np.isfinite(kept))
    assert np.all(images["INTERVAL_LOW"] <= images["INTERVAL_HIGH"])
    total = kept.sum(axis=(2, 3))
    assert abs(images["PRIMARY"].sum() - total.mean()) < 5 * total.std() / np.sqrt(50)


@pytest.mark.parametrize("share", [0.5, pytest.param(0.75, marks=pytest.mark.slow)])
def test_killed_runs_leave_the_same_posterior(skyfold, files, uninterrupted, share):
    (arrays, images, samples), duration = uninterrupted
    files.observation()
    out = files.folder / "out"
    process = skyfold.start(RUN)
    while not (out / "checkpoint.npz").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(share * duration / 2)
    process.kill()
    process.communicate()
    skyfold.accepts("resume out -q")
    found = left(out)
    assert found[0].keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[0][name], array, err_msg=name)
    for name, image in images.items():
        np.testing.assert_array_equal(found[1][name], image, err_msg=name)
    assert found[2] == samples


@pytest.mark.slow
def test_seeds_repeat_and_differ(skyfold, files):
    files.observation()
    short = f"{LIRA} --burn 10 --draws 30 --overwrite"
    found = []
    for seed in (1, 1, 2):
        skyfold.accepts(f"{short} --seed {seed}")
        found.append((files.folder / "out" / "samples.f32").read_bytes())
    assert found[0] == found[1] != found[2]


@pytest.mark.slow
def test_more_draws_go_on_from_the_last(skyfold, files):
    files.observation()
    skyfold.accepts(f"{LIRA} --burn 20 --draws 40 --thin 2")
    first = (files.folder / "out" / "samples.f32").read_bytes()
    skyfold.accepts("resume out --iterations 100 -q")
    second = (files.folder / "out" / "samples.f32").read_bytes()
    assert second.startswith(first)
    assert len(second) == 2 * len(first)


@pytest.mark.slow
def test_one_chain_is_told_what_it_lacks(skyfold, files):
    files.observation()
    ended = skyfold.accepts(
        "run counts.fits --psf psf.fits --method lira --chains 1 --burn 10 --draws 20 -o out",
        says=("R-hat needs",),
    )
    assert "NOTE" in ended.out
    table = Table.read(files.folder / "out" / "result.fits", "PARAMETER_TRACE")
    assert len(table) == 30
    quiet = skyfold.accepts(f"{LIRA} --burn 10 --draws 20 --overwrite")
    assert not quiet.out
    assert "NOTE" in quiet.err


def test_check_takes_the_options_of_a_method(skyfold, files):
    files.observation()
    files_given = "check counts.fits --psf psf.fits --chains 3"
    skyfold.accepts(f"{files_given} --method lira --published")
    skyfold.refuses(2, files_given, says=("'chains' belongs to the method lira", "--method lira"))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--chains 0", "chains"),
        ("--chains 5 --origins 2", "5 chains cannot be shared out among 2 origins"),
        ("--hyper [1,0,1]", "hyper"),
    ],
)
def test_numbers_that_make_no_sense(skyfold, files, flags, says):
    files.observation()
    skyfold.refuses(2, f"run counts.fits --psf psf.fits --method lira {flags} -o out", says=(says,))
