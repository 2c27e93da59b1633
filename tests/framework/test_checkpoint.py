import dataclasses

import numpy as np
import pytest

from skyfold import checkpoint
from skyfold.algorithm import State
from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.errors import FileError
from skyfold.matrices import Matrix
from skyfold.model import Model
from skyfold.vector import Vector


@dataclasses.dataclass(frozen=True, eq=False)
class Remembering(State):
    direction: Vector = dataclasses.field(default_factory=lambda: Vector({}))
    past: tuple[State, ...] = ()
    alphas: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    origin: tuple[int, ...] = ()


@pytest.fixture
def run(rng):
    matrix = rng.random((30, 8))
    data = BinnedData(rng.poisson(matrix @ rng.gamma(1, 3, 8)), {"sky": Matrix(matrix)})
    algorithm = RichardsonLucy()
    return data, algorithm, algorithm.start(data, Model.start(data))


def test_a_resumed_run_is_bit_identical(run, tmp_path):
    data, algorithm, start = run
    states = algorithm.iterate(data, start)
    through = [next(states) for _ in range(41)]
    path = tmp_path / "c.npz"
    checkpoint.save(path, through[17], [{"iteration": 17.0, "log_likelihood": -0.1}])
    state, trace = checkpoint.load(path, start)
    assert trace == [{"iteration": 17.0, "log_likelihood": -0.1}]
    again = algorithm.iterate(data, state)
    for expected in through[17:]:
        got = next(again)
        assert got.iteration == expected.iteration
        assert got.log_likelihood == expected.log_likelihood
        assert np.array_equal(got.model["sky"], expected.model["sky"])
        assert np.array_equal(got.expectation.observed, expected.expectation.observed)


def test_a_state_with_memory_is_stored_whole(run, tmp_path):
    _, _, start = run
    fields = {f.name: getattr(start, f.name) for f in dataclasses.fields(start)}
    empty = Remembering(**fields)
    rich = dataclasses.replace(
        empty,
        direction=Vector({"sky": np.arange(8, dtype=np.float32)}),
        past=(start, start),
        alphas=np.array([0.1, 0.7]),
        origin=(3, 4),
        notes={"acceleration": 2.5},
    )
    checkpoint.save(tmp_path / "c.npz", rich, [])
    like = dataclasses.replace(empty, past=(start,), direction=Vector({"sky": np.zeros(8)}))
    back, _ = checkpoint.load(tmp_path / "c.npz", like)
    assert back.direction["sky"].dtype == np.float32
    assert list(back.direction["sky"]) == list(range(8))
    assert len(back.past) == 2
    assert np.array_equal(back.past[1].model["sky"], start.model["sky"])
    assert back.origin == (3, 4)
    assert back.notes == {"acceleration": 2.5}


def test_a_damaged_file_is_named(run, tmp_path):
    _, _, start = run
    path = tmp_path / "c.npz"
    checkpoint.save(path, start, [])
    whole = path.read_bytes()
    for wrong in (whole[: len(whole) // 2], b"", b"<html>"):
        path.write_bytes(wrong)
        with pytest.raises(FileError, match=r"c\.npz is damaged or not a checkpoint"):
            checkpoint.load(path, start)


def test_another_model_is_refused(run, tmp_path):
    _, algorithm, start = run
    other = BinnedData(np.ones(5), {"sky": Matrix(np.ones((5, 3)))})
    checkpoint.save(tmp_path / "c.npz", start, [])
    with pytest.raises(FileError, match=r"another model: sky has shape \(8,\)"):
        checkpoint.load(tmp_path / "c.npz", algorithm.start(other, Model.start(other)))


def test_what_cannot_be_stored_is_refused_before_writing(run, tmp_path):
    _, _, start = run
    with pytest.raises(TypeError, match="cannot hold set"):
        checkpoint.save(tmp_path / "c.npz", dataclasses.replace(start, notes={"x": {1}}), [])
    assert not list(tmp_path.iterdir())
