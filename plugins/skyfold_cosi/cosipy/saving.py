"""Results of an algorithm in files, as cosipy writes them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from skyfold_cosi.histogram import from_histpy
from skyfold_cosi.layout import ResultFiles, Tables, write_tables

log = logging.getLogger(__name__)

TABLES = {
    "log-posterior": "LOG-POSTERIOR",
    "alpha": "ALPHA",
    "background_normalization": "BKG_NORM",
    "log-prior": "LOG-PRIOR",
    "log-likelihood": "LOG-LIKELIHOOD",
}


def save_results(algorithm: Any) -> None:
    """Write the results of an algorithm of ours to its folder.

    Raises
    ------
    FileError
        If that cannot be done.
    """
    folder = Path(algorithm.save_results_directory)
    log.info("results go to %s", folder)
    names = [str(data.name) for data in algorithm.dataset]
    tables: Tables = {}
    with ResultFiles(folder, algorithm.saved, algorithm.save_only_final_result) as files:
        for row in algorithm.results:
            number = row["iteration"]
            files.add(number, {name: from_histpy(row[name]) for name in algorithm.saved})
            for key, table in TABLES.items():
                if key in row:
                    tables.setdefault(table, {})[number] = _columns(key, row[key], names)
    write_tables(folder / "results.fits", tables)


def _columns(key: str, value: Any, names: list[str]) -> dict[str, float]:
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return dict(zip(names, value, strict=True))
    return {key: float(value)}
