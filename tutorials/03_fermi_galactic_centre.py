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
# # The Galactic Centre with Fermi-LAT
#
# The Large Area Telescope sees gamma rays one by one, with a direction that is good to a tenth of
# a degree at best and gets worse towards low energies. Around the Galactic Centre it sees point
# sources on top of a bright diffuse glow, made by cosmic rays in the gas between the stars. This
# notebook restores the field above 10 GeV, first as one image, then as a cube of 11 energies, and
# asks a question that every gamma-ray image raises: *what belongs to the background, and who
# decides?*
#
# The same from a shell:
#
# ```
# skyfold data get fermi-3fhl-gc
# skyfold run fermi-3fhl-gc-counts.fits.gz --psf fermi-3fhl-gc-psf.fits.gz \
#     --exposure fermi-3fhl-gc-exposure.fits.gz --background fermi-3fhl-gc-background.fits.gz -o out
# ```

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from scipy.ndimage import gaussian_filter

import skyfold
from skyfold import datasets
from skyfold.registry import default_registry
from skyfold.result import summary
from skyfold.simulate import generator, simulate
from skyfold_image.demos import fermi_like
from skyfold_image.scenes import gauss, moffat

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"

# %% [markdown]
# ## 1. The data
#
# Four images: counts, PSF, exposure, and the counts expected from a model of the diffuse emission;
# then the same at 11 energies. They come from the public 3FHL selection, in pixels of 0.05
# degrees. Where they are absent, the notebook makes similar ones, and says so.

# %%
NAME = "fermi-3fhl-gc"
ROLES = ("counts", "psf", "exposure", "background")


def find_files():
    """Return the folder of the real files, or None."""
    found = datasets.locate(NAME, default_registry().datasets[NAME])
    if found is not None:
        return next(iter(found.values())).parent
    shared = Path(os.environ.get("SKYFOLD_TEST_DATA", ".")) / "fermi"
    return shared if (shared / f"{NAME}-counts.fits.gz").exists() else None


def simulate_files(folder):
    """Write counts, PSF, exposure and background of a similar field."""
    shape = (200, 400)
    cards = {"CTYPE1": "GLON-CAR", "CRVAL1": 0.0, "CRPIX1": 200.5, "CDELT1": -0.05}
    cards |= {"CTYPE2": "GLAT-CAR", "CRVAL2": 0.0, "CRPIX2": 100.5, "CDELT2": 0.05}
    header = fits.Header(cards | {"CUNIT1": "deg", "CUNIT2": "deg"})
    v, u = np.indices((21, 21)) - 10
    psf = 0.7 * gauss(v, u, 3.0) + 0.3 * moffat(v, u, 8.0, 2.0)
    y, x = np.indices(shape)
    background = 0.15 + 1.1 * np.exp(-np.abs(y - 99.5) / 10) * np.exp(-np.abs(x - 199.5) / 250)
    images = {"psf": psf / psf.sum(), "exposure": 3.2e11 * (0.98 + 0.03 * y / 200)}
    images["background"] = background
    for role, image in images.items():
        fits.writeto(folder / f"{NAME}-{role}.fits.gz", image, None if role == "psf" else header)
    options = {role: folder / f"{NAME}-{role}.fits.gz" for role in images}
    blank = skyfold.read(fits.ImageHDU(np.ones(shape), header), **options)
    y, x = np.indices(blank.components["sky"].geometry.shape)
    sky = 500 * gauss(y - 110, x - 211, 2.0)
    draw = generator(seed=1, purpose="sources")
    for flux in np.geomspace(15, 300, 30):
        row, column = draw.normal(110, 25), draw.uniform(10, 410)
        sky += flux * gauss(y - row, x - column, 1.5)
    values = {"sky": sky / 3.2e11, "background": np.ones(1)}
    counts = simulate(blank, values, seed=1).astype(np.int32)
    fits.writeto(folder / f"{NAME}-counts.fits.gz", counts, header)
    return folder


folder = find_files()
REAL = folder is not None
if not REAL:
    folder = simulate_files(Path(tempfile.mkdtemp()))
    print(f"The files of {NAME} are not on this machine: the following is SIMULATED.")
    print(f"For the real ones: skyfold data get {NAME}")
