"""What a run was: settings, inputs, versions, timings. Written first, completed last."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from skyfold import files
from skyfold.data import DataInterface

FORMAT = 1
PACKAGES = (
    "skyfold", "numpy", "scipy", "astropy", "arviz-stats", "h5py", "h5netcdf", "pydantic", "pluggy",
)  # fmt: skip


def begin(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of a run that is about to start."""
    return {
        "format": FORMAT,
        "status": "running",
        "started": now(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "config": dict(config),
        "seed": config.get("seed", 0),
        "versions": versions(),
    }


def describe(data: DataInterface) -> dict[str, Any]:
    """Return what is known of opened data: components, inputs with checksums, what was checked."""
    inputs, checks = [], []
    for part in data.parts:
        for role, path in part.origin.files:
            file = Path(path)
            inputs.append(
                {
                    "dataset": part.origin.name,
                    "role": role,
                    "path": str(file),
                    "sha256": files.sha256(file),
                    "bytes": file.stat().st_size,
                }
            )
        checks += [vars(check) | {"dataset": part.origin.name} for check in part.origin.checks]
    return {"components": sorted(data.components), "inputs": inputs, "checks": checks}


def versions() -> dict[str, str]:
    """Return versions of Python, the platform and the packages that make the numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def peak_memory() -> int:
    """Return the largest memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
