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
# # The Galactic Centre with Chandra
#
# In July 2004 the X-ray telescope Chandra looked at the centre of the Milky Way for 49.5 ks
# (observation 4684). We restore the inner arcminute: what the point spread function needs before
# it can be used, what comes out, whether it explains the counts, how long to iterate, and what
# happens at the edges.
#
# The same from a shell:
#
# ```
# skyfold data get chandra-gc-4684
# skyfold run chandra-counts-obs-id-4684.fits.gz --psf chandra-psf-obs-id-4684.fits.gz -o out
# ```

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from scipy.ndimage import gaussian_filter

import skyfold
from skyfold import datasets
from skyfold.registry import default_registry
from skyfold.result import summary
from skyfold.simulate import generator, simulate

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"

# %% [markdown]
# ## 1. The data
#
# `skyfold data get chandra-gc-4684` fetches two files of 30 kB and verifies them. This notebook
# does not touch the network by itself: where the files are absent, it makes similar ones. Set
# `SKYFOLD_DATA` to a folder that holds the data sets, if they lie elsewhere.

# %%
NAME = "chandra-gc-4684"
COUNTS, PSF = "chandra-counts-obs-id-4684.fits.gz", "chandra-psf-obs-id-4684.fits.gz"


def find_files():
    """Return the real files, or None."""
    found = datasets.locate(NAME, default_registry().datasets[NAME])
    if found is not None:
        return found
    shared = Path(os.environ.get("SKYFOLD_TEST_DATA", ".")) / "chandra"
    return {n: shared / n for n in (COUNTS, PSF)} if (shared / COUNTS).exists() else None


def simulate_files(folder):
    """Write a counts image and a PSF like those of Chandra: same scale, same faults of the PSF."""
    from skyfold_image.scenes import gauss, moffat

    v, u = np.indices((48, 48))
    psf = 0.8 * gauss(v - 23.1, u - 23.2, 2.2, 0.8, 0.5) + 0.19 * moffat(v - 23.1, u - 23.2, 5, 2)
    size, pixel = 256, 0.246 / 3600
    cards = {"CTYPE1": "RA---TAN", "CRVAL1": 266.4127, "CRPIX1": 128.5, "CDELT1": -pixel}
    cards |= {"CTYPE2": "DEC--TAN", "CRVAL2": -29.0116, "CRPIX2": 128.5, "CDELT2": pixel}
    header = fits.Header(cards | {"CUNIT1": "deg", "CUNIT2": "deg", "OBJECT": "simulated"})
    fits.writeto(folder / PSF, psf.astype(np.float32))
    empty = fits.ImageHDU(np.ones((size, size)), header)
    blank = skyfold.read(empty, psf=folder / PSF)
    grid = blank.components["sky"].geometry
    y, x = np.indices(grid.shape)
    sky = 0.08 + 1200 * gauss(y - 140, x - 152, 8) + 3000 * gauss(y - 150, x - 150, 70, 0.6, 0.4)
    draw = generator(seed=1, purpose="sources")
    for flux in np.geomspace(20, 900, 25):
        sky[tuple(draw.integers(30, 270, 2))] += flux
    counts = simulate(blank, {"sky": sky}, seed=1)
    fits.writeto(folder / COUNTS, counts.astype(np.int16), header)
    return {COUNTS: folder / COUNTS, PSF: folder / PSF}


folder = Path(tempfile.mkdtemp())
files = find_files()
REAL = files is not None
if not REAL:
    files = simulate_files(folder)
    print(f"The files of {NAME} are not on this machine: the following is SIMULATED.")
    print(f"For the real ones: skyfold data get {NAME}")

# %% [markdown]
# ## 2. What is noticed on opening
#
# Opening a data set means looking at it. Every finding is kept: it is printed by `skyfold check`,
# and goes into the report of a run.

# %%
data = skyfold.read(files[COUNTS], psf=files[PSF])
for check in data.origin.checks:
    print(f"{check.level:8}{check.subject}: {check.message}")

# %% [markdown]
# The lines on the PSF deserve a closer look, because a wrong PSF makes no noise: it only restores
# the wrong sky.
#
# * The image has an even number of pixels along its axes, so no pixel is its middle. It is padded
#   to an odd size, with its centroid as near to the middle as whole pixels allow. What is left is
#   said, and is how far all restored sources will be displaced, in the opposite direction. skyfold
#   never shifts a PSF by fractions of a pixel: interpolation would widen it.
# * Its sum is below one, because the wings of the PSF leave the stamp. Left as it is, the restored
#   sky would be brighter by the same amount. It is renormalised; if the missing part is a real
#   loss of photons, say `psf_norm="keep"`.
#
# The share of the light within a radius shows what we are up against. Half of it falls within
# little more than a pixel of the middle, but the last twentieth is spread five pixels and more.

