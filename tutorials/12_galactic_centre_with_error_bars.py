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
# # The Galactic Centre with error bars: Chandra and Fermi
#
# Two images of the same place, a hundred million times apart in photon energy: Sgr A* and the hot
# gas around it in X-rays, and the whole inner Galaxy in gamma rays. Both are crowded, and both were
# used to show what LIRA can do. Here we draw from their posteriors, ask which structures are there
# beyond doubt, and whether the chains can be believed.
#
# The same from a shell:
#
# ```
# skyfold data get chandra-gc-4684
# skyfold run chandra-counts-obs-id-4684.fits.gz --psf chandra-psf-obs-id-4684.fits.gz \
#     --method lira --hyper "[1, 0.02, 1]" -o out
# skyfold errors out --region "circle(17h45m40.04s, -29d00m28.1s, 1 arcsec)"
# ```
#
# `SKYFOLD_TUTORIAL=full` takes the whole images and more chains.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u
from astropy.io import fits

import skyfold
from skyfold import datasets
from skyfold.registry import default_registry
from skyfold.simulate import generator, simulate
from skyfold_image.scenes import gauss, moffat

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"

# %% [markdown]
# ## 1. The data
#
# `skyfold data get chandra-gc-4684` and `skyfold data get fermi-3fhl-gc` fetch them. Where they are
# absent, the notebook makes similar ones, and says so. To be quick it takes the middle of each.


# %%
def find(name, folder, *files):
    """Return the real files, or None."""
    found = datasets.locate(name, default_registry().datasets[name])
    shared = Path(os.environ.get("SKYFOLD_TEST_DATA", ".")) / folder
    if found is None and not (shared / files[0]).exists():
        return None
    return [shared / file if found is None else found[file] for file in files]


def cut(path, middle, half):
    """Return the part of an image around a pixel (row, column), with its coordinates."""
    image, header = fits.getdata(path, header=True)
    rows, columns = (slice(m - half, m + half) for m in middle)
    header["CRPIX1"] -= columns.start
    header["CRPIX2"] -= rows.start
    return fits.ImageHDU(image[rows, columns], header)


def header(shape, pixel, place, frame):
    """Return a header with coordinates; the place is that of the middle."""
    one, two = frame
    cards = {"CTYPE1": one, "CRVAL1": place[0], "CRPIX1": shape[1] / 2 + 0.5, "CDELT1": -pixel}
    cards |= {"CTYPE2": two, "CRVAL2": place[1], "CRPIX2": shape[0] / 2 + 0.5, "CDELT2": pixel}
    return fits.Header(cards | {"CUNIT1": "deg", "CUNIT2": "deg"})


def pretend(sky, head, shape, **options):
    """Return simulated counts of a sky, as a file would hold them."""
    blank = skyfold.read(fits.ImageHDU(np.ones(shape), head), **options)
    y, x = np.indices(blank.components["sky"].geometry.shape)
    margin = blank.components["sky"].geometry.field
    values = {"sky": sky(y - margin[0].start, x - margin[1].start)}
    values |= {name: np.ones(1) for name in blank.components if name != "sky"}
    return fits.ImageHDU(simulate(blank, values, seed=1).astype(np.int16), head)


half = 128 if FULL else 24
chandra_files = find(
    "chandra-gc-4684", "chandra",
    "chandra-counts-obs-id-4684.fits.gz", "chandra-psf-obs-id-4684.fits.gz",
)  # fmt: skip
if chandra_files:
    middle = (128, 128) if FULL else (116, 128)
    counts, psf = cut(chandra_files[0], middle, half), chandra_files[1]
    print("Chandra: the real observation")
else:
    print("Chandra: the files are not on this machine, what follows is SIMULATED")
    v, h = np.indices((31, 31)) - 15
    psf = 0.8 * gauss(v, h, 2.2) + 0.2 * moffat(v, h, 5, 2)
    shape = (2 * half, 2 * half)
    stars = generator(1, "stars").integers(4, 2 * half - 4, (12, 2))

    def x_rays(y, x):
        """Return gas, and some stars in it."""
        image = 0.1 + 2500 * gauss(y - half, x - half, 0.7 * half, 0.6, 0.4)
        for (row, column), flux in zip(stars, np.geomspace(20, 700, 12), strict=True):
            image += flux * gauss(y - row, x - column, 1.0)
        return image

    head = header(shape, 0.246 / 3600, (266.4168, -29.0078), ("RA---TAN", "DEC--TAN"))
    counts = pretend(x_rays, head, shape, psf=psf)

chandra = skyfold.read(counts, psf=psf)
print(chandra, f"{chandra.counts.sum():.0f} counts")

# %% [markdown]
# ## 2. A prior that lets diffuse light be
#
# LIRA's law shares the light of each block among its four parts; a strength $\alpha$ for each scale
# says how evenly. What is known of the strengths before counts is the *hyper-prior*. By default it
# keeps them small: light gathers in points. Diffuse light asks for larger ones, and (1, 0.02, 1),
# of mean 100, leaves the choice to the counts.

# %%
from skyfold.sampling.laws.strengths import Lira
from skyfold.sampling.posterior.prior_pictures import hyper_priors

hyper_priors(Lira(), Lira(1, 0.02, 1))

# %% [markdown]
# ## 3. Chandra
#
# The chains share out two origins of the blocks: what differs between two origins is a whim of the
# grid, not of the sky, and the average is free of most of it.

