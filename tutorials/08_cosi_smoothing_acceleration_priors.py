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
# # COSI: what smoothing, acceleration and priors do
#
# The rule of Richardson and Lucy has one goal, the most probable counts, and no taste. With forty
# thousand photons under two hundred thousand counts of background, taste matters: run it too
# briefly and the sky is blurred and too bright; run it long and noise turns into stars. Three kinds
# of remedies are in use. This notebook takes each apart, on a sky whose truth is known:
#
# 1. the disease: noise that is pushed up;
# 2. acceleration: how long a step may be;
# 3. smoothing, and where the rings come from;
# 4. priors: gamma, entropy, squared variation;
# 5. the flux, in several observations;
# 6. what to choose.
#
# `SKYFOLD_TUTORIAL=full` runs longer, and repeats section 5 in twenty observations, not three.

# %%
import os

import healpy
import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u

import skyfold
from skyfold import BinnedData, plotting
from skyfold.simulate import nrmse, simulate
from skyfold_cosi.demos import compton
from skyfold_cosi.published import harmonic_smoothing

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"
iterations = 300 if FULL else 80

demo = compton(seed=1)
data, truth = demo.data, demo.truth["sky"]
sphere = data.components["sky"].geometry
marks = [(0, 0, "Galactic centre")]
UNIT = u.Unit("1e-3 / (cm2 s sr)")
print(demo.description)

# %% [markdown]
# ## 1. The disease
#
# Look at the sky on the way. The flux is that of the whole sky; the NRMSE is the root of the mean
# squared error relative to the truth.


# %%
def flux(values):
    """Return the flux of a sky, in parts of the true one."""
    return float(values.sum() / truth.sum())


