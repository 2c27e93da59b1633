"""Numbers that cosipy gives on its own test files, reproduced to 1e-9 in the reference mode.

The cases of ``ref_cases.json`` are run by the framework and by the classes of cosipy.
"""

import json
from copy import deepcopy

import numpy as np
import pytest
from astropy import units as u
from histpy import Histogram

import skyfold
from skyfold.config import RunConfig
from skyfold.model import Model
from skyfold.runner import prepare
from skyfold.vector import Vector
from skyfold_cosi import cosipy
from skyfold_cosi.opener import open_cosi

TIGHT = {"rtol": 1e-9, "atol": 0}
NORMS = {"activate": True, "range": {"bkg": [0.9, 1.1]}}
WEIGHTS = {"activate": True, "index": 0.5}
SMOOTH = {"activate": True, "FWHM": {"value": 2.0, "unit": "deg"}}
FAST = {"activate": True, "alpha_max": 10.0}
LONG = {"statistics": "log-likelihood", "threshold": 1e-10}
PRIORS = {
    "TSV": {"coefficient": 1e-10},
    "gamma": {
        "model": {"theta": {"value": np.inf, "unit": "cm-2 s-1 sr-1"}, "k": {"value": 0.999}},
        "background": {"theta": {"value": np.inf}, "k": {"value": 1.0}},
    },
}
WEIGHTED = {"response_weighting": WEIGHTS, "background_normalization_optimization": NORMS}
GALACTIC = {  # algorithm, parameters, whether a pixel is masked
    "A1_RLsimple_rw_bkg_mask": ("RLsimple", WEIGHTED, True),
    "A2_RL_acc_rw_smooth_bkg_mask": (
        "RL",
        {**WEIGHTED, "smoothing": SMOOTH, "acceleration": FAST},
        True,
    ),
    "A3_RL_rw_smooth_bkg_mask": ("RL", {**WEIGHTED, "smoothing": SMOOTH}, True),
    "A4_RL_plain_20": ("RL", {"stopping_criteria": LONG}, False),
    "A7_MAP_rw_bkg_mask_TSV_gamma": ("MAP_RL", {**WEIGHTED, "prior": PRIORS}, True),
}
OURS = {  # the same in our own words
    "A1_RLsimple_rw_bkg_mask": ("rl", {"published": {"response_weighting": 0.5}}),
    "A2_RL_acc_rw_smooth_bkg_mask": (
        "rl",
        {"published": {"response_weighting": 0.5, "smoothing": "2 deg", "acceleration": 10.0}},
    ),
    "A3_RL_rw_smooth_bkg_mask": (
        "rl",
        {"published": {"response_weighting": 0.5, "smoothing": "2 deg"}},
    ),
    "A4_RL_plain_20": ("rl", {"published": True}),
    "A7_MAP_rw_bkg_mask_TSV_gamma": (
        "map",
        {
            "solver": "one-step-late",
            "guard": False,
            "response_weighting": 0.5,
            "prior": {"published_tsv": {"coefficient": 1e-10}, "published_gamma": {"k": 0.999}},
        },
    ),
}
LOCAL = {
    "B1_scatt_avg": (
        "test_event_histogram_localCDS_scatt.h5",
        "ccm_scatt_use_averaged_pointing_True_test.hdf5",
    ),
    "B3_time": ("test_event_histogram_localCDS.hdf5", "ccm_time_test.hdf5"),
}


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "cosi"


@pytest.fixture(scope="module")
def cases(folder):
    return json.loads((folder / "ref_cases.json").read_text())


@pytest.fixture(scope="module")
def galactic(folder):
    """Counts, 0.1 of them as background, and the response, as histpy reads them."""
    event = Histogram.open(folder / "test_event_histogram_galacticCDS.hdf5")
    event = event.project(["Em", "Phi", "PsiChi"])
    response = Histogram.open(folder / "test_precomputed_response_rebuilt.h5")
    return event, event * 0.1, response


@pytest.fixture(scope="module")
def galactic_interface(galactic):
    event, background, response = galactic
    return cosipy.DataIF_COSI_DC2.load("crab", event, {"bkg": background}, response)


