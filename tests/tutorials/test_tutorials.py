"""Each tutorial runs from top to bottom as plain Python; its last cell asserts its results."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).resolve().parents[2] / "tutorials").glob("[0-9]*.py"))
WITH_DATA = (
    "02_chandra_galactic_centre",
    "03_fermi_galactic_centre",
    "12_galactic_centre_with_error_bars",
)


def run(tutorial: Path, folder: Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SKYFOLD_")}
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", str(tutorial)],
        cwd=folder,
        env={**kept, "MPLBACKEND": "agg", "SKYFOLD_DATA": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{tutorial.name}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.tutorial
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs_without_any_data(tutorial, tmp_path):
    printed = run(tutorial, tmp_path)
    assert ("SIMULATED" in printed) == (tutorial.stem in WITH_DATA), "a fallback must say so"


@pytest.mark.tutorial
@pytest.mark.parametrize("name", WITH_DATA)
def test_tutorial_runs_on_real_data(name, tmp_path, shared_data):
    (tutorial,) = (path for path in TUTORIALS if path.stem == name)
    printed = run(tutorial, tmp_path, SKYFOLD_TEST_DATA=str(shared_data))
    assert "the real observation" in printed


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_is_a_notebook_that_ends_with_assertions(tutorial):
    text = tutorial.read_text(encoding="utf-8")
    assert "format_name: percent" in text.partition("# %%")[0]
    assert "plt.show" not in text, "a script must not wait for a window to be closed"
    cells = text.split("\n# %%")
    assert sum(cell.startswith(" [markdown]") for cell in cells) >= 5
    last = ast.parse(cells[-1])
    assert sum(isinstance(node, ast.Assert) for node in last.body) >= 4


def test_there_are_tutorials():
    assert [path.name[:2] for path in TUTORIALS[:4]] == ["01", "02", "03", "04"]
