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
# # Photometry in a crowded field
#
# Twenty stars over the arms of a spiral galaxy: how bright is each? Four ways to say so, on
# simulated counts whose truth is known:
#
# 1. light within a circle, minus that of a ring around it (aperture photometry);
# 2. fitting the PSF at each place over a local level (PSF photometry, by photutils);
# 3. restoring the image by Richardson-Lucy first, and then apertures;
# 4. two channels: the stars and a smooth background are restored together.
#
# Then the fourth one's error bars are put to the test, and a star that nobody listed is found.
#
# `SKYFOLD_TUTORIAL=full` takes a larger field and more realisations.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import QTable, Table
from photutils.aperture import CircularAnnulus, CircularAperture, aperture_photometry
from photutils.background import LocalBackground, MedianBackground
from photutils.psf import ImagePSF, PSFPhotometry, SourceGrouper

import skyfold
from skyfold.points import with_points
from skyfold.simulate import simulate
from skyfold.sources import Sources

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"

# %% [markdown]
# ## The field
#
# A galaxy with two arms, a PSF with wide wings (a Moffat profile of 2.3 pixels), and stars anywhere
# between the pixels. The sky of the truth is the galaxy; the stars are a component of their own,
# one flux each. `with_points` adds that component to data, and `simulate` draws counts.

# %%
side, number = (96, 45) if FULL else (64, 20)
psf = "moffat:2.3 pix,2.8"


def galaxy(y, x):
    """Return counts per pixel of a galaxy with two arms."""
    u, v = x - 0.47 * side, (y - 0.53 * side) / 0.75
    r, angle = np.hypot(u, v) + 1e-9, np.arctan2(v, u)
    arms = 1 + 0.6 * np.cos(2 * (angle - 1.9 * np.log(r / 4 + 0.3)))
    return 8 + 60 * np.exp(-r / 3) + 35 * np.exp(-r / (0.22 * side)) * arms


def scattered(rng):
    """Return places at least three pixels apart, as x and y."""
    chosen = []
    while len(chosen) < number:
        trial = rng.uniform(6, side - 7, 2)
        if all(np.hypot(*(trial - other)) > 3 for other in chosen):
            chosen.append(trial)
    return np.array(chosen)


rng = np.random.default_rng(5)
places = scattered(rng)
fluxes = np.round(10 ** rng.uniform(3.0, 4.4, number))
stars = Sources(tuple(f"star {i + 1}" for i in range(number)), places)

blank = skyfold.read(np.ones((side, side)), psf=psf)
margin = blank.components["sky"].geometry.field[0].start
y, x = np.indices(blank.components["sky"].geometry.shape) - margin
seen = with_points(blank, stars)
truth = {"sky": galaxy(y, x), "stars": fluxes}
field = blank.components["sky"].geometry.field


def counts_of(seed):
    """Return a realisation of the counts, shape (y, x)."""
    return simulate(seen, truth, seed).reshape(side, side)


counts = counts_of(1)
figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
stretch = {"origin": "lower", "cmap": "inferno"}
axes[0].imshow(np.sqrt(truth["sky"][field]), **stretch)
axes[0].scatter(*places.T, s=fluxes / 150, facecolors="none", edgecolors="white")
axes[0].set_title("truth: the galaxy, and where the stars are")
axes[1].imshow(np.sqrt(counts), **stretch)
axes[1].set_title("counts")
figure

# %% [markdown]
# ## Three ways without a model of the background
#
# Each gets the true places. Apertures of 3 pixels miss a part of the PSF's wings, which is known
# and corrected. The ring around a star holds arms of the galaxy and other stars.

