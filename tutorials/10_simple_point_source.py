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
# # A simple point source: images with error bars
#
# One bright pixel, blurred by a wide PSF, on a flat background. Richardson-Lucy would sharpen it.
# LIRA draws thousands of images from the posterior instead, under a prior that lets light gather or
# spread at every scale: the mean of them is the restored image, and their spread says how well each
# pixel is known.
#
# 1. the data;
# 2. the prior: a tree of shares, and how evenly they are expected;
# 3. chains;
# 4. what came out, and whether to believe it;
# 5. scripts written for Pylira run as they are.
#
# The same from a shell:
#
# ```
# skyfold demo point-source -o out
# ```
#
# `SKYFOLD_TUTORIAL=full` runs longer chains.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import skyfold
from skyfold.sampling.laws.strengths import Lira
from skyfold.sampling.posterior.prior_pictures import hyper_priors
from skyfold_image.pylira import LIRADeconvolver
from skyfold_image.pylira.data import point_source_gauss_psf

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"

# %% [markdown]
# ## 1. The data
#
# The example of Pylira: 1000 counts in one pixel, a Gaussian PSF with a sigma of 3 pixels, and 2
# counts of background in every pixel.

# %%
example = point_source_gauss_psf(random_state=np.random.RandomState(836))
fig, axes = plt.subplots(1, 3, figsize=(9.5, 3), layout="constrained")
for ax, key in zip(axes, ("counts", "psf", "flux"), strict=True):
    fig.colorbar(ax.imshow(example[key], origin="lower"), ax=ax, shrink=0.8)
    ax.set_title(key)
print(f"{example['counts'].sum()} counts")

# %%
data = skyfold.read(
    example["counts"].astype(float),
    psf=example["psf"],
    background=example["background"],
    boundary="same",
)

# %% [markdown]
# ## 2. The prior
#
# An image is a total, divided into four quarters, each of which is divided into four, down to the
# pixels. Each division has a Dirichlet distribution: all shares alike for a large strength
# $\alpha$, all light in one part for a small one. There is one $\alpha$ for each scale, and it is
# learnt from the counts. What is known of it before is the hyper-prior
# $p(\alpha) \propto \alpha^{\kappa_1} \exp(-\kappa_2\,\alpha^{\kappa_3})$; the default keeps
# $\alpha$ near 0.05, which is right for points and wrong for clouds.

# %%
hyper_priors(Lira(), Lira(1, 0.02, 1))

# %% [markdown]
# ## 3. Chains
#
# A sweep asks each photon from which pixel it came, then draws strengths, shares and total given
# the answers. Four chains start from four noisy images. Two of them share an *origin*, the place
# where the divisions begin: what depends on it is due to the grid, not to the sky.

# %%
size = {"draws": 5000, "burn": 500} if FULL else {"draws": 1500, "burn": 500}
result = skyfold.run(data, method="lira", seed=1, progress=False, **size)
posterior = result.posterior
posterior.plot()

# %% [markdown]
# ## 4. Should we believe it?
#
# Traces show what the chains did. Grey is burn-in, which does not count. Chains that agree lie on
# top of each other.

# %%
posterior.plot_traces()

# %%
posterior.plot_distributions()

# %% [markdown]
# R-hat compares the spread within chains to that between them and should be below 1.01; the
# effective sample size should be above 400. A single bright pixel is the hardest of all: chains
# can put the source into this pixel or its neighbour for a long time. The sum around it is easy.

# %%
posterior.plot_mixing()

# %%
for doubt in posterior.doubts or ["no doubts"]:
    print(doubt)

# %%
posterior.plot_pixel((16, 16), 3)

# %%
source = posterior.region("circle(16, 16, 3)", level=0.95)
print(f"the source: {source.flux:.0f}, 95 % between {source.low:.0f} and {source.high:.0f}")
total = posterior.parameter("sky.total")[:, posterior.burn :]
print(f"all of the sky: {total.mean():.0f} +- {total.std():.0f}; truth {example['flux'].sum():.0f}")

# %% [markdown]
# The image at all its scales, from the pixels to the whole:

# %%
posterior.plot_scales()

# %% [markdown]
# In a notebook `posterior.animate()` shows the images one after the other, and
# `posterior.explore()` puts a slider below them. `skyfold run` writes all of this into one page,
# `report.html`, and the draws into `posterior.nc`, which ArviZ reads.
#
# ## 5. Scripts written for Pylira
#
# They run with their imports changed. The sampler is ours: one that leaves the posterior of its
# documented prior as it is, on Pylira's periodic image. `compat=True` draws from what Pylira 0.2
# draws from, for comparison: its strengths are larger than documented, the origin changes with
# each iteration, and a prior on the total takes 5 % of the flux.

# %%
example["flux_init"] = example["flux"]
deconvolve = LIRADeconvolver(
    n_iter_max=3000 if FULL else 1500,
    n_burn_in=500,
    alpha_init=np.ones(5),
    random_state=np.random.RandomState(1),
)
one_chain = deconvolve.run(data=example)
one_chain.plot_pixel_traces_region(center_pix=(16, 16), radius_pix=3)
one_chain.plot_parameter_traces()

# %%
compat = LIRADeconvolver(
    n_iter_max=1500,
    n_burn_in=500,
    alpha_init=np.ones(5),
    random_state=np.random.RandomState(1),
    compat=True,
).run(data=example)
fluxes = {"skyfold": total.mean()}
fluxes["documented"] = one_chain.posterior_mean.sum()
fluxes["as Pylira 0.2"] = compat.posterior_mean.sum()
print({name: f"{flux:.0f}" for name, flux in fluxes.items()})

# %%
mean = posterior.mean.value
assert np.all(np.isfinite(mean)), "no NaN, ever"
assert source.low.value < 1000 < source.high.value, "the interval holds the truth"
assert abs(mean[14:19, 14:19].sum() - 1000) < 120
assert fluxes["as Pylira 0.2"] < fluxes["documented"], "its prior takes flux"
assert abs(fluxes["documented"] / fluxes["skyfold"] - 1) < 0.08
