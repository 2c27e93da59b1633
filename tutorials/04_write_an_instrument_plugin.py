# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Write an instrument plugin
#
# skyfold knows no instrument. It knows counts, and linear maps from a sky to expected counts.
# Whoever can write such a map has all of skyfold: every algorithm, stopping rule, report and
# command. This notebook adds an instrument in about 50 lines, from the physics to a package that
# others install.
#
# The instrument is a camera in the gondola of a balloon. High in the atmosphere it looks at hard
# X-rays, which no lens bends and no mirror reflects. Instead there is a *coded mask*: a plate with
# a random pattern of holes, in front of a detector with many cells. Each source throws the shadow
# of the mask on the detector, shifted according to its direction. The counts look like nothing at
# all; but skyfold's sentence holds for them as for any image,
#
# $$\text{counts} \sim \text{Poisson}\Big(\sum_c R_c\,x_c\Big).$$

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import correlate

import skyfold
from skyfold import (
    Array,
    BinnedData,
    Component,
    Diagonal,
    Grid,
    Response,
    check_adjoint,
    hookimpl,
)
from skyfold.simulate import generator, simulate

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"

# %% [markdown]
# ## 1. The response
#
# Let the mask have $M$ cells along an axis, the detector $D$ cells of the same size. A source in
# the direction $k$ lights detector cell $i$ through mask cell $i + k$. There are $M - D + 1$
# directions whose shadow covers the whole detector: that is the field of view. So
#
# $$e_i = \sum_k \text{mask}_{i+k}\,x_k ,$$
#
# in both axes. This is all the physics, and it is a correlation of the mask with the sky.
#
# A `Response` owes two methods. `forward` takes a sky to expected counts. `adjoint` is the same
# table of numbers read the other way: each place of the sky collects the weights of all cells that
# it lights, $\sum_i \text{mask}_{i+k}\,w_i$. Both must be linear, so there is nothing to clip,
# round or normalise inside. Everything else (sensitivities, restriction to bins with counts,
# composition with `@`) has a default that is right, and may be replaced later for speed.


# %%
class CodedMask(Response):
    """Each sky pixel throws its own shifted shadow of the mask on the detector."""

    def __init__(self, mask: Array, detector: tuple[int, int]) -> None:
        self.mask, self.data_shape = mask, detector
        self.model_shape = tuple(m - d + 1 for m, d in zip(mask.shape, detector, strict=True))

    def forward(self, values: Array) -> Array:
        """Add up the shadows."""
        return correlate(self.mask, values, mode="valid", method="direct")

    def adjoint(self, weights: Array) -> Array:
        """Lay the detector over the mask in every way, and add up what shines through."""
        return correlate(self.mask, weights, mode="valid", method="direct")


# %% [markdown]
# The one mistake that everybody makes once is an adjoint that does not belong to its forward: a
# flipped axis, a shift by one. It does not crash; the sky only comes out slightly wrong. So test
# it: $\langle Rx, y\rangle = \langle x, R^T y\rangle$ for random $x$ and $y$. A matching pair
# differs by rounding, any mistake by percents.


# %%
class Mistaken(CodedMask):
    """The same, with the adjoint of another instrument: one axis is flipped."""

    def adjoint(self, weights: Array) -> Array:
        return super().adjoint(weights)[::-1]


size, cells = (48, 40) if FULL else (31, 24)
pattern = generator(seed=1, purpose="mask").random((size + cells - 1,) * 2) < 0.4
camera = CodedMask(pattern.astype(float), (cells, cells))
right, wrong = check_adjoint(camera), check_adjoint(Mistaken(camera.mask, camera.data_shape))
print(f"sky of {camera.model_shape}, detector of {camera.data_shape}")
print(f"adjoint test: {right:.1e}; with a flipped axis: {wrong:.1e}")

# %% [markdown]
# ## 2. Opening a file
#
# The instrument team writes one file per flight, with the counts of each cell, the mask, the
# livetime, and which cells lie under a lead cover, where no light of the sky arrives. The function
# that opens it returns `BinnedData`: the counts, and for each *component* of the model its
# response. Here are two components.
#
# * `sky`: photons per second from each direction. Its response is a chain of two, read from the
#   right: first the mask, then a factor for each cell, the livetime or, under the lead, zero.
# * `background`: cosmic rays hit all cells alike. An array shaped like the counts is a *template*;
#   the component is its normalisation, one number, and it is fitted together with the sky.
#
# Why the lead? An even glow of the whole sky would light all cells alike, just as the background
# does. From the other cells nobody could tell the two apart, and no algorithm can: the fit would
# return some arbitrary share. It is always worth asking what in the data fixes each component.
# Here, the covered cells fix the background.
#
# The parameters of the function, with their defaults, types and docstring, become the options of
# the instrument: in `skyfold.read(...)`, in the configuration file and on the command line.
# Nothing is declared twice. Units and coordinates belong to the component.


# %%
def open_gondola(flight: Path, background_rate: float = 1.0) -> BinnedData:
    """Open a flight file.

    Parameters
    ----------
    flight
        An ``.npz`` file with the arrays ``counts``, ``mask``, ``lead`` (covered cells) and
        ``livetime`` (seconds).
    background_rate
        Expected background in counts per cell and second; its normalisation is fitted.
    """
    with np.load(flight) as file:
        counts, mask, lead = file["counts"], file["mask"].astype(float), file["lead"]
        livetime = float(file["livetime"])
    camera = Diagonal(np.where(lead, 0.0, livetime)) @ CodedMask(mask, counts.shape)
    background = np.full(counts.shape, background_rate * livetime)
    sky = Component(Grid(camera.model_shape), unit="ph / s")
    return BinnedData(counts, {"sky": camera, "background": background}, components={"sky": sky})


