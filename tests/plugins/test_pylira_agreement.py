"""Draws with ``compat`` beside those of Pylira 0.2 from the same counts.

Single bright pixels are not compared: their effective sample size in the reference is a few.
"""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from skyfold.algorithms.gibbs import Gibbs
from skyfold.model import Model
from skyfold.sampling.laws.multiscale_law import MultiScale
from skyfold.sampling.laws.strengths import Lira
from skyfold_image.pylira import LIRADeconvolver
from skyfold_image.pylira import data as examples
from skyfold_image.pylira.deconvolver import binned

BURN_IN = 1000
PAPER = {"ms_al_kap1": 1.0, "ms_al_kap2": 0.02, "ms_al_kap3": 1.0}
ALPHAS = tuple(f"smoothingParam{level}" for level in range(5))
TOTAL = "expectedMSCounts"
SIGMA = 4.0
DISK = 651.05, 0.34  # log-likelihood, and error, of the images of 4000 iterations of Pylira 0.2
# the same at a fixed origin, of an independent implementation of Pylira's law
FIXED = {"point": (1095.29, 0.03), "chandra32": (2337.0, 0.3)}


def problem(name, shared_data, monkeypatch, tmp_path):
    """Return the data of a reference run and its options."""
    if name == "chandra32":
        (tmp_path / "chandra-gc-4684").symlink_to(shared_data / "chandra")
        monkeypatch.setenv("SKYFOLD_DATA", str(tmp_path))
        data, middle = examples.chandra_gc(4684), slice(48, 80)
        images = {k: data[k][middle, middle] for k in ("counts", "exposure", "background")}
        return {**images, "psf": data["psf"]}, PAPER
    make = getattr(examples, f"{name}_source_gauss_psf")
    return make(random_state=np.random.RandomState(836)), {}


def drawn(data, options, iterations, seeds):
    data = {**data, "flux_init": np.random.RandomState(1).gamma(10, size=data["counts"].shape)}
    return [
        LIRADeconvolver(
            alpha_init=[0.1] * 5,
            n_iter_max=iterations,
            n_burn_in=BURN_IN,
            random_state=np.random.RandomState(seed),
            compat=True,
            **options,
        ).run(data)
        for seed in seeds
    ]


def z_of(ours, theirs):
    """Return by how many Monte Carlo errors the means differ, given draws (chains, draws)."""
    means, errors = zip(
        *((x.mean(), x.std() / np.sqrt(array_stats.ess(x, method="bulk"))) for x in (ours, theirs)),
        strict=True,
    )
    return (means[0] - means[1]) / np.hypot(*errors)


def parameter(results, name):
    return np.array([result.parameter_trace[name][BURN_IN:] for result in results], dtype=float)


def reference(shared_data, name):
    """Return the parameters after burn-in by name, and the mean and its Monte Carlo error."""
    with np.load(shared_data / "lira" / f"ref_{name}_11n.npz") as kept:
        after = kept["par"][int(kept["burn"]) :].astype(float)
        return dict(zip(kept["cols"], after.T, strict=True)), kept["mean"], kept["mean_mcse"]


def published_density(result, rate):
    """Return what Pylira writes as logPost, parts of the log-density, of images after burn-in."""
    table = result.parameter_trace[BURN_IN:]
    found = np.empty(len(table))
    for i, (row, image) in enumerate(zip(table, result.image_trace[BURN_IN:], strict=True)):
        sums = np.roll(image.astype(float), (-row["cycleSpinRow"], -row["cycleSpinCol"]), (0, 1))
        found[i] = row["logLikelihood"] - rate * sums.sum()
        for name in ALPHAS:
            half = len(sums) // 2
            parents = sums.reshape(half, 2, half, 2).sum(axis=(1, 3))
            with np.errstate(divide="ignore", invalid="ignore"):  # what single precision lost
                logs = np.log(sums / np.kron(parents, np.ones((2, 2))))
            found[i] += row[name] * logs.sum()
            sums = parents
    return found


