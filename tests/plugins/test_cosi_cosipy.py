"""The classes of cosipy: notebooks and subclasses that were written for it run."""

import importlib
import inspect
import re

import healpy
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from histpy import Axes, Axis, HealpixAxis, Histogram

from skyfold.errors import ConfigError, DataError
from skyfold_cosi import cosipy
from skyfold_cosi.container import read
from skyfold_cosi.cosipy.deferred import step_of

NSIDE, PHI = 2, 6
SKY = 12 * NSIDE**2
FLUX = u.Unit("1 / (cm2 s sr)")
PARAMETERS = """
author: somebody
model_definition:
  class: AllSkyImage
  property:
    coordinate: galactic
    nside: 2
    scheme: ring
    energy_edges: {value: [100., 200., 500.], unit: keV}
    unit: cm-2 s-1 sr-1
  initialization:
    algorithm: flat
    parameter: {value: [1e-2, 2e-2], unit: cm-2 s-1 sr-1}
deconvolution:
  algorithm: RL
  parameter:
    iteration_max: 4
    acceleration: {activate: True, alpha_max: 5.0}
    response_weighting: {activate: True, index: 0.5}
    smoothing: {activate: False, FWHM: {value: 20., unit: deg}}
    stopping_criteria: {statistics: log-likelihood, threshold: 1e-2}
    background_normalization_optimization: {activate: True, range: {albedo: [0.5, 2.0]}}
    save_results: {activate: False, directory: ./results, only_final_result: False}
"""


def axes_of_the_response():
    edges = [100.0, 200.0, 500.0] * u.keV
    return Axes(
        [
            HealpixAxis(nside=NSIDE, scheme="ring", coordsys="galactic", label="NuLambda"),
            Axis(edges, label="Ei", scale="log"),
            Axis(edges, label="Em", scale="log"),
            Axis(np.linspace(0, 180, PHI + 1) * u.deg, label="Phi"),
            HealpixAxis(nside=NSIDE, scheme="ring", coordsys="galactic", label="PsiChi"),
        ]
    )


@pytest.fixture(scope="module")
def problem():
    """Counts, background, response: as the files of a data challenge, but small."""
    rng = np.random.default_rng(5)
    axes = axes_of_the_response()
    response = Histogram(axes, contents=20 * rng.random(axes.nbins) ** 8, unit="cm2 s")
    truth = np.full((SKY, 2), 0.01)
    truth[7] = 0.5
    expected = np.tensordot(truth * np.pi / 12, response.contents.value, axes=2)
    background = np.full(expected.shape, 0.2)
    data = Axes([Axis([0.0, 10.0] * u.s, label="Time"), *axes[2:]])
    counts = rng.poisson(expected + 1.2 * background).astype(float)
    return (
        Histogram(data, contents=counts[None]),
        Histogram(data, contents=background[None]),
        response,
    )


def interface(problem, name="511keV"):
    event, background, response = problem
    measured = ["Em", "Phi", "PsiChi"]
    return cosipy.DataIF_COSI_DC2.load(
        name, event.project(measured), {"albedo": background.project(measured)}, response
    )


def driver(data, tmp_path, *overrides, kinds=None):
    (tmp_path / "par.yml").write_text(PARAMETERS)
    made = cosipy.ImageDeconvolution()
    made.deconvolution_algorithm_classes = {**made.deconvolution_algorithm_classes, **(kinds or {})}
    made.set_dataset([data])
    made.read_parameterfile(tmp_path / "par.yml")
    made.override_parameter(*overrides) if overrides else None
    made.initialize()
    return made


TABLE = {
    "scatt_binning_index": [0, 1],
    "healpix_index": [(2, 0), (5, 1)],
    "zpointing": [np.array([[180.0, 10.0], [181.0, 10.0]]), np.array([[0.0, 0.0]])],
    "xpointing": [np.array([[0.0, 80.0], [1.0, 80.0]]), np.array([[90.0, 0.0]])],
    "zpointing_averaged": [np.array([180.5, 10.0]), np.array([0.0, 0.0])],
    "xpointing_averaged": [np.array([0.5, 80.0]), np.array([90.0, 0.0])],
    "delta_time": [[10.0, 10.0], [5.0]],
    "exposure": [20.0, 5.0],
    "num_pointings": [2, 1],
    "bkg_group": [0, 0],
}


