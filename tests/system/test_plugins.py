"""Plugins of strangers: installed from their own folders, listed, recognised, run, proven."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

BALLOON = Path(__file__).parents[1] / "skyfold-balloon"
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]


def install(source, site):
    """Install a plugin from its folder, as its author would, but beside the environment."""
    copy = site.parent / f"{site.name}-source"
    shutil.copytree(source, copy)
    command = [*PIP, "--disable-pip-version-check", "--target", str(site), str(copy)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder where the balloon is installed."""
    pytest.importorskip("flit_core", reason="plugins are built with flit_core")
    site = tmp_path_factory.mktemp("balloon") / "site"
    install(BALLOON, site)
    return site


@pytest.fixture
def balloon(skyfold, site, files):
    """Install the balloon for the processes, and write a flight file."""
    skyfold.add_to_path(site)
    skyfold.env["SKYFOLD_DISABLE"] = ""
    rng = np.random.default_rng(3)
    mask = (rng.random((27, 27)) < 0.5).astype(float)
    shadow = 400 * mask[5:21, 8:24] + 30
    counts = rng.poisson(shadow)
    np.savez(files.folder / "flight-7.npz", counts=counts, mask=mask, livetime=10.0)
    return counts


def test_balloon_is_listed(skyfold, balloon):
    said = skyfold.accepts("plugins list", says=("skyfold-balloon 1.0",)).out
    (instruments,) = (line for line in said.splitlines() if line.startswith("instruments:"))
    assert "balloon" in instruments
    assert "BROKEN" not in said
    skyfold.accepts("plugins info balloon", says=("--background-rate", "--flight"))


def test_balloon_is_recognised_and_run(skyfold, balloon, files):
    skyfold.accepts("run flight-7.npz --iterations 30 -o flags --background-rate 3")
    files.text("run.yaml", "data: {flight: flight-7.npz, background_rate: 3}\niterations: 30\n")
    skyfold.accepts("run run.yaml -o yaml")
    images = [fits.getdata(files.folder / n / "result.fits") for n in ("flags", "yaml")]
    np.testing.assert_array_equal(*images)
    assert np.unravel_index(np.argmax(images[0]), images[0].shape) == (5, 8)
    with fits.open(files.folder / "yaml" / "result.fits") as hdus:
        assert hdus["EXPECTATION"].data.sum() == pytest.approx(balloon.sum(), rel=0.02)
    (files.folder / "deep").mkdir()
    shutil.move(files.folder / "flight-7.npz", files.folder / "deep" / "flight-7.npz")
    files.text("deep/run.yaml", "data: {flight: flight-7.npz}\niterations: 30\n")
    skyfold.accepts("run deep/run.yaml --background-rate 3 -o deeper")
    image = fits.getdata(files.folder / "deeper" / "result.fits")
    np.testing.assert_array_equal(image, images[0])
    shutil.move(files.folder / "deep" / "flight-7.npz", files.folder / "flight-7.npz")
    skyfold.accepts("resume yaml --iterations 31")
    skyfold.refuses(2, "run flight-7.npz --background-rat 3", says=("'--background-rate'",))


def test_balloon_is_proven(skyfold, balloon):
    ended = skyfold.accepts(
        "plugins check balloon flight-7.npz", says=("sky: adjoint", "never falls", "flux")
    )
    assert "FAILED" not in ended.out
    skyfold.refuses(2, "plugins check balloon", says=("give a file",))


LYING = """\
from pathlib import Path
import numpy as np
from skyfold import BinnedData, Response, hookimpl

class Lying(Response):
    model_shape = data_shape = (8,)

    def forward(self, values):
        return values + 0.1 * np.roll(values, 1)

    def adjoint(self, weights):
        return weights + 0.1 * np.roll(weights, 1)

def open_lying(file: Path) -> BinnedData:
    return BinnedData(np.load(file), {"sky": Lying()})

@hookimpl
def skyfold_register(registry):
    registry.instruments.add("lying", open_lying)
"""


def test_P21_pair_that_is_not_adjoint(skyfold, plugin, files):
    plugin("lying", LYING)
    np.save(files.folder / "counts.npy", np.arange(8))
    ended = skyfold.refuses(3, "plugins check lying counts.npy", says=("checks failed",))
    assert "FAILED sky: adjoint" in ended.out
    assert "limit 1e-10" in ended.out


def test_new_plugin_works_as_it_stands(skyfold, files, tmp_path_factory):
    """The skeleton is installed, listed, proven, and its own tests pass."""
    pytest.importorskip("flit_core", reason="plugins are built with flit_core")
    skyfold.accepts("plugins new my-camera", says=("skyfold-my-camera", "pip install"))
    folder = files.folder / "skyfold-my-camera"
    site = tmp_path_factory.mktemp("camera") / "site"
    install(folder, site)
    skyfold.add_to_path(site)
    skyfold.accepts("plugins list", says=("my-camera", "skyfold-my-camera 0.1"))
    ended = skyfold.accepts("plugins check my-camera")
    assert "FAILED" not in ended.out
    skyfold.accepts("demo my-camera -o out -q")
    assert (files.folder / "out" / "report.html").exists()
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    ended = subprocess.run(tests, cwd=folder, env=skyfold.env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def test_disabled_plugin_is_not_there(skyfold, plugin, files):
    plugin("lying", LYING)
    skyfold.env["SKYFOLD_DISABLE"] += ",lying"
    assert "lying" not in skyfold.accepts("plugins list").out


def test_two_plugins_that_offer_one_name(skyfold, plugin, files):
    """A stranger's plugin never takes a name of ours, nor takes anything down."""
    plugin("thief", LYING.replace('"lying"', '"image"'))
    files.observation()
    skyfold.accepts(
        "check counts.fits --psf psf.fits", says=("thief", "set aside", "'image' is offered twice")
    )
