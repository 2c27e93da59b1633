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
# # COSI: the same sky in bins of attitude
#
# Notebook 05 restored the 511 keV sky from counts in Galactic coordinates. That needs a response in
# Galactic coordinates, for one observation and no other: whoever takes another week of data, or
# finer pixels, must compute it anew. There is another way. The detector never changes. Keep its
# response in *its own* frame, once and for all, and describe the observation by a small table: for
# how long did each place of the sky stand at each place of the detector's view?
#
# 1. where the satellite looked: the exposure table and its map;
# 2. how the sky passed through the field of view: the conversion matrix;
# 3. counts in bins of attitude, and why few of them matter;
# 4. the sky, compared with that of Galactic coordinates;
# 5. a sky finer than the response;
# 6. bins of time, and what to choose when.
#
# Everything is simulated here. `SKYFOLD_TUTORIAL=full` doubles the resolution; it takes some
# minutes.

# %%
import os
import tempfile
from pathlib import Path

import healpy
import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u

import skyfold
from skyfold import Sphere, plotting
from skyfold.healpix_table import read as read_map
from skyfold.result import summary
from skyfold.simulate import correlation
from skyfold_cosi import container
from skyfold_cosi.commands import bin_events
from skyfold_cosi.commands_attitude import make_conversion, make_exposure
from skyfold_cosi.exposure_file import read_exposure_table
from skyfold_cosi.simulation.challenge import simulate_compton

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"
nside = 8 if FULL else 4
folder = Path(tempfile.mkdtemp())

survey = folder / "survey"
simulate_compton(survey, nside=nside, days=2, phi_step=10.0, seed=1)

# %% [markdown]
# ## 1. Where the satellite looked
#
# An orientation file tells for every few seconds where the axes of the instrument pointed: z is
# what it looks along, x fixes its roll. During the two days of this survey it looked away from the
# Earth, rocked to the north or to the south, and was blind in the South Atlantic Anomaly, where the
# radiation belts come down.
#
# Many moments have nearly the same attitude. Sort them into bins: the pixel of a HEALPix sphere
# that the z axis falls into, and the pixel of the x axis. With each bin goes its *livetime*, the
# seconds in which the detector was ready. In a shell: `skyfold cosi exposure orientation.ori`.

# %%
table_file, map_file = folder / "exposure.fits", folder / "pointings.h5"
make_exposure(survey / "orientation.ori", table_file, nside=8, pointing_map=map_file)
table = read_exposure_table(table_file)

pointings = container.read(map_file).dense
possible = pointings.size
print(f"{len(table)} of {possible} pairs of pixels were met, for {pointings.sum():.0f} s in all")

fig, axes = plt.subplots(1, 2, figsize=(14, 4.6), layout="constrained")
for ax, name, seconds in zip(axes, "zx", (pointings.sum(1), pointings.sum(0)), strict=True):
    title = f"livetime by the pixel of the {name} axis"
    plotting.sky(seconds / 1e3 * u.ks, Sphere(8), title=title, axes=ax)

# %% [markdown]
# The z axis drew two bands on the sky, one for each side of the rocking; the x axis, which points
# along the flight, drew the circle of the orbit. The gap in it is the Anomaly.
#
# ## 2. How the sky passed through the field of view
#
# The response of the detector, $A_{p\,r}$ in cm2, says how photons from direction $p$, in
# coordinates of the detector, end in bin $r$ of the data space. What is missing is $T_{a\,k\,p}$:
# for how many seconds, in attitude bin $a$, the place $k$ of the sky was in direction $p$. This is
# the *coordinate conversion matrix*. Then the counts expected in bin $r$ at attitude $a$ are
#
# $$e_{a r} = \sum_p A_{p\,r} \Big( \sum_k T_{a\,k\,p}\, x_k \Big) + b\,B_{a r}.$$
#
# $T$ follows from geometry alone: every moment is shared among the four detector pixels around the
# direction, and counts nothing where the Earth hides that place of the sky.

# %%
conversion_file = folder / "conversion.h5"
make_conversion(table_file, survey / "detector.h5", conversion_file)
conversion = container.read(conversion_file)