class PlainData(cosipy.ImageDeconvolutionDataInterfaceBase):
    """Somebody's own data interface, with matrices and nothing else."""

    def __init__(self, problem):
        super().__init__("own")
        event, background, response = problem
        self.matrix = response.contents.value.reshape(SKY * 2, -1) * np.pi / 12
        axes = response.axes
        self._data_axes = Axes(list(axes[2:]))
        image = HealpixAxis(nside=NSIDE, scheme="ring", coordsys="galactic", label="lb")
        self._model_axes = Axes([image, axes[1]])
        self._event = Histogram(self._data_axes, contents=event.contents[0])
        self._bkg_models = {"albedo": Histogram(self._data_axes, contents=background.contents[0])}
        self._summed_bkg_models = {"albedo": float(np.sum(background.contents))}
        exposure = self.matrix.sum(axis=1).reshape(SKY, 2) * u.Unit("cm2 s sr")
        self._exposure_map = Histogram(self._model_axes, contents=exposure)

    def calc_expectation(self, model, dict_bkg_norm=None, almost_zero=1e-12):
        made = model.contents.value.ravel() @ self.matrix + almost_zero
        made = made.reshape(self._event.contents.shape)
        for key, norm in (dict_bkg_norm or {}).items():
            made = made + norm * self.bkg_model(key).contents
        return Histogram(self.data_axes, contents=made)

    def calc_T_product(self, dataspace_histogram):
        thrown = self.matrix @ np.asarray(dataspace_histogram.contents).ravel()
        thrown = thrown.reshape(SKY, 2) * u.Unit("cm2 s sr")
        return Histogram(self.model_axes, contents=thrown)

    def calc_bkg_model_product(self, key, dataspace_histogram):
        return np.sum(self.bkg_model(key).contents * dataspace_histogram.contents)


def printed(text):
    """Return what a printed manual says: (method, arguments) and attributes of each class."""
    methods, attributes = {}, {}
    lines = [line.strip() for line in text.splitlines()]
    for i, line in enumerate(lines):
        if opening := re.match(r"class cosipy\.image_deconvolution\.(\w+)(.*)\[source\]$", line):
            name, arguments = opening.groups()
            methods[name] = [("__init__", arguments.strip("()"))] if arguments else []
            attributes[name] = set()
        elif method := re.match(r"(?:[a-z]+ )*(\w+)\((.*)\)(?: bool)?\[source\]$", line):
            methods[name].append(method.groups())
        elif found := re.match(r"property (\w+)$|(\w+) = \{.*$", line):
            attributes[name].add(found[1] or found[2])
        elif re.match(r"[a-z_]+$", line) and "Type:" in lines[i + 1 : i + 5]:
            attributes[name].add(line)
    return methods, attributes


@pytest.fixture(scope="module")
def manual(shared_data):
    (path,) = (shared_data.parent / "seeds").glob("002_*.txt")
    return printed(path.read_text())


def test_every_class_method_and_argument_of_the_manual_exists(manual):
    methods, _ = manual
    assert len(methods) == 10
    assert sum(map(len, methods.values())) > 70
    for name, members in methods.items():
        for method, arguments in members:
            if arguments == "*args: Any, **kwargs: Any":
                continue
            signature = inspect.signature(getattr(getattr(cosipy, name), method))
            ours = [str(p) for n, p in signature.parameters.items() if n not in ("self", "cls")]
            ours = [re.sub(r": [^=]* = |: .*$", lambda m: "=" * ("=" in m[0]), p) for p in ours]
            theirs = arguments.split(", ") if arguments else []
            assert ours[: len(theirs)] == theirs, (name, method)


