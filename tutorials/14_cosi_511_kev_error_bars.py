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
# # The 511 keV sky with error bars
#
# Notebook 05 restored the sky in the light of annihilating positrons, from the counts of a Compton
# telescope. What it could not say is how well a pixel, the bulge or the disk is known. Here the
# whole sky is drawn from its posterior: no image of a Compton telescope had error bars from a
# sampler before, because a sampler has to ask each photon where it came from, and a Compton photon
# only knows a ring.
#
# 1. an observation whose truth is known;
# 2. a multi-scale law on the sphere;
# 3. the sky, and how well it is known;
# 4. bulge and disk;
# 5. is it calibrated?
#
# From a shell, for files of COSI or for simulated ones:
#
# ```
# skyfold simulate compton -o survey --nside 8 --days 1 --phi-step 10
# skyfold run survey/run.yaml --method lira --iterations auto -o out
# skyfold errors out --region "bulge = circle(0d, 0d, 12 deg)"
# ```
#
# `SKYFOLD_TUTORIAL=full` takes pixels half as large and longer chains.

# %%
import os
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u

import skyfold
from skyfold.simulate import generator
from skyfold.skymap import layout
from skyfold_cosi.histogram import Histogram
from skyfold_cosi.simulation.orbit import low_earth_orbit
from skyfold_cosi.simulation.scene import SCENES
from skyfold_cosi.simulation.survey import Survey

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"

# %% [markdown]
# ## 1. An observation
#
# Sixty days in orbit: 40 000 photons of the line under 200 000 counts of background, in bins of
# scatter angle and direction; half as many, and less background, where it has to be quick. The
# background is known but for its normalisation.

# %%
nside, step = (8, 6) if FULL else (4, 12)
source, background = (4e4, 2e5) if FULL else (2e4, 6e4)
survey = Survey(SCENES["511"], low_earth_orbit(60, 900), nside=nside, phi_step=step)
template = survey.template(background)
files = {
    "instrument": "cosi",
    "response": Histogram(survey.response.axes, survey.response.dense(), "cm2 s"),
    "background": {"particles": template},
}
blank = skyfold.read(Histogram(template.axes, np.zeros(template.shape)), **files)
truth = {"sky": survey.truth(source), "particles": np.ones(1)}
expected = blank.full_expectation(truth).reshape(template.shape)


def observe(seed):
    """Return an observation of the same sky."""
    counts = generator(seed, "counts").poisson(expected).astype(float)
    return skyfold.read(replace(template, contents=counts), **files)


data = observe(1)
sphere = data.components["sky"].geometry
print(data, f"{data.counts.sum():.0f} counts in {data.counts.size} bins")

# %% [markdown]
# ## 2. A multi-scale law on the sphere
#
# HEALPix is a tree by birth: twelve base pixels, each of which splits into four, and so on. LIRA's
# law takes it as it is. Each node shares its light among its parts; one strength for each scale
# says how evenly, and is learnt from the counts. The sky of 511 keV is diffuse, so the hyper-prior
# is the one that lets diffuse light be.

# %%
size = (
    {"chains": 4, "draws": 3000, "burn": 1000} if FULL else {"chains": 4, "draws": 400, "burn": 200}
)
options = {"method": "lira", "hyper": (1, 0.02, 1), "progress": False, **size}
result = skyfold.run(data, seed=1, **options)
posterior = result.posterior
result.posterior.plot_mixing()

# %%
for doubt in posterior.doubts or ["no doubts: the chains tell one story"]:
    print(doubt)

# %% [markdown]
# ## 3. The sky, and how well it is known


# %%
def show(maps):
    """Draw maps of the sky side by side, in Galactic coordinates."""
    fig, axes = plt.subplots(1, len(maps), figsize=(4.2 * len(maps), 2.6), layout="constrained")
    for ax, (title, values) in zip(axes, maps.items(), strict=True):
        image = layout(np.asarray(values)[:, 0], sphere.nside, sphere.nested, width=480)
        drawn = ax.imshow(image, origin="lower")
        fig.colorbar(drawn, ax=ax, shrink=0.7)
        ax.set_title(title, fontsize="medium")
        ax.axis("off")
    return fig