galactic = Sphere(nside)
lon, lat = galactic.directions()
centre = int(np.argmin(np.hypot((lon + 180) % 360 - 180, lat)))
seconds = conversion.dense.sum(axis=(0, 2))
track = conversion.dense[:, centre].sum(axis=0)
detector = Sphere(nside, frame="spacecraft")
marks = [(0, 0, "Galactic centre")]
fig, axes = plt.subplots(1, 2, figsize=(14, 4.6), layout="constrained")
plotting.sky(seconds / 1e3 * u.ks, galactic, marks=marks, title="exposure", axes=axes[0])
title = "where the Galactic centre stood in the view; z is at the top"
plotting.sky(track / 1e3 * u.ks, detector, title=title, axes=axes[1])
below = np.degrees(np.arccos(np.sin(np.radians(detector.directions()[1]))))
print(f"the centre was seen at {np.average(below, weights=track):.0f} degrees from z on average")

# %% [markdown]
# ## 3. Counts in bins of attitude
#
# The events are binned once more, now with scatter directions in the frame of the detector and one
# bin for each attitude (`ScAtt`). In a shell, `skyfold cosi bin events.fits.gz --inputs inputs.yaml
# --exposure-table exposure.fits`. A few events fall in no bin: the attitude between two rows of the
# orientation file may lie in a pixel where neither row nor their middle lies.

# %%
event = folder / "event.h5"
bin_events(
    [survey / "events.fits.gz"], event, inputs=survey / "inputs.yaml", exposure_table=table_file
)
data = skyfold.read(
    event,
    response=survey / "detector.h5",
    conversion=conversion_file,
    background={"instrument": survey / "background_attitude.h5"},
)
for check in data.checks:
    print(f"{check.level:8}{check.subject}: {check.message}")

# %% [markdown]
# The data space is as many times larger as there are attitudes, but there are no more photons than
# before: most cells are empty. An empty cell needs no work. The log-likelihood is
#
# $$\ln L = \sum_{i:\,n_i > 0} n_i \ln e_i \;-\; \sum_i e_i ,$$
#
# and the second sum runs over all cells, but is linear in the sky: $\sum_i e_i = \sum_k s_k x_k + b
# \sum_i B_i$, with sensitivities $s_k$ computed once. The same holds for the steps of
# Richardson-Lucy, where $n_i / e_i$ is zero wherever $n_i$ is. So *only observed cells are
# visited*, and the product of $T$ and $A$, which would be enormous, is never made. With the
# resolution of the real instrument the share is far smaller:

# %%
observed, cells = data.counts.size, int(np.prod(data.shape))
print(f"here:                    {observed:9} of {cells:9} cells, {100 * observed / cells:.1f} %")
real = 278 * 60 * 3072
print(f"COSI at 511 keV, nside 16, 278 attitudes: 400000 counts in {real} cells, "
      f"at most {100 * 4e5 / real:.1f} %")  # fmt: skip

# %% [markdown]
# ## 4. The sky
#
# From here on everything is as before. For the comparison, the same events in Galactic coordinates
# with the Galactic response, as in notebook 05.

# %%
options = {"iterations": 40, "acceleration": True}
by_attitude = skyfold.run(data, progress=False, **options)
files = {"response": survey / "response.h5", "background": {"instrument": survey / "background.h5"}}
by_place = skyfold.run(skyfold.read(survey / "event.h5", **files), progress=False, **options)
truth = read_map(survey / "truth.fits")[0]

maps = {"true": truth, "Galactic data": by_place.image, "attitude bins": by_attitude.image}
fig, axes = plt.subplots(2, 3, figsize=(17, 7.6), layout="constrained")
for row, scale in zip(axes, ("linear", "log"), strict=True):
    for ax, (name, values) in zip(row, maps.items(), strict=True):
        image, title = values << by_place.image.unit, f"{name}, 509 to 513 keV, {scale}"
        plotting.sky(image, galactic, scale, marks, title=title, axes=ax)


def flux(values):
    """Return the photons per cm2 and s of a whole sky."""
    return float(np.sum(values) * 4 * np.pi / len(values))


