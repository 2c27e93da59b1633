"""Surveys written as files in COSI's formats, one for practice or two as a data challenge."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from skyfold.commands.telling import say
from skyfold.document import suggestion
from skyfold.errors import ConfigError, FileError
from skyfold.files import replacing, require_writable, sha256, write_text
from skyfold.healpix_table import to_table
from skyfold.simulate import generator
from skyfold.sphere import Sphere
from skyfold_cosi import container
from skyfold_cosi.conversion import conversion_histogram
from skyfold_cosi.exposure import by_attitude
from skyfold_cosi.exposure_file import write_exposure_table
from skyfold_cosi.orientation import write_orientation
from skyfold_cosi.response_writing import write_response
from skyfold_cosi.simulation.background import Background
from skyfold_cosi.simulation.binned import BinnedResponse
from skyfold_cosi.simulation.events import Drawn, draw_background, draw_source, unbinned
from skyfold_cosi.simulation.orbit import low_earth_orbit
from skyfold_cosi.simulation.scene import SCENES
from skyfold_cosi.simulation.survey import Survey
from skyfold_cosi.sky import FLUX
from skyfold_cosi.unbinned import write_unbinned

ATTITUDES = 8  # nside of the bins of attitude
TRUTH = "truth.fits"

Positive = Annotated[float, Field(gt=0)]
Counts = Annotated[float, Field(ge=0)]


def simulate_compton(
    output: Path = Path("compton"),
    nside: Annotated[int, Field(ge=1)] = 4,
    days: Positive = 1.0,
    scene: str = "511",
    source_counts: Counts = 4e4,
    background_counts: Counts = 2e5,
    seed: Annotated[int, Field(ge=0)] = 1,
    phi_step: Positive = 5.0,
    variation: Annotated[float, Field(ge=0, le=1)] = 0.0,
    challenge: bool = False,
    overwrite: bool = False,
) -> None:
    """Simulate a Compton telescope in low-Earth orbit and write its data in COSI's formats.

    Events are drawn one by one through scattering, resolution, orbit, rocking, the South Atlantic
    Anomaly and the Earth; binned counts, background, responses, orientation, exposure table and
    conversion matrix lie beside them, with the true sky and a run.yaml for skyfold run.

    Parameters
    ----------
    output
        Folder to write.
    nside
        Resolution of sky, detector response and scatter directions.
    days
        Length of the survey.
    scene
        The sky: 511, al26, crab or points.
    source_counts
        Expected counts of the sky.
    background_counts
        Expected counts of the background.
    seed
        Seed of all that is drawn.
    phi_step
        Width of the bins of the Compton angle, in degrees.
    variation
        Relative amplitude of the daily change of the background's rate.
    challenge
        Write two surveys instead, train and test, whose skies have further sources; the truth of
        test lies apart in truth, and SHA256SUMS lists all files.
    overwrite
        Write into a folder that is not empty.
    """
    if scene not in SCENES:
        raise ConfigError(f"no scene named {scene!r}. {suggestion(scene, SCENES)}")
    if round(180 / phi_step) * phi_step != 180:
        raise ConfigError(f"phi_step {phi_step:g}: 180 degrees are no whole number of such bins")
    if nside & (nside - 1):
        raise ConfigError(f"nside {nside} is no power of two (1, 2, 4, 8, ...)")
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise FileError(f"{output} is not empty: choose another folder, or give --overwrite")
    survey = Survey(
        SCENES[scene],
        low_earth_orbit(days, _step(days)),
        nside,
        phi_step,
        background=Background(variation=variation),
    )
    size = (1 + challenge) * 3 * 4 * prod(survey.response.shape)
    require_writable(output, size)
    if not challenge:
        _write(output, survey, source_counts, background_counts, seed, "")
        say(f"written   {output}")
        say(f"next      skyfold run {output / 'run.yaml'}")
        return
    for part in ("train", "test"):
        sky = survey.scene.varied(generator(seed, f"{part} sky"))
        one = replace(survey, scene=sky)
        _write(output / part, one, source_counts, background_counts, seed, part)
    (output / "truth").mkdir(exist_ok=True)
    (output / "test" / TRUTH).replace(output / "truth" / TRUTH)
    _describe_challenge(output, survey, source_counts, background_counts)
    say(f"written   {output}: train, test, truth (of test: to be kept back), SHA256SUMS")


def draw(survey: Survey, source: float, background: float, seed: int, purpose: str = "") -> Drawn:
    """Draw the events of a survey, in the order of time.

    Parameters
    ----------
    survey
        What is observed, with what.
    source, background
        Expected counts; those drawn follow Poisson.
    seed, purpose
        The events are a function of both.
    """
    of_sky, of_background = (generator(seed, f"{purpose} {x}") for x in ("sky", "background"))
    return Drawn.joined(
        draw_source(
            survey.telescope,
            survey.orientation,
            survey.scene,
            int(of_sky.poisson(source)),
            of_sky,
        ),
        draw_background(
            survey.telescope,
            survey.orientation,
            survey.background,
            survey.energies,
            int(of_background.poisson(background)),
            of_background,
        ),
    )


def _write(
    folder: Path, survey: Survey, source: float, background: float, seed: int, purpose: str
) -> None:
    """Write all files of one survey."""
    folder.mkdir(parents=True, exist_ok=True)
    events = draw(survey, source, background, seed, purpose)
    say(f"drawn     {len(events.time)} events, {source:g} expected of the sky")
    distances = generator(seed, f"{purpose} distance")
    write_unbinned(folder / "events.fits.gz", unbinned(events, distances))
    write_orientation(folder / "orientation.ori", survey.orientation)
    _write_response(folder / "response.h5", survey.response, "galactic")
    _write_response(folder / "detector.h5", survey.detector, "dense")
    table = by_attitude(survey.orientation, ATTITUDES)
    write_exposure_table(folder / "exposure.fits", table, generation=2026)
    conversion = conversion_histogram(table, survey.detector.axes[0])
    for name, histogram in (
        ("event.h5", survey.binned(events)),
        ("background.h5", survey.template(background)),
        ("event_attitude.h5", survey.binned(events, table)),
        ("background_attitude.h5", survey.template(background, table)),
        ("conversion.h5", conversion),
    ):
        container.write(folder / name, histogram)
    _write_truth(folder / TRUTH, survey, source)
    write_text(folder / "inputs.yaml", _inputs(survey))
    write_text(folder / "run.yaml", RUN)
    write_text(folder / "README.txt", _readme(survey, source, background))


def _write_response(
    path: Path, response: BinnedResponse, layout: Literal["galactic", "dense"]
) -> None:
    shape = " x ".join(str(axis.size) for axis in response.axes)
    say(f"making    {path.name}: {shape}, {4e-6 * prod(response.shape):.3g} MB in float32")
    write_response(path, response.axes, response.file().slabs("float32"), layout)


def _step(days: float) -> float:
    """Return seconds between rows of the orientation: short beside an attitude bin, few in all.

    Events carry the attitude of their own moment, an exposure table that of whole rows.
    """
    return min(max(2.0, 2.0 * days), 15.0)


def _write_truth(path: Path, survey: Survey, source: float) -> None:
    from astropy import units as u
    from astropy.io import fits

    edges = survey.energies * u.keV
    table = to_table(survey.truth(source), Sphere(survey.nside, edges), FLUX, "SKY")
    with replacing(path) as partial:
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(partial, overwrite=True)


RUN = """\
data:
  instrument: cosi
  event: event.h5
  response: response.h5
  background: {instrument: background.h5}