def flat_model(data):
    model = cosipy.AllSkyImageModel(1, data.model_axes["Ei"].edges)
    model[:] = 1.0 * u.Unit("1 / (cm2 s sr)")
    return model


def one_pixel_off(model):
    mask = Histogram(model.axes, contents=np.ones(model.contents.shape, bool))
    mask[0, 0] = False
    return mask


def compare(expected, sky, norm, **others):
    np.testing.assert_allclose(sky.sum(), expected["model_sum"], **TIGHT)
    np.testing.assert_allclose(sky.max(), expected["model_max"], **TIGHT)
    np.testing.assert_allclose(sky.sum(axis=0), expected["model_sum_per_Ei"], **TIGHT)
    np.testing.assert_allclose(norm, expected["bkg_norm"]["bkg"], **TIGHT)
    for name, value in others.items():
        np.testing.assert_allclose(value, expected[name.replace("_", "-")], **TIGHT)


@pytest.mark.parametrize("name", GALACTIC)
def test_galactic_cases_by_the_classes_of_cosipy(name, galactic_interface, cases):
    algorithm, parameters, masked = GALACTIC[name]
    model, expected = flat_model(galactic_interface), cases[name]
    kind = cosipy.ImageDeconvolution.deconvolution_algorithm_classes[algorithm]
    parameters = {"iteration_max": len(expected), **parameters}
    made = kind(
        initial_model=model,
        dataset=[galactic_interface],
        mask=one_pixel_off(model) if masked else None,
        parameter=cosipy.Configurator(parameters),
    )
    made.initialization()
    for number, wanted in enumerate(expected, 1):
        assert made.iteration() == (number == len(expected))
        row = made.results[-1]
        known = {"alpha", "log-likelihood", "log-posterior"} & wanted.keys()
        others = {key.replace("-", "_"): row[key] for key in known}
        norm = row["background_normalization"]["bkg"]
        compare(wanted, row["model"].contents.value, norm, **others)
    if algorithm == "MAP_RL":
        for key, value in wanted["log-prior"].items():
            np.testing.assert_allclose(row["log-prior"][key], value, **TIGHT)


@pytest.mark.parametrize("name", GALACTIC)
def test_galactic_cases_by_the_framework(name, galactic, cases):
    event, background, response = galactic
    _, parameters, masked = GALACTIC[name]
    method, options = OURS[name]
    fitted = "background_normalization_optimization" in parameters
    sky_mask = np.ones((12, 10))
    sky_mask[0, 0] = 0 if masked else 1
    data = open_cosi(
        event,
        response,
        background={"bkg": background},
        fit_background=fitted,
        background_range=(0.9, 1.1) if fitted else None,
        start=1.0,
        sky_mask=sky_mask,
        reference=True,
    )
    problem = prepare(RunConfig.of(data=[], method={"name": method, **options}), data)
    # a mask that algorithms of cosipy are given leaves the first image as it is
    start = problem.start.model.with_values(Vector({"sky": np.ones((12, 10))}))
    state = problem.algorithm.start(problem.data, Model(start.components, start.vector))
    states = problem.algorithm.iterate(problem.data, state)
    next(states)
    for wanted, state in zip(cases[name], states, strict=False):
        others = {}
        if "log-likelihood" in wanted:
            others["log_likelihood"] = [state.log_likelihood]
        if "alpha" in wanted:
            others["alpha"] = state.notes["acceleration"]
        if "log-posterior" in wanted:
            others["log_posterior"] = state.objective
        compare(wanted, state.model["sky"], state.model["bkg"][0], **others)