# %%
RADIUS, RING = 3.0, (6.0, 10.0)
star = with_points(blank, Sources(("one",), np.full((1, 2), side // 2)))
alone = star.forward({"stars": np.ones(1)}).observed.reshape(side, side)
inside = float(
    aperture_photometry(alone, CircularAperture([(side // 2, side // 2)], RADIUS))[0][
        "aperture_sum"
    ]
)


def apertures(image, enclosed):
    """Return fluxes within circles, minus the median of rings."""
    circles, rings = CircularAperture(places, RADIUS), CircularAnnulus(places, *RING)
    level = [np.median(mask.get_values(image)) for mask in rings.to_mask(method="center")]
    sums = np.asarray(aperture_photometry(image, circles)["aperture_sum"])
    return (sums - np.array(level) * circles.area) / enclosed


def psf_fits(image):
    """Return fluxes of fitted PSFs, neighbours together, over the local median."""
    half = 12
    middle = slice(side // 2 - half, side // 2 + half + 1)
    model = ImagePSF(alone[middle, middle], flux=1.0)
    model.x_0.fixed = model.y_0.fixed = True
    photometry = PSFPhotometry(
        model,
        (5, 5),
        grouper=SourceGrouper(8),
        local_bkg_estimator=LocalBackground(*RING, bkg_estimator=MedianBackground()),
        aperture_radius=RADIUS,
    )
    first = QTable({"x": places[:, 0], "y": places[:, 1], "flux": np.full(number, 3000.0)})
    found = photometry(image, error=np.sqrt(np.maximum(image, 1.0)), init_params=first)
    found.sort("id")
    return np.asarray(found["flux_fit"])


def richardson_lucy(image):
    """Return fluxes in apertures on the image restored by 200 iterations."""
    restored = skyfold.run(image, "rl", 200, psf=psf, progress=False).image.value
    return apertures(restored, 1.0)


# %% [markdown]
# ## Two channels
#
# The sky is told to be smooth: to resemble its own blur. The stars are told nothing but their
# places, so their light has nowhere else to go. Both are found together, and the expected counts
# stay those observed. How strongly the background is held, and on which scale, is chosen by the
# data.

# %%
result = skyfold.run(counts, "two-channel", psf=psf, stars=places, progress=False)
table = result.stars["name", "x", "y", "flux", "flux_error"]
for name, digits in (("x", 2), ("y", 2), ("flux", 0), ("flux_error", 0)):
    table[name].format = f".{digits}f"
print("\n".join(table[:6].pformat()))

# %%
figure, axes = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
axes[0].imshow(np.sqrt(truth["sky"][field]), **stretch)
axes[0].set_title("galaxy, truth")
axes[1].imshow(np.sqrt(result.image.value), **stretch)
axes[1].set_title("galaxy, restored below the stars")
drawn = axes[2].imshow(result.residual()[0], origin="lower", cmap="RdBu_r", vmin=-4, vmax=4)
axes[2].set_title("residual")
figure.colorbar(drawn, label="sigma")
figure

# %% [markdown]
# ## All four, on several realisations

# %%
realisations = 20 if FULL else 2
ways = {"aperture": [], "PSF fit": [], "RL + aperture": [], "two-channel": []}
errors = []
for seed in range(2, 2 + realisations):
    image = counts_of(seed)
    ways["aperture"].append(apertures(image.astype(float), inside))
    ways["PSF fit"].append(psf_fits(image.astype(float)))
    ways["RL + aperture"].append(richardson_lucy(image))
    one = skyfold.run(image, "two-channel", psf=psf, stars=places, progress=False)
    ways["two-channel"].append(one.model["stars"])
    errors.append(np.asarray(one.stars["flux_error"]))

off = {name: (np.array(found) - fluxes) / fluxes for name, found in ways.items()}
table = Table(
    {
        "method": list(off),
        "mean bias %": [100 * v.mean() for v in off.values()],
        "rms error %": [100 * np.sqrt((v**2).mean()) for v in off.values()],
        "worst %": [100 * np.abs(v).max() for v in off.values()],
    }
)
for name in table.colnames[1:]:
    table[name].format = "6.1f"
print(table)

# %%
figure, axis = plt.subplots(figsize=(8, 4.2), layout="constrained")
for (name, values), marker in zip(off.items(), "sv^o", strict=True):
    axis.plot(fluxes, 100 * values.mean(axis=0), marker, label=name, alpha=0.8)
axis.axhline(0, color="black", lw=0.8)
axis.set(xscale="log", xlabel="true flux in counts", ylabel="mean error in %", ylim=(-40, 60))
axis.legend()
figure

# %% [markdown]
# ## Are the errors right?
#
# The differences from the truth, in units of the errors that were quoted for them.

# %%
pulls = (np.array(ways["two-channel"]) - fluxes) / np.array(errors)
print(f"{pulls.size} pulls: mean {pulls.mean():.2f}, standard deviation {pulls.std():.2f}")

# %% [markdown]
# ## A star that nobody listed
#
# Left out of the list, a star is taken for background. The background resists: it is held to be
# smooth, so it cannot follow, and what is left over shows where a star is missing.

# %%
missing = int(np.argmax(fluxes))
listed = np.delete(places, missing, axis=0)
short = skyfold.run(counts, "two-channel", psf=psf, stars=listed, progress=False)
residual = short.residual()[0]
peak = np.unravel_index(np.argmax(residual), residual.shape)
print(f"largest residual {residual.max():.1f} sigma at x {peak[1]}, y {peak[0]}; "
      f"the star is at {places[missing].round(1)}")  # fmt: skip

# %%
assert abs(off["two-channel"].mean()) < 0.02
rms = dict(zip(table["method"], table["rms error %"], strict=True))
assert all(rms["two-channel"] < rms[name] for name in off if name != "two-channel")
assert 0.7 < pulls.std() < 1.4
assert np.hypot(peak[1] - places[missing][0], peak[0] - places[missing][1]) < 3