def test_every_attribute_of_the_manual_exists(manual, problem, tmp_path):
    _, attributes = manual
    data = interface(problem)
    made = driver(data, tmp_path)
    made.run_deconvolution()
    table = cosipy.SpacecraftAttitudeExposureTable(TABLE, 1)
    objects = {
        "ImageDeconvolution": (made, {"parameter", "results", "mask", "model_classes"}),
        "ImageDeconvolutionDataInterfaceBase": (data, {"event", "exposure_map"}),
        "AllSkyImageModel": (made.initial_model, {"nside", "label_energy"}),
        "DeconvolutionAlgorithmBase": (made._deconvolution, {"results", "dict_bkg_norm"}),
        "SpacecraftAttitudeExposureTable": (table, {"df", "nside", "scheme"}),
    }
    for name, (one, some) in objects.items():
        assert some <= attributes[name]
        assert [a for a in attributes[name] if not hasattr(one, a)] == []


def test_own_data_gives_the_numbers_of_ours(problem, tmp_path):
    overrides = (
        "deconvolution:parameter:smoothing:activate = True",
        "deconvolution:parameter:iteration_max = 3",
    )
    ours, theirs = (
        driver(data, tmp_path, *overrides).run_deconvolution()
        for data in (interface(problem), PlainData(problem))
    )
    assert len(ours) == len(theirs) == 3
    for mine, other in zip(ours, theirs, strict=True):
        for key in ("model", "delta_model", "processed_delta_model"):
            np.testing.assert_allclose(mine[key].contents, other[key].contents, rtol=1e-9)
            assert mine[key].unit == FLUX
        for key in ("alpha", "log-likelihood"):
            np.testing.assert_allclose(mine[key], other[key], rtol=1e-12)
        norms = (row["background_normalization"]["albedo"] for row in (mine, other))
        np.testing.assert_allclose(*norms, rtol=1e-12)
    assert ours[0]["alpha"] > 1


def test_rows_answer_to_all_spellings(problem, tmp_path):
    row = driver(interface(problem), tmp_path).run_deconvolution()[-1]
    assert row["accel_factor"] == row["alpha"] == row.get("accel_factor")
    assert row["loglikelihood"] is row["log-likelihood"]
    assert "accel_factor" in row
    assert "posterior" not in row
    with pytest.raises(KeyError, match="posterior"):
        row["posterior"]


class Halved(cosipy.RichardsonLucy):
    """Somebody's own step."""

    def __init__(self, initial_model, dataset, mask, parameter):
        super().__init__(initial_model, dataset, mask, parameter)
        self.share = parameter["share"]
        self.seen = []

    def Mstep(self):
        ratio = [d.event / e for d, e in zip(self.dataset, self.expectation_list, strict=True)]
        gain = self.calc_summed_T_product(ratio) / self.summed_exposure_map
        self.delta_model = self.model * (gain - 1)

    def post_processing(self):
        self.delta_model = self.delta_model * self.share
        super().post_processing()

    def register_result(self):
        super().register_result()
        self.seen.append(self.iteration_count)


def test_overridden_hooks_are_called(problem, tmp_path):
    data = interface(problem)
    names = ("deconvolution:algorithm = halved", "deconvolution:parameter:share = 0.5")
    plain = (
        "deconvolution:parameter:acceleration:activate = False",
        "deconvolution:parameter:response_weighting:activate = False",
        "deconvolution:parameter:iteration_max = 1",
        "deconvolution:parameter:background_normalization_optimization:activate = False",
    )
    own = driver(data, tmp_path, *names, *plain, kinds={"halved": Halved})
    own.run_deconvolution()
    usual = driver(data, tmp_path, *plain)
    usual.run_deconvolution()
    start = own.initial_model.contents
    step, whole = (made.results[0]["model"].contents - start for made in (own, usual))
    np.testing.assert_allclose(step.value, 0.5 * whole.value, rtol=1e-9, atol=1e-15)
    assert own._deconvolution.seen == [1]


