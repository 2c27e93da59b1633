import pytest

from skyfold import strict_yaml
from skyfold.config import RunConfig
from skyfold.errors import ConfigError
from skyfold_cosi.dialects import translate

MODEL = """
model_definition:
  class: "AllSkyImage"
  property:
    coordinate: "galactic"
    nside: 16
    scheme: "ring"
    energy_edges: {value: [509.0, 513.0], unit: "keV"}
    unit: "cm-2 s-1 sr-1"
  initialization:
    algorithm: "flat"
    parameter: {value: [1e-4], unit: "cm-2 s-1 sr-1"}
deconvolution:
  algorithm: "RL"
"""

DIALECTS = {
    "0.1": """
model_property: {coordinate: galactic, nside: 16, scheme: ring, energy_edges: [509.0, 513.0]}
model_initialization: {algorithm: flat, parameter_flat: {values: [1e-4]}}
deconvolution:
  algorithm: RL
  parameter_RL:
    iteration: 10
    alpha_max: 5.0
    response_weighting: True
    response_weighting_index: 0.5
    smoothing: True
    smoothing_FWHM: 2.0
    background_normalization_fitting: True
    background_normalization_range: [0.9, 1.1]
    save_results_each_iteration: False
""",
    "0.3": MODEL
    + """
  parameter:
    iteration_max: 10
    minimum_flux: {value: 0.0, unit: "cm-2 s-1 sr-1"}
    acceleration: True
    alpha_max: 5.0
    response_weighting: True
    response_weighting_index: 0.5
    smoothing: True
    smoothing_FWHM: {value: 2.0, unit: "deg"}
    background_normalization_optimization: True
    background_normalization_range: {"albedo": [0.9, 1.1]}
    save_results: False
    save_results_directory: "./results"
""",
    "2025": MODEL
    + """
  parameter:
    iteration_max: 10
    acceleration: {activate: True, alpha_max: 5.0}
    response_weighting: {activate: True, index: 0.5}
    smoothing: {activate: True, FWHM: {value: 2.0, unit: "deg"}}
    background_normalization_optimization: {activate: True, range: {"albedo": [0.9, 1.1]}}
    stopping_criteria: {statistics: "log-likelihood", threshold: 1e-2}
    save_results: {activate: True, directory: "./results", only_final_result: True}
""",
    "2026": MODEL
    + """
  parameter:
    iteration_max: 10
    acceleration: {activate: True, algorithm: MaxStep, accel_factor_max: 5.0, accel_bkg_norm: False}
    response_weighting: {activate: True, index: 0.5}
    smoothing: {activate: True, FWHM: {value: 2.0, unit: "deg"}}
    background_normalization_optimization: {activate: True, range: {"albedo": [0.9, 1.1]}}
    stopping_criteria: {statistics: "log-likelihood", threshold: 0.01}
""",
}


def read(text, *flags):
    return translate(strict_yaml.loads(text, "parfile.yml"), flags)


@pytest.mark.parametrize("release", DIALECTS)
def test_every_generation_says_the_same(release):
    ours = read(DIALECTS[release])
    (data,) = ours.data["data"]
    assert data["nside"] == 16
    assert data["energies"] == ["509 keV", "513 keV"]
    assert data["start"] == [1e-4]
    limits = data["background_range"]
    assert (limits if release == "0.1" else limits["albedo"]) == [0.9, 1.1]
    assert data["fit_background"] is True
    assert ours.data["method"] == {
        "name": "rl",
        "response_weighting": {"power": 0.5},
        "smoothing": {"fwhm": "2 deg"},
        "acceleration": {"maximum": 5.0},
    }
    assert ours.data["iterations"] == 10
    RunConfig.from_document(ours).build_method()


@pytest.mark.parametrize("release", DIALECTS)
def test_every_key_is_reported(release):
    ours = read(DIALECTS[release])
    told = "\n".join(ours.notes)
    for name in ("iteration", "smoothing", "background_normalization", "response_weighting"):
        assert name in told
    assert f"cosipy {release}" in ours.notes[0]


def test_the_published_recipe_is_one_refinement():
    method = read(DIALECTS["2025"], "--reference").data["method"]
    assert method == {
        "name": "rl",
        "published": {"response_weighting": 0.5, "smoothing": "2 deg", "acceleration": 5.0},
    }


def test_defaults_are_those_of_the_generation():
    assert read(DIALECTS["2025"].replace(", alpha_max: 5.0", "")).data["method"][
        "acceleration"
    ] == {"maximum": 1.0}
    later = DIALECTS["2026"].replace("accel_factor_max: 5.0, ", "")
    assert read(later).data["method"]["acceleration"] == {"maximum": 10.0}
    assert "stop" not in read(DIALECTS["0.3"]).data
    assert "stop" not in read(DIALECTS["2025"].replace("threshold: 1e-2", "threshold: 0.0")).data
    assert read(DIALECTS["2025"]).data["stop"] == {"delta_log_likelihood": 0.01}


def test_results_are_kept_where_the_file_says():
    ours = read(DIALECTS["2025"]).data
    assert ours["layout"] == {"cosipy": {"only_final_result": True}}
    assert ours["output"] == "./results"
    assert "layout" not in read(DIALECTS["0.3"]).data


