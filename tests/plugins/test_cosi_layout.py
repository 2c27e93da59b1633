"""Results in cosipy's own files."""

from contextlib import suppress

import numpy as np
import pytest
import yaml
from astropy import units as u
from astropy.io import fits
from histpy import Histogram

import skyfold
from skyfold.cli import main
from skyfold.config import RunConfig
from skyfold.errors import ConfigError, FileError
from skyfold.runner import prepare, solve
from skyfold_cosi import container, layout
from skyfold_cosi.histogram import Axis
from skyfold_cosi.histogram import Histogram as Ours
from skyfold_cosi.layout import CosipyLayout, ResultFiles, read_tables, write_tables
from skyfold_cosi.opener import open_cosi

EDGES = np.array([100.0, 200.0, 500.0])


@pytest.fixture
def files(tmp_path):
    """Counts, a background and a response in files."""
    rng = np.random.default_rng(2)
    sky, energy = Axis.healpix("NuLambda", 1), Axis("Ei", EDGES, "keV", "log")
    data = (
        Axis("Em", EDGES, "keV", "log"),
        Axis("Phi", np.linspace(0, 180, 7), "deg"),
        Axis.healpix("PsiChi", 1),
    )
    response = Ours((sky, energy, *data), 9 * rng.random((12, 2, 2, 6, 12)) ** 4, "cm2 s")
    event = Ours(data, rng.poisson(5.0, (2, 6, 12)).astype(float))
    background = Ours(data, np.full((2, 6, 12), 2.0))
    found = {"event": event, "response": response, "albedo": background}
    for name, histogram in found.items():
        container.write(tmp_path / f"{name}.h5", histogram)
    return {name: tmp_path / f"{name}.h5" for name in found}


def opened(files, name="511keV"):
    background = {"albedo": files["albedo"]}
    return open_cosi(files["event"], files["response"], background=background, name=name)


def states_of(data, iterations, folder, method="rl", only_final_result=False, **options):
    """Return the states of a run that a layout has watched."""
    seen = []

    class Keep(skyfold.Observer):
        def on_iteration(self, state, trace):
            seen.append(state)

    watching = [CosipyLayout(folder, data, only_final_result), Keep()]
    options |= {"acceleration": True} if method == "rl" else {}
    skyfold.run(data, method, iterations, observers=watching, progress=False, **options)
    return seen


def test_histpy_reads_what_was_written(files, tmp_path):
    data = opened(files)
    states = states_of(data, 3, tmp_path)
    assert {path.name for path in (tmp_path / "cosipy").iterdir()} == {
        "model.hdf5",
        "delta_model.hdf5",
        "processed_delta_model.hdf5",
        "results.fits",
    }
    for number, state in enumerate(states, 1):
        model, step, treated = (
            Histogram.open(tmp_path / "cosipy" / f"{name}.hdf5", f"iteration{number}")
            for name in ("model", "delta_model", "processed_delta_model")
        )
        np.testing.assert_array_equal(model.contents.value, state.model["sky"])
        assert model.unit == u.Unit("1 / (cm2 s sr)")
        assert list(model.axes.labels) == ["lb", "Ei"]
        assert model.axes["lb"].coordsys.name == "galactic"
        np.testing.assert_array_equal(model.axes["Ei"].edges.to_value("keV"), EDGES)
        assert model.axes["Ei"].axis_scale == "log"
        before = states[number - 2].model["sky"] if number > 1 else None
        if before is not None:
            alpha = state.notes["acceleration"]
            np.testing.assert_allclose(before + alpha * treated.contents.value, state.model["sky"])
            gain = states[number - 2].back["sky"] / data.sensitivity["sky"]
            np.testing.assert_allclose(step.contents.value, before * (gain - 1), atol=1e-12)
            assert alpha > 1
            np.testing.assert_allclose(step.contents.value, treated.contents.value, atol=1e-9)
    last = Histogram.open(tmp_path / "cosipy" / "model.hdf5", "result")
    np.testing.assert_array_equal(last.contents.value, states[-1].model["sky"])
    with fits.open(tmp_path / "cosipy" / "results.fits") as found:
        assert [hdu.name for hdu in found[1:]] == ["ALPHA", "BKG_NORM", "LOG-LIKELIHOOD"]
        assert found[1].columns.formats == ["K", "D"]
        assert found["ALPHA"].data["alpha"][1] == states[1].notes["acceleration"]
        assert found["BKG_NORM"].data["albedo"].tolist() == [s.model["albedo"][0] for s in states]
        likelihoods = [s.log_likelihood for s in states]
        assert found["LOG-LIKELIHOOD"].data["511keV"].tolist() == likelihoods


