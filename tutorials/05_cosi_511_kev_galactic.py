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
# # COSI: the 511 keV sky in Galactic coordinates
#
# Positrons that meet electrons leave a gamma-ray line at 511 keV. It shines from a bulge around
# the centre of the Galaxy and from a thin disk, and after fifty years nobody knows where all the
# positrons come from. A *Compton telescope* such as COSI can make an image of it. It has no lens
# and no mirror; the image exists only after a computation. This notebook does that computation,
# from single events to a map, and asks at the end which parts of the map to believe:
#
# 1. what a Compton telescope measures;
# 2. files: events, background, response, all simulated here, in the formats of COSI;
# 3. from events to counts in bins;
# 4. Richardson-Lucy with a background whose normalisation is fitted;
# 5. the way there: likelihood, acceleration, background;
# 6. the sky, in linear and in logarithmic scale;
# 7. does it explain the counts?
# 8. what is believable;
# 9. the same on the command line, and for people who have parameter files of cosipy.
#
# Nothing is downloaded. Set the environment variable `SKYFOLD_TUTORIAL=full` for a resolution of 4
# degrees instead of 7; it needs 3 GB on the disk and some ten minutes. The next notebook, 06,
# treats the same sky in the frame of the detector.

# %%
import os
import tempfile
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

import skyfold
from skyfold import cli, plotting
from skyfold.compare import read as read_sky
from skyfold.healpix_table import read as read_map
from skyfold.result import summary
from skyfold.simulate import simulate
from skyfold_cosi import container
from skyfold_cosi.commands import bin_events
from skyfold_cosi.histogram import Histogram
from skyfold_cosi.simulation.challenge import simulate_compton

FULL = os.environ.get("SKYFOLD_TUTORIAL") == "full"
nside, days = (16, 7) if FULL else (8, 1)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. What a Compton telescope measures
#
# A photon of energy $E$ hits an electron in the detector, is scattered, and is absorbed
# somewhere else in it. The detector notes the energies and the places of both. The energies give
# the angle $\varphi$ through which it was scattered,
#
# $$\cos\varphi = 1 - m_e c^2 \left(\frac{1}{E'} - \frac{1}{E}\right),$$
#
# with $E'$ the energy after the scattering; the places give the direction $\psi\chi$ in which it
# flew on. So the photon came from somewhere on a circle of radius $\varphi$ around $\psi\chi$.
# Where on the circle, one event does not tell. Forty thousand events do.
#
# Every event is thus a point in a space of three axes, the *Compton data space*: measured energy
# (`Em`), scatter angle (`Phi`), and the direction $\psi\chi$ on the sphere (`PsiChi`). The response
# says how the photons of each pixel of the sky are spread over this space. Here we let $\psi\chi$
# be *Galactic* coordinates: however the satellite turns, a source stays where it is.
#
# ## 2. The files
#
# One command simulates an observation: photons are drawn one by one from a sky with disk and
# bulge, scattered by the law of Klein and Nishina, blurred by the resolution of the detector,
# hidden by the Earth, and joined by five times as many background events. In a shell it reads
#
# ```
# skyfold simulate compton -o survey --nside 8 --days 1 --phi-step 10
# ```
#
# and all commands of skyfold are functions as well. 40 000 photons of the line are what COSI
# detects in about three months. To keep the orbit short we let them arrive in a day.

# %%
survey = folder / "survey"
simulate_compton(survey, nside=nside, days=days, phi_step=10.0, seed=1)
print((survey / "README.txt").read_text())

# %% [markdown]
# ## 3. From events to counts in bins
#
# The file of events has one row for each photon: time, energy, scatter angle, attitude of the
# satellite, directions. How to bin it is written in `inputs.yaml`, a file that cosipy reads too.
# In a shell: `skyfold cosi bin events.fits.gz --inputs inputs.yaml -o event.h5`.

# %%
event = folder / "event.h5"
bin_events([survey / "events.fits.gz"], event, inputs=survey / "inputs.yaml", frame="galactic")
counts = container.read(event)
same = np.array_equal(counts.dense, container.read(survey / "event.h5").dense)
print("the same counts as those that the simulation binned itself:", same)

