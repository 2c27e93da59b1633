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
# # Deconvolution by Markov chains, from the beginning
#
# A restored image is one answer among many that fit the counts about as well. A Markov chain walks
# through all of them, and stays longest where they are most probable: instead of one image it
# leaves thousands, and from these the error of anything that can be measured on an image.
#
# This notebook builds such a chain in a few lines, shows the two mistakes that are made most often,
# measures how well the chain mixes, and replaces it by a better one. At the end stands LIRA, which
# is the same idea for real images.
#
# 1. counts, a model and a prior;
# 2. Metropolis-Hastings, right and wrong;
# 3. how many draws are independent;
# 4. Gibbs sampling: ask each photon where it came from;
# 5. LIRA.
#
# `SKYFOLD_TUTORIAL=full` runs longer chains.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from arviz_stats.base import array_stats
from scipy import stats

import skyfold
from skyfold.simulate import simulate

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"

# %% [markdown]
# ## 1. Counts, a model and a prior
#
# Ten by ten pixels, two stars, a blur of 2.5 pixels, and one background count per pixel. The border
# is dark, so that there is nothing to model outside.

# %%
side = 10
options = {"psf": "gauss:2.5 pix", "background": np.ones((side, side)), "boundary": "same"}
truth = np.full((side, side), 0.5)
truth[4, 3], truth[6, 7] = 300, 120
blank = skyfold.read(np.ones((side, side)), **options)
data = skyfold.read(simulate(blank, {"sky": truth, "background": np.ones(1)}, seed=3), **options)
counts = data.full_counts
response = data.whole["sky"]


def expected(sky):
    """Return the expected counts of a sky."""
    return response.forward(sky) + 1.0


def log_likelihood(sky):
    """Return the Poisson log-likelihood, up to a constant of the counts."""
    e = expected(sky)
    return np.sum(counts * np.log(e) - e)


# %% [markdown]
# The prior says what a pixel may be before any count is seen. We take a gamma law for each pixel by
# itself: mostly dark, now and then bright. It is not clever, but it is simple, and it lets us check
# the samplers against a law that is known in closed form.

# %%
prior = stats.gamma(0.3, scale=40)


def log_prior(x):
    """Return the log-density of pixels."""
    return prior.logpdf(x)


fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.4), layout="constrained")
for ax, (title, image) in zip(axes, {"true sky": truth, "counts": counts}.items(), strict=True):
    drawn = ax.imshow(np.sqrt(image), origin="lower")
    fig.colorbar(drawn, ax=ax, label="square root")
    ax.set_title(title)

# %% [markdown]
# ## 2. Metropolis-Hastings, right and wrong
#
# Propose a change, compare, keep it or stay. Brightness is positive and spans decades, so a pixel
# is multiplied by a random factor. That proposal is not symmetric: from $x$ the way up to $x'$ is
# longer than the way back. The density of proposing $x'$ from $x$ is that of a log-normal,
# $q(x'|x) \propto 1/x'$, and the chance of acceptance has to make up for it,
#
# $$ \min\left(1,\ \frac{p(x')\,q(x|x')}{p(x)\,q(x'|x)}\right)
#    = \min\left(1,\ \frac{p(x')}{p(x)}\,\frac{x'}{x}\right). $$
#
# Whoever forgets the last factor samples $p(x)/x$ instead of $p(x)$; here that cannot even be
# normalised, and the chain runs off to zero. And whoever writes down each
# *proposal* instead of the state that the chain is in afterwards samples nothing at all: a refused
# proposal means that the *old* state counts once more.
#
# Without counts the chain must return the prior. That is the first test of any sampler, and it
# takes a minute to write.


# %%
def walk_in_the_prior(draws, rng, correction=True, store="state"):
    """Walk one pixel through its prior, rightly or wrongly."""
    x, found = prior.mean(), np.empty(draws)
    for i in range(draws):
        proposed = max(x * np.exp(4.0 * rng.normal()), 1e-100)
        ratio = log_prior(proposed) - log_prior(x)
        ratio += np.log(proposed / x) * correction
        accepted = np.log(rng.random()) < ratio
        x = proposed if accepted else x
        found[i] = x if store == "state" else proposed
    return found


draws = 100_000 if FULL else 20_000
walks = {
    "right": walk_in_the_prior(draws, np.random.default_rng(1)),
    "no proposal density": walk_in_the_prior(draws, np.random.default_rng(1), correction=False),
    "proposals stored": walk_in_the_prior(draws, np.random.default_rng(1), store="proposal"),
}
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
level = np.linspace(0, 1, 400)
for name, found in walks.items():
    ax.plot(np.quantile(found, level), level, label=name)
