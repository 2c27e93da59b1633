"""Images: counts, PSF, exposure, backgrounds and mask as FITS files, photographs or arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skyfold.hooks import hookimpl

if TYPE_CHECKING:
    from skyfold.registry import Registry

MAGIC = (
    *(b"SIMPLE  =", b"\x93NUMPY", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    b"\xff\xd8\xff",  # JPEG, to say what is wrong with it
)


@hookimpl
def skyfold_register(registry: Registry) -> None:
    """Offer images, the demos made of them, and public pictures."""
    from skyfold_image.datasets import DATASETS

    registry.instruments.add("image", "skyfold_image.opener:open_image")
    for name in ("galaxy", "chandra-like", "fermi-like", "photo", "point-source"):
        registry.demos.add(name, f"skyfold_image.demos:{name.replace('-', '_')}")
    for name, dataset in DATASETS.items():
        registry.datasets.add(name, dataset)


@hookimpl(trylast=True)
def skyfold_identify(path: Path) -> str | None:
    """Recognise anything that can hold an image, after all instruments that know their files."""
    import gzip
    import zipfile

    try:
        with path.open("rb") as file:
            start = file.read(16)
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(path) as file:
                start = file.read(16)
        if start.startswith(b"PK") and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return "image" if any(n.endswith(".npy") for n in archive.namelist()) else None
    except (OSError, EOFError, zipfile.BadZipFile):
        return None
    return "image" if start.startswith(MAGIC) else None
