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
# # Point sources over a diffuse sky
#
# A Compton telescope sees a photon on a ring, some degrees wide. A restored image shows a point
# source as a blob, and nobody can tell how much of the blob is the source and how much the diffuse
# sky below it. If it is known where sources are, they can be restored as what they are: one flux
# each, at a place, over a sky that is smooth.
#
# 1. an observation with two sources, whose truth is known;
# 2. what an image alone makes of them;
# 3. sources and a smooth sky, with error bars;
# 4. the posterior says the same;
# 5. a source that is not there.
#
# From a shell, with a table of positions (`name,l,b` or `name,ra,dec`):
#
# ```
# skyfold run survey/run.yaml --stars sources.csv --method two-channel --smooth "25 deg" -o out
# ```
#
# `SKYFOLD_TUTORIAL=full` takes smaller pixels and more photons.

# %%
import os
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import skyfold
from skyfold.points import with_points
from skyfold.simulate import generator
from skyfold.skymap import layout, project
from skyfold.sources import Sources
from skyfold_cosi.histogram import Histogram
from skyfold_cosi.simulation.orbit import low_earth_orbit
from skyfold_cosi.simulation.scene import SCENES
from skyfold_cosi.simulation.survey import Survey

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"

# %% [markdown]
# ## 1. An observation
#
# The bulge and the disk of the 511 keV sky, a background whose normalisation is fitted, and two
# point sources: one in the plane, at the place of the Crab, one high above it. A list of sources
# may be a file or, in Python, names and places. `with_points` adds a component of fluxes to the
# data; what the telescope makes of a source is that of the four pixels around it.

# %%
nside, step = (8, 6) if FULL else (4, 10)
diffuse, background = (4e4, 2e5) if FULL else (2e4, 4e4)
survey = Survey(SCENES["511"], low_earth_orbit(20, 900), nside=nside, phi_step=step)
template = survey.template(background)
files = {
    "instrument": "cosi",
    "response": Histogram(survey.response.axes, survey.response.dense(), "cm2 s"),
    "background": {"particles": template},
}
listed = Sources(("Crab", "high up"), np.array([[184.6, -5.8], [90.0, 40.0]]), frame="galactic")
blank = skyfold.read(Histogram(template.axes, np.zeros(template.shape)), **files)
blank = with_points(blank.with_counts(np.ones(blank.shape)), listed)
seen = blank.sensitivity["stars"]  # counts per photon / (cm2 s)
photons = np.array([[4000.0], [2000.0]] if FULL else [[3000.0], [1500.0]])
truth = {"sky": survey.truth(diffuse), "particles": np.ones(1), "stars": photons / seen}
expected = blank.full_expectation(truth).reshape(template.shape)


def observe(seed):
    """Return an observation of the same sky, without the list."""
    counts = generator(seed, "counts").poisson(expected).astype(float)
    return skyfold.read(replace(template, contents=counts), **files)


data = observe(1)
sphere = data.components["sky"].geometry
print(data, f"{data.counts.sum():.0f} counts, {photons.ravel()} of them from the sources")

# %% [markdown]
# ## 2. An image alone
#
# Richardson-Lucy knows nothing of sources. It spreads them, and what lies within some degrees of
# one is source and diffuse sky together.

# %%
image = skyfold.run(data, "rl", iterations=60, progress=False)


def show(maps, marked=listed):
    """Draw maps of the sky in Galactic coordinates, with circles around the sources."""
    fig, axes = plt.subplots(1, len(maps), figsize=(4.2 * len(maps), 2.6), layout="constrained")
    for ax, (title, values) in zip(np.atleast_1d(axes), maps.items(), strict=True):
        laid = layout(np.asarray(values)[:, 0], sphere.nside, sphere.nested, width=480)
        drawn = ax.imshow(laid, origin="lower", extent=(-1, 1, -1, 1), aspect=0.5)
        ax.plot(*project(*marked.places.T), "o", ms=12, mfc="none", mec="w")
        fig.colorbar(drawn, ax=ax, shrink=0.7)
        ax.set_title(title, fontsize="medium")
        ax.axis("off")
    return fig