counts_file, *others = (folder / f"{NAME}-{role}.fits.gz" for role in ROLES)
psf, exposure, background = others

# %% [markdown]
# ## 2. One image, and a background that is known
#
# There are two ways in which known light enters, and they must not be confused. A *background* is
# in expected counts per pixel, as the instrument would report them: exposure and PSF are already
# in it. A *baseline* is a flux of the sky, which still has to go through exposure and PSF. The
# model of the diffuse emission comes in counts: it is a background.

# %%
fixed = skyfold.read(counts_file, psf=psf, exposure=exposure, background=background)
for check in fixed.origin.checks:
    print(f"{check.level:8}{check.subject}: {check.message}")

iterations = 100 if FULL else 40
results = {"fixed": skyfold.run(fixed, iterations=iterations, progress=False)}
counts = fixed.full_counts
expected_background = fixed.whole["background"].template

# %% [markdown]
# The diffuse model accounts for most of the counts. The total of sky and background is now *more*
# than was counted, and this is no mistake of the program. Where the counts fluctuate above the
# background, the sky explains the excess; where they fluctuate below, a sky that cannot be
# negative is unable to take anything away. The sum of many small noise peaks is the excess.

# %%
figures = summary(results["fixed"])
for key in ("counts", "expectation", "ratio", "largest_block", "blocks", "outliers"):
    print(f"{key:14}{figures[key]:12.4f}")

# %% [markdown]
# ## 3. A background that is fitted
#
# Is the diffuse model right to the percent? Hardly. So let its normalisation be fitted. To skyfold
# this is nothing special: the background is a component of the model with one value, the sky a
# component with many, and the same line of Richardson-Lucy updates both.

