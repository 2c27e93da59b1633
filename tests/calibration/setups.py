"""Small models of every kind to calibrate samplers on: dozens of pixels, a hundred counts or so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tests.calibration.calibration import Setup

from skyfold.binned import BinnedData
from skyfold.data import DataInterface
from skyfold.geometry import Geometry, Grid, Normalisations
from skyfold.joint import JointData
from skyfold.matrices import Matrix
from skyfold.model import Component
from skyfold.pixels import Diagonal
from skyfold.response import Response
from skyfold.sampling.laws.multiscale_law import MultiScale
from skyfold.sampling.laws.scale_law import GammaFactor, LogNormalFactor, Scale
from skyfold.sampling.laws.strengths import HalfCauchy, Lira
from skyfold.sphere import Sphere
from skyfold.vector import Array
from skyfold_responses.psf import Psf

TOTAL = (20.0, 0.2)  # 100 counts, give or take 22

Factor = GammaFactor | LogNormalFactor
GAMMA = GammaFactor.of(1, 0.3)


def kernel(width: float) -> Array:
    """Return a small lopsided PSF, of unit sum."""
    y, x = np.mgrid[-1:2, -1:2]
    made = np.exp(-(x**2 + y**2 + 0.3 * x * y) / (2 * width**2))
    return made / made.sum()


def gradient(shape: Sequence[int]) -> Array:
    """Return an exposure that doubles from one side to the other."""
    return np.broadcast_to(np.linspace(0.5, 1, shape[-1]), shape).copy()


def see(
    response: Response, geometry: Geometry, backgrounds: Mapping[str, Array], **options: Any
) -> BinnedData:
    """Return data without counts, of a sky and some backgrounds."""
    known = {n: Component(Normalisations(), fixed=n == "known") for n in backgrounds}
    sky = Component(geometry, mask=options.pop("mask", None))
    nothing = np.zeros(response.data_shape)
    return BinnedData(
        nothing, {"sky": response, **backgrounds}, components={"sky": sky, **known}, **options
    )


def image(
    shape: tuple[int, int] = (8, 8),
    boundary: Any = "same",
    exposure: bool = False,
    backgrounds: Mapping[str, float] | None = None,
    mask: Array | None = None,
    width: float = 0.7,
) -> BinnedData:
    """Return an image: backgrounds have that many counts in each pixel, one more than another."""
    response: Response = (psf := Psf(kernel(width), shape, boundary))
    if exposure:
        response = psf @ Diagonal(gradient(psf.model_shape))
    slope = np.linspace(0.5, 1.5, shape[0])[:, None] * np.ones(shape)
    templates = {name: level * slope for name, level in (backgrounds or {}).items()}
    if "second" in templates:
        templates["second"] = templates["second"][::-1] ** 2
    return see(response, Grid(psf.model_shape, field=psf.field), templates, mask=mask)


def energies() -> BinnedData:
    """Return images of two energies."""
    kernels = np.stack([kernel(0.6), kernel(1.2)])
    psf = Psf(kernels, (2, 4, 4), "same")
    return see(psf, Grid(psf.model_shape), {"background": np.full(psf.data_shape, 0.5)})


def line() -> BinnedData:
    """Return an image of one dimension."""
    psf = Psf([0.2, 0.6, 0.2], (13,))
    return see(psf, Grid(psf.model_shape, field=psf.field), {})


def sphere(nside: int, nested: bool, number: int = 40, energies: int = 1) -> BinnedData:
    """Return the whole sky, seen in bins that each look at much of it, as Compton telescopes do."""
    import astropy.units as u

    edges = None if energies == 1 else np.arange(energies + 1) * 100 * u.keV
    place = Sphere(nside, edges, nested)
    rng = np.random.default_rng(5)
    matrix = rng.random((number, int(np.prod(place.shape)))) ** 4
    matrix *= rng.uniform(0.5, 1, matrix.shape[1]) / matrix.sum(axis=0)
    return see(Matrix(matrix, place.shape), place, {"background": rng.random(number) * 2})


def joint() -> DataInterface:
    """Return two images of one sky, each with its background."""
    first = image(boundary="same", exposure=True, backgrounds={"background": 0.5})
    second = image(boundary="same", width=1.2, backgrounds={"second": 0.5})
    return JointData([first, second])


def setup(data: DataInterface, factor: Factor = GAMMA, **options: Any) -> Setup:
    """Return the laws of a sky and its backgrounds.

    Parameters
    ----------
    data
        The data.
    factor
        What is known of the backgrounds.
    options
        Of the law of the sky.
    """
    options = {"total": TOTAL, **options}
    laws: dict[str, Any] = {}
    for name, component in data.components.items():
        seen = data.sensitivity[name]
        if component.geometry.sky:
            laws[name] = MultiScale(component, seen, **options)
        elif not component.fixed:
            laws[name] = Scale(seen, factor)
    fixed = {n: np.ones(1) for n, part in data.components.items() if part.fixed}
    return Setup(data, laws, fixed)


def moved(given: Setup) -> Setup:
    """Return the same with transfers of light."""
    return replace(given, moves=True)


def following(given: Setup) -> Setup:
    """Return the same with trajectories, one for each of fewer draws."""
    return replace(given, follows=8, draws=8)


def mask() -> Array:
    """Return where 6 x 5 pixels may hold light."""
    allowed = np.ones((6, 5), bool)
    allowed[:2, 0] = allowed[4, 3] = False
    return allowed


def template() -> Array:
    """Return a base measure that rises, with a hole."""
    measure = np.outer(np.arange(1.0, 9), np.ones(8))
    measure[3, 4] = 0
    return measure


FAR = (3, 5), (6, 1), (0, 0), (7, 4)  # where frames begin

SETUPS = {
    "plain": lambda: setup(image()),
    "periodic": lambda: setup(image(boundary="periodic")),
    "exposure": lambda: setup(image(exposure=True)),
    "known background": lambda: setup(image(exposure=True, backgrounds={"known": 0.7})),
    "background": lambda: setup(image(exposure=True, backgrounds={"background": 0.7})),
    "log-normal": lambda: setup(image(backgrounds={"background": 0.7}), LogNormalFactor(1, 0.3)),
    "backgrounds": lambda: setup(image(backgrounds={"known": 0.2, "first": 0.5, "second": 0.3})),
    "size and mask": lambda: setup(image((6, 5), mask=mask(), backgrounds={"background": 0.5})),
    "border": lambda: setup(image((5, 6), "extended", backgrounds={"background": 0.5})),
    "line": lambda: setup(line()),
    "energies": lambda: setup(energies()),
    "joint": lambda: setup(joint()),
    "sphere 1": lambda: setup(sphere(1, nested=False)),
    "sphere 2": lambda: setup(sphere(2, nested=False)),
    "sphere nested": lambda: setup(sphere(2, nested=True)),
    "sphere energies": lambda: setup(sphere(1, nested=False, energies=2)),
    "diffuse": lambda: setup(image(exposure=True), hyper=Lira(1, 0.02, 1)),
    "half-Cauchy": lambda: setup(image(exposure=True), hyper=HalfCauchy(0.3)),
    "template": lambda: setup(image(exposure=True), template=template()),
    "strength": lambda: setup(image(exposure=True), strength=np.outer(np.ones(8), np.arange(1, 9))),
    "factors": lambda: setup(image(exposure=True), factors=[1, 2, 4]),
    "fixed alphas": lambda: setup(image(exposure=True), alpha=[0.1, 0.3, 1], hyper=None),
    "weak total": lambda: setup(image(exposure=True), total=(2.0, 0.02)),
    "ensemble": lambda: setup(image(exposure=True), origins=FAR),
    "sampled origin": lambda: setup(image(exposure=True), origin="sampled"),
    "sampled origin, size": lambda: setup(image((6, 5), "extended"), origin="sampled"),
    "moves": lambda: moved(setup(image(exposure=True, backgrounds={"background": 0.7}))),
    "moves, border": lambda: moved(setup(image((5, 6), "extended"), origins=FAR)),
    "moves, template": lambda: moved(setup(image(exposure=True), template=template())),
    "moves, energies": lambda: moved(setup(energies())),
    "moves, joint": lambda: moved(setup(joint())),
    "moves, sphere": lambda: moved(setup(sphere(2, nested=False))),
    "moves, fixed alphas": lambda: moved(setup(image(), alpha=[0.1, 0.3, 1], hyper=None)),
    "trajectories": lambda: following(setup(image(exposure=True, backgrounds={"background": 0.7}))),
    "trajectories, joint": lambda: following(setup(joint(), LogNormalFactor(1, 0.3))),
    "trajectories, sphere": lambda: following(moved(setup(sphere(2, nested=False)))),
    "trajectories, fixed alphas": lambda: following(
        setup(image(exposure=True), alpha=[0.1, 0.3, 1], hyper=None)
    ),
    "trajectories, diffuse": lambda: following(
        setup(image(exposure=True, backgrounds={"background": 0.7}), hyper=Lira(1, 0.02, 1))
    ),
    "trajectories, border": lambda: following(
        moved(setup(image((5, 6), "extended"), hyper=HalfCauchy(), origins=FAR))
    ),
    "trajectories, energies": lambda: following(
        setup(energies(), hyper=Lira(1, 0.02, 1), total=(200.0, 0.2))
    ),
    "trajectories, template": lambda: following(
        setup(image(), hyper=HalfCauchy(), template=template())
    ),
    "trajectories, diffuse sphere": lambda: following(
        setup(sphere(2, nested=True), hyper=Lira(1, 0.02, 1))
    ),
    "tempering": lambda: replace(setup(image(exposure=True)), rungs=3),
    "tempering, fixed alphas": lambda: replace(
        setup(image(exposure=True), alpha=[0.1, 0.3, 1], hyper=None), rungs=3
    ),
    "tempering, moves, origin": lambda: replace(
        moved(setup(image(exposure=True), origin="sampled")), rungs=2
    ),
}


def fault_a() -> Setup:
    """Strengths follow alpha times their density."""
    right, wrong = setup(image(exposure=True)), setup(image(exposure=True), published=True)
    return replace(wrong, true=right.laws)


def fault_b() -> Setup:
    """A new origin in every sweep; truths have one at random, and counts enough to tell."""
    bright = {"total": (20.0, 0.005)}
    right = setup(image(exposure=True), origin="sampled", **bright)
    return replace(setup(image(exposure=True), origin="random", **bright), true=right.laws)