# %%
size = (
    {"draws": 3000, "burn": 1000, "chains": 8} if FULL else {"chains": 2, "draws": 120, "burn": 80}
)
options = {"method": "lira", "hyper": (1, 0.02, 1), "progress": False, "seed": 1}
x_ray = skyfold.run(chandra, **options, **size)
x_ray.posterior.plot()

# %% [markdown]
# Left are the counts and the mean of all images; the standard deviation shows where to be careful.
# The pixel beside a bright one is the least certain of all: which of the two holds the light?
#
# ### Can it be believed?
#
# R-hat compares the spread between chains of the same origin to that within; the effective sample
# size says how many independent draws all of them are worth. A run that is too short says so.

# %%
x_ray.posterior.plot_mixing()

# %%
for doubt in x_ray.posterior.doubts or ["no doubts"]:
    print(doubt)

# %% [markdown]
# Sums over regions are known long before single pixels are. The flux of the brightest source, from
# the draws:

# %%
mean = x_ray.posterior.mean.value
row, column = (int(i) for i in np.unravel_index(np.argmax(mean), mean.shape))
core = f"circle({column}, {row}, 4)"
flux = x_ray.posterior.region(core)
print(f"{flux.flux:.1f}, 68 % between {flux.low:.1f} and {flux.high:.1f}")
x_ray.posterior.plot_region(core)

# %% [markdown]
# ## 4. Fermi
#
# Above 10 GeV most photons from this direction are not from sources: cosmic rays light up the gas
# of the Galaxy. A model of that is given, in expected counts, and its normalisation is drawn along
# with the sky: how far it can be trusted goes into the errors.

# %%
roles = ("counts", "psf", "exposure", "background")
fermi_files = find("fermi-3fhl-gc", "fermi", *(f"fermi-3fhl-gc-{role}.fits.gz" for role in roles))
half = 24
if fermi_files:
    whole = dict(zip(roles, fermi_files, strict=True))
    if not FULL:
        whole = {r: p if r == "psf" else cut(p, (100, 200), half) for r, p in whole.items()}
    print("Fermi: the real observation")
else:
    print("Fermi: the files are not on this machine, what follows is SIMULATED")
    shape = (2 * half, 2 * half)
    head = header(shape, 0.05, (0.0, 0.0), ("GLON-CAR", "GLAT-CAR"))
    v, h = np.indices((21, 21)) - 10
    psf = 0.7 * gauss(v, h, 3.0) + 0.3 * moffat(v, h, 8.0, 2.0)
    y, _ = np.indices(shape)
    whole = {"psf": psf / psf.sum()}
    whole["exposure"] = fits.ImageHDU(np.full(shape, 3.2e11), head)
    whole["background"] = fits.ImageHDU(0.2 + np.exp(-np.abs(y - half + 0.5) / 10), head)

    def gamma_rays(y, x):
        """Return the centre, and sources beside it."""
        image = 400 * gauss(y - half, x - half - 1, 2.0)
        for place, source in zip((-18, -11, 9, 16), (60, 90, 70, 50), strict=True):
            image += source * gauss(y - half + place % 7 - 3, x - half - place, 1.0)
        return image / 3.2e11

    whole["counts"] = pretend(gamma_rays, head, shape, **whole)

gamma_counts = whole.pop("counts")
fermi = skyfold.read(gamma_counts, fit_background=True, **whole)
gamma_ray = skyfold.run(fermi, background_error=0.2, **options, **size)
gamma_ray.posterior.plot()

# %%
norm = gamma_ray.posterior.parameter("background")[:, gamma_ray.posterior.burn :]
centre = gamma_ray.posterior.region("circle(0d, 0d, 0.3 deg)")
print(f"diffuse model times {norm.mean():.3f} +- {norm.std():.3f}")
unit = u.Unit("1e-10 cm-2 s-1")
print("Galactic Centre: {:.2f}, 68 % between {:.2f} and {:.2f} 1e-10 / (cm2 s)".format(
    *(value.to_value(u.cm**-2 / u.s if value.unit.is_equivalent(unit) else value.unit) * 1e10
      for value in (centre.flux, centre.low, centre.high))))  # fmt: skip

# %% [markdown]
# The more of the light the diffuse model takes, the less is left for the sky: the two are drawn
# together, and their correlation is there to be seen.

# %%
total = gamma_ray.posterior.parameter("sky.total")[:, gamma_ray.posterior.burn :]
fig, ax = plt.subplots(figsize=(4.6, 3.8), layout="constrained")
ax.plot(norm.ravel(), total.ravel(), ".", ms=2, alpha=0.5)
ax.set(xlabel="normalisation of the diffuse model", ylabel="total of the sky")
correlation = np.corrcoef(norm.ravel(), total.ravel())[0, 1]
print(f"correlation {correlation:.2f}")

# %% [markdown]
# ## 5. A jet, a spur, a knot?
#
# Whether a faint feature is there at all is another question than how bright it is:
# `skyfold structure` answers it, by simulations of a sky without it. See the tutorial on the jet.

# %%
for result in (x_ray, gamma_ray):
    explained = result.state.expectation.total / result.data.counts.sum()
    assert np.all(np.isfinite(result.posterior.mean.value)), "no NaN, ever"
    assert abs(explained - 1) < 0.02, "the posterior mean makes as many counts as there were"
assert flux.low < flux.flux < flux.high
assert centre.low < centre.high
assert correlation < 0, "what the background takes, the sky lacks"
assert 0.5 < norm.mean() < 1.5