# %%
psf = fits.getdata(files[PSF]).astype(float)
v, u = np.indices(psf.shape)
middle = [np.average(axis, weights=psf) for axis in (v, u)]
distance = np.hypot(v - middle[0], u - middle[1])
order = np.argsort(distance.ravel())
enclosed = np.cumsum(psf.ravel()[order]) / psf.sum()

fig, axes = plt.subplots(1, 2, figsize=(10, 3.6))
axes[0].imshow(psf, origin="lower", norm="log")
axes[0].set_title(f"PSF, sum {psf.sum():.4f}, centroid x {middle[1]:.2f}, y {middle[0]:.2f}")
axes[1].semilogx(distance.ravel()[order][1:], enclosed[1:])
axes[1].set(xlabel="radius in pixels", ylabel="share of the light within")

# %% [markdown]
# ## 3. The restored image

# %%
iterations = 100
result = skyfold.run(data, method="rl", iterations=iterations, progress=False)
print("stopped:", result.reason)

counts, image = data.full_counts, result.image.value
inner = np.s_[64:192, 64:192]
fig, axes = plt.subplots(1, 2, figsize=(11, 5.2))
for ax, picture, title in zip(
    axes, (counts[inner], image[inner]), ("counts", f"{iterations} iterations"), strict=True
):
    ax.imshow(picture, origin="lower", norm="asinh", vmin=0, vmax=np.percentile(image, 99.9))
    ax.set_title(title)

# %% [markdown]
# ## 4. Does it explain the counts?
#
# A restored image cannot be compared with the truth, but its *expectation* can be compared with
# the counts. Three questions:
#
# * Is the total right? It must be, to rounding: there is no fixed background here, and each step
#   of Richardson-Lucy returns to the sky exactly the counts that were seen.
# * Is something missing or too much somewhere? Sum counts and expectation over blocks of 8 by 8
#   pixels, where the counts are enough to speak of sigmas.
# * Are single pixels off? The residual is the signed root of the deviance. With 0.2 counts per
#   pixel it is far from a bell curve; what matters is that hardly any pixel is beyond 3.
#
# Do not read too much into a good answer. The model has more free values than there are pixels: it
# explains the counts *too* well, noise included.

# %%
figures = summary(result)
print(f"total expectation / counts: {figures['ratio']:.9f}")
print(f"largest residual of the 8 x 8 blocks: {figures['largest_block']:.1f} sigma")
print(f"pixels beyond 3 sigma: {100 * figures['outliers']:.3f} %")

(residual,) = result.residual()
fig, axes = plt.subplots(1, 2, figsize=(10, 4))
axes[0].imshow(residual, origin="lower", cmap="RdBu_r", vmin=-3, vmax=3)
axes[0].set_title("residual in sigma")
axes[1].hist(residual[np.isfinite(residual)], 60, log=True)
axes[1].set(xlabel="residual in sigma", ylabel="pixels")

# %% [markdown]
# ## 5. How many iterations?
#
# Since the fit to the counts gets better for ever, let other counts judge. Toss a coin for every
# photon: heads go into one image, tails into another. Both are Poisson, and they are
# *independent*, as if Chandra had looked twice for half the time. Restore the one, and after each
# iteration ask how probable the other is. While the restoration learns the sky, both likelihoods
# rise; when it begins to learn the noise of its own half, the other falls.

# %%
heads = generator(seed=1, purpose="coins").binomial(counts.astype(int), 0.5).astype(float)
tails = counts - heads
crowded = gaussian_filter(heads, 2.0)
regions = {"bright": crowded > 1, "faint": crowded <= 1}

half = skyfold.read(heads, psf=files[PSF])
score = {name: [] for name in regions}
for state in skyfold.iterate(half, method="rl"):
    expected = np.maximum(half.full_expectation(state.model), 1e-12)
    likelihood = tails * np.log(expected) - expected
    for name, where in regions.items():
        score[name].append(likelihood[where].sum())
    if state.iteration == (200 if FULL else 60):
        break
best = {name: int(np.argmax(rise)) for name, rise in score.items()}