method: {name: map, prior: {gamma: {k: 0.5}}}  # without the prior noise raises the flux
iterations: 100
"""


def _inputs(survey: Survey) -> str:
    """Return the file that says how the events are binned."""
    start, stop = (float(t) for t in survey.orientation.time[[0, -1]])
    return f"""\
data_file: events.fits.gz
ori_file: orientation.ori
unbinned_output: fits
time_bins: [{start}, {stop}]
tmin: {start}
tmax: {stop}
energy_bins: {[float(e) for e in survey.energies]}
phi_pix_size: {survey.phi_step:g}
nside: {survey.nside}
scheme: ring
"""


def _readme(survey: Survey, source: float, background: float) -> str:
    """Return what the files are."""
    days = (survey.orientation.time[-1] - survey.orientation.time[0]) / 86400
    energies = ", ".join(f"{e:g}" for e in survey.energies)
    return f"""\
A simulated Compton telescope: {survey.scene.description}.

{days:g} days in low-Earth orbit, {survey.orientation.livetime.sum():.0f} s of livetime;
{source:g} counts expected of the sky, {background:g} of the background.
Energies {energies} keV, Compton angles in bins of {survey.phi_step:g} deg, nside {survey.nside}.

events.fits.gz          events, one by one
orientation.ori         where the telescope pointed
inputs.yaml             how the events are binned
event.h5                counts in Galactic coordinates (Time, Em, Phi, PsiChi)
background.h5           background expected in the same bins
response.h5             response of the whole sky, cm2 s
event_attitude.h5       counts in the frame of the detector, in bins of attitude
background_attitude.h5  background expected in the same bins
detector.h5             response in the frame of the detector, cm2
exposure.fits           the bins of attitude
conversion.h5           seconds that each direction spent in each pixel of the detector
truth.fits              the true sky, 1/(cm2 s sr), as a HEALPix map

    skyfold run run.yaml -o out
    skyfold compare out --truth truth.fits
    skyfold run event_attitude.h5 --response detector.h5 --conversion conversion.h5 \\
        --background instrument=background_attitude.h5
"""


def _describe_challenge(folder: Path, survey: Survey, source: float, background: float) -> None:
    """Write what is asked for, and the checksums of all files."""
    files = sorted(p for part in ("train", "test", "truth") for p in (folder / part).iterdir())
    sums = {p.relative_to(folder).as_posix(): sha256(p) for p in files}
    task = {
        "task": "Restore the sky of test from its data. The truth of train is given for practice.",
        "sky": survey.scene.description + ", and three point sources at unknown places",
        "answer": f"a map like train/{TRUTH}: HEALPix RING, Galactic, 1/(cm2 s sr)",
        "nside": survey.nside,
        "energies_keV": list(survey.scene.energies),
        "expected_counts": {"sky": source, "background": background},
        "figures": ["flux", "NRMSE", "correlation", "positions"],
        "keep_back": "truth",
        "sha256": sums,
    }
    write_text(folder / "challenge.json", json.dumps(task, indent=1) + "\n")
    lines = [f"{digest}  {name}\n" for name, digest in sums.items()]
    write_text(folder / "SHA256SUMS", "".join(lines))
