"""The tutorial of cosipy on the 511 keV line, with its import lines changed."""

import numpy as np
import pytest
from astropy import units as u
from histpy import Axes, Axis, HealpixAxis, Histogram
from mhealpy import HealpixMap

from skyfold_cosi.cosipy.data_io import BinnedData
from skyfold_cosi.cosipy.image_deconvolution import DataIF_COSI_DC2, ImageDeconvolution
from skyfold_cosi.cosipy.util import fetch_wasabi_file
from skyfold_cosi.unbinned import Unbinned, write_unbinned

INPUTS = """
data_file: "NA"
ori_file: "NA"
unbinned_output: 'fits'
time_bins: 100
energy_bins: [509., 513.]
phi_pix_size: 15
nside: 2
scheme: 'ring'
tmin: 1835487300.0
tmax: 1835487400.0
"""
PARAMETERS = """
model_definition:
  class: "AllSkyImage"
  property:
    coordinate: "galactic"
    nside: 2
    scheme: "ring"
    energy_edges:
      value: [509.0, 513.0]
      unit: "keV"
    unit: "cm-2 s-1 sr-1"
  initialization:
    algorithm: "flat"
    parameter:
      value: [1e-4]
      unit: "cm-2 s-1 sr-1"
deconvolution:
  algorithm: "RL"
  parameter:
    iteration_max: 10
    acceleration: {activate: True, accel_factor_max: 10.0}
    response_weighting: {activate: True, index: 0.5}
    smoothing: {activate: True, FWHM: {value: 2.0, unit: "deg"}}
    stopping_criteria: {statistics: "log-likelihood", threshold: 1e-2}
    background_normalization_optimization: {activate: True, range: {"albedo": [0.01, 10.0]}}
    save_results: {activate: False, directory: "./results", only_final_result: True}
"""
NSIDE, PHI, PIXELS = 2, 12, 48