show({"truth, diffuse part": truth["sky"], "Richardson-Lucy": image.model["sky"]})

# %%
lon, lat = (np.radians(angle) for angle in sphere.directions())
within = []
for (east, north), true in zip(np.radians(listed.places), truth["stars"][:, 0], strict=True):
    cosine = np.sin(north) * np.sin(lat) + np.cos(north) * np.cos(lat) * np.cos(lon - east)
    near = cosine > np.cos(np.radians(15))
    within.append(image.model["sky"][near].sum() * sphere.pixel_area / true)
    print(f"light within 15 degrees of the source: {within[-1]:.2f} of its flux")

# %% [markdown]
# ## 3. Sources and a smooth sky
#
# The method `two-channel` takes the sky below to resemble its own blur: structure that is finer
# costs something, a source in the list costs nothing. The errors are what would scatter if the
# observation was repeated. They do not know of a bias, and there are two. The disk is thinner than
# the blur, so a prior that is too strong widens it and lets it take light of the source above: of
# counts without noise 6 to 10 % of its flux with the strength below, 23 % with a strength of 1. A
# prior that is too weak lets the sky follow noise, and as it cannot fall below zero, the noise near
# a source takes light from it: up to a third, where errors are as large. `strength="auto"` asks
# held-out photons for strength and width; here it takes less than is best for the sources.

# %%
options = {"smooth": "25 deg", "strength": 0.02, "progress": False}
run = skyfold.run(with_points(data, listed), "two-channel", **options)
table = run.stars
true = truth["stars"][:, 0]
flux, error = (np.ravel(table[name].value) for name in ("flux", "flux_error"))
for name, f, e, t in zip(listed.names, flux, error, true, strict=True):
    print(f"{name:8} {f:.3e} +- {e:.1e} ph/cm2/s, truth {t:.3e}: {(f - t) / e:+.1f} sigma")
show({"truth, diffuse part": truth["sky"], "sky below the sources": run.model["sky"]})

# %% [markdown]
# ## 4. The posterior says the same
#
# The sampler `lira` knows the sky by another law, and draws the fluxes of the sources with it. Its
# spread is an independent check of the errors above.

# %%
size = {"chains": 2, "draws": 3000, "burn": 1000} if FULL else {"chains": 1, "draws": 300}
size = {"burn": 150, "hyper": (1, 0.02, 1), "progress": False, **size}
sampled = skyfold.run(with_points(data, listed), "lira", **size)
mean = sampled.model["stars"][:, 0]
spread = np.ravel(sampled.posterior.deviation("stars"))

fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
place = np.arange(len(true))
ax.errorbar(place - 0.1, flux / true, error / true, fmt="o", label="two-channel")
ax.errorbar(place + 0.1, mean / true, spread / true, fmt="s", label="posterior")
ax.axhline(1, color="0.6", lw=1)
ax.set_xticks(place, listed.names)
ax.set_xlim(-0.5, len(true) - 0.5)
ax.set_ylabel("flux / truth")
_ = ax.legend()

# %% [markdown]
# ## 5. A source that is not there
#
# Nothing is lost by listing a place where there is no source: its flux comes out as what the
# counts allow, small against its error. That is how upper limits are found.

# %%
more = Sources(
    (*listed.names, "nothing"), np.vstack([listed.places, [280.0, -45.0]]), frame="galactic"
)
third = skyfold.run(with_points(data, more), "two-channel", **options).stars
nothing, unsure = (float(np.ravel(third[name].value)[2]) for name in ("flux", "flux_error"))
print(f"nothing: {nothing:.1e} +- {unsure:.1e} ph/cm2/s; below {nothing + 2 * unsure:.1e} (95 %)")

# %%
assert np.all(np.abs(flux - true) < 4 * error)
assert np.all(error < 0.2 * true)
assert max(np.abs(np.array(within) - 1)) > max(np.abs(flux / true - 1)), "blobs are no fluxes"
assert np.all(np.abs(mean - true) < 4 * np.maximum(spread, error))
assert nothing < 4 * unsure
assert abs(run.state.expectation.total / data.counts.sum() - 1) < 1e-6