class Counting(cosipy.DeconvolutionAlgorithmBase):
    """Somebody's own algorithm: it brings the total to that of the counts."""

    def initialization(self):
        self.model = self.initial_model.copy()

    def pre_processing(self):
        pass

    def Estep(self):
        self.expectation_list = self.calc_expectation_list(self.model, almost_zero=0.0)

    def Mstep(self):
        total = sum(float(np.sum(e)) for e in self.expectation_list)
        counts = sum(float(np.sum(d.event)) for d in self.dataset)
        self.delta_model = self.model * (counts / total - 1)

    def post_processing(self):
        self.model = self.model + self.delta_model

    def register_result(self):
        likelihood = self.calc_loglikelihood_list(self.calc_expectation_list(self.model))
        self.results.append({"model": self.model.copy(), "loglikelihood": likelihood})

    def check_stopping_criteria(self):
        return self.iteration_count == 1

    def finalization(self):
        self.done = True


def test_own_algorithm(problem, tmp_path):
    made = driver(
        interface(problem), tmp_path, "deconvolution:algorithm = total", kinds={"total": Counting}
    )
    (row,) = made.run_deconvolution()
    expected = np.tensordot(row["model"].contents.value * np.pi / 12, problem[2].contents.value, 2)
    assert expected.sum() == pytest.approx(problem[0].contents.sum())
    wanted = np.sum(problem[0].contents[0] * np.log(expected)) - expected.sum()
    assert row["loglikelihood"][0] == pytest.approx(wanted)
    assert made._deconvolution.done


class Ramp(cosipy.AllSkyImageModel):
    """Somebody's own model."""

    def set_values_from_parameters(self, parameter):
        self[:] = np.linspace(1, 2, self.axes[0].npix)[:, None] * [parameter["level"], 1] * FLUX


def test_own_model(problem, tmp_path):
    made = driver(interface(problem), tmp_path)
    made.model_classes = {"Ramp": Ramp}
    made.override_parameter(
        "model_definition:class = Ramp", "model_definition:initialization:level = 3"
    )
    made.initialize()
    made.run_deconvolution()
    assert isinstance(made.results[-1]["model"], Ramp)
    assert made.initial_model.contents[-1, 0] == 6 * FLUX


def test_looking_at_an_expectation_changes_nothing_but_changing_it_does(problem):
    data = interface(problem)
    model = cosipy.AllSkyImageModel(NSIDE, [100.0, 200.0, 500.0] * u.keV)
    model[:] = 0.02 * FLUX
    unseen, seen = (data.calc_expectation(model, {"albedo": 1.1}) for _ in range(2))
    assert np.sum(seen) > 0
    assert step_of(unseen) is not None
    assert step_of(seen) is None
    assert type(seen) is Histogram
    assert data.calc_log_likelihood(seen) == pytest.approx(data.calc_log_likelihood(unseen))
    ratios = data.calc_ratio(unseen), data.event / seen
    thrown = [data.calc_T_product(ratio).contents.value for ratio in ratios]
    np.testing.assert_allclose(*thrown, rtol=1e-10)
    products = [data.calc_bkg_model_product("albedo", ratio) for ratio in ratios]
    assert products[0] == pytest.approx(products[1])
    before = data.calc_log_likelihood(seen)
    seen *= 2
    assert data.calc_log_likelihood(seen) != pytest.approx(before)
    without = data.calc_expectation(model)
    np.testing.assert_allclose((seen / 2 - without).contents, 1.1 * 0.2, rtol=1e-9)


