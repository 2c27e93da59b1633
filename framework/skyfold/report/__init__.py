"""The report of a run: one page that needs nothing else, made from the run folder alone."""

from __future__ import annotations

from pathlib import Path

from skyfold import files


def write(folder: Path) -> Path:
    """Write ``report.html`` into a run folder.

    Parameters
    ----------
    folder
        A run folder; whatever is missing in it is missing on the page.

    Returns
    -------
    path
        The page: self-contained, forbidden by its own content policy to load anything.

    Raises
    ------
    FileError
        If nothing of a run is there, a file is damaged, or the page cannot be written.
    """
    from skyfold.report.folder import RunFolder
    from skyfold.report.page import render

    path = Path(folder) / "report.html"
    files.write_text(path, render(RunFolder.read(Path(folder))))
    return path