# %% [markdown]
# The background is a *template*: the expected number of background counts in each bin. Here it
# comes from the simulation, computed without any drawing. In practice it is often made by binning
# simulated or measured background events; then it has noise of its own. Make it from many more
# events than the observation has, and never from the very events that are in the observation: the
# fit would subtract their noise along with them, and look better than it can ever be.
#
# ## 4. Richardson-Lucy, and a background that is fitted
#
# Counts $n_i$ are drawn from Poisson's law around their expectation,
#
# $$e_i = \sum_k R_{ik}\,x_k + b\,B_i ,$$
#
# with the sky $x$ in photons per cm2, s and sr, the response $R$, the template $B$ and its
# normalisation $b$. We seek the sky and the $b$ that make $\sum_i (n_i \ln e_i - e_i)$ largest.
# The rule of Richardson and Lucy does it step by step,
#
# $$x_k \leftarrow \frac{x_k}{s_k} \sum_i R_{ik} \frac{n_i}{e_i}, \qquad
# b \leftarrow \frac{b}{\sum_i B_i} \sum_i B_i \frac{n_i}{e_i} ,
# \qquad s_k = \sum_i R_{ik} .$$
#
# (Why it works stands in notebook 01.) Opening the files checks them against each other, and says
# what it found.

# %%
files = {"response": survey / "response.h5", "background": {"instrument": survey / "background.h5"}}
data = skyfold.read(event, **files)
for check in data.checks:
    print(f"{check.level:8}{check.subject}: {check.message}")

# %% [markdown]
# Before the sky is restored, look at what a single point of it does. This is one row of the
# response, the counts expected of a source at the Galactic centre. In each bin of $\varphi$ they
# lie on a ring of this radius around the source, as broad as the resolution makes it.

# %%
sphere = data.components["sky"].geometry
lon, lat = sphere.directions()
centre = int(np.argmin(np.hypot((lon + 180) % 360 - 180, lat)))
point = np.zeros(sphere.shape)
point[centre] = 1.0
rings = data.whole["sky"].forward(point)[0]
angles = counts["Phi"].edges
fig, axes = plt.subplots(1, 2, figsize=(14, 4.6), layout="constrained")
for ax, k in zip(axes, (2, 6), strict=True):
    title = f"counts over psi chi, phi from {angles[k]:.0f} to {angles[k + 1]:.0f} degrees"
    plotting.sky(rings[k], sphere, marks=[(0, 0, "source")], title=title, axes=ax)

# %% [markdown]
# Now the restoration, in three ways. *Plain*: the rule above. *Accelerated*: the step of the sky is
# lengthened by a factor as large as non-negative values allow, but not beyond the point where the
# likelihood along the step is largest. *Smoothed*: the same, and before it is lengthened, the step
# is smoothed by a Gaussian; this keeps noise from growing in single pixels. The order of the
# options is the order in which a step is treated.

# %%
iterations = 40
recipe = {"smoothing": {"fwhm": "15 deg"}, "acceleration": True}
recipes = {"plain": {}, "accelerated": {"acceleration": True}, "smoothed": recipe}
results = {
    name: skyfold.run(data, "rl", iterations, progress=False, **options)
    for name, options in recipes.items()
}
for name, result in results.items():
    print(f"{name:12} {result}")

# %% [markdown]
# ## 5. The way there
#
# Three curves tell how a run went. The likelihood should rise and level off. The acceleration
# factor says how long the steps were. The normalisation of the background should settle near what
# is known of it: here the truth is 1.

# %%
fig, axes = plt.subplots(3, 1, figsize=(8, 8), sharex=True, layout="constrained")
colours = dict(zip(results, ("C0", "C1", "C2"), strict=True))
best = max(result.state.log_likelihood for result in results.values())
for name, result in results.items():
    trace, style = result.trace_table(), {"color": colours[name], "label": name}
    axes[0].semilogy(trace["iteration"], best - trace["log_likelihood"] + 1, **style)
    axes[2].plot(trace["iteration"], trace["instrument"], **style)
    if "acceleration" in trace.colnames:
        axes[1].plot(trace["iteration"], trace["acceleration"], ".-", lw=0.8, **style)
