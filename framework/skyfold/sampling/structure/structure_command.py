"""The command `skyfold structure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from skyfold.commands.telling import say


def structure(
    run: Path,
    region: list[str] | None = None,
    simulations: Annotated[int, Field(ge=4)] = 100,
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.005,
    draws: Annotated[int, Field(ge=1)] | None = None,
    component: str | None = None,
    seed: Annotated[int, Field(ge=0)] = 0,
    workers: Annotated[int, Field(ge=1)] | None = None,
    quiet: bool = False,
) -> None:
    """Tell how significant structure is in regions of a sampled sky, beyond the known.

    The counts are compared with simulations of all other components alone, the null model, each
    sampled with the settings of the run, which should have mixed (Stein et al. 2015). Choose
    regions and gamma before you look. What was done stays in the run folder: asked again for more
    simulations and the same regions, only the new ones are worked on.

    Parameters
    ----------
    run
        Folder of a run with --method lira.
    region
        A shape such as "core = circle(40, 52, 6)", a region file, or a mask; may be given again.
    simulations
        How many simulations of the null model.
    gamma
        The least bound of the p-value within reach.
    draws
        Sweeps of each analysis after burn-in; those of the run by default.
    component
        The sky that is meant, where there are several.
    seed
        Seed of the simulations.
    workers
        How many simulations are worked on at a time; as many as there are cores by default.
    quiet
        No progress.
    """
    from skyfold import files
    from skyfold.region_files import find
    from skyfold.report import write
    from skyfold.runfolder import reopen
    from skyfold.sampling.structure import structure_run

    regions = find(region or [])
    result = reopen(run)
    files.require_writable(run)
    with files.locked(run):
        found = structure_run.structure(
            result,
            regions,
            simulations=simulations,
            gamma=gamma,
            draws=draws,
            component=component,
            seed=seed,
            workers=workers,
            folder=run,
            progress=not quiet,
        )
        say(str(found))
        written = [*found.write(run), write(run)]
    say(f"written   {', '.join(map(str, written))}")