fig, axes = plt.subplots(1, 2, figsize=(11, 3.4))
for ax, (name, rise) in zip(axes, score.items(), strict=True):
    ax.semilogx(range(1, len(rise)), np.array(rise[1:]) - rise[1])
    ax.axvline(max(best[name], 1), ls=":")
    share = 100 * regions[name].mean()
    ax.set(xlabel="iteration", title=f"{name}, {share:.1f} % of the pixels",
           ylabel="log-likelihood of the other half")  # fmt: skip
print("best number of iterations:", best)

# %% [markdown]
# The two parts of the image disagree. Where photons crowd, ten or more iterations add what the
# other half confirms. In the faint rest, where a tenth of a count falls on a pixel, the first
# iteration or two say all that is known, and later ones only gather the light around the photons
# that happened to arrive. Plain Richardson-Lucy has one knob for both. This is why there are
# priors, which sharpen where the counts allow it, and not elsewhere.
#
# ## 6. What the edges do
#
# The PSF carries light over the edge of the image, both ways. Many programs assume darkness beyond
# (`boundary="same"`). Then light that came from outside has to be explained from within, and it
# piles up in a bright rim. By default skyfold models the sky beyond the edge as well, as far as
# the PSF reaches, and restricts the *comparison* to the pixels that were observed.

# %%
y, x = np.indices(counts.shape)
depth = np.minimum.reduce([y, x, counts.shape[0] - 1 - y, counts.shape[1] - 1 - x])
dark = skyfold.read(files[COUNTS], psf=files[PSF], boundary="same")
rims = {}
for name, opened in (("dark beyond the edge", dark), ("sky beyond the edge", data)):
    for laps in (10, iterations):
        restored = skyfold.run(opened, iterations=laps, progress=False).image.value
        rims[name, laps] = [restored[depth == d].mean() for d in range(16)]

level = counts[depth < 16].mean()
fig, ax = plt.subplots(figsize=(8, 3.4))
for (name, laps), profile in rims.items():
    ax.plot(profile, label=f"{name}, {laps} iterations")
ax.axhline(level, color="0.5", label="mean of the counts")
ax.set(xlabel="pixels from the edge", ylabel="mean restored flux", ylim=(0, None))
ax.legend(loc="lower right")
for (name, laps), profile in rims.items():
    print(f"{name:21}{laps:4} iterations: outermost row {profile[0] / level:.2f} of the mean level")

# %% [markdown]
# The rim of "darkness" is there from the first iterations on, and stays. The free sky beyond the
# edge starts out right; with many iterations in a field as empty as this one, with a tenth of a
# count per pixel, it takes over some of the light of the last few rows, since nothing says on
# which side of the edge a lonely photon began. So the outermost pixels are uncertain rather than
# wrong. Cut images a little larger than the object of interest.
#
# ## 7. What is written
#
# A run folder holds the image with its coordinates and unit, and beside it everything that was
# said above. Any FITS viewer opens it.

# %%
path = result.write(folder / "out")
with fits.open(path) as hdus:
    hdus.info()
    stored = hdus[0].data
    kept = hdus[0].header["CRVAL1"], hdus[0].header["CRVAL2"]
place = np.unravel_index(image.argmax(), image.shape)
where = data.origin.geometry.wcs.pixel_to_world(place[1], place[0])
print("brightest pixel at", where.to_string("hmsdms", precision=1))
if REAL:
    centre = SkyCoord("17h45m40.04s -29d00m28.2s")
    print(f"distance to Sgr A*: {where.separation(centre).arcsec:.1f} arcsec")

# %% [markdown]
# In the real observation the brightest source is *not* the black hole. Three arcseconds to its
# south shines the X-ray binary CXOGC J174540.0-290031, which happened to be in outburst that
# month; at twelve pixels distance, telling the two apart is no problem even before restoration.

# %% [markdown]
# ## What we have seen

# %%
assert abs(figures["ratio"] - 1) < 1e-9, "every count is explained"
assert figures["largest_block"] < 4
assert figures["outliers"] < 0.003
assert image.max() > 1.5 * counts.max(), "point sources got sharper"
assert best["faint"] < best["bright"] < len(score["bright"]) - 1, (
    "the other half knows when to stop"
)
assert rims["dark beyond the edge", 10][0] > 1.3 * level, "darkness beyond the edge makes a rim"
assert 0.7 < rims["sky beyond the edge", 10][0] / level < 1.3
assert np.array_equal(stored, image)
assert np.allclose(kept, data.origin.geometry.wcs.wcs.crval)
print("all claims hold for", "the real observation" if REAL else "the simulated one")
