"""How fast all-sky imaging is beside cosipy, on the same synthetic files, taking turns.

    python tests/benchmarks/cosi.py --peer PYTHON [--folder DIR] [--rounds 5] [--part galactic ...]

PYTHON is an interpreter in which cosipy (develop of 2025-05) can be imported. Both sides hold their
data in processes of their own; only one works at a time. Each number is the median over the rounds.
Prints markdown for README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import healpy
import numpy as np

from skyfold_cosi import container
from skyfold_cosi.conversion import conversion_histogram, conversion_matrix
from skyfold_cosi.exposure import by_attitude
from skyfold_cosi.histogram import Axis, Histogram, Sparse
from skyfold_cosi.orientation import write_orientation
from skyfold_cosi.response_writing import write_response
from skyfold_cosi.simulation.orbit import low_earth_orbit

PAUSE = 0.5  # seconds
LINE = np.array([509.0, 513.0])


class Side:
    """A process that answers lines of JSON."""

    def __init__(self, python: str, script: str) -> None:
        script = str(Path(__file__).with_name(script))
        self.name = Path(script).stem
        self.process = subprocess.Popen(
            [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Threads of BLAS and OpenMP keep a core busy for a while after they have done their work;
        the pause lets those of the side that worked before go to sleep.
        """
        time.sleep(PAUSE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} failed at {do}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def row(*cells: object) -> None:
    """Print a row of a markdown table."""
    shown = (f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells)
    print("|", " | ".join(shown), "|", flush=True)


def head(*cells: str) -> None:
    """Print the head of a markdown table."""
    print()
    row(*cells)
    row(*("---" for _ in cells))


def rings(nside: int, phi: np.ndarray) -> np.ndarray:
    """Return a Compton-like response (pixel, phi, psi chi): smeared rings on a faint floor."""
    vectors = np.array(healpy.pix2vec(nside, np.arange(12 * nside**2)))
    apart = np.degrees(np.arccos(np.clip(vectors.T @ vectors, -1, 1)))
    centres = 0.5 * (phi[1:] + phi[:-1])
    width = np.hypot(5.0, np.degrees(healpy.nside2resol(nside)) / 2)
    response = np.empty((len(apart), len(centres), len(apart)))
    for k, centre in enumerate(centres):
        ring = np.exp(-0.5 * ((apart - centre) / width) ** 2)
        ring /= np.maximum(np.sin(np.radians(apart)), 0.08)
        response[:, k] = np.sin(np.radians(centre)) * np.exp(-centre / 70) * (ring + 1e-3)
    return response


def sky(nside: int) -> np.ndarray:
    """Return a thin disk and a bulge."""
    lon, lat = healpy.pix2ang(nside, np.arange(12 * nside**2), lonlat=True)
    lon = (lon + 180) % 360 - 180
    disk = 1e-4 * np.exp(-0.5 * (lat / 6) ** 2 - 0.5 * (lon / 60) ** 2)
    bulge = 2e-3 * np.exp(-0.5 * (lat / 8) ** 2 - 0.5 * (lon / 8) ** 2)
    return np.asarray(disk + bulge)


def measured_axes(phi: np.ndarray, nside: int, frame: str) -> tuple[Axis, ...]:
    """Return Em, Phi, PsiChi."""
    energy = Axis("Em", LINE, "keV")
    return energy, Axis("Phi", phi, "deg"), Axis.healpix("PsiChi", nside, frame)


def make_galactic(folder: Path, nside: int, phi: np.ndarray) -> tuple[Path, np.ndarray, np.ndarray]:
    """Write a Galactic response; return it with source and background counts of unit sum."""
    path = folder / f"psr-{nside}.h5"
    response = rings(nside, phi)
    lat = healpy.pix2ang(nside, np.arange(12 * nside**2), lonlat=True)[1]
    exposure = 8e6 * 20 * (1 + 0.5 * np.cos(np.radians(lat)))
    response *= (exposure / response.sum(axis=(1, 2)))[:, None, None]
    source = np.tensordot(sky(nside), response, 1)
    centres = np.radians(0.5 * (phi[1:] + phi[:-1]))
    background = np.outer(np.sin(centres), 1.3 + np.sin(np.radians(lat)))
    if not path.exists():
        pixels = Axis.healpix("NuLambda", nside)
        axes = (pixels, Axis("Ei", LINE, "keV", "log"), *measured_axes(phi, nside, "galactic"))
        container.write(path, Histogram(axes, response[:, None, None], "cm2 s"))
    return path, source / source.sum(), background / background.sum()