def side_by_side(skies, scale="log"):
    """Draw skies in rows of three."""
    rows = -(-len(skies) // 3)
    size = (17, 4 * rows)
    _, axes = plt.subplots(rows, 3, figsize=size, layout="constrained", squeeze=False)
    for ax in axes.flat[len(skies) :]:
        ax.remove()
    for ax, (title, values) in zip(axes.flat, skies.items(), strict=False):
        plotting.sky(1e3 * values << UNIT, sphere, scale, marks, title=title, axes=ax)


shown, history = {"true sky": truth}, []
for state in skyfold.iterate(data, acceleration=True):
    sky = state.model["sky"]
    history.append((flux(sky), nrmse(sky, truth)))
    if state.iteration in (5, iterations):
        shown[f"after {state.iteration} iterations"] = sky
    if state.iteration == iterations:
        break
side_by_side(shown)
fluxes, errors = np.array(history).T
best = int(np.argmin(errors))

fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.semilogx(errors, label="NRMSE")
ax.semilogx(fluxes, label="flux / true flux")
ax.set(xlabel="iteration", ylim=(0, 1.6))
ax.legend()
print(f"smallest NRMSE {errors[best]:.3f} after {best} iterations, {errors[-1]:.3f} at the end")

# %% [markdown]
# First the sky sharpens, then it breaks into points. And its flux stays too large. Why too large?
# Think of a dark pixel whose counts fluctuate by $\sigma$ about the background. The data would like
# $\pm\sigma$; but no pixel may be negative, so of the fluctuations only the positive half remains,
#
# $$\langle \max(0, \sigma z) \rangle = \frac{\sigma}{\sqrt{2\pi}} \approx 0.4\,\sigma .$$
#
# One pixel's excess is small, hundreds add up, and the background pays for them with a
# normalisation below its true value.

# %%
z = np.random.default_rng(1).standard_normal(100_000)
print(f"mean of the positive part of the noise: {np.maximum(z, 0).mean():.3f} sigma")

# %% [markdown]
# ## 2. Acceleration: how long a step may be
#
# A step of Richardson-Lucy is safe but short. The usual acceleration multiplies it by a factor
# $\alpha$, as large as possible:
#
# $$x \leftarrow x + \alpha\,\delta, \qquad
# \alpha = \min\Big(\alpha_{\max},\ \min_{k:\,\delta_k < 0} \frac{x_k}{-\delta_k}\Big).$$
#
# The bound keeps the sky positive. Nothing in it knows of the likelihood. Along the step the
# likelihood rises, passes a maximum, and falls; a long step may end on the far side, lower than it
# began. As $e$ is linear in $x$, its value anywhere along the step costs almost nothing, so skyfold
# looks for the maximum and goes no further (`guard`, on by default). Here are both, beside the
# published recipe with a small factor.

# %%
steps = 40
runs = {
    "none": {},
    "guarded, up to 10": {"acceleration": {"maximum": 10}},
    "published, up to 2": {"published": {"acceleration": 2.0}},
    "published, up to 10": {"published": {"acceleration": 10.0}},
}
accelerated = {
    name: skyfold.run(data, "rl", steps, progress=False, **options)
    for name, options in runs.items()
}
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
top = max(result.state.log_likelihood for result in accelerated.values())
falls = {}
for name, result in accelerated.items():
    likelihood = np.array(result.trace_table()["log_likelihood"])
    falls[name] = int(np.sum(np.diff(likelihood) < -1e-6))
    ax.semilogy(top - likelihood + 1, label=f"{name}: fell {falls[name]} times")
ax.set(xlabel="iteration", ylabel="log-likelihood below the best, + 1")
ax.legend()
print("the likelihood fell:", falls)

# %% [markdown]
# With a factor of up to 10 the published step falls again and again and never arrives; with 2 it
# is safe here, and slow. The guarded step may try 10 and takes what is good. Acceleration changes
# *when* the run arrives, not where: the disease of section 1 only comes sooner.
#
# ## 3. Smoothing, and where the rings come from
#
# The idea is old and sensible: the telescope cannot see detail below its resolution, so smooth the
# step by a Gaussian and no such detail can grow. On a sphere it is usually done with spherical
# harmonics: each degree $\ell$ is multiplied by
#
# $$b_\ell = e^{-\ell(\ell+1)\,\sigma^2/2}.$$
#
# But pixels carry degrees only up to about $3\,n_\mathrm{side} - 1$, which is 23 here. If the
# Gaussian is narrow, $b_\ell$ is still large there, and is cut off. A cut in the degrees makes
# waves on the sky, as a cut in a Fourier series does: rings, and negative values.

# %%
widths = {"8 deg": "C3", "15 deg": "C1", "30 deg": "C0"}
limit = 3 * sphere.nside - 1
degree = np.arange(60)
lon, lat = sphere.directions()
centre = int(np.argmax(truth[:, 0]))
angle = np.degrees(healpy.rotator.angdist((lon[centre], lat[centre]), (lon, lat), lonlat=True))
point = np.zeros(sphere.shape)
point[centre] = 1.0

fig, axes = plt.subplots(1, 3, figsize=(17, 4.2), layout="constrained")
lowest = {}
for width, colour in widths.items():
    fwhm = u.Quantity(width)
    sigma = fwhm.to_value("rad") / 2.3548
    axes[0].plot(degree, np.exp(-degree * (degree + 1) * sigma**2 / 2), color=colour, label=width)
    kernels = {
        "harmonic": harmonic_smoothing(sphere, point, fwhm),
        "positive": sphere.smooth(point, fwhm),
    }
    for ax, (name, values) in zip(axes[1:], kernels.items(), strict=True):
        lowest[name, width] = float(values.min() / values.max())
        ax.plot(angle, values[:, 0] / values.max(), ".", color=colour, ms=4, label=width)
        ax.set(
            title=f"a point, smoothed: {name} kernel", xlabel="distance in degrees", xlim=(0, 90)
        )
        ax.axhline(0, color="0.6", lw=0.8)
        ax.set_ylim(-0.12, 0.5)
axes[0].axvspan(limit, 60, color="0.9")
axes[0].set(xlabel="degree", ylabel="transfer function", title="grey: beyond the pixels")
axes[0].legend(title="FWHM")
for (name, width), value in lowest.items():
    print(f"{name} kernel, {width}: lowest value {100 * value:+.1f} % of the highest")

# %% [markdown]
# The rings are best seen on a map in logarithmic scale. Where they are black, values are negative.

# %%
fig, axes = plt.subplots(1, 2, figsize=(14, 4.6), layout="constrained")
kernels = {
    "harmonic": harmonic_smoothing(sphere, point, 8 * u.deg),
    "positive": sphere.smooth(point, 8 * u.deg),
}
for ax, (name, values) in zip(axes, kernels.items(), strict=True):
    plotting.sky(values, sphere, "log", title=f"a point, {name} kernel of 8 degrees", axes=ax)
negative = int(np.sum(kernels["harmonic"] < 0))
print(f"negative after harmonic smoothing: {negative} of {sphere.pixels} pixels")

# %% [markdown]
# skyfold's kernel is a Gaussian of the distance between pixels, scaled so that it keeps both a flat
# sky and the sum of any sky. It is nowhere negative, so it cannot make rings. Where the Gaussian is
# wide the two agree.
#
# In a restoration the difference is easily seen. Both runs below smooth each step by 8 degrees,
# without acceleration; pixels that the harmonic smoothing makes negative are set to zero, as the
# published recipe does.

# %%
smoothed = {
    "harmonic, of the step": {"published": {"smoothing": "8 deg"}},
    "positive, of the step": {"smoothing": {"fwhm": "8 deg"}},
    "positive, of the image": {"smoothing": {"fwhm": "8 deg", "of": "image"}},
}
smoothed = {
    name: skyfold.run(data, "rl", steps, progress=False, **options)
    for name, options in smoothed.items()
}
side_by_side({name: result.image.value for name, result in smoothed.items()})

# %% [markdown]
# Two more things to know. *Smoothing the step* does not bound the sharpness of the sky: many small
# blurred steps add up to a sharp peak. *Smoothing the image* does; it is the stronger medicine, and
# blurs the thin disk for good. And neither has an objective: there is no function whose maximum a
# smoothed run seeks, so nobody can say when it has arrived. (With acceleration, give smoothing
# first: the guard then judges the smoothed step.)
#
# ## 4. Priors
#
# A prior says in the open what smoothing says in secret. The run then maximises
#
# $$\ln L(x) + \ln p(x),$$
#
# and one may watch it rise. skyfold's `map` never lets it fall. Three priors, in the order of how
# much they believe to know:
#
# * **gamma**, $\ln p = \sum_k (k-1) \ln x_k - x_k/\theta$. With $k = 1/2$ and no $\theta$ it is
#   $x^{-1/2}$, the prior of Jeffreys for a Poisson rate, which claims as little as possible. The
#   step of Richardson-Lucy becomes
#   $$x_k \leftarrow \frac{1}{s_k} \max\Big(0,\; x_k \sum_i R_{ik} \frac{n_i}{e_i} + k - 1\Big) :$$
#   *half a photon is subtracted from each pixel*. A bright pixel does not notice; a pixel that
#   lives on half a photon of noise dies out.
# * **entropy**, $\ln p = c \sum_k x_k (1 - \ln (x_k/m))$: nothing is known but a level $m$,
#   towards which the sky is drawn.
# * **tsv**, total squared variation, $\ln p = -c \sum (x_k - x_j)^2$ over all neighbours $k, j$:
#   neighbours are alike.
#
# Strengths have units. In the entropy $c\,x$ counts like photons, so compare $c$ with the
# sensitivity $s$ (counts per unit of the sky); for tsv compare $c\,x^2$ of a bright pixel with one.

# %%
level, peak = float(truth.mean()), float(truth.max())
counts_per_unit = float(data.sensitivity["sky"].mean())
priors = {
    "gamma, k = 1/2": {"prior": {"gamma": {"k": 0.5}}},
    "entropy": {
        "prior": {"entropy": {"coefficient": 0.02 * counts_per_unit, "reference": level}},
        "floor": {"minimum": 1e-4 * level},
    },
    "tsv": {"prior": {"tsv": 3 / peak**2}},
    "gamma and tsv": {"prior": {"gamma": {"k": 0.5}, "tsv": 3 / peak**2}},
}
restored = {"none": skyfold.run(data, "rl", iterations, progress=False)}
for name, options in priors.items():
    restored[name] = skyfold.run(
        data, method="map", iterations=iterations, progress=False, **options
    )
side_by_side({"true sky": truth} | {f"prior: {n}": r.image.value for n, r in restored.items()})

rising = {}
print(f"{'prior':18}{'flux':>8}{'background':>12}{'NRMSE':>8}{'log-likelihood':>16}")
for name, result in restored.items():
    trace = result.trace_table()
    column = "log_posterior" if "log_posterior" in trace.colnames else "log_likelihood"
    rising[name] = bool(np.all(np.diff(trace[column]) >= -1e-6))
    row = (flux(result.image.value), result.normalisations["instrument"])
    quality = nrmse(result.image.value, truth), result.state.log_likelihood
    print(f"{name:18}{row[0]:8.3f}{row[1]:12.4f}{quality[0]:8.3f}{quality[1]:16.1f}")

# %% [markdown]
# The gamma prior empties the dark sky, and with the excess gone the background finds its true
# normalisation. Entropy and tsv make a smoother sky, but leave the total where it was, or blur the
# bulge: they are opinions on the *shape* of the sky, and this sky is sharper than they expect. Use
# them where your opinion is right.
#
# ## 5. The flux, in several observations
#
# One observation proves little. Here is the total flux of disk and bulge for several seeds, without
# and with the gamma prior.

# %%
seeds = range(1, 21 if FULL else 4)
totals = {"plain": [], "gamma": []}
for seed in seeds:
    counts = simulate(data, demo.truth, seed)
    again = BinnedData(counts, data.whole, components=data.components)
    plain = skyfold.run(again, iterations=iterations, acceleration=True, progress=False)
    gamma = skyfold.run(
        again, method="map", prior={"gamma": {"k": 0.5}}, iterations=iterations, progress=False
    )
    totals["plain"].append(flux(plain.image.value))
    totals["gamma"].append(flux(gamma.image.value))

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.axhline(1, color="0.6", lw=0.8)
ax.plot(seeds, totals["plain"], "o", label="Richardson-Lucy")
ax.plot(seeds, totals["gamma"], "s", label="with the gamma prior")
ax.set(xlabel="seed", ylabel="flux / true flux", xticks=list(seeds), ylim=(0.9, 1.15))
ax.legend()
mean = {name: float(np.mean(values)) for name, values in totals.items()}
spread = {name: float(np.std(values, ddof=1)) for name, values in totals.items()}
for name in totals:
    print(f"{name:8} mean {mean[name]:.3f}, scatter {spread[name]:.3f}")

# %% [markdown]
# Plain Richardson-Lucy is too bright every time, by more than its scatter: more seeds do not help
# against a bias. The prior of half a photon takes most of it away. It errs a little to the other
# side, for it takes its half photon from the faint ends of the disk as well.
#
# ## 6. What to choose
#
# | you want | take |
# |---|---|
# | speed | `acceleration=True`, always: the guard makes it safe |
# | fluxes | `method="map"`, `prior={"gamma": {"k": 0.5}}` |
# | a smooth map for the eye | smoothing of the step, by the resolution of the telescope |
# | a map never sharper than ... | smoothing of the image |
# | an opinion on the shape | `tsv` or `entropy`, with its strength in the paper |
# | the numbers of a published run | `--reference`, or the refinement `published` |
#
# On the command line: `skyfold run event.h5 ... --method map --prior.gamma.k 0.5`.
#
# ## What we have seen

# %%
assert best < iterations, "the sky is best before the end"
assert fluxes[-1] > 1.02, "noise is pushed up"
assert abs(np.maximum(z, 0).mean() - 0.4) < 0.01
assert falls["guarded, up to 10"] == falls["none"] == 0
assert falls["published, up to 10"] >= 5
assert negative > sphere.pixels / 4
assert lowest["harmonic", "8 deg"] < -0.05, "the harmonic kernel rings"
assert all(value >= 0 for (name, _), value in lowest.items() if name == "positive")
assert all(rising.values()), "the objective never falls"
assert abs(flux(restored["gamma, k = 1/2"].image.value) - 1) < 0.05
assert abs(restored["gamma, k = 1/2"].normalisations["instrument"] - 1) < 0.02
assert min(totals["plain"]) > 1
assert mean["plain"] > 1.03
assert abs(mean["gamma"] - 1) < 0.05
print("all claims hold")
