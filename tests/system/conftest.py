"""The command line as a process, and the files that it is fed with."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

NORTH_UP: Mapping[str, Any] = {}
COMMAND = [sys.executable, "-m", "skyfold"]


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Skyfold:
    """Runs the command line in a folder; relative names start there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("SKYFOLD_")}
        strangers = [p.name for p in entry_points(group="skyfold") if p.dist.name != "skyfold"]
        self.env["SKYFOLD_DISABLE"] = ",".join(strangers)
        self.env |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "COLUMNS": "100"}

    def __call__(
        self, *words: str | Path, cwd: Path | None = None, limit: Callable[[], None] | None = None
    ) -> Ended:
        """Run to the end; ``limit`` is called in the child before it starts."""
        ended = subprocess.run(
            [*COMMAND, *self.split(words)],
            cwd=cwd or self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=240,
            preexec_fn=limit,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    @staticmethod
    def split(words: tuple[str | Path, ...]) -> list[str]:
        """One text is split like in a shell; several are taken as they are."""
        return shlex.split(str(words[0])) if len(words) == 1 else [str(word) for word in words]

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start a process without waiting for it."""
        return subprocess.Popen(
            [*COMMAND, *self.split(words)],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def accepts(self, *words: str | Path, says: tuple[str, ...] = (), **more: Any) -> Ended:
        """Require that a command ends well, says what it should, and is not noisy."""
        ended = self(*words, **more)
        assert ended.code == 0, ended
        assert "Traceback" not in ended.err, ended
        assert "Warning:" not in ended.err, ended  # of Python, not of skyfold
        for text in says:
            assert text in ended.said, (text, ended)
        return ended

    def refuses(
        self, code: int, *words: str | Path, says: tuple[str, ...] = (), **more: Any
    ) -> Ended:
        """Require that a command fails in words and leaves nothing half-written."""
        before = snapshot(self.folder)
        ended = self(*words, **more)
        assert ended.code == code, ended
        assert "Traceback" not in ended.err, ended
        assert "should not happen" not in ended.err, ended
        assert ended.err.startswith(("skyfold: ", "plugin ", "usage: ")), ended
        for text in says:
            assert text in ended.err, (text, ended)
        assert snapshot(self.folder) == before, snapshot(self.folder) - before
        return ended

    def add_to_path(self, folder: Path) -> None:
        """Let the processes find what is installed in a folder."""
        path = [str(folder), *filter(None, [self.env.get("PYTHONPATH")])]
        self.env["PYTHONPATH"] = os.pathsep.join(path)


def snapshot(folder: Path) -> set[tuple[str, int]]:
    """Return every file below a folder with its size, and every folder."""
    return {
        (str(path.relative_to(folder)), path.stat().st_size if path.is_file() else -1)
        for path in folder.rglob("*")
    }


def header(
    shape: tuple[int, ...],
    pixel: float = 0.5,
    shift: tuple[float, float] = (0, 0),
    angle: float = 0,
) -> fits.Header:
    """Return celestial coordinates: pixel size in arcsec, shift in pixels (x, y), angle in deg."""
    cards = fits.Header()
    cards["CTYPE1"], cards["CTYPE2"] = "RA---TAN", "DEC--TAN"
    cards["CRVAL1"], cards["CRVAL2"] = 266.4, -29.0
    cards["CRPIX1"] = (shape[-1] + 1) / 2 + shift[0]
    cards["CRPIX2"] = (shape[-2] + 1) / 2 + shift[1]
    cards["CDELT1"], cards["CDELT2"] = -pixel / 3600, pixel / 3600
    cards["CUNIT1"] = cards["CUNIT2"] = "deg"
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    cards["PC1_1"], cards["PC1_2"], cards["PC2_1"], cards["PC2_2"] = cosine, -sine, sine, cosine
    return cards


class Files:
    """Makes files in a folder. Two sources on a flat sky, counted in 32 x 32 pixels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def sky(shape: tuple[int, int] = (32, 32), level: float = 3) -> np.ndarray:
        """Return counts."""
        y, x = np.indices(shape)
        expected = np.full(shape, float(level))
        for row, column, flux in ((10, 12, 300), (20, 22, 150)):
            expected += flux * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4.5)
        return np.random.default_rng(7).poisson(expected).astype(np.int32)

    @staticmethod
    def kernel(size: int = 9, at: tuple[float, float] | None = None, sigma: float = 1.2) -> Any:
        """Return a Gaussian of sum one; ``at`` is its centre (x, y)."""
        x0, y0 = at or ((size - 1) / 2, (size - 1) / 2)
        y, x = np.indices((size, size))
        gauss = np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * sigma**2))
        return gauss / gauss.sum()

    def fits(self, name: str, values: Any, wcs: Any = NORTH_UP, **cards: Any) -> Path:
        """Write an image with coordinates: arguments of `header`, or None for none."""
        values = np.asarray(values)
        hdu = fits.PrimaryHDU(values, None if wcs is None else header(values.shape, **wcs))
        hdu.header.update(cards)
        hdu.writeto(self.folder / name, overwrite=True)
        return self.folder / name

    def counts(self, values: Any = None, name: str = "counts.fits", **more: Any) -> Path:
        """Write counts."""
        return self.fits(name, self.sky() if values is None else values, **more)

    def psf(self, values: Any = None, name: str = "psf.fits", **more: Any) -> Path:
        """Write a PSF."""
        return self.fits(name, self.kernel() if values is None else values, **more)

    def text(self, name: str, text: str) -> Path:
        """Write a text file."""
        (self.folder / name).write_text(text, encoding="utf-8")
        return self.folder / name

    def observation(self) -> None:
        """Write counts and a PSF that nothing is wrong with."""
        self.counts()
        self.psf()


@pytest.fixture(scope="session")
def workplace() -> Callable[[Path], tuple[Skyfold, Files]]:
    """Work in a folder of one's own choice."""
    return lambda folder: (Skyfold(folder), Files(folder))


@pytest.fixture
def skyfold(tmp_path: Path) -> Skyfold:
    """Run the command line in an empty folder."""
    return Skyfold(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Make files in that folder."""
    return Files(tmp_path)


@pytest.fixture
def plugin(skyfold: Skyfold, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Install a plugin of one module for the processes, without an installer."""

    def install(name: str, code: str) -> None:
        site = tmp_path_factory.mktemp("site")
        (site / f"skyfold_{name}.py").write_text(code, encoding="utf-8")
        info = site / f"skyfold_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: skyfold-{name}\nVersion: 1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[skyfold]\n{name} = skyfold_{name}\n", encoding="utf-8"
        )
        skyfold.add_to_path(site)

    return install