def test_changed_counts_and_backgrounds_are_taken(problem, tmp_path):
    event, background, response = problem
    rng = np.random.default_rng(3)
    again = Histogram(event.axes, contents=rng.poisson(event.contents + 1.0).astype(float))
    wanted = driver(interface((again, background * 2, response)), tmp_path).run_deconvolution()
    for change in ("replaced", "in place"):
        data = interface(problem)
        driver(data, tmp_path).run_deconvolution()
        if change == "replaced":
            data._event = again.project(["Em", "Phi", "PsiChi"])
            data._bkg_models["albedo"] = data.bkg_model("albedo") * 2
        else:
            data.event[:] = again.contents[0]
            data.bkg_model("albedo")[:] = 2 * background.contents[0]
        data._summed_bkg_models["albedo"] *= 2
        row = driver(data, tmp_path).run_deconvolution()[-1]
        assert row["log-likelihood"] == pytest.approx(wanted[-1]["log-likelihood"], rel=1e-12)
        np.testing.assert_allclose(row["model"].contents, wanted[-1]["model"].contents, rtol=1e-9)


def test_two_data_sets_share_a_background(problem, tmp_path):
    one = driver(interface(problem), tmp_path).run_deconvolution()
    made = driver(interface(problem), tmp_path)
    made.set_dataset([interface(problem, "a"), interface(problem, "b")])
    made.initialize()
    two = made.run_deconvolution()
    np.testing.assert_allclose(two[-1]["model"].contents, one[-1]["model"].contents, rtol=1e-9)
    assert len(two[-1]["log-likelihood"]) == 2
    norms = [rows[-1]["background_normalization"]["albedo"] for rows in (one, two)]
    assert norms[0] == pytest.approx(norms[1])


def test_mask_holds_from_the_beginning(problem, tmp_path):
    made = driver(interface(problem), tmp_path)
    mask = Histogram(made.initial_model.axes, contents=np.ones((SKY, 2), bool))
    mask[3:9] = False
    made.set_mask(mask)
    made.override_parameter("deconvolution:parameter:minimum_flux = {value: 1e-3}")
    made.initialize()
    values = made.run_deconvolution()[-1]["model"].contents.value
    assert np.all(values[3:9] == 0)
    assert values[9:].min() == pytest.approx(1e-3)
    assert made.mask is mask


def test_unknown_parameters_are_refused(problem, tmp_path):
    made = driver(interface(problem), tmp_path)
    with pytest.raises(KeyError, match="accelerated"):
        made.override_parameter("deconvolution:parameter:accelerated:alpha_max = 2")
    with pytest.raises(ConfigError, match="group:key"):
        made.override_parameter("deconvolution:parameter:iteration_max")
    made.override_parameter("deconvolution:parameter:acceleration:alphamax = 2")
    with pytest.raises(ConfigError, match="alphamax"):
        made.initialize()
    made = driver(interface(problem), tmp_path)
    made.override_parameter("deconvolution:algorithm = LR")
    with pytest.raises(ValueError, match="no algorithm 'LR'"):
        made.initialize()


def test_newer_names_replace_older_ones(problem, tmp_path):
    made = driver(
        interface(problem), tmp_path, "deconvolution:parameter:acceleration:accel_factor_max = 1.5"
    )
    assert max(row["accel_factor"] for row in made.run_deconvolution()) == 1.5
    assert made.parameter["deconvolution:parameter:iteration_max"] == 4
    assert made.parameter["model_definition"]["property"]["nside"] == 2
    assert made.parameter.get("model_definition:nothing", 3) == 3


def test_parameters_of_2023(problem, tmp_path):
    flat = (
        PARAMETERS[: PARAMETERS.index("deconvolution:")]
        + """
deconvolution:
  algorithm: RL
  parameter_RL:
    iteration: 2
    acceleration: True
    alpha_max: 5.0
"""
    )
    flat = flat.replace("model_definition:", "").replace("  property:", "model_property:")
    flat = flat.replace("  class: AllSkyImage\n", "").replace(
        "  initialization:", "model_initialization:"
    )
    (tmp_path / "old.yml").write_text(flat)
    made = driver(interface(problem), tmp_path)
    made.read_parameterfile(tmp_path / "old.yml")
    made.initialize()
    assert len(made.run_deconvolution()) == 2
    assert made.results[0]["alpha"] > 1