ax.plot(prior.ppf(level), level, "k:", label="the prior itself")
ax.set(xscale="log", xlim=(1e-6, 1e3), xlabel="brightness", ylabel="part of the draws below")
ax.legend()
distance = {name: stats.kstest(found[::20], prior.cdf).statistic for name, found in walks.items()}
print({name: f"{value:.3f}" for name, value in distance.items()})

# %% [markdown]
# The right one lies on the prior. The others are off by far, and with data one would not notice:
# the image they give looks like an image.
#
# Now the same with counts, pixel by pixel. A change of one pixel changes the expected counts under
# its PSF only, so its column of the response is all that a step needs.

# %%
columns = np.array([response.forward(unit.reshape(side, side)).ravel() for unit in np.eye(side**2)])
flat = counts.ravel()


def metropolis(sweeps, rng):
    """Return draws of the sky by Metropolis-Hastings, one per sweep over all pixels."""
    x = np.full(side**2, counts.mean()) * rng.gamma(2.0, 0.5, side**2)
    e, found, accepted = columns.T @ x + 1, np.empty((sweeps, side**2)), 0
    for sweep in range(sweeps):
        factors = np.exp(rng.choice([0.3, 1.5], side**2) * rng.normal(size=side**2))
        chances = np.log(rng.random(side**2))
        proposals = np.maximum(x * factors, 1e-12)
        priors = log_prior(proposals) - log_prior(x) + np.log(proposals / x)
        for j in rng.permutation(side**2):
            change = columns[j] * (proposals[j] - x[j])
            ratio = flat @ np.log1p(change / e) - change.sum() + priors[j]
            if chances[j] < ratio:
                x[j], e, accepted = proposals[j], e + change, accepted + 1
        found[sweep] = x
    return found, accepted / (sweeps * side**2)


sweeps = 4000 if FULL else 1200
chains, rates = zip(
    *(metropolis(sweeps, np.random.default_rng(seed)) for seed in (1, 2)), strict=True
)
burn = sweeps // 4
walked = np.array(chains)
print(f"{np.mean(rates):.0%} of the proposals were accepted")

# %% [markdown]
# ## 3. How many draws are independent
#
# Successive draws resemble each other. The *effective sample size* says how many independent draws
# would be worth as much; *R-hat* compares the spread within the chains to the spread between them,
# and is 1 when they tell the same story. Above 1.01 they do not, yet.


# %%
def judged(draws):
    """Return R-hat and effective sample size of draws of shape (chains, sweeps)."""
    axes = {"chain_axis": 0, "draw_axis": 1}
    return float(array_stats.rhat(draws, **axes)), float(array_stats.ess(draws, **axes))


star, total = 4 * side + 3, slice(None)
fig, axes = plt.subplots(2, 1, figsize=(8, 4.6), sharex=True, layout="constrained")
for chain in walked:
    axes[0].plot(chain[:, star], lw=0.7)
    axes[1].plot(chain[:, total].sum(axis=1), lw=0.7)
axes[0].set_ylabel("brightest pixel")
axes[1].set(ylabel="total", xlabel="sweep")
for ax in axes:
    ax.axvspan(0, burn, color="0.9")
for name, values in {
    "brightest pixel": walked[:, burn:, star],
    "total": walked[:, burn:].sum(axis=2),
}.items():
    print("{}: R-hat {:.3f}, {:.0f} effective of {} draws".format(
        name, *judged(values), values.size))  # fmt: skip

# %% [markdown]
# ## 4. Gibbs sampling: ask each photon where it came from
#
# If we knew from which pixel each count came, there would be nothing to deconvolve. So let us draw
# it: given a sky, a count of data pixel $i$ came from pixel $j$ with probability proportional to
# $R_{ij} x_j$. And given how many counts $n_j$ came from each pixel, the sky is easy: a gamma prior
# and Poisson counts give a gamma law again. Two draws in turn, no proposal, nothing refused:
#
# $$ n_{ij} \sim \mathrm{Multinomial}(n_i;\ R_{ij}x_j/e_i), \qquad
#    x_j \sim \mathrm{Gamma}\big(a + \textstyle\sum_i n_{ij},\ b + s_j\big). $$
#
# Replace both draws by their means and this is the Richardson-Lucy step. In skyfold the first draw
# is `data.attribute`; it works for images, event lists and Compton telescopes alike.