def test_galactic_inputs(galactic, galactic_interface, cases):
    wanted = cases["gal_inputs"]
    data, exposure = galactic_interface, galactic_interface.exposure_map
    assert data.event.contents.sum() == wanted["event_sum"]
    assert np.count_nonzero(data.event.contents) == wanted["event_nnz"]
    assert data.summed_bkg_model("bkg") == pytest.approx(wanted["bkg_sum"], rel=1e-12)
    assert [axis.label for axis in data.model_axes] == wanted["model_axes"]
    assert exposure.unit == u.Unit(wanted["exposure_unit"])
    np.testing.assert_allclose(exposure.contents.value.sum(), wanted["exposure_sum"], **TIGHT)
    np.testing.assert_allclose(exposure.contents.value.min(), wanted["exposure_min"], **TIGHT)
    per_energy = exposure.project("Ei").contents.value
    np.testing.assert_allclose(per_energy, wanted["exposure_per_Ei"], **TIGHT)
    model = flat_model(data)
    expectation = data.calc_expectation(model, {"bkg": 1.0})
    wanted = cases["gal_expectation_flat1"]
    assert data.calc_log_likelihood(expectation) == pytest.approx(wanted["ll"], rel=1e-12)
    np.testing.assert_allclose(np.sum(expectation), wanted["sum"], **TIGHT)
    np.testing.assert_allclose(np.max(expectation), wanted["max"], **TIGHT)
    thrown = data.calc_T_product(expectation).contents.value.sum()
    np.testing.assert_allclose(thrown, wanted["T_sum"], **TIGHT)
    product = data.calc_bkg_model_product("bkg", expectation)
    np.testing.assert_allclose(product, wanted["bkgprod"], **TIGHT)


@pytest.mark.parametrize("name", LOCAL)
def test_local_cases(name, folder, cases):
    events, conversion = (folder / file for file in LOCAL[name])
    response = folder / "test_full_detector_response.h5"
    inputs, expected = cases[f"{name}_inputs"], cases[f"{name}_RL5"]
    result = skyfold.run(
        open_cosi(
            events,
            response,
            background={"bkg": events},
            fit_background=False,
            conversion=conversion,
            start=1.0,
            reference=True,
        ),
        iterations=5,
        progress=False,
        published=True,
    )
    event = Histogram.open(events)
    data = cosipy.DataIF_COSI_DC2.load(
        "crab",
        event,
        {"bkg": event},
        cosipy.FullDetectorResponse.open(response),
        cosipy.CoordsysConversionMatrix.open(conversion),
    )
    model = flat_model(data)
    made = cosipy.RichardsonLucy(
        model, [data], None, cosipy.Configurator({"iteration_max": 5, "stopping_criteria": LONG})
    )
    made.initialization()
    first = made.expectation_list[0]
    for likelihood in (result.trace[0]["log_likelihood"], data.calc_log_likelihood(first)):
        np.testing.assert_allclose(likelihood, inputs["ll"], **TIGHT)
    exposure = data.exposure_map.contents.value.sum()
    np.testing.assert_allclose(exposure, inputs["exposure_sum"], **TIGHT)
    np.testing.assert_allclose(np.sum(first), inputs["expectation_sum"], **TIGHT)
    thrown = data.calc_T_product(first).contents.value.sum()
    np.testing.assert_allclose(thrown, inputs["T_sum"], **TIGHT)
    for wanted, theirs in zip(expected, result.trace[1:], strict=True):
        made.iteration()
        row = made.results[-1]
        others = {"alpha": row["alpha"], "log_likelihood": row["log-likelihood"]}
        compare(wanted, row["model"].contents.value, 1.0, **others)
        np.testing.assert_allclose([theirs["log_likelihood"]], wanted["log-likelihood"], **TIGHT)
    compare(expected[-1], result.model["sky"], 1.0)


@pytest.fixture(scope="module")
def spacecraft(folder):
    return cosipy.SpacecraftFile.parse_from_file(folder / "20280301_first_10sec.ori")


@pytest.fixture(scope="module")
def detector(folder):
    return cosipy.FullDetectorResponse.open(folder / "test_full_detector_response_dense.h5")


