"""Open a Chandra observation."""

from __future__ import annotations

import re
from functools import wraps
from typing import Any

from skyfold.binned import BinnedData
from skyfold_image.image import Image
from skyfold_image.kernels import is_text
from skyfold_image.opener import open_image
from skyfold_image.reading import read_image


@wraps(open_image, assigned=("__annotations__",))
def open_chandra(counts: Any, psf: Any = None, **options: Any) -> BinnedData:
    """Open a counts image of CIAO with its ray-traced PSF and its exposure map.

    Takes what `skyfold_image.opener.open_image` takes: counts as made by dmcopy or fluximage, not
    divided by the exposure; a PSF as made by simulate_psf, MARX or SAOTrace; an exposure map in
    cm2 s or cm2 s count/photon. The energy of the PSF is compared with those of the counts.

    Raises
    ------
    ConfigError, DataError, FileError
        As there.
    """
    allow_large = options.get("allow_large", False)
    image = read_image(counts, "counts", allow_large=allow_large)
    if psf is not None and not is_text(psf):
        psf = _judged(read_image(psf, "psf", allow_large=allow_large), image)
    options["name"] = options.get("name") or _name(image)
    return open_image(image, psf, **options).with_origin(instrument="chandra")


def _name(counts: Image) -> str | None:
    """Return the name of an observation, such as ``Chandra 4684 Sgr A*``."""
    known = "" if counts.header is None else str(counts.header.get("OBS_ID", "")).strip()
    target = "" if counts.header is None else str(counts.header.get("OBJECT", "")).strip()
    return f"Chandra {known} {target}".strip() if known else None


def _judged(psf: Image, counts: Image) -> Image:
    """Compare the energy that the PSF was made for with the energies of the counts."""
    made, taken = psf_energy(psf.header), counts_energies(counts.header)
    if made is None:
        return psf
    if taken is None:
        return psf.noting("ok", f"PSF computed at {made:g} keV")
    low, high = taken
    text = f"PSF computed at {made:g} keV, data {low:g} to {high:g} keV"
    return psf.noting("ok" if low <= made <= high else "warning", text)


def psf_energy(header: Any) -> float | None:
    """Return the energy in keV that a ray trace was made for, from its header, or None.

    simulate_psf leaves it in the history as ``monoenergy``; others in the card ``ENERGY``.
    """
    if header is None:
        return None
    known = header.get("ENERGY")
    if isinstance(known, int | float) and known > 0:
        return float(known)
    found = re.findall(
        r"mono_?energy\s*=\s*([\d.]+)", "\n".join(map(str, header.get("HISTORY", ())))
    )
    return float(found[-1]) if found and float(found[-1]) > 0 else None


def counts_energies(header: Any) -> tuple[float, float] | None:
    """Return the energies in keV that counts were selected by, from the data subspace, or None.

    CIAO writes the filters of a file as pairs ``DSTYPn = 'energy'``, ``DSVALn = '500:7000'`` (eV).
    """
    if header is None:
        return None
    for key, value in header.items():
        if not (key.startswith("DSTYP") and str(value).strip().lower() == "energy"):
            continue
        ranges = re.findall(r"([\d.]+):([\d.]+)", str(header.get(f"DSVAL{key[5:]}", "")))
        if ranges:
            low = min(float(first) for first, _ in ranges)
            return low / 1000, max(float(last) for _, last in ranges) / 1000
    return None
