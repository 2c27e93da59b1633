"""The data sets that the built-in plugins offer, against the reference copies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import skyfold_chandra.datasets
import skyfold_fermi.datasets
import skyfold_image.datasets
from skyfold import datasets
from skyfold.datasets import DataSet

CATALOGUE = (
    skyfold_chandra.datasets.DATASETS
    | skyfold_fermi.datasets.DATASETS
    | skyfold_image.datasets.DATASETS
)


@pytest.mark.parametrize(
    ("name", "reference"),
    [("chandra-gc-4684", "chandra"), ("fermi-3fhl-gc", "fermi"), ("lincoln", "lira")],
)
def test_entries_describe_the_reference_files(
    name: str,
    reference: str,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / name).symlink_to(shared_data / reference)
    monkeypatch.setenv("SKYFOLD_DATA", str(tmp_path))
    assert {state for _, state in datasets.verify(name, CATALOGUE[name])} == {"ok"}


@pytest.mark.parametrize("dataset", CATALOGUE.values(), ids=list(CATALOGUE))
def test_addresses_are_permanent(dataset: DataSet) -> None:
    for file in dataset.files:
        assert re.fullmatch(rf"https://.*/[0-9a-f]{{40}}/.*/{re.escape(file.name)}", file.url)