@pytest.mark.parametrize(
    ("algorithm", "files", "tables"),
    [
        ("RL", ("delta_model", "processed_delta_model"), ("ALPHA", "BKG_NORM", "LOG-LIKELIHOOD")),
        ("RLsimple", ("delta_model",), ("BKG_NORM",)),
        ("MAP_RL", ("prior_filter",), ("LOG-POSTERIOR", "BKG_NORM", "LOG-PRIOR", "LOG-LIKELIHOOD")),
    ],
)
def test_results_are_saved(problem, tmp_path, algorithm, files, tables):
    made = driver(
        interface(problem),
        tmp_path,
        f"deconvolution:algorithm = {algorithm}",
        "deconvolution:parameter:iteration_max = 2",
        "deconvolution:parameter:save_results:activate = True",
        f"deconvolution:parameter:save_results:directory = {tmp_path / 'results'}",
    )
    made.run_deconvolution()
    for name in ("model", *files):
        for number, row in enumerate(made.results, 1):
            kept = Histogram.open(tmp_path / "results" / f"{name}.hdf5", f"iteration{number}")
            np.testing.assert_array_equal(kept.contents, row[name].contents)
    last = cosipy.AllSkyImageModel.open(tmp_path / "results" / "model.hdf5", "result")
    assert last.axes == made.initial_model.axes
    np.testing.assert_array_equal(last.contents, made.results[-1]["model"].contents)
    with fits.open(tmp_path / "results" / "results.fits") as found:
        assert tuple(hdu.name for hdu in found[1:]) == tables
        norms = found["BKG_NORM"].data
        assert norms["iteration"].tolist() == [1, 2]
        wanted = made.results[1]["background_normalization"]["albedo"]
        assert norms["albedo"][1] == wanted


class Parameter:
    def __init__(self, value, unit=None, is_normalization=False):
        self.value, self.unit, self.is_normalization = value, unit, is_normalization


class Powerlaw:
    parameters = ("K", "index")
    K = Parameter(2.0, u.Unit("1 / (keV s cm2)"), True)
    index = Parameter(-2.0, u.one)

    def __call__(self, energy):
        return 2.0 * energy**-2


class DiracDelta:
    parameters = ("value", "zero_point")
    value = Parameter(3.0, u.Unit("1 / (keV s cm2)"), True)
    zero_point = Parameter(150.0, u.keV)


@pytest.mark.parametrize(
    ("spectrum", "flux"), [(Powerlaw(), [2 / 200, 2 * (1 / 200 - 1 / 500)]), (DiracDelta(), [3, 0])]
)
@pytest.mark.parametrize("scheme", ["ring", "nested"])
def test_extended_model(spectrum, flux, scheme):
    class Main:
        shape = spectrum

    class Spectrum:
        main = Main

    class Source:
        spectrum = Spectrum

        @staticmethod
        def spatial_shape(lon, lat):
            return np.exp(-(lat**2) / 200) * (lon < 180)

    model = cosipy.AllSkyImageModel(4, [0.1, 0.2, 0.5] * u.MeV, scheme)
    model.set_values_from_extendedmodel(Source)
    lon, lat = healpy.pix2ang(4, np.arange(192), lonlat=True, nest=scheme == "nested")
    wanted = Source.spatial_shape(lon, lat)[:, None] * np.array(flux)
    np.testing.assert_allclose(model.contents.to_value(FLUX), wanted, rtol=1e-10)


def test_smoothing_respects_the_order_of_pixels():
    ring, nested = (cosipy.AllSkyImageModel(4, [1, 2] * u.keV, s) for s in ("ring", "nested"))
    ring[20, 0] = nested[int(healpy.ring2nest(4, 20)), 0] = 1 * FLUX
    width = 30 * u.deg
    smooth = ring.smoothing(fwhm=width).contents[:, 0].value
    back = healpy.reorder(nested.smoothing(fwhm=width).contents[:, 0].value, n2r=True)
    np.testing.assert_allclose(back, smooth, atol=1e-12)
    np.testing.assert_allclose(smooth, ring.smoothing(sigma=width / 2.35482).contents[:, 0].value)
    assert 0 < smooth.max() < 0.5
    np.testing.assert_array_equal(ring.smoothing().contents, ring.contents)


