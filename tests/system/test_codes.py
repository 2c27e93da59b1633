"""Every fault in the list of bad input has a test that bears its code."""

import re
import subprocess
import sys
from pathlib import Path

CODES = {
    *(f"C{n:02}" for n in range(1, 18)),
    *(f"P{n:02}" for n in range(1, 23)),
    *(f"G{n:02}" for n in range(1, 12)),
    *(f"Y{n:02}" for n in range(1, 11)),
    *(f"F{n:02}" for n in range(1, 18)),
}


def test_every_fault_is_tried():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist"]
    folder = Path(__file__).parent
    ended = subprocess.run(
        [*command, str(folder)], cwd=folder, capture_output=True, text=True, check=True
    )
    names = "\n".join(re.findall(r"::(.*)", ended.stdout))
    assert set(re.findall(r"(?<![A-Za-z0-9])([CPGYF]\d\d)(?!\d)", names)) == CODES