# %% [markdown]
# A flight to try it on. The sky has three sources and a faint cloud; the background is 30 % above
# what the team expects. `simulate` draws counts from any data set whose truth is given: the seed
# decides, and nothing else.

# %%
livetime, rate = 100.0, 0.3
lead = np.zeros((cells, cells), dtype=bool)
lead[:4] = lead[-4:] = True
y, x = np.indices(camera.model_shape)
truth = 0.01 * np.exp(-0.5 * ((x - 0.7 * size) ** 2 + (y - 0.3 * size) ** 2) / 3.0**2)
for row, column, flux in ((0.5, 0.5, 1.0), (0.5, 0.6, 0.5), (0.8, 0.25, 0.3)):
    truth[int(row * size), int(column * size)] += flux

folder = Path(tempfile.mkdtemp())
flight = folder / "gondola-07.npz"
np.savez(flight, counts=np.zeros((cells, cells)), mask=pattern, lead=lead, livetime=livetime)
values = {"sky": truth, "background": np.array([1.3])}
counts = simulate(open_gondola(flight, rate), values, seed=7)
np.savez(flight, counts=counts, mask=pattern, lead=lead, livetime=livetime)
print(f"{counts.sum():.0f} counts, of which {1.3 * rate * livetime * cells**2:.0f} are background")

# %% [markdown]
# ## 3. Telling skyfold
#
# Two small functions, marked with `@hookimpl`. The first offers the opening function under a name,
# the second recognises the files, so that nobody has to name the instrument. In a package these
# are functions of the module, and the module is announced by one line of `pyproject.toml`; within
# one Python session an object with the same functions can be registered by hand.


# %%
class Gondola:
    """What would be the module ``skyfold_gondola``."""

    @hookimpl
    def skyfold_register(self, registry) -> None:
        """Offer the camera under its name."""
        registry.instruments.add("gondola", open_gondola)

    @hookimpl
    def skyfold_identify(self, path: Path) -> str | None:
        """Recognise a flight file."""
        return "gondola" if path.name.startswith("gondola") and path.suffix == ".npz" else None


from skyfold.registry import default_registry

default_registry().register(Gondola(), "gondola")
print("instruments:", ", ".join(default_registry().instruments))

# %% [markdown]
# From here on the camera is an instrument like any other. The file is recognised, the option has
# its name, and a misspelt one is refused with a suggestion.

# %%
data = skyfold.read(flight, background_rate=rate)
result = skyfold.run(data, method="rl", iterations=100, progress=False)

try:
    skyfold.read(flight, backgruond_rate=rate)
except skyfold.errors.ConfigError as error:
    print("refused:", error)

fig, axes = plt.subplots(1, 3, figsize=(12, 3.6))
for ax, image, title in zip(
    axes, (counts, truth, result.image.value), ("counts", "true sky", "restored sky"), strict=True
):
    ax.imshow(image, origin="lower", norm="linear" if title == "counts" else "asinh")
    ax.set_title(title)
found = [
    result.image.value[r - 1 : r + 2, c - 1 : c + 2].sum() for r, c in np.argwhere(truth > 0.2)
]
print("fluxes:", np.round(found, 3), " true:", truth[truth > 0.2].round(3), result.image.unit)
print(f"background normalisation: {result.normalisations['background']:.3f}  true: 1.3")

# %% [markdown]
# ## 4. Prove it
#
# `check_instrument` tries everything that algorithms rely on: shapes, adjoint, linearity, no
# negative expectation, sensitivity, and a small reconstruction in which the likelihood must never
# fall.

# %%
from skyfold.testing import check_instrument

findings = check_instrument(data)
for finding in findings:
    print("ok    " if finding.ok else "FAILED", f"{finding.subject}: {finding.message}")

# %% [markdown]
# ## 5. Make it a package
#
# Put response, opening function and the two hooks into a file `skyfold_gondola.py`, and beside it
# a `pyproject.toml` whose one line that matters is the entry point:
#
# ```toml
# [build-system]
# requires = ["flit_core>=3.11"]
# build-backend = "flit_core.buildapi"
#
# [project]
# name = "skyfold-gondola"
# version = "1.0"
# description = "A balloon-borne coded-mask camera for skyfold"
# dependencies = ["skyfold"]
#
# [project.entry-points.skyfold]
# gondola = "skyfold_gondola"
# ```
#
# Then, in a shell:
#
# ```
# pip install -e .
# skyfold plugins list                      # gondola is there
# skyfold plugins check gondola gondola-07.npz
# skyfold run gondola-07.npz --background-rate 0.3 --iterations 100 -o out
# ```
#
# You need not begin with an empty page: `skyfold plugins new NAME` writes such a folder, with a
# working response, a test and a demo, to be changed bit by bit. skyfold's own instruments come in
# by the same door.
#
# Where to go from here: a response that is too slow gets its own `e_step` or `rows`; a response
# that is a matrix needs no class, `skyfold.Matrix(matrix)` is one; heavy imports belong inside the
# functions that need them, so that others do not wait for them.
#
# ## What we have seen

# %%
assert right < 1e-14 < 1e-3 < wrong
assert all(finding.ok for finding in findings)
assert abs(result.state.expectation.total / counts.sum() - 1) < 1e-6
assert np.allclose(found, truth[truth > 0.2], rtol=0.15)
assert abs(result.normalisations["background"] / 1.3 - 1) < 0.1
print("the gondola flies")
