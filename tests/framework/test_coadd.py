"""Several frames restored together, as ACOADD did it."""

import numpy as np
import pytest

import skyfold
from skyfold.algorithms.coadd import Coadd
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.errors import ConfigError
from skyfold.joint import JointData
from skyfold.model import Model
from skyfold.priors.entropy import Entropy
from skyfold_responses import Psf


@pytest.fixture
def frames(shared_data):
    """Two frames of one scene, the first of twice the exposure."""
    case = np.load(shared_data / "two-channel" / "case_e_input.npz")
    counts = [case["data1"], case["data2"]]
    total = sum(frame.sum() for frame in counts)
    kernels = [np.maximum(case[name], 0) for name in ("psf1", "psf2")]
    shares = [k / k.sum() * n.sum() / total for k, n in zip(kernels, counts, strict=True)]
    return JointData(
        [
            BinnedData(n, {"sky": Psf(k, n.shape, "periodic")})
            for n, k in zip(counts, shares, strict=True)
        ]
    )


def laps(algorithm, data, n):
    states = algorithm.iterate(data, algorithm.start(data, Model.start(data)))
    return [next(states) for _ in range(n + 1)]


def test_two_frames_as_the_original(shared_data, frames):
    states = laps(Coadd(), frames, 40)
    reference = np.load(shared_data / "two-channel" / "ref_e_coadd_accel.npz")
    used = [state.notes["acceleration"] for state in states[1:]]
    np.testing.assert_allclose(used, reference["speedup"], 1e-5)
    model = states[-1].model
    np.testing.assert_allclose(model["sky"], reference["decon"], 1e-7)
    total = frames.counts.sum()
    for part, name in zip(frames.parts, ("coadd1", "coadd2"), strict=True):
        seen = part.full_expectation(model) * total / part.counts.sum()
        np.testing.assert_allclose(seen, reference[name], 1e-9)


def test_counts_are_kept_and_values_stay_above_zero(frames):
    for state in laps(Coadd(), frames, 20)[1:]:
        assert state.expectation.total == pytest.approx(frames.counts.sum(), rel=1e-12)
        assert state.model["sky"].min() > 0


def test_it_is_further_than_unaccelerated_steps(frames):
    fast, slow = laps(Coadd(), frames, 15), laps(RichardsonLucy(), frames, 25)
    assert fast[-1].log_likelihood > slow[-1].log_likelihood


def test_priors_are_refused(frames):
    with pytest.raises(ConfigError, match="Coadd heeds no priors"):
        laps(Coadd(priors={"e": Entropy(1.0, 1.0)}), frames, 0)


def test_as_a_method_it_runs_twenty_iterations(frames):
    found = skyfold.run(frames, method="coadd", progress=False)
    assert found.reason == "all 20 iterations done"
    assert found.trace[2]["acceleration"] == pytest.approx(1.8556, abs=1e-4)