def write_counts(
    folder: Path, axes: tuple[Axis, ...], expected: np.ndarray, background: np.ndarray, seed: int
) -> tuple[Path, Path, float, int]:
    """Draw counts, write them and the background, and return the share of bins with counts."""
    counts = np.random.default_rng(seed).poisson(expected + background).astype(float)
    shape = tuple(axis.size for axis in axes)
    event, template = folder / "event.h5", folder / "background.h5"
    held = np.flatnonzero(counts)
    container.write(event, Histogram(axes, Sparse(shape, held, counts.ravel()[held])))
    container.write(template, Histogram(axes, background.reshape(shape)))
    return event, template, held.size / counts.size, int(counts.sum())


def race(peer: Side, ours: Side, rounds: int) -> tuple[float, float, float, bool]:
    """Iterate by turns; return medians of seconds and ratio, and whether they agree."""
    first = [side.ask("iterate")["log_likelihood"] for side in (peer, ours)]
    times = []
    for _ in range(rounds):
        times.append([side.ask("iterate")["seconds"] for side in (peer, ours)])
    theirs, own = (statistics.median(column) for column in zip(*times, strict=True))
    agree = bool(np.isclose(first[0], first[1], rtol=1e-6))
    return theirs, own, statistics.median(t / o for t, o in times), agree


def galactic(peer: Side, python: str, folder: Path, rounds: int, nside: int) -> None:
    """Galactic data space, at several shares of bins with counts."""
    phi = np.linspace(0, 180, 61)
    response, source, background = make_galactic(folder, nside, phi)
    axes = (Axis("Time", np.array([0.0, 8e6]), "s"), *measured_axes(phi, nside, "galactic"))
    head("counts", "bins with counts", "cosipy s", "skyfold s", "ratio", "iteration / plain read",
         "GB/s of the read", "peak GB cosipy", "peak GB skyfold", "same likelihood")  # fmt: skip
    for total in (2e7, 3.8e5, 7.5e4, 1e4):
        files = write_counts(folder, axes, 0.5 * total * source, 0.5 * total * background, 1)
        event, template, share, counts = files
        named = {"response": str(response), "event": str(event), "background": str(template)}
        ours = Side(python, "cosi_ours.py")
        for side in (peer, ours):
            side.ask("galactic", **named)
        theirs, own, ratio, agree = race(peer, ours, rounds)
        pairs = [(ours.ask("iterate")["seconds"], ours.ask("read")) for _ in range(rounds)]
        per_read = statistics.median(i / r["seconds"] for i, r in pairs)
        bandwidth = statistics.median(r["gb"] / r["seconds"] for _, r in pairs)
        peaks = [side.ask("memory")["gb"] for side in (peer, ours)]
        row(counts, f"{100 * share:.1f} %", theirs, own, ratio, per_read, bandwidth, *peaks, agree)
        ours.process.kill()


def make_local(
    folder: Path, nside: int, phi: np.ndarray, bins: int
) -> tuple[dict[str, str], np.ndarray, np.ndarray]:
    """Write detector response, orientation and conversion matrix; return expected counts."""
    orientation, detector = folder / f"days-{bins}.ori", folder / f"drm-{nside}.h5"
    history = low_earth_orbit(days=bins / 30, step=60.0)
    write_orientation(orientation, history)
    response = rings(nside, phi)
    height = np.cos(healpy.pix2ang(nside, np.arange(12 * nside**2))[0])
    area = 20 * np.clip(height + 0.3, 0.02, None)
    response *= (area / response.sum(axis=(1, 2)))[:, None, None]
    pixels = Axis.healpix("NuLambda", nside, "spacecraftframe")
    measured = measured_axes(phi, nside, "spacecraftframe")
    matrix = response.reshape(len(response), -1)
    axes = (pixels, Axis("Ei", LINE, "keV", "log"), *measured)
    write_response(detector, axes, matrix, "dense")
    table = by_attitude(history, nside)
    table = table.take(np.arange(min(bins, len(table.exposure))))
    made = conversion_histogram(table, pixels, nside, averaged=True, occultation=False)
    container.write(folder / "conversion.h5", made)
    seconds = conversion_matrix(made)
    source = (seconds @ sky(nside)).reshape(made.shape[0], -1) @ matrix
    exposure = np.asarray(seconds.sum(axis=1)).reshape(made.shape[0], -1).sum(axis=1)
    background = np.outer(exposure, matrix.sum(axis=0))
    named = {"response": str(detector), "conversion": str(folder / "conversion.h5")}
    return named, source / source.sum(), background / background.sum()