# %%
free = skyfold.read(
    counts_file, psf=psf, exposure=exposure, background=background, fit_background=True
)
results["fitted"] = skyfold.run(free, iterations=iterations, progress=False)
for row in results["fitted"].trace[:: iterations // 8]:
    print(f"iteration {row['iteration']:4.0f}: normalisation {row['background']:.4f}")

# %% [markdown]
# The normalisation falls to nothing, and the total comes out right. The likelihood has decided
# that there is no background at all! It is not to blame: a free sky can imitate any smooth
# background, and imitate the noise on top of it too. So the fit is always better without
# background. *No algorithm can find a background that the sky is able to replace.* Something in
# the data, or in what we know, has to tell them apart.
#
# ## 4. A background that can be found
#
# Here is something that we know: point sources are few. Where the counts are nowhere significantly
# above the diffuse model, there is nothing to be restored. Let the sky shine only in the
# surroundings of significant excesses; everywhere else the background stands alone, and is
# measured.
#
# The significance is that of the counts in a Gaussian window of 2 pixels, whose effective area is
# $4\pi\sigma^2 \approx 50$ pixels.


# %%
def significance(expected, window=2.0):
    """Return how many sigmas the counts around each pixel are above those expected."""
    excess = gaussian_filter(counts - expected, window)
    return excess / np.sqrt(gaussian_filter(expected, window) / (4 * np.pi * window**2))


region = gaussian_filter((significance(expected_background) > 4).astype(float), 3.0) > 0.05
print(f"the sky may shine in {100 * region.mean():.0f} % of the pixels")

results["confined"] = skyfold.run(
    free, iterations=iterations, progress=False, sky_mask={"pixels": region}
)
found = {name: result.normalisations["background"] for name, result in results.items()}
print("normalisations:", {name: round(value, 4) for name, value in found.items()})

fig, axes = plt.subplots(2, 2, figsize=(12, 6.5))
top = np.percentile(results["confined"].image.value, 99.8)
images = {"counts": counts} | {n: r.image.value for n, r in results.items()}
for ax, (name, image) in zip(axes.flat, images.items(), strict=True):
    limit = np.percentile(counts, 99.8) if name == "counts" else top
    ax.imshow(image, origin="lower", norm="asinh", vmin=0, vmax=limit)
    ax.set_title(name if name == "counts" else f"background {name}")
fig.tight_layout()

# %% [markdown]
# The normalisation is now within a few percent of one, and hardly depends on the number of
# iterations, which is how a quantity looks that the data do determine. Whether the mask was drawn
# well can be seen in what is left: sources that were missed stick out.

# %%
confined = summary(results["confined"])
left = significance(fixed.full_expectation(results["confined"].model))
print(f"total expectation / counts: {confined['ratio']:.6f}")
print(f"largest residual of the 8 x 8 blocks: {confined['largest_block']:.1f} sigma")
fig, ax = plt.subplots(figsize=(9, 4))
fig.colorbar(ax.imshow(left, origin="lower", cmap="RdBu_r", vmin=-5, vmax=5), label="sigma")
ax.set_title("what is left")

# %% [markdown]
# ## 5. The energy cube
#
# The PSF shrinks with energy. Restoring one image from all energies means using a mean PSF, too
# sharp for some photons and too wide for others. The cube does better: each energy has its own PSF
# and exposure, and its own plane of sky.
#
# The PSF comes as radial profiles at many energies (the table of gtpsf), the exposure at the
# energies of the bin edges. skyfold averages both over each bin, weighted by a power-law spectrum,
# and integrates the profile over each pixel.

# %%
if REAL:
    cube = skyfold.read(
        folder / f"{NAME}-counts-cube.fits.gz",
        psf=folder / f"{NAME}-psf-cube.fits.gz",
        exposure=folder / f"{NAME}-exposure-cube.fits.gz",
    )
else:
    cube = fermi_like(seed=1).data
    print("simulated cube of", cube.shape)
for check in cube.origin.checks:
    print(f"{check.level:8}{check.subject}: {check.message}")

# %%
sky = skyfold.run(cube, iterations=50 if FULL else 12, progress=False)
planes = sky.image
print("image:", planes.shape, planes.unit, " total / counts:", summary(sky)["ratio"])

shown = (0, planes.shape[0] // 2, planes.shape[0] - 1)
fig, axes = plt.subplots(2, 3, figsize=(13, 5))
for column, energy in enumerate(shown):
    for ax, image in zip(
        axes[:, column], (cube.full_counts[energy], planes[energy].value), strict=True
    ):
        ax.imshow(image, origin="lower", vmin=0, vmax=np.percentile(image, 99.9) + 1e-30)
        ax.axis("off")
    axes[0, column].set_title(f"counts, energy bin {energy}")
    axes[1, column].set_title("restored")

# %% [markdown]
# From the cube follow spectra. A circle around the brightest source holds most of its light in the
# restored image at every energy, whereas in the counts the share depends on the energy, because
# the PSF does: the spectrum read off the counts is bent. Here both, as the ratio of restored flux
# to counts over exposure in the same circle:

# %%
total = planes.value.sum(axis=0)
row, column = np.unravel_index(gaussian_filter(total, 1.5).argmax(), total.shape)
y, x = np.indices(total.shape)
circle = np.hypot(y - row, x - column) < 4
per_unit = cube.whole["sky"].forward(np.ones(cube.whole["sky"].model_shape))
flux = planes.value[:, circle].sum(axis=1)
naive = (cube.full_counts / per_unit)[:, circle].sum(axis=1)
for energy, (a, b) in enumerate(zip(flux, naive, strict=True)):
    if b > 0:
        print(f"energy bin {energy:2}: {a:.3g} {planes.unit}, {a / b:.2f} times that of the counts")

# %% [markdown]
# No background was subtracted in this last step where the data are real: the plane of the sky
# holds the diffuse emission as well. A MapDataset file (`fermi-3fhl-gc.fits.gz`) brings counts,
# PSF, exposure, background and mask for all energies at once:
# `skyfold.read("fermi-3fhl-gc.fits.gz")` is enough, and section 4 applies to it plane by plane.
#
# ## What we have seen

# %%
assert summary(results["fixed"])["ratio"] > 1.05, "a sky that cannot be negative adds noise"
assert abs(summary(results["fitted"])["ratio"] - 1) < 1e-6
assert found["fitted"] < 0.2, "a free sky replaces a fitted background"
assert 0.85 < found["confined"] < 1.15, "a confined sky does not"
assert abs(confined["ratio"] - 1) < 1e-6
assert confined["largest_block"] < 5
assert abs(summary(sky)["ratio"] - 1) < 1e-3
assert flux[0] / naive[0] > 1.05, "the light of the source was gathered"
print("all claims hold for", "the real observation" if REAL else "the simulated one")
