"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run of a test."""
    return np.random.default_rng(20_261_121)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the reference data, which are no part of the repository."""
    named = os.environ.get("SKYFOLD_TEST_DATA")
    if named:
        folder = Path(named)
        if not folder.is_dir():
            pytest.fail(f"SKYFOLD_TEST_DATA={named} is no folder")
        return folder
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no reference data: set SKYFOLD_TEST_DATA (looked in {folder})")
    return folder