def local(peer: Side, python: str, folder: Path, rounds: int) -> None:
    """Detector frame in attitude bins, nside 8."""
    nside, phi = 8, np.linspace(0, 180, 37)
    files, source, background = make_local(folder, nside, phi, 200)
    bins = len(source)
    axes = (Axis("ScAtt", np.arange(bins + 1)), *measured_axes(phi, nside, "spacecraftframe"))
    head("attitude bins", "counts", "bins with counts", "cosipy s", "skyfold s", "ratio",
         "same likelihood")  # fmt: skip
    for total in (4.3e5, 2.3e4):
        event, template, share, counts = write_counts(
            folder, axes, 0.5 * total * source, 0.5 * total * background, 2
        )
        named = {**files, "event": str(event), "background": str(template)}
        ours = Side(python, "cosi_ours.py")
        for side in (peer, ours):
            side.ask("local", **named)
        theirs, own, ratio, agree = race(peer, ours, rounds)
        row(bins, counts, f"{100 * share:.2f} %", theirs, own, ratio, agree)
        ours.process.kill()


def local_at_size(python: str, folder: Path, rounds: int) -> None:
    """Detector frame at the true shape, 278 x 60 x 3072 bins: our side alone."""
    nside, phi = 16, np.linspace(0, 180, 61)
    files, source, background = make_local(folder, nside, phi, 278)
    axes = (
        Axis("ScAtt", np.arange(len(source) + 1)),
        *measured_axes(phi, nside, "spacecraftframe"),
    )
    event, template, share, counts = write_counts(folder, axes, 2e5 * source, 2e5 * background, 3)
    del source, background
    ours = Side(python, "cosi_ours.py")
    ours.ask("local", **files, event=str(event), background=str(template))
    times = [ours.ask("iterate")["seconds"] for _ in range(rounds + 1)][1:]
    head("attitude bins", "counts", "bins with counts", "skyfold s", "peak GB")
    row(axes[0].size, counts, f"{100 * share:.2f} %", statistics.median(times),
        ours.ask("memory")["gb"])  # fmt: skip
    ours.process.kill()


def attitude(peer: Side, python: str, folder: Path) -> None:
    """Conversion matrix at nside 16, and Galactic response at nside 8."""
    ours = Side(python, "cosi_ours.py")
    day = folder / "day.ori"
    write_orientation(day, low_earth_orbit(days=1, step=15.0))
    head("what", "cosipy us", "skyfold us", "ratio")
    named, *_ = make_local(folder, 16, np.linspace(0, 180, 5), 278)
    what = {"response": named["response"], "orientation": str(folder / "days-278.ori")}
    theirs = peer.ask("conversion", **what, nside=16, bins=1)["each"]
    own = ours.ask("conversion", **what, nside=16, bins=278)["each"]
    row("conversion matrix, nside 16, each bin and pixel", 1e6 * theirs, 1e6 * own, theirs / own)
    named, *_ = make_local(folder, 8, np.linspace(0, 180, 37), 200)
    what = {"response": named["response"], "orientation": str(day)}
    theirs = peer.ask("point_source", **what, nside=8)["seconds"]
    own = ours.ask("whole_sky", **what, nside=8)["seconds"]
    row("Galactic response, nside 8, one day, each pixel", 1e6 * theirs, 1e6 * own, theirs / own)


def main() -> None:
    """Read the command line and race."""
    parts = ["galactic", "local", "size", "attitude"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="interpreter with cosipy")
    parser.add_argument("--folder", type=Path, default=Path("build/bench-cosi"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nside", type=int, default=16, help="of the Galactic problem")
    parser.add_argument("--part", nargs="*", default=parts, choices=parts)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    peer, python, folder = Side(given.peer, "cosi_peer.py"), sys.executable, given.folder
    if "galactic" in given.part:
        galactic(peer, python, folder, given.rounds, given.nside)
    if "local" in given.part:
        local(peer, python, folder, given.rounds)
    if "attitude" in given.part:
        attitude(peer, python, folder)
    peer.process.kill()
    if "size" in given.part:
        local_at_size(python, folder, given.rounds)


if __name__ == "__main__":
    main()