def events(expected, rng):
    """Draw events whose measured values lie in the middle of bins (Phi, PsiChi)."""
    import healpy

    counts = rng.poisson(expected)
    phi, pixel = (np.repeat(i, counts[np.nonzero(counts)]) for i in np.nonzero(counts))
    n = phi.size
    lon, lat = healpy.pix2ang(NSIDE, pixel, lonlat=True)
    axis = np.zeros((n, 2))
    return Unbinned(
        1835487300 + 99.9 * rng.random(n),
        511 + 4 * rng.random(n) - 3,  # some of them outside the bin
        np.radians(15 * phi + 7.5),
        axis,
        np.broadcast_to([0, np.pi / 2], (n, 2)),
        np.radians(np.stack([lon, 90 - lat], axis=-1)),
        np.stack([lon, lat], axis=-1),
        np.ones(n),
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files of the tutorial, small, in the current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(11)
    axes = Axes(
        [
            HealpixAxis(nside=NSIDE, scheme="ring", coordsys="galactic", label="NuLambda"),
            Axis([509.0, 513.0] * u.keV, label="Ei", scale="log"),
            Axis([509.0, 513.0] * u.keV, label="Em", scale="log"),
            Axis(np.linspace(0, 180, PHI + 1) * u.deg, label="Phi"),
            HealpixAxis(nside=NSIDE, scheme="ring", coordsys="galactic", label="PsiChi"),
        ]
    )
    response = 1e5 * rng.random((PIXELS, 1, 1, PHI, PIXELS)) ** 6
    Histogram(axes, contents=response, unit="cm2 s").write("psr_gal_511_DC2.h5")
    sky = np.full(PIXELS, 1e-4)
    sky[20:26] = 3e-3
    expected = np.tensordot(sky * np.pi / 12, response, 1)[0, 0]
    write_unbinned("source.fits.gz", events(expected, rng))
    write_unbinned("background.fits.gz", events(np.full(expected.shape, 3.0), rng))
    (tmp_path / "inputs_511keV_DC2.yaml").write_text(INPUTS)
    (tmp_path / "imagedeconvolution_parfile_gal_511keV.yml").write_text(PARAMETERS)
    return tmp_path


def plain(counts, background, response, iterations):
    """Return log-likelihood, factor, normalisation and image of each iteration, by NumPy alone."""
    matrix = response.reshape(PIXELS, -1) * np.pi / 12
    n, b = counts.ravel(), background.ravel()
    image, norm, exposure = np.full(PIXELS, 1e-4), 1.0, matrix.sum(axis=1)
    rows, expected = [], image @ matrix + norm * b + 1e-12
    for _ in range(iterations):
        ratio = n / expected
        step = image * (matrix @ ratio / exposure - 1)
        norm = np.clip(norm * (ratio @ b) / b.sum(), 0.01, 10.0)
        reach = np.min(-image[step < 0] / step[step < 0], initial=np.inf)
        factor = max(1.0, min(reach, 2.0))
        image = np.maximum(image + factor * step, 0)
        expected = image @ matrix + norm * b + 1e-12
        rows.append((np.sum(n * np.log(expected)) - expected.sum(), factor, norm, image))
    return rows


def test_tutorial(folder):
    path = fetch_wasabi_file("COSI-SMEX/develop/psr_gal_511_DC2.h5")
    assert path.samefile(folder / "psr_gal_511_DC2.h5")

    binned_signal = BinnedData(input_yaml="inputs_511keV_DC2.yaml")
    binned_signal.get_binned_data(unbinned_data="source.fits.gz", psichi_binning="galactic")
    binned_bkg = BinnedData(input_yaml="inputs_511keV_DC2.yaml")
    binned_bkg.get_binned_data(
        unbinned_data="background.fits.gz", psichi_binning="galactic", output_name="bkg"
    )
    assert binned_bkg.binned_data.is_sparse
    signal = binned_signal.binned_data.to_dense()
    bkg = binned_bkg.binned_data.to_dense()
    event = signal + bkg
    event.write("511keV_dc2_galactic_event.hdf5", overwrite=True)

    event = Histogram.open("511keV_dc2_galactic_event.hdf5")
    bkg = Histogram.open("bkg.hdf5")
    assert bkg.axes["Time"].edges.value.tolist() == [1835487300, 1835487400]
    image_response = Histogram.open("psr_gal_511_DC2.h5")
    data_interface = DataIF_COSI_DC2.load(
        name="511keV",
        event_binned_data=event.project(["Em", "Phi", "PsiChi"]),
        dict_bkg_binned_data={"albedo": bkg.project(["Em", "Phi", "PsiChi"])},
        rsp=image_response,
        coordsys_conv_matrix=None,
    )
    image_deconvolution = ImageDeconvolution()
    image_deconvolution.set_dataset([data_interface])
    image_deconvolution.read_parameterfile("imagedeconvolution_parfile_gal_511keV.yml")
    image_deconvolution.initialize()
    for parameter in (
        "iteration_max = 50",
        "background_normalization_optimization:activate = True",
        "acceleration:accel_factor_max = 2.0",
        "smoothing:activate = False",
        "response_weighting:activate = False",
    ):
        image_deconvolution.override_parameter(f"deconvolution:parameter:{parameter}")
    image_deconvolution.initialize()
    image_deconvolution.run_deconvolution()

    counts = event.project(["Em", "Phi", "PsiChi"]).contents
    background = bkg.project(["Em", "Phi", "PsiChi"]).contents.todense()
    expected = plain(counts, background, image_response.contents.value, 50)
    assert len(image_deconvolution.results) > 10
    for i, result in enumerate(image_deconvolution.results):
        likelihood, factor, norm, image = expected[i]
        assert result["iteration"] == i + 1
        np.testing.assert_allclose(result["log-likelihood"], [likelihood], rtol=1e-10)
        np.testing.assert_allclose(result["accel_factor"], factor, rtol=1e-7)
        np.testing.assert_allclose(result["background_normalization"]["albedo"], norm, rtol=1e-9)
        np.testing.assert_allclose(
            result["model"].contents.value[:, 0], image, rtol=1e-7, atol=1e-15
        )
    image = image_deconvolution.results[-1]["model"]
    assert image.axes["Ei"].bounds[0][1] == 513 * u.keV
    drawn = HealpixMap(data=image[:, 0], unit=image.unit)
    assert drawn.nside == NSIDE
    data = image[:, 0]
    data[data <= 0 * data.unit] = 1e-12 * data.unit
    assert data.min() > 0
    assert np.argmax(image[:, 0]) in range(20, 26)


def test_some_events_in_the_frame_of_the_detector(folder):
    binned = BinnedData("inputs_511keV_DC2.yaml")
    binned.get_binned_data("background.fits.gz", psichi_binning="local", event_range=[0, 100])
    assert binned.binned_data.axes["PsiChi"].coordsys.name == "spacecraftframe"
    assert 0 < np.sum(binned.binned_data.contents) <= 100
    binned.binned_data.write("local.hdf5")
    again = BinnedData("inputs_511keV_DC2.yaml")
    again.load_binned_data_from_hdf5("local.hdf5")
    np.testing.assert_array_equal(
        again.binned_data.contents.todense(), binned.binned_data.contents.todense()
    )
    with pytest.raises(ValueError, match="psichi_binning"):
        binned.get_binned_data("background.fits.gz", psichi_binning="icrs")
    with pytest.raises(ValueError, match="unbinned_data"):
        binned.get_binned_data()