def test_only_the_final_result(files, tmp_path):
    states = states_of(opened(files), 3, tmp_path, only_final_result=True)
    header = container.read_header(tmp_path / "cosipy" / "model.hdf5")
    assert header.name == "result"
    model = container.read(tmp_path / "cosipy" / "model.hdf5")
    np.testing.assert_array_equal(model.dense, states[-1].model["sky"])
    tables = read_tables(tmp_path / "cosipy" / "results.fits", 100)
    assert list(tables["BKG_NORM"]) == [1, 2, 3]


def test_priors_have_tables(files, tmp_path):
    prior = {"tsv": {"coefficient": 1e-3}, "gamma": {"k": 0.99}, "gamma_background": {"k": 1.1}}
    states = states_of(opened(files), 2, tmp_path, "map", prior=prior)
    assert not (tmp_path / "cosipy" / "delta_model.hdf5").exists()
    tables = read_tables(tmp_path / "cosipy" / "results.fits", 100)
    assert list(tables) == ["LOG-POSTERIOR", "BKG_NORM", "LOG-PRIOR", "LOG-LIKELIHOOD"]
    assert tables["LOG-POSTERIOR"][2]["log-posterior"] == states[1].objective
    assert set(tables["LOG-PRIOR"][2]) == {"TSV", "gamma_model", "gamma_bkg"}
    assert sum(tables["LOG-PRIOR"][2].values()) == pytest.approx(states[1].log_prior)


def test_each_observation_has_its_likelihood(files, tmp_path):
    parts = [opened(files, "a"), opened(files, "b")]
    data = skyfold.JointData(parts)
    (state,) = states_of(data, 1, tmp_path)
    row = read_tables(tmp_path / "cosipy" / "results.fits", 1)["LOG-LIKELIHOOD"][1]
    assert sum(row.values()) == pytest.approx(state.log_likelihood)
    assert row["a"] == row["b"] == pytest.approx(parts[0].e_step(state.model).log_likelihood)


def test_an_interrupted_run_goes_on(files, tmp_path):
    data = opened(files)
    states_of(data, 4, tmp_path / "whole")
    state, rows = None, ()
    for iterations in (2, 4):
        config = RunConfig.of(
            data=[], method={"name": "rl", "acceleration": True}, iterations=iterations
        )
        watching = [CosipyLayout(tmp_path / "parts", data)]
        state, rows, *_ = solve(prepare(config, data), watching, state, rows)
    whole, parts = (tmp_path / name / "cosipy" for name in ("whole", "parts"))
    for name in ("model", "delta_model"):
        for group in (*(f"iteration{i}" for i in range(1, 5)), "result"):
            one, two = (container.read(path / f"{name}.hdf5", group) for path in (whole, parts))
            np.testing.assert_array_equal(one.dense, two.dense)
    tables = [read_tables(path / "results.fits", 4) for path in (whole, parts)]
    assert tables[0] == tables[1]
    assert list(tables[0]["ALPHA"]) == [1, 2, 3, 4]


def test_from_the_command_line(files, tmp_path):
    config = {
        "data": {
            "instrument": "cosi",
            "event": str(files["event"]),
            "response": str(files["response"]),
        },
        "iterations": 2,
        "layout": {"cosipy": {"only_final_result": True}},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["run", str(tmp_path / "run.yaml"), "--output", str(tmp_path / "out")]) == 0
    assert container.read_header(tmp_path / "out" / "cosipy" / "model.hdf5").name == "result"


def test_other_skies_are_refused(tmp_path):
    data = skyfold.BinnedData(np.ones(3), {"sky": np.eye(3)[0]})
    with pytest.raises(ConfigError, match="HEALPix"):
        CosipyLayout(tmp_path, data)


def test_very_wide_tables_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "COLUMNS", 3)
    row = {f"norm{i}": float(i) for i in range(7)}
    write_tables(tmp_path / "t.fits", {"BKG_NORM": {1: row, 2: row}, "EMPTY": {1: {}, 2: {}}})
    with fits.open(tmp_path / "t.fits") as found:
        assert [hdu.name for hdu in found[1:]] == ["BKG_NORM", "BKG_NORM1", "BKG_NORM2"]
        assert found[3].columns.names == ["iteration", "norm6"]
    assert read_tables(tmp_path / "t.fits", 1) == {"BKG_NORM": {1: row}}


def test_remains_of_a_killed_run_do_no_harm(files, tmp_path):
    (tmp_path / "cosipy").mkdir()
    (tmp_path / "cosipy" / ".model.hdf5.partial").write_bytes(b"half of a file")
    (state,) = states_of(opened(files), 1, tmp_path)
    kept = container.read(tmp_path / "cosipy" / "model.hdf5", "result")
    np.testing.assert_array_equal(kept.dense, state.model["sky"])


def test_nothing_is_left_of_a_failure(tmp_path):
    sky = Ours((Axis.healpix("lb", 1), Axis("Ei", EDGES, "keV")), np.ones((12, 2)))
    with suppress(FileError), ResultFiles(tmp_path, ("model",)) as files:
        files.add(1, {"model": sky})
        raise FileError("disk full")
    assert list(tmp_path.iterdir()) == []