axes[0].set(ylabel="log-likelihood below the best, + 1")
axes[1].set(ylabel="acceleration factor")
axes[2].axhline(1, color="0.6", lw=0.8)
axes[2].set(ylabel="normalisation of the background", xlabel="iteration")
axes[0].legend()

fell = {name: int(np.sum(np.diff(r.trace_table()["log_likelihood"]) < -1e-6))
         for name, r in results.items()}  # fmt: skip
gained = results["accelerated"].trace_table()["log_likelihood"]
as_good = int(np.argmax(gained >= results["plain"].state.log_likelihood))
print("steps on which the likelihood fell:", fell)
print(f"the accelerated run needs {as_good} steps for what the plain one does in {iterations}")

# %% [markdown]
# The plain run begins with a flat sky, which looks much like background, and the two take long to
# part: after 40 steps the background is still too small and the flux of the sky too large. This
# is not noise but *lack of convergence*, and no residual map shows it. The curve of the
# normalisation does. (`skyfold.trails.curves(result)` draws such curves for one run, and the
# report of a run on the command line contains them.)
#
# ## 6. The sky
#
# First in linear scale, which shows the bulge; then logarithmic over three decades, which shows the
# disk and everything else that is faint, noise included. The name of the frame stands beside the
# map, the Galactic centre is marked. A sky has one map for each energy; there is one bin here, from
# 509 to 513 keV.

# %%
truth = read_map(survey / "truth.fits")[0]
result = results["smoothed"]
marks = [(0, 0, "Galactic centre")]
edges = sphere.energy_edges.value
energies = [f"{low:.0f} to {high:.0f} keV" for low, high in pairwise(edges)]
for energy, label in enumerate(energies):
    fig, axes = plt.subplots(2, 2, figsize=(14, 9.2), layout="constrained")
    for row, scale in zip(axes, ("linear", "log"), strict=True):
        for ax, name, values in zip(row, ("true", "restored"), (truth, result.image), strict=True):
            image = values[:, energy] << result.image.unit
            title = f"{name}, {label}, {scale}"
            plotting.sky(image, sphere, scale, marks, title=title, axes=ax)


# %%
def flux(values, region=slice(None)):
    """Return the photons per cm2 and s from some of the pixels."""
    return float(np.sum(values[region]) * sphere.pixel_area)


longitude = (lon + 180) % 360 - 180
regions = {
    "whole sky": np.full(lon.shape, True),
    "bulge": np.hypot(longitude, lat) < 16,
    "disk": (np.abs(lat) < 12) & (np.hypot(longitude, lat) >= 16),
    "high latitudes": np.abs(lat) > 30,
}
shares = {
    name: [flux(values, region) / flux(truth) for region in regions.values()]
    for name, values in {
        **{name: result.image.value for name, result in results.items()},
        "truth": truth,
    }.items()
}
print("flux, in parts of the true total:")
print(f"{'':12}" + "".join(f"{region:>16}" for region in regions))
for name, parts in shares.items():
    print(f"{name:12}" + "".join(f"{part:16.3f}" for part in parts))

# %% [markdown]
# Bulge and disk come out within a fifth. But every restored sky is too bright in all, most
# of all the one that has not converged, and the excess lies at high latitudes, where the true sky
# is dark. A sky that cannot be negative follows the noise upwards only; and a faint glow everywhere
# is easily mistaken for background. So *quote fluxes of regions, not of the whole sky*. Notebook 08
# shows what helps.
#
# ## 7. Does it explain the counts?
#
# A map can be wrong and pretty. So look at the data first: counts and expectation summed along the
# axes of the data space, and what is left between them, in sigma. A wrong response or a background
# of the wrong shape shows here as a slope or a ring. What belongs to noise scatters about zero.