alike = correlation(by_place.image.value, by_attitude.image.value)
ratio = flux(by_attitude.image.value) / flux(by_place.image.value)
print(f"correlation of the two skies {alike:.4f}, ratio of their fluxes {ratio:.3f}")
for name, result in (("Galactic data", by_place), ("attitude bins", by_attitude)):
    figures = summary(result)
    print(
        f"{name}: background {result.normalisations['instrument']:.3f}, flux "
        f"{flux(result.image.value) / flux(truth):.3f} of the truth, largest residual "
        f"{figures['largest_block']:.1f} sigma in {figures['blocks']:.0f} blocks"
    )

# %% [markdown]
# The two agree, though neither knew of the other's response. (The log-likelihoods cannot be
# compared: these are different bins of the same photons.) But look at the disk and the bulge: in
# attitude bins they are narrower than the truth. The conversion matrix takes each pixel of the sky
# as a point at its centre, and a pixel of such a size is no point. The next section mends it.
#
# Counts in attitude bins hold *more* than Galactic ones. They know when the background was seen in
# which frame. A background that varies from orbit to orbit can be given one normalisation for each
# bin (`--background-per time`), which is impossible once all times are added up.
#
# ## 5. A sky finer than the response
#
# The pixels of the sky need not be those of the detector. A place of the sky passes through many
# pixels of the view, and at each attitude the borders of these pixels lie elsewhere on the sky. So
# there is knowledge below the size of a pixel, and the conversion matrix carries it. Only that
# small matrix has to be made anew (`skyfold cosi conversion ... --nside`); the response of the
# detector, which may have gigabytes, stays as it is.

# %%
fine_file = folder / "conversion_fine.h5"
make_conversion(table_file, survey / "detector.h5", fine_file, nside=2 * nside)
fine_data = skyfold.read(
    event,
    response=survey / "detector.h5",
    conversion=fine_file,
    background={"instrument": survey / "background_attitude.h5"},
)
fine = skyfold.run(fine_data, progress=False, **options)

fig, axes = plt.subplots(1, 2, figsize=(14, 4.6), layout="constrained")
for ax, (name, result) in zip(
    axes, {f"nside {nside}": by_attitude, f"nside {2 * nside}": fine}.items(), strict=True
):
    plotting.sky(result.image, result.sphere, "asinh", marks, title=name, axes=ax)
degraded = healpy.ud_grade(fine.image.value[:, 0], nside)
likeness = {
    "coarse": correlation(by_attitude.image.value, truth),
    "fine": correlation(degraded, truth[:, 0]),
}
print("correlation with the truth:", {name: round(value, 4) for name, value in likeness.items()})
gain = fine.state.log_likelihood - by_attitude.state.log_likelihood
print(f"log-likelihood: {gain:+.1f} for the finer sky, on the same counts")

# %% [markdown]
# The likelihoods of these two *can* be compared, for the counts are the same. The finer sky
# explains them better, and averaged over the coarse pixels it is closer to the truth than the
# coarse sky was: the disk has its width again. In detector coordinates, make the sky finer than the
# response.
#
# ## 6. Bins of time, and what to choose
#
# Counts may also be binned by time. Then no table is needed: `skyfold cosi bin ... --frame detector
# --time-bins 600` and `skyfold run event.h5 --response detector.h5 --orientation orientation.ori`
# make the conversion matrix on the way. Which bins to take?
#
# | data | response needed | good for |
# |---|---|---|
# | Galactic coordinates | of the sky, for this observation | one long observation, many runs |
# | bins of attitude | of the detector | any selection of time, finer skies |
# | bins of time | of the detector | backgrounds and sources that vary |
#
# And the Galactic response itself can be made from that of the detector, for any orientation:
# `skyfold cosi response orientation.ori detector.h5`.
#
# ## What we have seen

# %%
assert len(table) < possible / 1000, "few attitudes are met"
assert conversion.sparse.values.size < 0.05 * np.prod(conversion.shape), "the matrix is sparse"
assert observed < cells / 3, "few cells are observed"
assert alike > 0.95
assert abs(ratio - 1) < 0.1
assert abs(by_attitude.normalisations["instrument"] - 1) < 0.05
assert gain > (2 if FULL else 20), "the finer sky explains the same counts better,"
assert likeness["fine"] > likeness["coarse"], "and is closer to the truth"
print("all claims hold")