@pytest.mark.parametrize("scheme", ["ring", "nested"])
@pytest.mark.parametrize("nside", [1, 4, 64])
def test_exposure_tables(nside, scheme, spacecraft, cases, tmp_path):
    wanted = cases[f"C_table_nside{nside}_{scheme}"]
    table = cosipy.SpacecraftAttitudeExposureTable.from_orientation(spacecraft, nside, scheme)
    table.save_as_fits(tmp_path / "table.fits")
    with pytest.raises(FileExistsError, match="overwrite"):
        table.save_as_fits(tmp_path / "table.fits")
    again = cosipy.SpacecraftAttitudeExposureTable.from_fits(tmp_path / "table.fits")
    for one in (table, again, cosipy.SpacecraftAttitudeExposureTable(table.df, nside, scheme)):
        assert one == table
        assert len(one) == wanted["n"]
        assert [list(pair) for pair in one["healpix_index"]] == wanted["healpix_index"]
        assert list(one["num_pointings"]) == wanted["num"]
        np.testing.assert_allclose(list(one["exposure"]), wanted["exposure"], **TIGHT)
        np.testing.assert_allclose(list(one["zpointing_averaged"]), wanted["zavg"], **TIGHT)
        np.testing.assert_allclose(list(one["xpointing_averaged"]), wanted["xavg"], **TIGHT)
        np.testing.assert_allclose(one.iloc[0]["zpointing"][0], wanted["z0"], **TIGHT)
        np.testing.assert_allclose(one.iloc[0]["xpointing"][0], wanted["x0"], **TIGHT)


def test_pointing_map(spacecraft, folder):
    table = cosipy.SpacecraftAttitudeExposureTable.from_orientation(spacecraft, 1)
    assert table == cosipy.SpacecraftAttitudeExposureTable.from_fits(
        folder / "exposure_table_test_nside1_ring.fits"
    )
    made = table.calc_pointing_trajectory_map()
    wanted = Histogram.open(folder / "map_pointing_zx_test_nside1_ring.hdf5")
    assert made.axes == wanted.axes
    assert made.unit == wanted.unit
    np.testing.assert_allclose(made.contents.todense(), wanted.contents.todense(), rtol=1e-9)


def test_conversion_matrices(spacecraft, detector, folder, cases):
    kind = cosipy.CoordsysConversionMatrix
    table = cosipy.SpacecraftAttitudeExposureTable.from_orientation(spacecraft, 1)
    of_time = kind.open(folder / "ccm_time_test.hdf5")
    edges = of_time.axes["Time"].edges
    for made, name in (
        (kind.time_binning_ccm(detector, spacecraft, edges), "D_ccm_time_dense"),
        (
            kind.spacecraft_attitude_binning_ccm(detector, table, use_averaged_pointing=True),
            "D_ccm_scatt_avg_dense",
        ),
    ):
        np.testing.assert_allclose(made.contents.todense()[0], cases[name], rtol=1e-9, atol=1e-12)
        assert made.unit == u.s
        assert deepcopy(made).binning_method == made.axes[0].label
    full = kind.spacecraft_attitude_binning_ccm(detector, table)
    wanted = kind.open(folder / "ccm_scatt_use_averaged_pointing_False_test.hdf5")
    assert full.binning_method == wanted.binning_method == "ScAtt"
    np.testing.assert_allclose(full.contents.todense(), wanted.contents.todense(), atol=1e-10)


@pytest.mark.parametrize("occultation", [True, False])
@pytest.mark.parametrize("pixel", [0, 5, 11])
def test_point_source_responses(pixel, occultation, spacecraft, detector, cases):
    wanted = cases[f"E_psr_pix{pixel}_occ{occultation}"]
    made = detector.get_point_source_response_per_image_pixel(
        pixel, spacecraft, Earth_occ=occultation
    )
    assert list(made.contents.shape) == wanted["shape"]
    assert made.unit == u.Unit(wanted["unit"])
    for label, name in (("Ei", "sum_per_Ei"), ("PsiChi", "sum_per_psichi")):
        along = made.project(label).contents.value
        np.testing.assert_allclose(along, wanted[name], **TIGHT)
    np.testing.assert_allclose(made.contents.value.sum(), wanted["sum"], **TIGHT)


def test_response_of_the_whole_sky(spacecraft, detector, cases):
    made = detector.get_extended_source_response(spacecraft, Earth_occ=False)
    wanted = cases["E_esr_noocc"]
    np.testing.assert_allclose(made.project("NuLambda").contents.value, wanted["per_pix"], **TIGHT)
    np.testing.assert_allclose(made.contents.value.sum(), wanted["sum"], **TIGHT)
    assert detector.axes["NuLambda"].coordsys.name == "spacecraftframe"
