"""Prove a response or an instrument: for plugin authors, and behind ``skyfold plugins check``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skyfold.algorithms.richardson_lucy import RichardsonLucy
from skyfold.binned import BinnedData
from skyfold.data import DataInterface
from skyfold.model import Model
from skyfold.response import check_adjoint
from skyfold.vector import Array

ADJOINT_LIMIT = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-5}


@dataclass(frozen=True)
class Finding:
    """One property that was tried.

    Parameters
    ----------
    subject
        What was tried.
    ok
        Whether it holds.
    message
        What was measured.
    """

    subject: str
    ok: bool
    message: str


def check_instrument(data: DataInterface, iterations: int = 30, seed: int = 0) -> list[Finding]:
    """Try everything that algorithms rely on.

    Parameters
    ----------
    data
        Opened data of the instrument.
    iterations
        Richardson-Lucy laps of the toy reconstruction.
    seed
        Seed of all that is random.

    Returns
    -------
    findings
        In the order tried; the instrument is sound if all are ``ok``.
    """
    findings = [finding for part in data.parts for finding in _check_responses(part, seed)]
    if all(finding.ok for finding in findings):
        findings += _check_reconstruction(data, iterations, seed)
    return findings


def _check_responses(part: BinnedData, seed: int) -> Iterator[Finding]:
    rng = np.random.default_rng(seed)
    limit = ADJOINT_LIMIT[part.dtype]
    for name, response in part.whole.items():
        label = f"{name}: "
        positive = rng.random(response.model_shape)
        seen, ones = response.forward(positive), response.adjoint(np.ones(part.shape))
        shapes = seen.shape == part.shape and ones.shape == response.model_shape
        yield Finding(
            label + "shapes", shapes, f"values {response.model_shape} to counts {part.shape}"
        )
        if not shapes:
            return
        error = check_adjoint(response, seed)
        yield Finding(
            label + "adjoint",
            error <= limit,
            f"relative difference {error:.1e} (limit {limit:.0e})",
        )
        noise = 1e-10 * float(np.max(np.abs(seen), initial=0))
        yield Finding(
            label + "not negative", bool(np.min(seen) >= -noise),
            f"least expected count of a positive model {np.min(seen):.3g}",
        )  # fmt: skip
        sensitivity = response.sensitivity(np.ones(part.shape))
        apart = float(np.max(np.abs(sensitivity - ones)) / max(np.max(np.abs(ones)), 1e-300))
        yield Finding(
            label + "sensitivity = adjoint of ones", apart <= limit, f"they differ by {apart:.1e}"
        )
        double = response.forward(positive * 2)
        linear = float(np.max(np.abs(double - 2 * seen)) / max(np.max(np.abs(seen)), 1e-300))
        yield Finding(label + "linear", linear <= limit, f"R(2x) and 2 Rx differ by {linear:.1e}")


def _check_reconstruction(data: DataInterface, iterations: int, seed: int) -> Iterator[Finding]:
    """Restore counts that were simulated from the start model with a bright spot in each sky."""
    truth = {
        name: _spotted(value, name in data.components) for name, value in Model.start(data).items()
    }
    rng = np.random.default_rng(seed)
    toys = []
    for part in data.parts:
        expected = part.full_expectation({n: truth[n] for n in part.components})
        toys.append(part.with_counts(rng.poisson(expected * part.weight)))
    toy = toys[0] if len(toys) == 1 else type(data)(toys)  # type: ignore[call-arg]
    algorithm = RichardsonLucy()
    state = algorithm.start(toy, Model.start(toy))
    levels, began = [state.log_likelihood], time.perf_counter()
    for _ in range(iterations):
        state = algorithm.step(state, toy)
        levels.append(state.log_likelihood)
    pace = (time.perf_counter() - began) / iterations
    fall = float(-np.min(np.diff(levels), initial=0))
    scale = max(abs(levels[-1]), float(toy.counts.sum()))
    yield Finding(
        "likelihood never falls",
        fall <= 1e-9 * scale,
        f"largest fall {fall:.1e} in {iterations} laps",
    )
    lowest = min(float(np.min(value)) for value in state.model.values())
    yield Finding("values stay positive", lowest >= 0, f"smallest value {lowest:.3g}")
    total, counts = state.expectation.total, float(toy.counts.sum())
    yield Finding(
        "flux", abs(total / counts - 1) < 0.05,
        f"toy reconstruction expects {total:.1f} of {counts:.0f} counts "
        f"({100 * (total / counts - 1):+.2f} %), {1e3 * pace:.2g} ms per iteration",
    )  # fmt: skip


def _spotted(values: Array, sky: bool) -> Array:
    spotted = np.array(values)
    if sky and spotted.size > 1:
        spotted.flat[spotted.size // 2] += 0.2 * spotted.sum()
    return spotted