def test_alphas_and_total_of_the_point_source_agree(shared_data, monkeypatch, tmp_path):
    data, options = problem("point", shared_data, monkeypatch, tmp_path)
    # several: a short chain alone can stay too long where its largest strength is high or low
    results = drawn(data, options, 3000, range(1, 7))
    theirs, _, _ = reference(shared_data, "point")
    for name in (*ALPHAS, TOTAL):
        assert abs(z_of(parameter(results, name), theirs[name][None])) < SIGMA, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["point", "chandra32"])
def test_parameters_and_bright_regions_agree(name, shared_data, monkeypatch, tmp_path):
    data, options = problem(name, shared_data, monkeypatch, tmp_path)
    results = drawn(data, options, 11_000, [1, 2])
    theirs, mean, _ = reference(shared_data, name)
    for column in (*ALPHAS, TOTAL):
        assert abs(z_of(parameter(results, column), theirs[column][None])) < SIGMA, column
    images = np.array([result.image_trace[BURN_IN:] for result in results])
    for size in (16, 8):
        blocks = images.reshape(*images.shape[:2], 32 // size, size, 32 // size, size)
        sums = blocks.sum(axis=(3, 5), dtype=float)
        expected = mean.reshape(32 // size, size, 32 // size, size).sum(axis=(1, 3))
        for place in np.argwhere(expected >= 100):
            ours = sums[(..., *place)]
            # the reference keeps means alone: its error is taken from our draws, for its length
            error = ours.std() / np.sqrt(array_stats.ess(ours, method="bulk"))
            length = np.sqrt(ours.size / len(theirs[TOTAL]))
            apart = ours.mean() - expected[tuple(place)]
            assert abs(apart) < SIGMA * error * np.hypot(1, length), (size, place)


@pytest.mark.slow
def test_total_and_likelihood_of_the_disk_agree(shared_data, monkeypatch, tmp_path):
    """Its reference is not mixed: of the rest nothing can be said."""
    data, options = problem("disk", shared_data, monkeypatch, tmp_path)
    results = drawn(data, options, 11_000, [1, 2])
    theirs, _, _ = reference(shared_data, "disk")
    assert abs(z_of(parameter(results, TOTAL), theirs[TOTAL][None])) < SIGMA
    ours = parameter(results, "logLikelihood")
    likelihood, its_error = DISK
    error = ours.std() / np.sqrt(array_stats.ess(ours, method="bulk"))
    assert abs(ours.mean() - likelihood) < SIGMA * np.hypot(error, its_error)


def published(results, theirs):
    """Return the finite values of Pylira's logPost of both sides, shape (1, draws)."""
    ours = np.concatenate([published_density(result, 0.05) for result in results])
    return tuple(x[np.isfinite(x)][None] for x in (ours, theirs["logPost"]))


@pytest.mark.slow
def test_likelihood_of_chandra_agrees_as_pylira_writes_it(shared_data, monkeypatch, tmp_path):
    data, options = problem("chandra32", shared_data, monkeypatch, tmp_path)
    ours, other = published(
        drawn(data, options, 11_000, [3, 4]), reference(shared_data, "chandra32")[0]
    )
    assert abs(z_of(ours, other)) < SIGMA
    assert ours.std() == pytest.approx(other.std(), rel=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["point", "chandra32"])
def test_likelihood_at_a_fixed_origin(name, shared_data, monkeypatch, tmp_path):
    data, options = problem(name, shared_data, monkeypatch, tmp_path)
    seen = binned(data)
    hyper = [options.get(f"ms_al_kap{i}", usual) for i, usual in ((1, 0.0), (2, 1000.0), (3, 3.0))]
    law = MultiScale(
        seen.components["sky"],
        seen.sensitivity["sky"],
        hyper=Lira(*hyper),
        total=(1.0, 0.05),
        published=True,
    )
    gibbs = Gibbs(laws={"sky": law}, chains=2, origins=1, burn=BURN_IN, draws=8000, thin=10, seed=1)
    state = gibbs.start(seen, Model.start(seen))
    while state.sweeps < BURN_IN + 8000:
        state = gibbs.step(state, seen)
    ours = state.table[:, BURN_IN:, 0]
    likelihood, its_error = FIXED[name]
    error = ours.std() / np.sqrt(array_stats.ess(ours, method="bulk"))
    assert abs(ours.mean() - likelihood) < SIGMA * np.hypot(error, its_error)
