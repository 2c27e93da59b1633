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
# # A jet beside a bright core: is it there?
#
# A quasar outshines everything around it. Half a dozen photons in a row beside it may be a jet of a
# million light years, or the wings of the point spread function on a good day. How bright such a
# feature is, and whether it is there at all, are two questions. The first is answered by the
# posterior of the image. The second needs images of a sky *without* a jet to compare with, because
# a restoration always finds something.
#
# 1. an observation with a jet, and one without;
# 2. the core is known: LIRA draws what is there besides;
# 3. how bright;
# 4. whether at all: a bound on the p-value (Stein et al. 2015);
# 5. what could go wrong.
#
# From a shell, for images of your own:
#
# ```
# skyfold run quasar.fits --psf psf.fits --background 0.1 --baseline core=core.fits --fit-baseline \
#     --method lira -o out
# skyfold structure out --region "jet = box(24, 16, 9, 5, 0)" --simulations 100
# ```
#
# `SKYFOLD_TUTORIAL=full` runs more simulations and longer chains.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import skyfold
from skyfold.region_files import find
from skyfold.sampling.structure.structure_run import structure
from skyfold.simulate import simulate
from skyfold_image.scenes import gauss, moffat

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"

# %% [markdown]
# ## 1. Two observations
#
# The core has 1500 counts behind a PSF with wide wings; the jet has 60, in three knots that lead
# away to the right. The background is a tenth of a count per pixel. The second observation is the
# same without a jet.

# %%
side = 32
v, h = np.indices((31, 31)) - 15
psf = 0.8 * gauss(v, h, 2.5) + 0.2 * moffat(v, h, 4.0, 1.7)
core = np.zeros((side, side))
core[16, 12] = 1500.0
options = {
    "psf": psf / psf.sum(),
    "background": np.full((side, side), 0.1),
    "baseline": {"core": core},
    "fit_baseline": True,
    "boundary": "same",
}
jet = np.zeros((side, side))
for column, flux in ((19, 25.0), (23, 20.0), (27, 15.0)):
    jet[16, column] = flux
blank = skyfold.read(np.ones((side, side)), **options)
ones = {name: np.ones(1) for name in blank.components if name != "sky"}
data = {
    "with a jet": skyfold.read(simulate(blank, {"sky": jet, **ones}, seed=4), **options),
    "without": skyfold.read(simulate(blank, {"sky": 0 * jet, **ones}, seed=5), **options),
}


def show(images, top=None):
    """Draw images side by side, as the fourth root of their brightness."""
    size = (3.2 * len(images), 3.4)
    fig, axes = plt.subplots(1, len(images), figsize=size, layout="constrained")
    for ax, (title, image) in zip(axes, images.items(), strict=True):
        ax.imshow(np.maximum(image, 0) ** 0.25, origin="lower", vmax=top and top**0.25)
        ax.set_title(title, fontsize="medium")
        ax.axis("off")
    return fig


show({"the jet": jet} | {f"counts {name}": one.full_counts for name, one in data.items()})

# %% [markdown]
# ## 2. What is there besides the core
#
# Position and shape of the core are known, its flux is not quite: it is a *baseline*, which goes
# through exposure and PSF, and its normalisation is drawn along, with an uncertainty of 10 % before
# the counts are seen. What the counts want in addition goes into the sky.

# %%
size = {"draws": 2000, "burn": 500} if FULL else {"draws": 140, "burn": 60, "chains": 2}
settings = {"method": "lira", "background_error": 0.1, "seed": 1, "progress": False, **size}
results = {name: skyfold.run(one, **settings) for name, one in data.items()}
show({f"{name}: extra light": r.posterior.mean.value for name, r in results.items()}, 25)

# %% [markdown]
# Both images show something. That is what a posterior mean does: where nothing is known, a little
# light is possible everywhere.
#
# ## 3. How bright
#
# Regions are chosen beforehand, from theory or from another wavelength, never from the image that
# is tested: who draws a box around the brightest noise will find it significant. Here a radio
# image is said to show a jet to the right. The opposite side is the control.

# %%
regions = ["jet = box(23, 16, 11, 5, 0)", "opposite = box(4, 16, 7, 5, 0)"]
for name, result in results.items():
    for region in regions:
        light = result.posterior.region(region)
        print(f"{name:12} {region[:8]:9} {light.flux:6.1f}, 68 % between {light.low:.1f} and "
              f"{light.high:.1f}")  # fmt: skip
print(f"truth        jet       {jet.sum():6.1f} ct")
results["with a jet"].posterior.plot_region(regions[0])

# %% [markdown]
# ## 4. Whether at all
#
# Of the light of a region, the share that is extra is $\xi$. The posterior gives its distribution;
# so does each simulation of the core alone, analysed in the same way. A large share is one that
# simulations hardly ever reach: $c$. The test statistic is the posterior probability
# $T = \Pr(\xi \ge c \mid \mathrm{counts})$. It has, by the choice of $c$, the mean $\gamma$ where
# there is no jet, so that by Markov's inequality
#
# $$ \Pr(T \ge t) \le \gamma / t, \qquad\text{and therefore}\qquad p \le \gamma / T. $$
#
# A few simulations are enough for such a bound, but it never falls below $\gamma$, which is to be
# chosen beforehand. The Monte Carlo error of $\gamma$ is part of the answer: `p_upper` contains it,
# and with few simulations it is the figure to quote.

# %%
number, gamma = (100, 0.005) if FULL else (12, 0.02)
found = {
    name: structure(result, find(regions), simulations=number, gamma=gamma, seed=2)
    for name, result in results.items()
}
for name, one in found.items():
    print(name, one, sep="\n", end="\n\n")

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
bins = np.linspace(-5, 0, 60)
for ax, (name, one) in zip(axes, found.items(), strict=True):
    null, seen = np.log10(np.maximum(1e-9, one.shares[1:, 0].ravel())), one.shares[0, 0]
    seen = np.log10(np.maximum(1e-9, seen))
    ax.hist(np.clip(null, -5, 0), bins, density=True, alpha=0.5, label="simulations of the core")
    ax.hist(np.clip(seen, -5, 0), bins, density=True, alpha=0.5, label="observed")
    ax.axvline(np.log10(one.table["c"][0]), color="k", ls=":", label="c")
    ax.set(title=name, xlabel=r"$\log_{10}\,\xi$ of the jet's region")
axes[0].legend(fontsize="small")

# %% [markdown]
# ## 5. What could go wrong
#
# * **A wrong PSF makes jets.** The wings of the PSF are the null model here. If the PSF is only
#   known to a few per cent, give a library of PSFs (`--psf-library`): it is drawn along, and what
#   it could explain is no longer significant.
# * **Regions chosen after looking.** No simulation makes up for that.
# * **Many regions.** Of a hundred boxes one is significant at 1 %: the column `p_holm` accounts for
#   their number.
# * **Chains that were too short.** The same settings serve for the observation and for all
#   simulations, so the comparison stays fair; but the power suffers.

# %%
with_jet, without = (found[name].table for name in ("with a jet", "without"))
light = results["with a jet"].posterior.region(regions[0])
assert with_jet["tail"][0] > 0.9, "sixty counts of jet are found"
assert with_jet["p_bound"][0] < 0.15, "as surely as so few simulations allow"
assert without["p_bound"][0] > with_jet["p_bound"][0]
assert with_jet["p_bound"][1] > with_jet["p_bound"][0], "there is none on the other side"
assert abs(light.flux.value - jet.sum()) < 3 * (light.high - light.low).value
