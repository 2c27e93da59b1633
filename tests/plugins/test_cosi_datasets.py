"""COSI's public files: what its tutorials print is what `skyfold data` offers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skyfold.datasets import info
from skyfold.registry import default_registry
from skyfold_cosi.datasets import BUCKET, DATASETS

FILES = {file.url.removeprefix(BUCKET): file for one in DATASETS.values() for file in one.files}


def test_files_of_the_imaging_tutorial_are_offered_with_its_checksums(shared_data: Path) -> None:
    seeds = sorted((shared_data.parent / "seeds").glob("001_*.txt"))
    if not seeds:
        pytest.skip("no text of the tutorial beside the reference data")
    printed = re.findall(
        r"File size: ([\d.]+) (GB|MB)\s*\n\s*fetch_wasabi_file\('([^']+)', checksum='(\w{32})'\)",
        seeds[0].read_text(),
    )
    assert len(printed) == 3
    for size, unit, path, md5 in printed:
        file = FILES[path]
        assert file.checksum == f"md5:{md5}"
        assert file.size == pytest.approx(float(size) * {"GB": 1e9, "MB": 1e6}[unit], rel=1e-3)
        assert file.rounded
        assert file.name == path.rpartition("/")[2]


def test_checksums_are_whole_or_said_to_be_missing() -> None:
    for file in FILES.values():
        assert file.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}", file.checksum)
    assert len({file.name for file in FILES.values()}) == sum(
        len(one.files) for one in DATASETS.values()
    )
    assert "not published" in info(DATASETS["cosi-dc2-continuum"])
    assert "about 3.8 GB" in info(DATASETS["cosi-dc2-511-galactic"])


def test_registry_offers_them() -> None:
    assert set(DATASETS) <= set(default_registry().datasets)