# %%
figures = summary(result)
print(f"expectation / counts {figures['ratio']:.4f}, largest residual of {figures['blocks']:.0f} "
      f"blocks {figures['largest_block']:.1f} sigma, {100 * figures['outliers']:.2f} % of the bins "
      "beyond 3 sigma")  # fmt: skip
plotting.projections([p for explained in result.explained for p in explained.projections])

# %% [markdown]
# ## 8. What is believable
#
# Many skies explain the counts. To see which features of ours would survive another observation,
# make other observations: draw new counts from the *restored* sky and background, and restore
# them in the same way (a parametric bootstrap). Where the copies agree, there is knowledge; where
# they scatter as much as they shine, there is noise.

# %%
values = {"sky": result.model["sky"], "instrument": result.model["instrument"]}
copies = []
for seed in range(8 if FULL else 4):
    drawn = simulate(data, values, seed).reshape(counts.shape)
    again = skyfold.read(Histogram(counts.axes, drawn), instrument="cosi", **files)
    copies.append(skyfold.run(again, iterations=iterations, progress=False, **recipe).image.value)
scatter = np.std(copies, axis=0, ddof=1)
ratio = np.minimum(result.image.value / np.maximum(scatter, 1e-12), 10)
fig, ax = plt.subplots(figsize=(8, 5.2), layout="constrained")
plotting.sky(ratio, sphere, marks=marks, title="restored sky / scatter of the copies", axes=ax)

print("photons / cm2 / s:")
print(f"{'':16}{'restored':>10}{'scatter':>10}{'copies':>10}{'truth':>10}")
bias = {}
for region, inside in regions.items():
    own, them = flux(result.image.value, inside), [flux(copy, inside) for copy in copies]
    bias[region] = np.mean(them) - own
    row = (own, np.std(them, ddof=1), np.mean(them), flux(truth, inside))
    print(f"{region:16}" + "".join(f"{value:10.5f}" for value in row))

# %% [markdown]
# The map stops at 10, where nobody doubts. The bulge and the disk out to about 120 degrees are
# well above their scatter; the patches at high latitudes are not. And the copies tell more than the
# scatter: all of them have *more* flux at high latitudes than the sky they were drawn from. That is
# the bias of the last section, found without knowing the truth, and so it can be found in real data
# too.
#
# ## 9. On the command line, and with a parameter file of cosipy
#
# All of the above is, in a shell,
#
# ```
# skyfold run event.h5 --response survey/response.h5 --background instrument=survey/background.h5 \
#     --smoothing.fwhm "15 deg" --acceleration --iterations 40 -o out
# ```
#
# and `out/report.html` has the curves, the maps and the residuals. Those who come from cosipy have
# a parameter file. Any such file runs as it is. Every key is translated, and said; a key that no
# release of cosipy knows is refused, with its line.

# %%
parameters = folder / "imagedeconvolution.yml"
parameters.write_text(f"""\
model_definition:
  class: AllSkyImage
  property:
    coordinate: galactic
    nside: {nside}
    scheme: ring
    energy_edges: {{value: [509.0, 513.0], unit: keV}}
    unit: cm-2 s-1 sr-1
  initialization:
    algorithm: flat
    parameter: {{value: [1e-2], unit: cm-2 s-1 sr-1}}
deconvolution:
  algorithm: RL
  parameter:
    iteration_max: 30
    acceleration: {{activate: True, alpha_max: 10.0}}
    smoothing: {{activate: False, FWHM: {{value: 15.0, unit: deg}}}}
    background_normalization_optimization: {{activate: True, range: {{instrument: [0.01, 10.0]}}}}
""")
line = ["run", parameters, "--event", event, "--response", files["response"]]
line += ["--background", f"instrument={survey / 'background.h5'}", "--quiet"]
cli.main([*map(str, line), "-o", str(folder / "default")])

# %% [markdown]
# By default skyfold runs such a file with its own, correct mathematics. With `--reference` it gives
# the numbers that cosipy publishes, to nine digits. The two differ in a few places only:
#
# | | default | `--reference` |
# |---|---|---|
# | acceleration | never beyond the best point of the step | as far as values stay positive |
# | smoothing | positive kernel, keeps the flux | cut harmonics, may ring and turn negative |
# | arithmetic | response in float32, sums in float64 | float64 |
# | empty bins | as they are | 1e-12 counts are added to each |

