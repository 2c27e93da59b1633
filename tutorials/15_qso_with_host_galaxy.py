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
# # A quasar and the galaxy around it
#
# A quasar sits in the middle of a galaxy and outshines it. What is known: one source is a point,
# at a place that can be measured; all else is smooth, compared with the PSF. Two-channel
# restoration (Lucy 1994) gives each its own channel: a flux for the point, and an image for the
# rest, which an entropy draws to its own blur. In the 1990s the program PLUCY did this for Hubble.
#
# 1. a frame of 256 x 256 pixels, a quasar at (120.2, 132.8);
# 2. why the restored pixels are finer than the detector's;
# 3. the command of the time, as its help page has it;
# 4. what to type today;
# 5. the galaxy alone: image and profile;
# 6. what to beware of.
#
# `SKYFOLD_TUTORIAL=full` takes the whole frame; else its middle, 64 x 64 pixels.

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits

import skyfold
from skyfold.cli import main
from skyfold.simulate import generator
from skyfold_hst.telescope import telescope_psf
from skyfold_image.scenes import gauss, spiral_galaxy
from skyfold_responses.image import BlockSum
from skyfold_responses.points import Points
from skyfold_responses.psf import Psf

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"
size = 256 if FULL else 64
start = Path.cwd()
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)

# %% [markdown]
# ## 1. The frame
#
# The PSF of the telescope is narrower than a pixel and a half of the detector, so it is given on
# pixels half as large. On these the true sky is drawn, too: a spiral galaxy with a companion, and
# a quasar of 60000 counts. Pixels are counted from 1, as FITS does; in the middle of the frame,
# the numbers are smaller by the pixels that were cut off.

# %%
cut = (256 - size) // 2
place = np.array([120.2, 132.8]) - cut
flux = 60_000.0
psf = telescope_psf(2 * size, core=2.6)
y, x = (np.indices((2 * size, 2 * size)) + 0.5) / 2 + 0.5  # in pixels of the detector, from 1
host = 40 * spiral_galaxy(y - place[1], x - place[0]) + 3
host += 1500 * gauss(y - place[1] + 9, x - place[0] - 11, 4.0, 0.6, 0.8)
host /= 4  # counts in each of the four
fine = 2 * (place - 0.5) - 0.5  # from 0, in pixels half as large
optics = Psf(psf, host.shape, "periodic").forward(host)
optics += Points([psf], fine[None], host.shape, cyclic=True).forward(np.array([flux]))
expected = np.maximum(BlockSum(2, (size, size)).forward(optics), 0)
counts = generator(3, "counts").poisson(expected).astype(float)


def show(images, top=None, around=None):
    """Draw images side by side, as the fourth root of their brightness."""
    fig, axes = plt.subplots(1, len(images), figsize=(3.2 * len(images), 3.4), layout="constrained")
    for ax, (title, image) in zip(np.atleast_1d(axes), images.items(), strict=True):
        limit = None if top is None else top**0.25
        ax.imshow(np.maximum(image, 0) ** 0.25, origin="lower", vmin=0, vmax=limit)
        ax.set_title(title, fontsize="medium")
        ax.axis("off")
    return fig