mean, std = posterior.mean.value, posterior.std.value
show({"truth": truth["sky"], "posterior mean": mean, "standard deviation": std})

# %%
show({"signal to noise": mean / std, "(mean - truth) / std": (mean - truth["sky"]) / std})

# %% [markdown]
# ## 4. Bulge and disk
#
# Fluxes of regions, from the draws themselves. Neighbouring pixels are anti-correlated, because
# the rings of a Compton telescope are wide: the error of a region is much less than the errors of
# its pixels, added up, would suggest.

# %%
lon, lat = sphere.directions()
lon = (lon + 180) % 360 - 180
bulge = np.hypot(lon, lat) < 20
disk = (np.abs(lat) < 15) & ~bulge
regions = {"bulge": bulge, "disk": disk, "the rest": ~(bulge | disk)}
draws = posterior.samples()[..., 0] * sphere.pixel_area
true = truth["sky"][:, 0] * sphere.pixel_area
flux_unit = (posterior.mean.unit * u.sr).to_string()


def told(values):
    """Return median and 68 % interval."""
    low, middle, high = np.quantile(values, (0.16, 0.5, 0.84))
    return f"{middle:.3g}, 68 % between {low:.3g} and {high:.3g}"


for name, inside in regions.items():
    summed = draws[..., inside].sum(axis=-1)
    naive = np.sqrt(np.sum(draws[..., inside].std(axis=(0, 1)) ** 2))
    print(f"{name:9} truth {true[inside].sum():.3g}; posterior {told(summed)}; "
          f"error {summed.std():.2g}, of independent pixels {naive:.2g}")  # fmt: skip
norm = posterior.parameter("particles")[:, posterior.burn :]
print(f"background times {norm.mean():.4f} +- {norm.std():.4f}")

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
for ax, (name, inside) in zip(axes, regions.items(), strict=True):
    ax.hist(draws[..., inside].sum(axis=-1).ravel(), 40, alpha=0.6)
    ax.axvline(true[inside].sum(), color="k", ls=":")
    ax.set(title=name, yticks=[], xlabel=f"flux ({flux_unit})")

# %% [markdown]
# ## 5. Is it calibrated?
#
# An interval is worth what it holds: of many 68 % intervals, 68 % should contain the truth. That
# is exactly so for skies that the law itself makes up, and the tests of skyfold check it. The sky
# of 511 keV is not made by a law. A few observations of the same sky show how far one may trust it.

# %%
seeds = range(2, 12) if FULL else range(2, 5)
short = options | {"chains": 2, "draws": size["draws"] // 2}
held = {name: [] for name in regions}
for seed in seeds:
    again = skyfold.run(observe(seed), seed=seed, **short).posterior.samples()[..., 0]
    for name, inside in regions.items():
        flux = again[..., inside].sum(axis=-1) * sphere.pixel_area
        low, high = np.quantile(flux, (0.025, 0.975))
        held[name].append((flux.mean() / true[inside].sum() - 1, low <= true[inside].sum() <= high))
for name, rows in held.items():
    off, inside = np.transpose(rows)
    print(f"{name:9} {100 * off.mean():+.1f} % off on average, {int(inside.sum())} of "
          f"{len(rows)} intervals of 95 % hold the truth")  # fmt: skip

# %%
total = posterior.parameter("sky.total")[:, posterior.burn :]
assert np.all(np.isfinite(mean)), "no NaN, ever"
assert np.all(std > 0)
assert abs(result.state.expectation.total / data.counts.sum() - 1) < 0.01
assert abs(norm.mean() - 1) < 5 * norm.std()
assert abs(total.mean() - true.sum()) < 4 * total.std()
assert abs(np.mean([off for off, _ in held["bulge"]])) < 0.3