# %%
cli.main([*map(str, line), "--reference", "-o", str(folder / "reference")])

traces = {
    name: Table.read(folder / name / "trace.ecsv", format="ascii.ecsv")
    for name in ("default", "reference")
}
falls = {name: int(np.sum(np.diff(t["log_likelihood"]) < 0)) for name, t in traces.items()}
skies = {name: read_sky(folder / name / "result.fits").values for name in traces}
fig, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
top = max(trace["log_likelihood"].max() for trace in traces.values())
for name, trace in traces.items():
    ax.semilogy(trace["iteration"], top - trace["log_likelihood"] + 1, ".-", label=name)
ax.set(xlabel="iteration", ylabel="log-likelihood below the best, + 1")
ax.legend()
totals = {name: flux(sky) / flux(truth) for name, sky in skies.items()}
for name, total in totals.items():
    print(f"{name:10} likelihood fell {falls[name]:2} times, total flux {total:.2f} of the truth")

# %% [markdown]
# The published acceleration takes the longest step that keeps all pixels positive, without a look
# at the likelihood. Again and again the step leads past the top and down the other side, and the
# published recipe swings about the solution instead of reaching it; that is why its users keep the
# largest factor at about 2. The default searches the best point of each step, at no cost worth
# mentioning, since the expected counts are linear along it.
#
# There is more for those who come from cosipy: notebooks and subclasses written for it run with
# their import lines changed, in `reference` mode.

# %%
from histpy import Histogram as CosipyHistogram

from skyfold_cosi.cosipy import DataIF_COSI_DC2, ImageDeconvolution

interface = DataIF_COSI_DC2.load(
    name="511keV",
    event_binned_data=CosipyHistogram.open(event).project(["Em", "Phi", "PsiChi"]),
    dict_bkg_binned_data={
        "instrument": CosipyHistogram.open(survey / "background.h5").project(
            ["Em", "Phi", "PsiChi"]
        )
    },
    rsp=CosipyHistogram.open(survey / "response.h5"),
    coordsys_conv_matrix=None,
)
deconvolution = ImageDeconvolution()
deconvolution.set_dataset([interface])
deconvolution.read_parameterfile(parameters)
deconvolution.override_parameter("deconvolution:parameter:iteration_max = 5")
deconvolution.initialize()
deconvolution.run_deconvolution()
by_cosipy = [float(np.sum(row["log-likelihood"])) for row in deconvolution.results]
by_command = traces["reference"]["log_likelihood"]
agreement = max(abs(x / y - 1) for x, y in zip(by_cosipy, by_command[1:], strict=False))
print(f"{len(by_cosipy)} iterations; log-likelihoods agree with --reference to {agreement:.1e}")

# %% [markdown]
# ## What we have seen

# %%
whole, bulge, disk, high = (
    {name: parts[k] / max(shares["truth"][k], 0.05) for name, parts in shares.items()}
    for k in range(4)
)
assert same, "binning by hand and by the simulation agree"
assert not any(fell.values()), "the default never lets the likelihood fall"
assert as_good < iterations / 3, "acceleration saves most of the steps"
assert abs(results["plain"].normalisations["instrument"] - 1) > 0.025, "not converged"
assert abs(result.normalisations["instrument"] - 1) < 0.04
assert 0.9 < bulge["smoothed"] < 1.15
assert 0.8 < disk["smoothed"] < 1.1
assert 1.03 < whole["smoothed"] < whole["plain"] < 1.4, "too bright in all,"
assert high["smoothed"] > 0.2, "and at high latitudes"
assert figures["largest_block"] < 5
assert bias["high latitudes"] > 0, "the copies show the bias"
assert falls["default"] == 0
assert falls["reference"] >= 5
assert totals["reference"] > 1.3 > totals["default"]
assert agreement < 1e-9
print("all claims hold")