def test_wrong_start_values_are_refused(problem, tmp_path):
    made = driver(interface(problem), tmp_path)
    made.override_parameter("model_definition:initialization:parameter:value = [1, 2, 3]")
    with pytest.raises(ValueError, match="3 values for 2 energy bins"):
        made.initialize()
    made = driver(interface(problem), tmp_path)
    made.override_parameter("model_definition:property:nside = 4")
    with pytest.raises(ValueError, match=r"lb 192.*lb 48"):
        made.initialize()


def test_data_that_do_not_fit_are_refused(problem):
    event, _, response = problem
    with pytest.raises(DataError, match="Em"):
        cosipy.DataIF_COSI_DC2.load("x", event.project(["Phi", "PsiChi"]), {}, response)


def test_given_backgrounds_are_left_alone(problem):
    event, background, response = problem
    given = {"albedo": background.project(["Em", "Phi", "PsiChi"]).to_sparse()}
    kept = dict(given)
    data = cosipy.DataIF_COSI_DC2.load("x", event, given, response)
    assert given == kept
    np.testing.assert_allclose(data.bkg_model("albedo").contents, 0.2)
    assert data.summed_bkg_model("albedo") == pytest.approx(np.sum(background))
    assert data.keys_bkg_models() == ["albedo"]
    np.testing.assert_array_equal(data.event.contents, event.contents[0])


def test_fetching_trusts_checksums_only(tmp_path):
    path = tmp_path / "here.h5"
    path.write_bytes(b"content")
    right = "9a0364b9e99bb480dd25e1f0284c8555"
    assert cosipy.fetch_wasabi_file("a/here.h5", output=path, checksum=right) == path
    with pytest.raises(DataError, match="overwrite=True"):
        cosipy.fetch_wasabi_file("a/here.h5", output=path, checksum="0" * 32)
    assert path.read_bytes() == b"content"


def test_fetching(tmp_path):
    import functools
    import http.server
    import threading

    (tmp_path / "bucket" / "DC2").mkdir(parents=True)
    (tmp_path / "bucket" / "DC2" / "file.h5").write_bytes(b"content")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = {"endpoint": f"http://127.0.0.1:{server.server_port}", "bucket": "bucket"}
        right = "9a0364b9e99bb480dd25e1f0284c8555"
        path = tmp_path / "got.h5"
        cosipy.fetch_wasabi_file("DC2/file.h5", path, checksum=right, **where)
        assert path.read_bytes() == b"content"
        path.write_bytes(b"other")
        cosipy.fetch_wasabi_file("DC2/file.h5", path, overwrite=True, checksum=right, **where)
        assert path.read_bytes() == b"content"
        with pytest.raises(DataError, match="not the right file"):
            cosipy.fetch_wasabi_file("DC2/file.h5", tmp_path / "b.h5", checksum="0" * 32, **where)
        with pytest.raises(OSError, match="cannot be downloaded"):
            cosipy.fetch_wasabi_file("DC2/none.h5", path, overwrite=True, **where)
        assert path.read_bytes() == b"content"
        server.shutdown()


def test_importing_the_plugin_does_not_import_histpy():
    import subprocess
    import sys

    code = "import skyfold_cosi, sys; print('histpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert importlib.import_module("skyfold_cosi.cosipy") is cosipy


def test_models_are_kept_in_files(tmp_path):
    model = cosipy.AllSkyImageModel(2, [100, 200, 500] * u.keV, "nested")
    model[:] = np.arange(96.0).reshape(48, 2) * FLUX
    model.write(tmp_path / "model.h5")
    again = cosipy.AllSkyImageModel.open(tmp_path / "model.h5")
    assert again.axes == model.axes
    assert again.scheme == "nested"
    np.testing.assert_array_equal(again.contents, model.contents)
    assert read(tmp_path / "model.h5")["lb"].scheme == "NESTED"