def test_switched_off_is_left_out():
    text = DIALECTS["2025"].replace("activate: True", "activate: False")
    ours = read(text).data
    assert ours["method"] == {"name": "rl"}
    assert ours["data"][0]["fit_background"] is False


def test_keys_of_the_printed_tutorial():
    text = DIALECTS["2025"].replace("  parameter:\n", "  parameter_RL:\n")
    text = text.replace("background_normalization_optimization", "background_normalization")
    ours = read(text).data
    assert ours["data"][0]["background_range"] == {"albedo": [0.9, 1.1]}


def test_an_unknown_key_is_refused_with_its_line():
    text = DIALECTS["2025"].replace("smoothing:", "smothing:")
    line = 1 + text.splitlines().index(next(x for x in text.splitlines() if "smothing" in x))
    with pytest.raises(ConfigError, match=rf"parfile.yml:{line}: .*smothing.*Did you mean"):
        read(text)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('algorithm: "RL"', 'algorithm: "RLL"', "Did you mean 'RL'"),
        ('"AllSkyImage"', '"Cube"', "AllSkyImage"),
        ('coordinate: "galactic"', 'coordinate: "icrs"', "galactic"),
        ("activate: True, index", "activate: 3, index", "true or false"),
        ('value: 2.0, unit: "deg"', 'value: 2.0, unit: "kg"', "FWHM"),
        ('"log-likelihood"', '"chi2"', "statistics"),
        ("value: [1e-4]", "value: [little]", "initialization:parameter: .*little"),
        ("[509.0, 513.0]", "[509.0, b]", "energy_edges: .*'b'"),
        ("index: 0.5", "index: [0.5, 1]", "expected one number"),
    ],
)
def test_values_that_cannot_be_are_refused(old, new, says):
    with pytest.raises(ConfigError, match=says):
        read(DIALECTS["2025"].replace(old, new))


def test_units_are_converted():
    text = DIALECTS["2025"].replace('[1e-4], unit: "cm-2', '[1.0], unit: "m-2')
    (data,) = read(text.replace('[509.0, 513.0], unit: "keV"', "[0.5, 0.6], unit: MeV")).data[
        "data"
    ]
    assert data["start"] == [pytest.approx(1e-4)]
    assert data["energies"] == ["500 keV", "600 keV"]
    prior = "prior: {gamma: {model: {k: {value: 0.9}, theta: {value: 2.0, unit: m-2 s-1 sr-1}}}}"
    text = DIALECTS["2025"].replace('"RL"', '"MAP_RL"') + f"    {prior}\n"
    assert read(text).data["method"]["prior"]["gamma"] == {"k": 0.9, "theta": pytest.approx(2e-4)}


def test_the_most_probable_sky_is_found_by_a_solver_unless_the_recipe_is_asked_for():
    text = DIALECTS["2025"].replace('"RL"', '"MAP_RL"')
    text += "    prior: {TSV: {coefficient: 1.0e-3}}\n"
    ours = read(text)
    rest = {"smoothing": {"fwhm": "2 deg"}, "prior": {"tsv": {"coefficient": 1e-3}}}
    assert ours.data["method"] == {"name": "map", **rest}
    assert any("acceleration: left out" in note for note in ours.notes)
    recipe = {"solver": "one-step-late", "guard": False, "response_weighting": {"power": 0.5}}
    expected = {"name": "map", **recipe, **rest, "acceleration": {"maximum": 5.0}}
    expected["prior"] = {"published_tsv": {"coefficient": 1e-3}}  # which heeds no mask
    published = read(text, "--reference")
    assert published.data["method"] == expected
    for document in (ours, published):
        RunConfig.from_document(document).build_method()


@pytest.mark.parametrize("flags", [(), ("--reference",)])
@pytest.mark.parametrize(
    ("prior", "says"),
    [
        ("TSV: {coefficient: -1.0}", "tsv.coefficient: expected a number of at least 0"),
        ("entropy: {coefficient: -1.0, reference_map: 1.0}", "entropy.coefficient: expected"),
        ("entropy: {coefficient: 1.0, reference_map: -1.0}", "entropy.+reference: expected"),
        ("gamma: {model: {k: {value: -0.9}}}", "gamma.k: expected a number greater than 0"),
    ],
)
def test_a_prior_that_cannot_be_is_refused_with_its_line(prior, says, flags):
    text = DIALECTS["2025"].replace('"RL"', '"MAP_RL"') + f"    prior:\n      {prior}\n"
    document = read(text, *flags)
    kind = "published_" if flags else ""
    with pytest.raises(ConfigError, match=rf":{len(text.splitlines())}: method.prior.{kind}{says}"):
        RunConfig.from_document(document).build_method()
    (ours,) = document.data["method"]["prior"]
    told = [note for note in document.notes if ":prior:" in note]
    assert all(f": method.prior.{ours}" in note for note in told)


def test_other_files_are_left_alone():
    assert read("data: {counts: a.fits}\n") is None


def test_a_real_parameter_file(shared_data):
    path = shared_data / "cosi" / "imagedeconvolution_parfile_test.yml"
    ours = translate(strict_yaml.load(path), ())
    assert ours.data["iterations"] == 2
    assert len(ours.data["data"][0]["energies"]) == 11
    assert ours.data["data"][0]["start"] == [1.0] * 10
    assert "stop" not in ours.data