# %%
def gibbs(sweeps, rng):
    """Return draws of the sky by data augmentation."""
    sensitivity = data.sensitivity["sky"]
    x = np.full((side, side), counts.mean()) * rng.gamma(2.0, 0.5, (side, side))
    found = np.empty((sweeps, side**2))
    for sweep in range(sweeps):
        step = data.attribute({"sky": x, "background": np.ones(1)}, rng)
        x = rng.gamma(step.back["sky"] + 0.3, 1 / (sensitivity + 1 / 40))
        x = np.maximum(x, 1e-300)
        found[sweep] = x.ravel()
    return found


asked = np.array([gibbs(3 * sweeps, np.random.default_rng(seed)) for seed in (3, 4)])
late = 3 * sweeps // 4
mean = {
    "Metropolis": walked[:, burn:].mean(axis=(0, 1)),
    "Gibbs": asked[:, late:].mean(axis=(0, 1)),
}
for name, values in {
    "brightest pixel": asked[:, late:, star],
    "total": asked[:, late:].sum(axis=2),
}.items():
    print("{}: R-hat {:.3f}, {:.0f} effective of {} draws".format(
        name, *judged(values), values.size))  # fmt: skip
totals = {
    "Metropolis": walked[:, burn:].sum(axis=2), "Gibbs": asked[:, late:].sum(axis=2)
}  # fmt: skip
print({name: f"total {v.mean():.0f} +- {v.std():.0f}" for name, v in totals.items()})

# %% [markdown]
# Both walk through the same posterior, and their means agree within what their effective sizes
# allow. A sweep of the second is far cheaper, and needs no tuning. What remains hard for both are
# bright pixels beside each other: counts that moved from one to the other must all move back. And
# both find more light than there was: a hundred pixels of 12 each are what the prior expects, and
# it pulls. A sampler draws from the posterior it was given, not from the truth.
#
# ## 5. LIRA
#
# A gamma law for each pixel by itself knows nothing of neighbours. LIRA's law asks at every scale
# how the light of a block is shared among its four parts, and learns from the counts how evenly
# that is done at each scale. The first draw of the sampler above stays as it is; the second becomes
# a draw of a total, of the shares, and of their evenness, all in closed form but the last.

# %%
result = skyfold.run(
    data, method="lira", chains=4, draws=3000 if FULL else 1000, burn=500, progress=False, seed=1
)
posterior = result.posterior
images = {
    "true sky": truth,
    "Metropolis, mean": mean["Metropolis"].reshape(side, side),
    "Gibbs, mean": mean["Gibbs"].reshape(side, side),
    "LIRA, mean": posterior.mean.value,
    "LIRA, standard deviation": posterior.std.value,
}
fig, axes = plt.subplots(1, 5, figsize=(14, 3.1), layout="constrained")
for ax, (title, image) in zip(axes, images.items(), strict=True):
    ax.imshow(np.sqrt(np.clip(image, 0, 300)), origin="lower", vmin=0, vmax=np.sqrt(300))
    ax.set_title(title, fontsize="medium")
    ax.axis("off")
low, high = posterior.interval(0.95)
inside = np.mean((truth >= low.value) & (truth <= high.value))
lira_total = posterior.parameter("sky.total")[:, posterior.burn :]
print(f"LIRA: total {lira_total.mean():.0f} +- {lira_total.std():.0f}, truth {truth.sum():.0f}; "
      f"{inside:.0%} of the pixels within their 95 % interval")  # fmt: skip

# %% [markdown]
# The errors of a bright pixel and of the sum around it tell the same story twice: which of two
# neighbouring pixels holds the light is poorly known, how much both hold together is known well.
# That is why errors of regions should come from the draws, not from the errors of their pixels.

# %%
around = posterior.region("circle(3, 4, 1.6)")
print(f"the star: {around.flux:.0f}, from {around.low:.0f} to {around.high:.0f}; truth "
      f"{truth[3:6, 2:5].sum():.0f}")  # fmt: skip

# %%
exact = totals["Gibbs"].mean()
assert distance["right"] < 0.06, "without counts the chain must return the prior"
assert distance["no proposal density"] > 0.2
assert distance["proposals stored"] > 0.1
assert abs(totals["Metropolis"].mean() - exact) < 0.3 * totals["Gibbs"].std()
assert judged(totals["Gibbs"])[0] < 1.02
assert abs(lira_total.mean() - truth.sum()) < 3 * lira_total.std()