middle = slice(size // 2 - 32, size // 2 + 32)
centre = slice(size - 64, size + 64)
show({"counts": counts[middle, middle], "the galaxy alone": host[centre, centre]})

# %% [markdown]
# ## 2. Finer pixels
#
# PLUCY had its stars in the middle of pixels. The nearest pixel to (120.2, 132.8) is (120, 133),
# 0.28 pixels away: the model would have its light in the wrong place, and the galaxy would mend it.
# So every pixel is divided into 2 x 2. A place $x$ then becomes
#
# $$x' = 2x - \tfrac12$$
#
# because the first pixel, which ends at 1.5, now ends at 2.5. (120.2, 132.8) becomes (239.9,
# 265.1), whose nearest pixel is (240, 265): 0.14 fine pixels, 0.07 of the detector's. That is
# what "blocking up" was for; the data did not become finer by it. The model is, and each pixel of
# the detector sees the sum of four of its pixels.

# %%
doubled = 2 * place - 0.5
for name, at, scale in (("detector", place, 1), ("doubled", doubled, 2)):
    off = np.hypot(*(at - np.rint(at))) / scale
    print(f"{name:9} ({at[0]:.1f}, {at[1]:.1f}): {off:.2f} pixels of the detector to the nearest")

# %% [markdown]
# ## 3. The command of the time
#
# First the image was blocked up (`blkrep qso temp 2 2`) and divided by 4 to conserve the flux
# (`imarith temp / 4 qso_b`). The list has position and a first magnitude; 10 means 10000 counts,
# as a count has magnitude 20.

# %%
fits.writeto("qso.fits", counts)
fits.writeto("psf_b.fits", psf)
fits.writeto("qso_b.fits", np.kron(counts, np.ones((2, 2))) / 4)
Path("qso_b.stars").write_text(
    f"# QSO point source (blocked up by 2)\n# x y mag\n{doubled[0]:.1f} {doubled[1]:.1f} 10\n"
)
laps = 100 if FULL else 60
line = f"plucy qso_b psf_b 0.1 {laps} qso_b_pa qso_b.stars back=qso_b_back outtab=qso_b.table"
line += " skernel=2 xsubsam=2 ysubsam=2 verbose=no"
print(f"$ skyfold {line}")
main(line.split())
print(Path("qso_b.table").read_text())
historical = skyfold.open("qso_b_pa_skyfold")

# %% [markdown]
# The table has the layout of the original; the numbers are those that PLUCY gives, to the digits
# that it printed. `skernel` is the standard deviation of the blur in fine pixels. Its default, 10,
# is for backgrounds without structure: here the galaxy's own middle would be taken for the quasar.
#
# With `verbose=yes`, the default, everything is told while it runs: shares of light, the residual,
# the objective and by how much it rose, the step, the convergence parameter, fluxes. Arguments may
# also come from a file, `par=plucy.par`, as `lpar` printed them. `skyfold plucy --help` has all of
# them.
#
# ## 4. Today
#
# The detector's own pixels are the data, and `--block 2` divides those of the model. The quasar
# stays where it is, at (120.2, 132.8) on the detector: its image is shifted exactly, by phases in
# the Fourier transform. Sky beyond the edges is part of the model, instead of the opposite edge.
#
# ```
# skyfold run qso.fits --psf psf_b.fits --psf-keep --block 2 --stars qso.stars \
#     --method two-channel --smooth "4.7 pix" -o qso
# ```
#
# or in Python:

# %%
Path("qso.stars").write_text(f"{place[0]:.1f} {place[1]:.1f} 10\n")
data = skyfold.read("qso.fits", psf="psf_b.fits", psf_keep=True, block=2)
result = skyfold.run(
    data, "two-channel", stars="qso.stars", strength=0.1, smooth="4.7 pix", progress=False
)
star = result.stars[0]
print(f"{result.state.iteration} iterations, {result.reason}")
print(f"quasar: {star['flux']:.0f} +- {star['flux_error']:.0f} counts; truly {flux:.0f}")

# %% [markdown]
# It ends by itself, at the maximum: its only one, because the problem is concave. And the flux has
# an error, from the scatter that repeated observations would have.
#
# ## 5. The galaxy
#
# Richardson-Lucy, which knows nothing of points, serves for comparison: it leaves a peak with
# rings around it where the quasar is.

# %%
plain = skyfold.run(data, "rl", 60, progress=False)
skies = {
    "the galaxy": host,
    "Richardson-Lucy": plain.image.value,
    "plucy, background": fits.getdata("qso_b_back.fits"),
    "two-channel, background": result.image.value,
}
show({name: sky[centre, centre] for name, sky in skies.items()}, top=host.max())


# %%
def profile(image, width=1.5):
    """Return radii in pixels of the detector, and the mean in rings around the quasar."""
    distance = np.hypot(y - place[1], x - place[0])
    ring = (distance / width).astype(int)
    inside = ring < 22 / width
    total, number = (np.bincount(ring[inside], v) for v in (image[inside], None))
    return (np.arange(len(number)) + 0.5) * width, total / number


fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for name, sky in skies.items():
    style = {"color": "black", "lw": 3, "alpha": 0.4} if name == "the galaxy" else {"marker": "."}
    ax.semilogy(*profile(sky), label=name, **style)
ax.set(xlabel="radius (pixels of the detector)", ylabel="counts per fine pixel")
ax.legend()
# %% [markdown]
# Beyond three pixels both profiles follow the truth, and the rings of the PSF are gone. Nearer to
# the quasar PLUCY's background is too bright: the 0.07 pixels to the nearest fine one are enough to
# leave 2 % of the quasar there. Shifted exactly, it takes all of its light along. What remains is
# to divide light between point and bulge, and only the blur that the entropy compares with does.
#
# ## 6. What to beware of
#
# - **The width of the blur decides** what is the galaxy's and what the quasar's. Below, the flux
#   for several: too wide, and the bulge goes to the quasar.
# - **The PSF must be right.** An error of 1 % in its wings is 600 counts in the galaxy.
#   `modpsf=yes` (historical) and `--method blind` improve it by stars; a star nearby is better.
# - **The place must be right**, too: `--stars.free` fits it along.

# %%
widths = (2.4, 4.7, 9.4, 18.8)
fluxes = []
for width in widths:
    trial = skyfold.run(
        data, "two-channel", stars="qso.stars", strength=0.1, smooth=f"{width} pix",
        iterations=40, progress=False,
    )  # fmt: skip
    fluxes.append(float(trial.model["stars"][0]))
    print(f"blur of {width:4} fine pixels: quasar {fluxes[-1]:.0f} counts")

# %%
inside = np.hypot(y - place[1], x - place[0]) > 3
near = inside & (np.hypot(y - place[1], x - place[0]) < 20)
error = {name: np.sum(sky[near]) / np.sum(host[near]) - 1 for name, sky in skies.items()}
measured = float(historical.model["stars"][0])
os.chdir(start)

# %%
assert abs(measured / flux - 1) < 0.05
assert abs(float(star["flux"]) - flux) < 4 * float(star["flux_error"])
assert abs(error["two-channel, background"]) < 0.03
assert abs(error["plucy, background"]) < 0.03
assert skies["Richardson-Lucy"].max() > 3 * host.max()
assert skies["two-channel, background"].max() < 1.5 * host.max()
assert max(fluxes) == fluxes[-1]
